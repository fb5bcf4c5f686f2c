//! What is stored and what is to be stored. `data` is [`Bytes`] and every text a [`ByteString`]: slices of the message or
//! request they came in, so an event passes through the router without its payload being copied.

use std::fmt;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use bytestring::ByteString;

use crate::{Headers, MAX_ID_BYTES, StreamName, Subject};

/// The id of an event: the sender's own, or one the router made. 1 to [`MAX_ID_BYTES`] bytes, no control characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct EventId(ByteString);

impl EventId {
    /// A fresh id (UUID version 7): ordered by time to the millisecond. Ordering within it would take a lock that all threads share.
    pub fn generate() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let now = uuid::Timestamp::from_unix(uuid::NoContext, now.as_secs(), now.subsec_nanos());
        let mut text = [0; uuid::fmt::Hyphenated::LENGTH];
        let text = uuid::Uuid::new_v7(now).hyphenated().encode_lower(&mut text);
        Self(ByteString::from(&*text))
    }

    /// `None` when empty, longer than [`MAX_ID_BYTES`], or holding a control character.
    pub fn parse(text: impl Into<ByteString>) -> Option<Self> {
        let text = text.into();
        let valid = !text.is_empty() && text.len() <= MAX_ID_BYTES && is_printable(&text);
        valid.then_some(Self(text))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for EventId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Nearly every id is plain ASCII, which is quick to see.
fn is_printable(text: &str) -> bool {
    text.bytes().all(|b| (b' '..=b'~').contains(&b)) || !text.chars().any(char::is_control)
}

/// A place in a stream; written `events:12`.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Position {
    /// The stream.
    pub stream: StreamName,
    /// The sequence in it; the first event has 1.
    pub sequence: u64,
}

impl Position {
    /// Reads what [`fmt::Display`] wrote.
    pub fn parse(text: &str) -> Option<Self> {
        let (stream, sequence) = text.rsplit_once(':')?;
        Some(Self { stream: StreamName::parse(stream).ok()?, sequence: sequence.parse().ok()? })
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.stream, self.sequence)
    }
}

/// Where an emission came from. An event that a client posted has none.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lineage {
    /// The event whose handling emitted this one.
    pub parent: Position,
    /// The event at the start of the chain.
    pub root: Position,
    /// How many Channels lie between the root and this event; 1 for what a posted event caused.
    pub hops: u16,
}

/// An event as a stream holds it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Its place in its stream.
    pub sequence: u64,
    /// Unique within its subject for well-behaved senders; the router does not insist.
    pub id: EventId,
    /// Without the stream's prefix.
    pub subject: Subject,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The media type of `data`, when the sender gave one.
    pub content_type: Option<ByteString>,
    /// The sender's headers, lower-case names, `traceparent` among them.
    pub headers: Headers,
    /// The payload, byte for byte.
    pub data: Bytes,
    /// None for an event that came from outside.
    pub lineage: Option<Lineage>,
}

/// How a broker tells that an event was stored before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dedupe {
    /// `<subject>/<id>`: what a client posts.
    SubjectAndId,
    /// `<subject>/<source>/<id>`: CloudEvents are unique by source and id.
    Source(ByteString),
    /// The settlement it is part of makes it unique (emissions).
    Settlement,
}

/// An event on its way into a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewEvent {
    /// The id that readers will see.
    pub id: EventId,
    /// Without the stream's prefix.
    pub subject: Subject,
    /// The media type of `data`.
    pub content_type: Option<ByteString>,
    /// Lower-case names; `nats-*` and `saf-*` cannot occur.
    pub headers: Headers,
    /// The payload.
    pub data: Bytes,
    /// Set by the runtime on emissions, never by a client or a guest.
    pub lineage: Option<Lineage>,
    /// What makes a repetition a duplicate.
    pub dedupe: Dedupe,
}

impl NewEvent {
    /// Payload and texts together, in bytes: what counts against a broker's largest event.
    pub fn size(&self) -> usize {
        let content_type = self.content_type.as_ref().map_or(0, |t| t.len());
        self.data.len()
            + self.subject.as_str().len()
            + self.id.as_str().len()
            + content_type
            + self.headers.bytes()
    }
}

/// The wall clock in milliseconds since the Unix epoch; 0 for a clock set before it.
pub fn unix_millis() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_bounded_and_printable() {
        for (text, valid) in [
            ("1", true),
            ("ünï-👍", true),
            ("", false),
            ("a\nb", false),
            (&"x".repeat(256), true),
            (&"x".repeat(257), false),
        ] {
            assert_eq!(EventId::parse(text).is_some(), valid, "{text:?}");
        }
        assert_eq!(EventId::generate().as_str().len(), 36);
        assert_ne!(EventId::generate(), EventId::generate());
    }

    #[test]
    fn positions_read_what_they_wrote() {
        let position = Position::parse("events:12").expect("valid");
        assert_eq!((position.stream.as_str(), position.sequence), ("events", 12));
        assert_eq!(Position::parse(&position.to_string()), Some(position));
        assert_eq!(Position::parse("events"), None);
        assert_eq!(Position::parse("ev ents:1"), None);
    }
}
