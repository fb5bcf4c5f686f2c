//! A dead letter's record: the event as it was, in its own layout, and the details as JSON, which only people read.

use bytes::{BufMut as _, Bytes, BytesMut};
use saf_event::Event;

use super::{LETTER, Record, begin, decode_event, encode_event, end, event_again, text};
use crate::embedded::frame::{RECORD_HEAD_BYTES, u32_at, u64_at};
use crate::{DeadLetter, Refusal};

/// Appends a dead letter.
pub(crate) fn encode(event: &Event, letter: &DeadLetter, out: &mut BytesMut) -> Result<(), Refusal> {
    let details = serde_json::to_vec(letter)
        .map_err(|error| Refusal::Broker(format!("its dead letter cannot be written as JSON: {error}")))?;
    let start = begin(out, LETTER);
    out.put_u8(letter.channel.as_str().len() as u8);
    out.extend_from_slice(&event.sequence.to_le_bytes());
    out.extend_from_slice(&event.time.to_le_bytes());
    out.extend_from_slice(&(details.len() as u32).to_le_bytes());
    out.extend_from_slice(letter.channel.as_str().as_bytes());
    out.extend_from_slice(&details);
    encode_event(&event_again(event), None, out)?;
    end(out, start);
    Ok(())
}

/// A dead letter's record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct LetterRecord<'a> {
    pub(crate) channel: &'a str,
    /// The event's place in its own stream.
    pub(crate) sequence: u64,
    pub(crate) time: u64,
    details: &'a [u8],
    /// Where the event's record begins, its length prefix left out.
    event: usize,
}

impl<'a> LetterRecord<'a> {
    const FIXED_BYTES: usize = 22;

    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let channel = usize::from(*bytes.get(1)?);
        let details = u32_at(bytes, 18)? as usize;
        let channel_end = Self::FIXED_BYTES + channel;
        let details_end = channel_end.checked_add(details)?;
        Some(Self {
            sequence: u64_at(bytes, 2)?,
            time: u64_at(bytes, 10)?,
            channel: text(bytes.get(Self::FIXED_BYTES..channel_end)?)?,
            details: bytes.get(channel_end..details_end)?,
            event: details_end.checked_add(RECORD_HEAD_BYTES)?,
        })
    }
}

/// Builds a dead letter: the event as it was, and why it is here.
pub(crate) fn decode(bytes: &Bytes) -> Option<(Event, DeadLetter)> {
    let Some(Record::Letter(record)) = Record::parse(bytes) else { return None };
    let event = (record.event <= bytes.len()).then(|| bytes.slice(record.event..))?;
    Some((decode_event(&event, record.sequence, record.time)?, serde_json::from_slice(record.details).ok()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use saf_event::{ChannelName, Outcome};

    use super::super::tests::{encoded, events};
    use super::*;

    proptest! {
        #[test]
        fn a_letter_reads_as_it_was_written(event in events(), reason in ".{0,30}") {
            let event = decode_event(&encoded(&event, None), 8, 9).expect("valid");
            let letter = DeadLetter {
                channel: ChannelName::parse("printer").expect("valid"),
                digest: "d".into(),
                outcome: Outcome::Trap,
                reason,
                attempts: Vec::new(),
            };
            let mut out = BytesMut::new();
            encode(&event, &letter, &mut out).expect("small enough");
            let bytes = out.freeze().slice(RECORD_HEAD_BYTES..);
            prop_assert_eq!(decode(&bytes), Some((event, letter)));
        }
    }
}
