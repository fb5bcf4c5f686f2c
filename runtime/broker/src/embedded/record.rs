//! Records: what stands in a frame. Events are laid out so that a reader finds the subject without looking at anything else,
//! and builds an [`Event`] out of slices of the frame. Pure; no files here.
//!
//! ```text
//! event   = 1, flags, id length (2), subject length (1), channel length (1), content type length (2), source length (2), headers (2),
//!           subject, channel, id, content type, source, [dead letter (8) when there is a channel], [lineage], headers, data
//! settled = 2, channel length (1), sequence (8), channel, [entry of the history, which older versions pass over]
//! letter  = 3, channel length (1), event's sequence (8), event's time (8), details length (4), channel, details (JSON), event record
//! deleted = 4, sequence (8)
//! state   = 5, see `record::state`
//! ```
//!
//! An event with a channel is addressed: a replay, for this Channel only.

pub(crate) mod letter;
pub(crate) mod state;

use bytes::{BufMut as _, Bytes, BytesMut};
use bytestring::ByteString;
use saf_event::{
    ChannelName, Dedupe, Event, EventId, Headers, Lineage, NewEvent, Position, StreamName, Subject,
};

use super::frame::{RECORD_HEAD_BYTES, u16_at, u64_at};
use crate::Refusal;

const EVENT: u8 = 1;
const SETTLED: u8 = 2;
const LETTER: u8 = 3;
const DELETED: u8 = 4;
const STATE: u8 = 5;

const EVENT_FIXED_BYTES: usize = 12;
/// Two places, and how many hops.
const LINEAGE_BYTES_MAX: usize = 2 * (1 + 32 + size_of::<u64>()) + size_of::<u16>();
const DEDUPE_MASK: u8 = 0b11;
const DEDUPE_ID: u8 = 1;
const DEDUPE_SOURCE: u8 = 2;
const HAS_CONTENT_TYPE: u8 = 1 << 2;
const HAS_LINEAGE: u8 = 1 << 3;

/// Whether a record takes a sequence.
pub(crate) fn has_sequence(record: &[u8]) -> bool {
    matches!(record.first(), Some(&(EVENT | LETTER | DELETED | STATE)))
}

/// To whom a replayed event goes, and the dead letter it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Address<'a> {
    pub(crate) channel: &'a str,
    pub(crate) letter: u64,
}

/// No event's record is longer, in bytes, when it has no address.
pub(crate) fn bytes_max(event: &NewEvent) -> usize {
    let source = match &event.dedupe {
        Dedupe::Source(source) => source.len(),
        Dedupe::Settlement | Dedupe::SubjectAndId => 0,
    };
    let lineage = if event.lineage.is_some() { LINEAGE_BYTES_MAX } else { 0 };
    RECORD_HEAD_BYTES + EVENT_FIXED_BYTES + event.size() + source + lineage + 4 * event.headers.len()
}

/// Appends an event with its length prefix.
pub(crate) fn encode_event(
    event: &NewEvent,
    to: Option<Address<'_>>,
    out: &mut BytesMut,
) -> Result<(), Refusal> {
    let (dedupe, source) = match &event.dedupe {
        Dedupe::Settlement => (0, ""),
        Dedupe::SubjectAndId => (DEDUPE_ID, ""),
        Dedupe::Source(source) => (DEDUPE_SOURCE, &**source),
    };
    let mut flags = dedupe;
    let content_type = event.content_type.as_deref().unwrap_or_default();
    if event.content_type.is_some() {
        flags |= HAS_CONTENT_TYPE;
    }
    if event.lineage.is_some() {
        flags |= HAS_LINEAGE;
    }
    let channel = to.map_or("", |to| to.channel);
    out.reserve(bytes_max(event) + channel.len() + size_of::<u64>());
    let start = begin(out, EVENT);
    out.put_u8(flags);
    out.extend_from_slice(&short(event.id.as_str().len(), "id")?);
    out.put_u8(event.subject.as_str().len() as u8); // MAX_SUBJECT_BYTES is 255
    out.put_u8(channel.len() as u8); // a name has at most 32
    out.extend_from_slice(&short(content_type.len(), "content type")?);
    out.extend_from_slice(&short(source.len(), "source")?);
    out.extend_from_slice(&short(event.headers.len(), "number of headers")?);
    for text in [event.subject.as_str(), channel, event.id.as_str(), content_type, source] {
        out.extend_from_slice(text.as_bytes());
    }
    if let Some(to) = to {
        out.extend_from_slice(&to.letter.to_le_bytes());
    }
    if let Some(lineage) = &event.lineage {
        encode_lineage(lineage, out);
    }
    for (name, value) in &event.headers {
        out.extend_from_slice(&short(name.len(), "header name")?);
        out.extend_from_slice(&short(value.len(), "header value")?);
        out.extend_from_slice(name.as_bytes());
        out.extend_from_slice(value.as_bytes());
    }
    out.extend_from_slice(&event.data);
    end(out, start);
    Ok(())
}

