//! What is sent: JSON objects of a given length that differ from event to event, and requests that carry them.

use bytes::Bytes;

/// The subject of every event that is not about many Channels.
pub(crate) const SUBJECT: &str = "bench.event";
/// So many different payloads take turns; enough that no cache of one message helps.
pub(crate) const VARIETY: u64 = 256;

/// Length of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Size {
    Small,
    Large,
}

impl Size {
    pub(crate) const ALL: [Self; 2] = [Self::Small, Self::Large];

    pub(crate) const fn bytes(self) -> usize {
        match self {
            Self::Small => 256,
            Self::Large => 1024,
        }
    }

    /// In rows' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Small => "256b",
            Self::Large => "1kib",
        }
    }
}

/// The `n`th payload: an order with a nested object, an array, numbers and text.
pub(crate) fn json(n: u64, size: Size) -> String {
    let mut text = format!(
        "{{\"id\":\"ev-{n:010}\",\"type\":\"order.created\",\"created_at\":\"2026-11-24T06:00:00Z\",\"amount\":{}.25,\
         \"tags\":[\"a\",\"b\"],\"customer\":{{\"id\":{},\"name\":\"c{}\"}},\"note\":\"",
        n % 1000,
        n % 5000,
        n % 77
    );
    let missing = size.bytes().saturating_sub(text.len() + 2);
    text.extend((0..missing as u64).map(|k| char::from(b'a' + ((n + k * 7) % 26) as u8)));
    text + "\"}"
}

/// One event in a post's body.
pub(crate) fn envelope(n: u64, subject: &str, size: Size) -> String {
    format!("{{\"subject\":\"{subject}\",\"data\":{}}}", json(n, size))
}

/// A post of one event.
pub(crate) fn single(n: u64, subject: &str, size: Size) -> Bytes {
    post(&envelope(n, subject, size))
}

/// A post of an array of events, numbered from `n`; `subject` gives the `n`th one's.
pub(crate) fn batch(n: u64, count: u64, size: Size, subject: impl Fn(u64) -> String) -> Bytes {
    let events: Vec<_> = (n..n + count).map(|n| envelope(n, &subject(n), size)).collect();
    post(&format!("[{}]", events.join(",")))
}

/// Posts that take turns, of so many events each.
pub(crate) fn requests(events: u64, size: Size) -> Vec<Bytes> {
    let request = |n| match events {
        1 => single(n, SUBJECT, size),
        _ => batch(n * events, events, size, |_| SUBJECT.to_owned()),
    };
    (0..VARIETY).map(request).collect()
}

fn post(body: &str) -> Bytes {
    let head =
        "POST /api/event HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\nContent-Length: ";
    Bytes::from(format!("{head}{}\r\n\r\n{body}", body.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn payloads_are_json_objects_of_their_length_and_differ() {
        for size in Size::ALL {
            for n in [0, 1, 4_999, 10_000_000] {
                let text = json(n, size);
                assert_eq!(text.len(), size.bytes());
                assert!(serde_json::from_str::<serde_json::Map<_, _>>(&text).is_ok(), "{text}");
            }
            assert_ne!(json(1, size), json(2, size));
        }
    }

    #[test]
    fn a_batch_is_one_request_with_so_many_events() {
        let request = batch(5, 3, Size::Small, |n| format!("bench.{n}"));
        let text = std::str::from_utf8(&request).expect("text");
        let (head, body) = text.split_once("\r\n\r\n").expect("a head");
        assert!(head.ends_with(&format!("Content-Length: {}", body.len())), "{head}");
        let events: Vec<serde_json::Value> = serde_json::from_str(body).expect("an array");
        let subjects: Vec<_> = events.iter().map(|event| event["subject"].as_str().expect("text")).collect();
        assert_eq!(subjects, ["bench.5", "bench.6", "bench.7"]);
    }
}
