//! What comes in.

use serde::Deserialize;

use crate::Failure;

/// An event, as the router stored it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Event {
    /// Unique within its subject for well-behaved senders. 1 to 256 bytes.
    pub id: String,
    /// Dot-separated tokens, such as `ride.accepted`. At most 255 bytes.
    pub subject: String,
    /// When the router stored it: milliseconds since the Unix epoch.
    pub time: u64,
    /// The media type of `data`, when the sender gave one.
    pub content_type: Option<String>,
    /// Names are lower case; a name may occur more than once.
    pub headers: Vec<(String, String)>,
    /// The payload, byte for byte as it was posted.
    pub data: Vec<u8>,
    /// Its place in its stream, the same on every attempt.
    pub sequence: u64,
    /// 1 on the first attempt.
    pub attempt: u32,
}

impl Event {
    /// An event for a test: the first attempt, with nothing but a subject and data.
    pub fn new(subject: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        let (id, sequence, attempt) = ("1".into(), 1, 1);
        Self { id, subject: subject.into(), data: data.into(), sequence, attempt, ..Self::default() }
    }

    /// `data` as JSON; text without escapes may be borrowed. Data that does not fit is rejected: it would not fit on another
    /// attempt either.
    pub fn json<'a, T: Deserialize<'a>>(&'a self) -> Result<T, Failure> {
        serde_json::from_slice(&self.data).map_err(|e| Failure::reject(format!("not the JSON expected: {e}")))
    }

    /// `data` as text; rejected when it is not UTF-8.
    pub fn text(&self) -> Result<&str, Failure> {
        str::from_utf8(&self.data).map_err(|e| Failure::reject(format!("not text: {e}")))
    }

    /// The first value of a header, by its lower-case name.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(header, _)| header == name).map(|(_, value)| &**value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn data_is_read_or_rejected() {
        #[derive(Deserialize)]
        struct Ride<'a> {
            driver: u32,
            note: &'a str,
        }
        let event = Event::new("ride", r#"{"driver": 7, "note": "hi"}"#);
        let ride: Ride = event.json().expect("a ride");
        assert_eq!((ride.driver, ride.note), (7, "hi"));
        let Err(Failure::Reject(reason)) = Event::new("ride", "{}").json::<Ride>() else {
            panic!("no ride in there")
        };
        assert!(reason.contains("missing field `driver`"), "{reason}");
        assert_eq!(event.text().expect("text"), r#"{"driver": 7, "note": "hi"}"#);
        assert!(matches!(Event::new("ride", *b"\xff").text(), Err(Failure::Reject(_))));
    }

    #[test]
    fn the_first_of_several_headers_is_found() {
        let headers = vec![("a".into(), "1".into()), ("a".into(), "2".into())];
        let event = Event { headers, ..Event::new("ride", "") };
        assert_eq!((event.header("a"), event.header("b")), (Some("1"), None));
    }
}