fn encode_lineage(lineage: &Lineage, out: &mut BytesMut) {
    for position in [&lineage.parent, &lineage.root] {
        out.put_u8(position.stream.as_str().len() as u8);
        out.extend_from_slice(position.stream.as_str().as_bytes());
        out.extend_from_slice(&position.sequence.to_le_bytes());
    }
    out.extend_from_slice(&lineage.hops.to_le_bytes());
}

fn short(length: usize, what: &str) -> Result<[u8; 2], Refusal> {
    match u16::try_from(length) {
        Ok(length) => Ok(length.to_le_bytes()),
        Err(_) => Err(Refusal::Broker(format!("its {what} is {length}, more than {}", u16::MAX))),
    }
}

fn begin(out: &mut BytesMut, kind: u8) -> usize {
    let start = out.len();
    out.extend_from_slice(&[0; RECORD_HEAD_BYTES]);
    out.put_u8(kind);
    start
}

fn end(out: &mut [u8], start: usize) {
    let length = (out.len() - start - RECORD_HEAD_BYTES) as u32;
    out[start..start + RECORD_HEAD_BYTES].copy_from_slice(&length.to_le_bytes());
}

/// Appends the settlement of a Channel's delivery, with what `entry` writes of it; returns where that begins.
pub(crate) fn encode_settled(
    channel: &ChannelName,
    sequence: u64,
    out: &mut BytesMut,
    entry: impl FnOnce(&mut BytesMut),
) -> usize {
    let start = begin(out, SETTLED);
    out.put_u8(channel.as_str().len() as u8);
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(channel.as_str().as_bytes());
    let begun = out.len();
    entry(out);
    end(out, start);
    begun
}

/// Appends the deletion of a dead letter.
pub(crate) fn encode_deleted(sequence: u64, out: &mut BytesMut) {
    let start = begin(out, DELETED);
    out.extend_from_slice(&sequence.to_le_bytes());
    end(out, start);
}

/// The event as one that is to be stored once more, under a key that others give.
pub(crate) fn event_again(event: &Event) -> NewEvent {
    NewEvent {
        id: event.id.clone(),
        subject: event.subject.clone(),
        content_type: event.content_type.clone(),
        headers: event.headers.clone(),
        data: event.data.clone(),
        lineage: event.lineage.clone(),
        dedupe: Dedupe::Settlement,
    }
}

/// A record, as far as somebody who only passes by needs it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Record<'a> {
    Event(EventRecord<'a>),
    Settled { channel: &'a str, sequence: u64, entry: &'a [u8] },
    Letter(letter::LetterRecord<'a>),
    Deleted { sequence: u64 },
    State(state::StateRecord<'a>),
}

impl<'a> Record<'a> {
    /// `None` when it is no record that this version knows.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        match *bytes.first()? {
            EVENT => EventRecord::parse(bytes).map(Self::Event),
            SETTLED => {
                let length = usize::from(*bytes.get(1)?);
                Some(Self::Settled {
                    sequence: u64_at(bytes, 2)?,
                    channel: text(bytes.get(10..10 + length)?)?,
                    entry: bytes.get(10 + length..)?,
                })
            }
            LETTER => letter::LetterRecord::parse(bytes).map(Self::Letter),
            DELETED => Some(Self::Deleted { sequence: u64_at(bytes, 1)? }),
            STATE => state::StateRecord::parse(bytes).map(Self::State),
            _ => None,
        }
    }
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

/// An event record, borrowed: subject, address and dedupe parts without building an [`Event`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct EventRecord<'a> {
    bytes: &'a [u8],
}

