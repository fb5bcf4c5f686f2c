//! What an event changed in its Channel's state, as a record of the frame that settles it. It has a sequence of its own, so that a
//! frame in which nothing else happened has one too. Pure.
//!
//! ```text
//! state  = 5, channel length (1), changes (4), event's sequence (8), version (8), channel, changes
//! change = flags, key length (1), value length (4), version that was read (8), key, value
//! ```

use bytes::{BufMut as _, Bytes, BytesMut};
use saf_event::ChannelName;

use super::{STATE, begin, end, text};
use crate::embedded::frame::{RECORD_HEAD_BYTES, u32_at, u64_at};
use crate::{MAX_STATE_KEY_BYTES, Refusal, StateChanges};

const FIXED_BYTES: usize = 22;
const CHANGE_FIXED_BYTES: usize = 14;
const HAS_VALUE: u8 = 1;
const WAS_READ: u8 = 1 << 1;

/// Appends changes with their length prefix; returns where the record itself begins.
pub(crate) fn encode(
    channel: &ChannelName,
    sequence: u64,
    changes: &StateChanges,
    out: &mut BytesMut,
) -> Result<usize, Refusal> {
    let start = begin(out, STATE);
    out.put_u8(channel.as_str().len() as u8); // a name has at most 32
    out.extend_from_slice(&(changes.all.len() as u32).to_le_bytes());
    out.extend_from_slice(&sequence.to_le_bytes());
    out.extend_from_slice(&changes.version.to_le_bytes());
    out.extend_from_slice(channel.as_str().as_bytes());
    for change in &changes.all {
        let (key, value) = (change.key.as_bytes(), change.value.as_deref());
        if key.is_empty() || key.len() > MAX_STATE_KEY_BYTES {
            let length = key.len();
            return Err(Refusal::Broker(format!(
                "a key of its state has {length} bytes, and may have 1 to 255"
            )));
        }
        let length = u32::try_from(value.map_or(0, <[u8]>::len))
            .map_err(|_| Refusal::Broker("a value of its state is larger than 4 GiB".to_owned()))?;
        out.put_u8(value.map_or(0, |_| HAS_VALUE) | change.read.map_or(0, |_| WAS_READ));
        out.put_u8(key.len() as u8);
        out.extend_from_slice(&length.to_le_bytes());
        out.extend_from_slice(&change.read.unwrap_or_default().to_le_bytes());
        out.extend_from_slice(key);
        out.extend_from_slice(value.unwrap_or_default());
    }
    end(out, start);
    Ok(start + RECORD_HEAD_BYTES)
}

/// A record, borrowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StateRecord<'a> {
    bytes: &'a [u8],
}

/// One change of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ChangeRecord<'a> {
    pub(crate) key: &'a str,
    pub(crate) value: Option<&'a [u8]>,
    pub(crate) read: Option<u64>,
}

impl<'a> StateRecord<'a> {
    /// Checks all of it.
    pub(crate) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let record = Self { bytes };
        if *bytes.first()? != STATE {
            return None;
        }
        text(record.channel_bytes()?)?;
        let (mut changes, mut at) = (0, record.changes_at());
        while at < bytes.len() {
            at += change_at(bytes, at)?.1;
            changes += 1;
        }
        (changes == u32_at(bytes, 2)?).then_some(record)
    }

    /// A record that was encoded in this process.
    pub(crate) fn own(bytes: &'a Bytes) -> Self {
        Self { bytes }
    }

    fn channel_bytes(&self) -> Option<&'a [u8]> {
        self.bytes.get(FIXED_BYTES..self.changes_at())
    }

    fn changes_at(&self) -> usize {
        FIXED_BYTES + self.bytes.get(1).map_or(0, |length| usize::from(*length))
    }

    /// Whose state it is.
    pub(crate) fn channel(&self) -> &'a str {
        self.channel_bytes().and_then(text).unwrap_or_default()
    }

    /// What the changed keys' version is from here on.
    pub(crate) fn version(&self) -> u64 {
        u64_at(self.bytes, 14).unwrap_or_default()
    }

    /// The changes, in order.
    pub(crate) fn changes(&self) -> impl Iterator<Item = ChangeRecord<'a>> + use<'a> {
        let (bytes, mut at) = (self.bytes, self.changes_at());
        std::iter::from_fn(move || {
            let (change, length) = change_at(bytes, at)?;
            at += length;
            Some(change)
        })
    }
}

/// The change at a place, and its length in bytes.
fn change_at(bytes: &[u8], at: usize) -> Option<(ChangeRecord<'_>, usize)> {
    let flags = *bytes.get(at)?;
    let (key, value) = (usize::from(*bytes.get(at + 1)?), u32_at(bytes, at + 2)? as usize);
    let read = u64_at(bytes, at + 6)?;
    let key_at = at + CHANGE_FIXED_BYTES;
    let value_at = key_at + key;
    let value = bytes.get(value_at..value_at.checked_add(value)?)?;
    let change = ChangeRecord {
        key: text(bytes.get(key_at..value_at)?)?,
        value: (flags & HAS_VALUE != 0).then_some(value),
        read: (flags & WAS_READ != 0).then_some(read),
    };
    Some((change, CHANGE_FIXED_BYTES + key + value.len()))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::StateChange;

    fn changes() -> impl Strategy<Value = Vec<StateChange>> {
        let change = (
            "[ -~ö]{1,60}",
            prop::option::of(prop::collection::vec(any::<u8>(), 0..40)),
            prop::option::of(any::<u64>()),
        );
        let change = change.prop_map(|(key, value, read)| StateChange {
            key: key.into(),
            value: value.map(Into::into),
            read,
        });
        prop::collection::vec(change, 0..8)
    }

    proptest! {
        #[test]
        fn changes_read_as_they_were_written(all in changes(), version: u64, cut in any::<prop::sample::Index>()) {
            let channel = ChannelName::parse("counter").expect("valid");
            let mut out = BytesMut::new();
            let start = encode(&channel, 7, &StateChanges { version, all: all.clone() }, &mut out).expect("small");
            let bytes = out.freeze().slice(start..);
            let record = StateRecord::parse(&bytes).expect("valid");
            prop_assert_eq!((record.channel(), record.version()), ("counter", version));
            let read: Vec<_> = record.changes().collect();
            let written: Vec<_> = all.iter().map(|change| ChangeRecord {
                key: &change.key, value: change.value.as_deref(), read: change.read,
            }).collect();
            prop_assert_eq!(read, written);
            prop_assert_eq!(StateRecord::parse(&bytes[..cut.index(bytes.len())]), None);
        }
    }

    #[test]
    fn a_key_has_1_to_255_bytes() {
        let channel = ChannelName::parse("counter").expect("valid");
        for (length, fits) in [(0, false), (1, true), (255, true), (256, false)] {
            let change = StateChange { key: "k".repeat(length).into(), value: None, read: None };
            let changes = StateChanges { version: 1, all: vec![change] };
            assert_eq!(encode(&channel, 1, &changes, &mut BytesMut::new()).is_ok(), fits, "{length}");
        }
    }
}
