//! `--event`: an event that a running router has stored, to be run on the local build of a Channel. It is read, and nothing else:
//! the router does not know.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use saf_event::{ByteString, Event, EventId, Headers, Subject};
use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::Method;

use crate::cli::client::{Ask, Client, Patience, Query, broke_off, encoded};
use crate::cli::text::{Time, present, printable};
use crate::exit::Failure;

/// Which stored event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Which {
    /// `@dead-letter:<id>`.
    DeadLetter(String),
    /// `@event:<sequence>`, or `@event:<stream>:<sequence>`.
    Event { stream: Option<String>, sequence: u64 },
}

impl Which {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let how =
            "write @dead-letter:<id>, such as @dead-letter:events:3, or @event:<sequence>, such as @event:12";
        if let Some(id) = text.strip_prefix("@dead-letter:").filter(|id| !id.is_empty()) {
            return Ok(Self::DeadLetter(id.to_owned()));
        }
        let position = text.strip_prefix("@event:").ok_or(how)?;
        let (stream, sequence) = match position.rsplit_once(':') {
            Some((stream, sequence)) => (Some(stream.to_owned()), sequence),
            None => (None, position),
        };
        let sequence = sequence.parse().map_err(|_| how)?;
        Ok(Self::Event { stream, sequence })
    }
}

/// A stored event.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) event: Event,
    /// The attempt that is repeated.
    pub(super) attempt: u32,
    /// The Channel that could not handle it, of a dead letter.
    pub(super) channel: Option<String>,
    /// One line about where it is from.
    pub(super) about: String,
}

/// An event as the admin API answers it.
#[derive(Deserialize)]
struct View {
    sequence: u64,
    subject: String,
    id: String,
    time: Time,
    #[serde(default)]
    content_type: Option<String>,
    #[serde(default)]
    headers: Vec<(String, String)>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    data_base64: Option<String>,
}

#[derive(Deserialize)]
struct Letter {
    stream: String,
    channel: String,
    outcome: String,
    reason: String,
    #[serde(default)]
    attempts: Vec<Attempt>,
    event: View,
    #[serde(default)]
    data_omitted: bool,
}

#[derive(Deserialize)]
struct Attempt {
    number: u32,
}

/// Asks the router for it.
pub(super) fn fetch(client: &Client, which: &Which) -> Result<Stored, Failure> {
    match which {
        Which::Event { stream, sequence } => {
            let query = Query::default().with("stream", stream.as_ref());
            let view: View = client.get(&format!("/api/v1/events/{sequence}"), &query)?;
            let about = format!("event {sequence} on {}", printable(&view.subject));
            Ok(Stored { event: view.event(None)?, attempt: 1, channel: None, about })
        }
        Which::DeadLetter(id) => {
            let path = format!("/api/v1/dead-letters/{}", encoded(id));
            let letter: Letter = client.get(&path, &Query::default())?;
            let data = if letter.data_omitted { Some(data(client, &letter)?) } else { None };
            let attempt = letter.attempts.last().map_or(1, |attempt| attempt.number);
            let about = format!(
                "dead letter {} of {} ({}: {})",
                printable(id),
                printable(&letter.channel),
                printable(&letter.outcome),
                printable(letter.reason.lines().next().unwrap_or_default())
            );
            Ok(Stored { event: letter.event.event(data)?, attempt, channel: Some(letter.channel), about })
        }
    }
}

/// What was too large for the letter is in its stream, as long as that keeps it.
fn data(client: &Client, letter: &Letter) -> Result<Bytes, Failure> {
    let path = format!("/api/v1/events/{}/data", letter.event.sequence);
    let query = Query::default().with("stream", Some(&letter.stream));
    let ask = Ask::new(Method::GET, &path).query(&query).patience(Patience::WhileAlive);
    let (mut reader, asked) = client.ask(&ask)?.into_reader();
    let mut data = Vec::new();
    reader.read_to_end(&mut data).map_err(|error| broke_off(&asked, &error.into()))?;
    Ok(data.into())
}

impl View {
    fn event(self, data: Option<Bytes>) -> Result<Event, Failure> {
        let odd = |what: &str| {
            Failure::Check(format!("the router answered an event with {what}: is it of this version?"))
        };
        let data = match (data, &self.data, &self.data_base64) {
            (Some(data), ..) => data,
            // JSON stands in the answer as it was posted, byte for byte.
            (None, Some(raw), _) => Bytes::from(raw.get().to_owned()),
            (None, None, Some(text)) => {
                STANDARD.decode(text).map_err(|_| odd("data that is not base64"))?.into()
            }
            (None, None, None) => Bytes::new(),
        };
        let mut headers = Headers::new();
        for (name, value) in self.headers {
            headers.push_stored(name, value);
        }
        Ok(Event {
            sequence: self.sequence,
            id: EventId::parse(self.id).ok_or_else(|| odd("an id that is none"))?,
            subject: Subject::parse(self.subject).map_err(|error| odd(&error.to_string()))?,
            time: millis(&self.time).ok_or_else(|| odd("a time that is none"))?,
            content_type: self.content_type.map(ByteString::from),
            headers,
            data,
            lineage: None,
        })
    }
}

fn millis(time: &Time) -> Option<u64> {
    match time {
        Time::Millis(millis) => Some(*millis),
        Time::Text(text) => {
            let time = humantime::parse_rfc3339_weak(text).ok()?;
            Some(time.duration_since(std::time::UNIX_EPOCH).ok()?.as_millis() as u64)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_event_is_named_by_its_place() {
        let event =
            |stream: Option<&str>, sequence| Which::Event { stream: stream.map(str::to_owned), sequence };
        for (text, which) in [
            ("@dead-letter:events:3", Which::DeadLetter("events:3".to_owned())),
            ("@event:12", event(None, 12)),
            ("@event:rides:12", event(Some("rides"), 12)),
        ] {
            assert_eq!(Which::parse(text), Ok(which));
        }
        for text in ["12", "@event:", "@event:x", "@dead-letter:", "@dlq:1"] {
            assert!(Which::parse(text).is_err_and(|how| how.contains("@event:12")), "{text}");
        }
    }

    #[test]
    fn an_event_is_what_was_stored_byte_for_byte() {
        let view = |data: &str| {
            let text = format!(
                "{{\"sequence\":7,\"subject\":\"a\",\"id\":\"1\",\"time\":\"2026-01-31T12:00:00.005Z\",\"headers\":[[\"x\",\"y\"]]{data}}}"
            );
            serde_json::from_str::<View>(&text).expect("an event").event(None)
        };
        for (data, bytes) in [
            (r#","data":{"b": 1.0e2}"#, &br#"{"b": 1.0e2}"#[..]),
            (r#","data_base64":"/w==""#, b"\xff"),
            ("", b""),
        ] {
            let event = view(data).expect("valid");
            assert_eq!((&*event.data, event.sequence, event.time), (bytes, 7, 1_769_860_800_005));
        }
        assert!(view(r#","data_base64":"?""#).is_err());
    }
}