impl<'a> EventRecord<'a> {
    /// Checks the fixed part only.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let record = Self { bytes };
        let valid =
            *bytes.first()? == EVENT && bytes.len() >= EVENT_FIXED_BYTES && record.texts_end() <= bytes.len();
        valid.then_some(record)
    }

    fn lengths(&self) -> [usize; 5] {
        let wide = |at| usize::from(u16_at(self.bytes, at).unwrap_or(0));
        [usize::from(self.bytes[4]), usize::from(self.bytes[5]), wide(2), wide(6), wide(8)]
    }

    fn texts_end(&self) -> usize {
        EVENT_FIXED_BYTES + self.lengths().iter().sum::<usize>()
    }

    /// The n-th of subject, channel, id, content type, source.
    fn part(&self, n: usize) -> &'a [u8] {
        let lengths = self.lengths();
        let start = EVENT_FIXED_BYTES + lengths[..n].iter().sum::<usize>();
        &self.bytes[start..start + lengths[n]]
    }

    /// The subject's bytes.
    pub(crate) fn subject(&self) -> &'a [u8] {
        &self.bytes[EVENT_FIXED_BYTES..EVENT_FIXED_BYTES + usize::from(self.bytes[4])]
    }

    /// The Channel that alone gets it; empty for everybody.
    pub(crate) fn channel(&self) -> &'a [u8] {
        let start = EVENT_FIXED_BYTES + usize::from(self.bytes[4]);
        &self.bytes[start..start + usize::from(self.bytes[5])]
    }

    /// The dead letter that it replays.
    pub(crate) fn replays(&self) -> Option<u64> {
        if self.channel().is_empty() { None } else { u64_at(self.bytes, self.texts_end()) }
    }

    /// What makes a repetition a duplicate: the parts of the key.
    pub(crate) fn dedupe_parts(&self) -> Option<Vec<&'a [u8]>> {
        match self.bytes[1] & DEDUPE_MASK {
            DEDUPE_ID => Some(vec![self.subject(), self.part(2)]),
            DEDUPE_SOURCE => Some(vec![self.subject(), self.part(4), self.part(2)]),
            _ => None,
        }
    }
}

/// Builds the event out of slices of its record; `None` when the record is not one of this version.
pub(crate) fn decode_event(bytes: &Bytes, sequence: u64, time: u64) -> Option<Event> {
    let record = EventRecord::parse(bytes)?;
    let flags = bytes[1];
    let mut cursor = Cursor { bytes, at: EVENT_FIXED_BYTES };
    let [subject, channel, id, content_type, source] = record.lengths();
    let subject = Subject::parse(cursor.text(subject)?).ok()?;
    cursor.at += channel;
    let id = EventId::parse(cursor.text(id)?)?;
    let content_type = cursor.text(content_type)?;
    cursor.at += source;
    if channel > 0 {
        cursor.at += size_of::<u64>();
    }
    let lineage = if flags & HAS_LINEAGE != 0 { Some(cursor.lineage()?) } else { None };
    let mut headers = Headers::new();
    for _ in 0..u16_at(bytes, 10)? {
        let (name, value) = (usize::from(cursor.u16()?), usize::from(cursor.u16()?));
        headers.push_stored(cursor.text(name)?, cursor.text(value)?);
    }
    let data = (cursor.at <= bytes.len()).then(|| bytes.slice(cursor.at..))?;
    let content_type = (flags & HAS_CONTENT_TYPE != 0).then_some(content_type);
    Some(Event { sequence, id, subject, time, content_type, headers, data, lineage })
}

struct Cursor<'a> {
    bytes: &'a Bytes,
    at: usize,
}

