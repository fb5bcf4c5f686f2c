//! The format, pure: a segment's head, frames, and the records in them. No files here.
//!
//! ```text
//! segment = head (32 bytes: magic, version, first sequence, salt, crc32c), then frames, then zeros or what a recycled file held
//! frame   = magic, crc32c of all that follows, body length, records, first sequence, time, events, crc32c of the head (40 bytes),
//!           then the body
//! body    = records, each: length (4 bytes), kind (1 byte), its own layout (see `record`)
//! ```
//!
//! Every checksum starts from its segment's salt, a random number: so an old frame in a recycled file is never valid, and
//! nobody who chooses a payload can write bytes that pass for a frame, or for a head that makes a search for frames slow. All numbers are little-endian. An *event* is a record
//! that has a sequence; a settlement has none. A frame holds one event at least, so that every frame has a sequence of its own.

use bytes::Bytes;

/// Bytes of a segment's head.
pub(crate) const SEGMENT_HEAD_BYTES: usize = 32;
/// Bytes of a frame's head.
pub(crate) const FRAME_HEAD_BYTES: usize = 40;
/// Bytes before each record: its length.
pub(crate) const RECORD_HEAD_BYTES: usize = 4;
/// Longest frame that is believed; the writer stays far below, and a garbled length must not make a reader allocate more.
pub(crate) const MAX_FRAME_BYTES: usize = 64 << 20;

const SEGMENT_MAGIC: [u8; 8] = *b"SAFSEG1\n";
pub(crate) const FRAME_MAGIC: [u8; 4] = *b"SAF1";

/// What every checksum of a segment starts from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Salt(pub(crate) u32);

impl Salt {
    /// A random one.
    pub(crate) fn random() -> Self {
        use std::hash::{BuildHasher, RandomState};
        Self(RandomState::new().hash_one(std::process::id()) as u32)
    }

    fn checksum(self, bytes: &[u8]) -> u32 {
        crc32c::crc32c_append(self.0, bytes)
    }
}

/// The head of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SegmentHead {
    /// The first sequence that may stand in it.
    pub(crate) first: u64,
    /// Its salt.
    pub(crate) salt: Salt,
}

impl SegmentHead {
    pub(crate) fn encode(self) -> [u8; SEGMENT_HEAD_BYTES] {
        let mut bytes = [0; SEGMENT_HEAD_BYTES];
        bytes[..8].copy_from_slice(&SEGMENT_MAGIC);
        bytes[8..16].copy_from_slice(&self.first.to_le_bytes());
        bytes[16..20].copy_from_slice(&self.salt.0.to_le_bytes());
        let sum = crc32c::crc32c(&bytes[..28]);
        bytes[28..].copy_from_slice(&sum.to_le_bytes());
        bytes
    }

    /// `None` when it is not a valid head.
    pub(crate) fn parse(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..SEGMENT_HEAD_BYTES)?;
        let valid = bytes[..8] == SEGMENT_MAGIC && crc32c::crc32c(&bytes[..28]) == u32_at(bytes, 28)?;
        valid.then_some(Self { first: u64_at(bytes, 8)?, salt: Salt(u32_at(bytes, 16)?) })
    }
}

/// The head of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Head {
    /// Bytes of the whole frame, head included.
    pub(crate) bytes: usize,
    /// How many records.
    pub(crate) records: u32,
    /// How many of them have a sequence.
    pub(crate) events: u32,
    /// The sequence of the first event in it.
    pub(crate) first: u64,
    /// When it was written, in milliseconds since the Unix epoch; never falls from frame to frame.
    pub(crate) time: u64,
}

impl Head {
    /// Reads a head and checks it; the frame behind it may be damaged all the same.
    pub(crate) fn parse(bytes: &[u8], salt: Salt) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEAD_BYTES)?;
        if bytes[..4] != FRAME_MAGIC || salt.checksum(&bytes[8..36]) != u32_at(bytes, 36)? {
            return None;
        }
        Self::parse_unchecked(bytes)
    }

    /// What a head would say if it were valid.
    pub(crate) fn parse_unchecked(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.get(..FRAME_HEAD_BYTES)?;
        if bytes[..4] != FRAME_MAGIC {
            return None;
        }
        let length = FRAME_HEAD_BYTES + u32_at(bytes, 8)? as usize;
        let head = Self {
            bytes: length,
            records: u32_at(bytes, 12)?,
            first: u64_at(bytes, 16)?,
            time: u64_at(bytes, 24)?,
            events: u32_at(bytes, 32)?,
        };
        let believable = length <= MAX_FRAME_BYTES
            && (1..=head.records).contains(&head.events)
            && head.first >= 1
            && head.first.checked_add(u64::from(head.events)).is_some();
        believable.then_some(head)
    }

    /// The sequence that follows this frame.
    pub(crate) fn next(&self) -> u64 {
        self.first + u64::from(self.events)
    }
}

/// Checks a whole frame at the start of `bytes`, checksum and all; `None` when there is no valid one.
pub(crate) fn verify(bytes: &[u8], salt: Salt) -> Option<Head> {
    let head = Head::parse(bytes, salt)?;
    let frame = bytes.get(..head.bytes)?;
    (salt.checksum(&frame[8..]) == u32_at(frame, 4)?).then_some(head)
}

/// A frame in memory, checked or fresh from the writer.
#[derive(Clone, Debug)]
pub(crate) struct Frame {
    pub(crate) head: Head,
    /// The whole frame; events are slices of it.
    pub(crate) bytes: Bytes,
}

impl Frame {
    /// The records, as ranges of `bytes`, from one on that begins at `offset` ([`FRAME_HEAD_BYTES`] for all).
    pub(crate) fn records_from(&self, offset: usize) -> Records<'_> {
        Records { bytes: &self.bytes, offset }
    }

    /// The records with a sequence.
    pub(crate) fn events(&self) -> impl Iterator<Item = (u64, std::ops::Range<usize>)> + '_ {
        self.records_from(FRAME_HEAD_BYTES)
            .filter(|range| super::record::has_sequence(&self.bytes[range.clone()]))
            .zip(self.head.first..)
            .map(|(range, sequence)| (sequence, range))
    }

    /// Whether an event's sequence is in it.
    pub(crate) fn holds(&self, sequence: u64) -> bool {
        (self.head.first..self.head.next()).contains(&sequence)
    }
}

/// Walks the records of a frame; ends early, without a panic, where a length leads out of it.
pub(crate) struct Records<'a> {
    bytes: &'a [u8],
    offset: usize,
}

impl Iterator for Records<'_> {
    type Item = std::ops::Range<usize>;

    fn next(&mut self) -> Option<Self::Item> {
        let length = u32_at(self.bytes, self.offset)? as usize;
        let start = self.offset + RECORD_HEAD_BYTES;
        let end = start.checked_add(length)?;
        if length == 0 || end > self.bytes.len() {
            return None;
        }
        self.offset = end;
        Some(start..end)
    }
}

/// A frame in the making: the records of one group commit.
#[derive(Debug, Default)]
pub(crate) struct Builder {
    bytes: Vec<u8>,
    records: u32,
    events: u32,
}

impl Builder {
    /// Adds records that carry their length prefixes already.
    pub(crate) fn push(&mut self, bytes: &[u8], records: u32, events: u32) {
        if self.bytes.is_empty() {
            self.bytes.resize(FRAME_HEAD_BYTES, 0);
        }
        self.bytes.extend_from_slice(bytes);
        self.records += records;
        self.events += events;
    }

    /// Bytes so far, the head included.
    pub(crate) fn len(&self) -> usize {
        self.bytes.len().max(FRAME_HEAD_BYTES)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.records == 0
    }

    pub(crate) fn records(&self) -> u32 {
        self.records
    }

    pub(crate) fn events(&self) -> u32 {
        self.events
    }