impl Cursor<'_> {
    fn slice(&mut self, length: usize) -> Option<Bytes> {
        let end = self.at.checked_add(length).filter(|end| *end <= self.bytes.len())?;
        let slice = self.bytes.slice(self.at..end);
        self.at = end;
        Some(slice)
    }

    fn text(&mut self, length: usize) -> Option<ByteString> {
        ByteString::try_from(self.slice(length)?).ok()
    }

    fn u16(&mut self) -> Option<u16> {
        let value = u16_at(self.bytes, self.at)?;
        self.at += size_of::<u16>();
        Some(value)
    }

    fn position(&mut self) -> Option<Position> {
        let length = usize::from(*self.bytes.get(self.at)?);
        self.at += 1;
        let stream = StreamName::parse(&self.text(length)?).ok()?;
        let sequence = u64_at(self.bytes, self.at)?;
        self.at += size_of::<u64>();
        Some(Position { stream, sequence })
    }

    fn lineage(&mut self) -> Option<Lineage> {
        Some(Lineage { parent: self.position()?, root: self.position()?, hops: self.u16()? })
    }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn events() -> impl Strategy<Value = NewEvent> {
        let headers = prop::collection::vec(("[a-z][a-z-]{0,9}", "[ -~]{0,12}"), 0..4);
        let lineage = prop::option::of((1u64..99, 1u64..99, any::<u16>()));
        let dedupe = prop_oneof![
            Just(Dedupe::Settlement),
            Just(Dedupe::SubjectAndId),
            "[a-z/]{0,20}".prop_map(|s| Dedupe::Source(s.into()))
        ];
        let texts = ("[a-zö]{1,9}(\\.[a-z]{1,9}){0,2}", "[ -~ö]{1,40}", prop::option::of("[a-z/]{0,20}"));
        (texts, headers, prop::collection::vec(any::<u8>(), 0..200), lineage, dedupe).prop_map(
            |((subject, id, content_type), pairs, data, lineage, dedupe)| {
                let mut headers = Headers::new();
                for (name, value) in pairs {
                    headers.push_stored(name, value);
                }
                let at =
                    |sequence| Position { stream: StreamName::parse("events").expect("valid"), sequence };
                NewEvent {
                    id: EventId::parse(id).expect("valid"),
                    subject: Subject::parse(subject).expect("valid"),
                    content_type: content_type.map(Into::into),
                    headers,
                    data: data.into(),
                    lineage: lineage.map(|(parent, root, hops)| Lineage {
                        parent: at(parent),
                        root: at(root),
                        hops,
                    }),
                    dedupe,
                }
            },
        )
    }

    pub(super) fn encoded(event: &NewEvent, to: Option<Address<'_>>) -> Bytes {
        let mut out = BytesMut::new();
        encode_event(event, to, &mut out).expect("small enough");
        out.freeze().slice(RECORD_HEAD_BYTES..)
    }

    proptest! {
        #[test]
        fn an_event_reads_as_it_was_written(event in events(), addressed: bool) {
            let to = addressed.then_some(Address { channel: "printer", letter: 17 });
            let bytes = encoded(&event, to);
            let read = decode_event(&bytes, 3, 4).expect("valid");
            prop_assert_eq!((read.sequence, read.time), (3, 4));
            let record = EventRecord::parse(&bytes).expect("valid");
            prop_assert_eq!(record.subject(), event.subject.as_str().as_bytes());
            prop_assert_eq!(record.replays(), to.map(|to| to.letter));
            let parts = match &event.dedupe {
                Dedupe::Settlement => None,
                Dedupe::SubjectAndId => Some(vec![event.subject.as_str(), event.id.as_str()]),
                Dedupe::Source(source) => Some(vec![event.subject.as_str(), source, event.id.as_str()]),
            };
            prop_assert_eq!(record.dedupe_parts(), parts.map(|p| p.into_iter().map(str::as_bytes).collect()));
            prop_assert_eq!(event_again(&read), NewEvent { dedupe: Dedupe::Settlement, ..event });
        }

        #[test]
        fn garbage_never_panics(kind in 0u8..7, mut bytes in prop::collection::vec(any::<u8>(), 1..200)) {
            bytes[0] = kind;
            let bytes = Bytes::from(bytes);
            if let Some(Record::Event(record)) = Record::parse(&bytes) {
                let _ = (record.subject(), record.channel(), record.replays(), record.dedupe_parts());
            }
            decode_event(&bytes, 1, 1);
            letter::decode(&bytes);
        }
    }

    #[test]
    fn settlements_and_deletions_read_as_they_were_written() {
        let mut out = BytesMut::new();
        let printer = ChannelName::parse("printer").expect("valid");
        for entry in [&b""[..], b"an entry"] {
            out.clear();
            encode_settled(&printer, 12, &mut out, |out| out.extend_from_slice(entry));
            let read = Record::Settled { channel: "printer", sequence: 12, entry };
            assert_eq!(Record::parse(&out[4..]), Some(read));
        }
        out.clear();
        encode_deleted(9, &mut out);
        assert_eq!(Record::parse(&out[4..]), Some(Record::Deleted { sequence: 9 }));
        assert!(has_sequence(&out[4..]));
    }
}