    /// Closes the frame and leaves the builder empty.
    pub(crate) fn finish(&mut self, first: u64, time: u64, salt: Salt) -> Frame {
        let Self { mut bytes, records, events } = std::mem::take(self);
        bytes.resize(bytes.len().max(FRAME_HEAD_BYTES), 0);
        let body = (bytes.len() - FRAME_HEAD_BYTES) as u32;
        bytes[..4].copy_from_slice(&FRAME_MAGIC);
        bytes[8..12].copy_from_slice(&body.to_le_bytes());
        bytes[12..16].copy_from_slice(&records.to_le_bytes());
        bytes[16..24].copy_from_slice(&first.to_le_bytes());
        bytes[24..32].copy_from_slice(&time.to_le_bytes());
        bytes[32..36].copy_from_slice(&events.to_le_bytes());
        let sum = salt.checksum(&bytes[8..36]);
        bytes[36..40].copy_from_slice(&sum.to_le_bytes());
        let sum = salt.checksum(&bytes[8..]);
        bytes[4..8].copy_from_slice(&sum.to_le_bytes());
        let head = Head { bytes: bytes.len(), records, events, first, time };
        Frame { head, bytes: bytes.into() }
    }
}

/// A little-endian number at a place; `None` beyond the end.
pub(crate) fn u16_at(bytes: &[u8], at: usize) -> Option<u16> {
    bytes.get(at..)?.first_chunk().copied().map(u16::from_le_bytes)
}

/// As [`u16_at`].
pub(crate) fn u32_at(bytes: &[u8], at: usize) -> Option<u32> {
    bytes.get(at..)?.first_chunk().copied().map(u32::from_le_bytes)
}

/// As [`u16_at`].
pub(crate) fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().copied().map(u64::from_le_bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const SALT: Salt = Salt(7);

    fn frame(bodies: &[Vec<u8>]) -> Frame {
        let mut builder = Builder::default();
        for body in bodies {
            let mut record = (body.len() as u32).to_le_bytes().to_vec();
            record.extend_from_slice(body);
            builder.push(&record, 1, 1);
        }
        builder.finish(5, 99, SALT)
    }

    proptest! {
        #[test]
        fn a_frame_reads_what_it_wrote(bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..20)) {
            let frame = frame(&bodies);
            let head = verify(&frame.bytes, SALT).expect("valid");
            prop_assert_eq!(head, frame.head);
            prop_assert_eq!(head.next(), 5 + bodies.len() as u64);
            let read: Vec<_> = frame.records_from(FRAME_HEAD_BYTES).map(|r| frame.bytes[r].to_vec()).collect();
            prop_assert_eq!(read, bodies);
        }

        #[test]
        fn a_flipped_bit_or_another_salt_makes_a_frame_invalid(
            bodies in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..40), 1..4), at in any::<prop::sample::Index>(), bit in 0u8..8
        ) {
            let frame = frame(&bodies);
            prop_assert!(verify(&frame.bytes, Salt(8)).is_none());
            let mut bytes = frame.bytes.to_vec();
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert!(verify(&bytes, SALT).is_none());
        }

        #[test]
        fn garbage_is_never_a_frame_and_never_panics(mut bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(verify(&bytes, SALT).is_none());
            if let Some(start) = bytes.get_mut(..4) {
                start.copy_from_slice(&FRAME_MAGIC);
            }
            prop_assert!(verify(&bytes, SALT).is_none());
            Records { bytes: &bytes, offset: 0 }.for_each(drop);
            SegmentHead::parse(&bytes);
        }
    }

    #[test]
    fn a_segment_head_reads_what_it_wrote() {
        let head = SegmentHead { first: 12, salt: SALT };
        assert_eq!(SegmentHead::parse(&head.encode()), Some(head));
        for at in 0..SEGMENT_HEAD_BYTES {
            let mut bytes = head.encode();
            bytes[at] ^= 1;
            assert_eq!(SegmentHead::parse(&bytes), None, "byte {at}");
        }
    }
}
