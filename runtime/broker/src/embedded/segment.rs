//! One file of a log: made ahead full of zeros, filled with frames, sealed with an index beside it, at last recycled.
//!
//! While it is filled, its index (a place each [`STRIDE_BYTES`], and the subjects) is kept in memory; sealing writes it to
//! `<first>.idx` under a checksum. An index that is missing or damaged costs a scan, never an answer. What a reader may see
//! ends at [`Segment::end`], which moves only after a sync.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock};

use bytes::Bytes;

use super::fault::{Damage, Fault};
use super::frame::{self, FRAME_HEAD_BYTES, Frame, Head, SEGMENT_HEAD_BYTES, Salt, SegmentHead};
use super::record::{EventRecord, Record};
use super::wanted::{Subjects, Wanted};

/// How far apart the index' places are, in bytes.
pub(crate) const STRIDE_BYTES: u64 = 64 << 10;
/// How much is read at once, in bytes; more for a larger frame.
pub(crate) const READ_BYTES: usize = 128 << 10;

/// A place in a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    /// The first sequence of the frame there.
    pub(crate) sequence: u64,
    /// Its time, in milliseconds since the Unix epoch.
    pub(crate) time: u64,
    /// Where it begins, in bytes.
    pub(crate) offset: u64,
}

/// What is known of a segment's contents without reading them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Index {
    pub(crate) places: Vec<Place>,
    pub(crate) subjects: Subjects,
}

impl Index {
    /// Notes a frame that was appended or scanned.
    pub(crate) fn note(&mut self, frame: &Frame, offset: u64) {
        if self.places.last().is_none_or(|last| offset - last.offset >= STRIDE_BYTES) {
            self.places.push(Place { sequence: frame.head.first, time: frame.head.time, offset });
        }
        let mut noted: &[u8] = &[];
        for range in frame.records_from(FRAME_HEAD_BYTES) {
            let Some(Record::Event(event)) = Record::parse(&frame.bytes[range]) else { continue };
            // Neighbours often share their subject.
            if event.subject() != noted || !event.channel().is_empty() {
                self.subjects.note(&event);
                noted = event.subject();
            }
        }
    }
}

/// A file of the log.
pub(crate) struct Segment {
    pub(crate) first: u64,
    pub(crate) path: PathBuf,
    pub(crate) file: File,
    /// The file's length, in bytes.
    pub(crate) size: u64,
    pub(crate) salt: Salt,
    end: AtomicU64,
    last: AtomicU64,
    index: RwLock<Index>,
    sealed: AtomicBool,
    retired: AtomicBool,
}

impl Segment {
    /// The path of the segment that begins with a sequence.
    pub(crate) fn path(folder: &Path, first: u64) -> PathBuf {
        folder.join(format!("{first:020}.seg"))
    }

    /// An empty one, whose head is on disk.
    pub(crate) fn fresh(path: PathBuf, file: File, size: u64, head: SegmentHead) -> Self {
        let SegmentHead { first, salt } = head;
        let end = AtomicU64::new(SEGMENT_HEAD_BYTES as u64);
        let (last, index) = (AtomicU64::new(first - 1), RwLock::default());
        Self { first, path, file, size, salt, end, last, index, sealed: false.into(), retired: false.into() }
    }

    /// Opens a file and reads its head; `Ok(None)` when it has no valid one.
    pub(crate) fn open(path: PathBuf, first: u64) -> Result<Option<Self>, Fault> {
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Fault::at(&path))?;
        let size = file.metadata().map_err(Fault::at(&path))?.len();
        let mut head = [0; SEGMENT_HEAD_BYTES];
        if size < head.len() as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut head, 0).map_err(Fault::at(&path))?;
        let head = SegmentHead::parse(&head).filter(|head| head.first == first);
        Ok(head.map(|head| Self::fresh(path, file, size, head)))
    }

    /// Durable bytes, head included.
    pub(crate) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    /// The last durable sequence; `first - 1` when there is none.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::Acquire)
    }

    /// Whether it will not grow any more.
    pub(crate) fn is_sealed(&self) -> bool {
        self.sealed.load(Ordering::Acquire)
    }

    /// Whether its file may belong to another segment by now: what is read from it is then nothing to worry about.
    pub(crate) fn is_retired(&self) -> bool {
        self.retired.load(Ordering::Acquire)
    }

    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::Release);
    }

    /// Makes a durable frame visible.
    pub(crate) fn grow(&self, frame: &Frame, offset: u64) {
        let mut index = self.index.write().unwrap_or_else(PoisonError::into_inner);
        index.note(frame, offset);
        drop(index);
        self.end.store(offset + frame.bytes.len() as u64, Ordering::Release);
        self.last.store(frame.head.next() - 1, Ordering::Release);
    }

    /// Whether a reader may find something in it.
    pub(crate) fn may_hold(&self, wanted: &Wanted) -> bool {
        wanted.segment(&self.index.read().unwrap_or_else(PoisonError::into_inner).subjects)
    }

    /// Where to begin reading for a sequence: a frame that begins at it or before.
    pub(crate) fn place_of(&self, sequence: u64) -> u64 {
        self.before(|place| place.sequence <= sequence)
    }

    /// Where to begin reading for a time: no frame before is as young.
    pub(crate) fn place_at(&self, time: u64) -> u64 {
        self.before(|place| place.time < time)
    }

    fn before(&self, is_before: impl Fn(&Place) -> bool) -> u64 {
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let n = index.places.partition_point(is_before);
        n.checked_sub(1).map_or(SEGMENT_HEAD_BYTES as u64, |n| index.places[n].offset)
    }

    /// Reads the frames at `offset`, as many as [`READ_BYTES`] hold, one at least unless the end is reached.
    pub(crate) fn read(&self, offset: u64) -> Result<Vec<Frame>, Fault> {
        let mut reader = Reader::new(self, offset, self.end());
        let mut frames = Vec::new();
        while reader.offset < reader.end && (frames.is_empty() || reader.holds_next()) {
            match reader.next()? {
                Some(frame) => frames.push(frame),
                None => {
                    return Err(self
                        .damage(reader.offset, frames.last(), "its checksum does not fit")
                        .into());
                }
            }
        }
        Ok(frames)
    }

    /// Reads a frame's head; the frame behind it is not looked at.
    pub(crate) fn head_at(&self, offset: u64) -> Result<Head, Fault> {
        let mut head = [0; FRAME_HEAD_BYTES];
        self.file.read_exact_at(&mut head, offset).map_err(Fault::at(&self.path))?;
        Head::parse(&head, self.salt).ok_or_else(|| self.damage(offset, None, "there is no frame").into())
    }

    fn damage(&self, offset: u64, before: Option<&Frame>, evidence: &str) -> Damage {
        let after = before.map_or(self.first - 1, |frame| frame.head.next() - 1);
        Damage { path: self.path.clone(), offset, after, evidence: evidence.to_owned() }
    }

    /// Reads the whole segment, checks every frame, and takes over what it found; `visit` sees each frame. Stops at the first
    /// place that holds no valid frame. A valid frame behind that place is proof of damage.
    pub(crate) fn scan(&self, mut visit: impl FnMut(&Frame)) -> Result<(), Fault> {
        let mut reader = Reader::new(self, SEGMENT_HEAD_BYTES as u64, self.size);
        let (mut next, mut index) = (self.first, Index::default());
        let mut offset = reader.offset;
        while let Some(frame) = reader.next()?.filter(|frame| frame.head.first == next) {
            index.note(&frame, offset);
            visit(&frame);
            next = frame.head.next();
            offset = reader.offset;
        }
        if let Some(at) = self.valid_frame_after(offset)? {
            let evidence =
                format!("a valid frame follows at byte {at}, and one is only written behind a stored one");
            return Err(Damage { path: self.path.clone(), offset, after: next - 1, evidence }.into());
        }
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        self.end.store(offset, Ordering::Release);
        self.last.store(next - 1, Ordering::Release);
        Ok(())
    }

    fn valid_frame_after(&self, offset: u64) -> Result<Option<u64>, Fault> {
        let mut rest = vec![0; self.size.saturating_sub(offset) as usize];
        self.file.read_exact_at(&mut rest, offset).map_err(Fault::at(&self.path))?;
        let found = rest
            .windows(frame::FRAME_MAGIC.len())
            .enumerate()
            .filter(|(_, bytes)| *bytes == frame::FRAME_MAGIC)
            .find(|(at, _)| frame::verify(&rest[*at..], self.salt).is_some());
        Ok(found.map(|(at, _)| offset + at as u64))
    }

    /// Writes the index beside a segment that will not grow any more. Not synced: lost or torn, it costs a scan.
    pub(crate) fn seal(&self) {
        self.sealed.store(true, Ordering::Release);
        let index = self.index.read().unwrap_or_else(PoisonError::into_inner);
        let bytes = encode_index(&index, self.salt, self.end(), self.last());
        if let Err(error) = std::fs::write(self.path.with_extension("idx"), bytes) {
            tracing::warn!(path = %self.path.display(), %error, "the index of a segment could not be written; it will be scanned");
        }
    }

    /// Takes over the index beside a sealed segment; `false` when it must be scanned.
    pub(crate) fn load_index(&self) -> bool {
        let Ok(bytes) = std::fs::read(self.path.with_extension("idx")) else { return false };
        let Some((index, end, last)) = decode_index(&bytes, self.salt) else { return false };
        if end > self.size {
            return false;
        }
        *self.index.write().unwrap_or_else(PoisonError::into_inner) = index;
        self.end.store(end, Ordering::Release);
        self.last.store(last, Ordering::Release);
        self.sealed.store(true, Ordering::Release);
        true
    }
}

/// Whether an event in a frame is the one with this sequence; its record as a slice.
pub(crate) fn event_in(frame: &Frame, sequence: u64) -> Option<Bytes> {
    frame.events().find(|(at, _)| *at == sequence).map(|(_, range)| frame.bytes.slice(range))
}

/// The event records of a frame from a sequence on, as ranges of its bytes.
pub(crate) fn event_records(
    frame: &Frame,
    from: u64,
) -> impl Iterator<Item = (u64, std::ops::Range<usize>, EventRecord<'_>)> {
    frame.events().filter(move |(sequence, _)| *sequence >= from).filter_map(|(sequence, range)| {
        Some((sequence, range.clone(), EventRecord::parse(&frame.bytes[range])?))
    })
}

/// Steps through the frames of a segment, one buffer for many.
struct Reader<'a> {
    segment: &'a Segment,
    offset: u64,
    end: u64,
    chunk: Bytes,
    chunk_at: u64,
}

impl<'a> Reader<'a> {
    fn new(segment: &'a Segment, offset: u64, end: u64) -> Self {
        Self { segment, offset, end, chunk: Bytes::new(), chunk_at: offset }
    }

    /// Whether the next frame is in the buffer, whole.
    fn holds_next(&self) -> bool {
        let rest = self.rest();
        Head::parse(&rest, self.segment.salt).is_some_and(|head| head.bytes <= rest.len())
    }

    fn rest(&self) -> Bytes {
        let start = ((self.offset - self.chunk_at) as usize).min(self.chunk.len());
        self.chunk.slice(start..)
    }

    /// The frame at the offset, checked; `None` when there is no valid one.
    fn next(&mut self) -> Result<Option<Frame>, Fault> {
        if self.rest().len() < FRAME_HEAD_BYTES {
            self.load(READ_BYTES)?;
        }
        let Some(head) = Head::parse(&self.rest(), self.segment.salt) else { return Ok(None) };
        if self.offset + head.bytes as u64 > self.end {
            return Ok(None);
        }
        if head.bytes > self.rest().len() {
            self.load(head.bytes.max(READ_BYTES))?;
        }
        let bytes = self.rest();
        let Some(head) = frame::verify(&bytes, self.segment.salt) else { return Ok(None) };
        self.offset += head.bytes as u64;
        Ok(Some(Frame { head, bytes: bytes.slice(..head.bytes) }))
    }

    fn load(&mut self, at_least: usize) -> Result<(), Fault> {
        let length = (self.end - self.offset).min(at_least as u64) as usize;
        let mut chunk = vec![0; length];
        self.segment.file.read_exact_at(&mut chunk, self.offset).map_err(Fault::at(&self.segment.path))?;
        (self.chunk, self.chunk_at) = (chunk.into(), self.offset);
        Ok(())
    }
}

const INDEX_MAGIC: [u8; 4] = *b"IDX1";
const INDEX_FIXED_BYTES: usize = 36;
const SUBJECTS_ANY: u32 = u32::MAX;

/// magic, crc32c of what follows, salt, end, last, places, subjects; then the places, then the subjects with their lengths.
fn encode_index(index: &Index, salt: Salt, end: u64, last: u64) -> Vec<u8> {
    let mut bytes = INDEX_MAGIC.to_vec();
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&salt.0.to_le_bytes());
    bytes.extend_from_slice(&end.to_le_bytes());
    bytes.extend_from_slice(&last.to_le_bytes());
    bytes.extend_from_slice(&(index.places.len() as u32).to_le_bytes());
    let count = match &index.subjects {
        Subjects::Any => SUBJECTS_ANY,
        Subjects::Listed(listed) => listed.len() as u32,
    };
    bytes.extend_from_slice(&count.to_le_bytes());
    for place in &index.places {
        for number in [place.sequence, place.time, place.offset] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
    }
    if let Subjects::Listed(listed) = &index.subjects {
        for entry in listed {
            bytes.extend_from_slice(&(entry.len() as u16).to_le_bytes());
            bytes.extend_from_slice(entry);
        }
    }
    let sum = crc32c::crc32c(&bytes[8..]);
    bytes[4..8].copy_from_slice(&sum.to_le_bytes());
    bytes
}

fn decode_index(bytes: &[u8], salt: Salt) -> Option<(Index, u64, u64)> {
    let sum = frame::u32_at(bytes, 4)?;
    let valid =
        bytes[..4] == INDEX_MAGIC && crc32c::crc32c(&bytes[8..]) == sum && frame::u32_at(bytes, 8)? == salt.0;
    if !valid {
        return None;
    }
    let (end, last) = (frame::u64_at(bytes, 12)?, frame::u64_at(bytes, 20)?);
    let (places, subjects) = (frame::u32_at(bytes, 28)? as usize, frame::u32_at(bytes, 32)?);
    let mut index = Index::default();
    let mut at = INDEX_FIXED_BYTES;
    for _ in 0..places {
        let number = |n: usize| frame::u64_at(bytes, at + 8 * n);
        index.places.push(Place { sequence: number(0)?, time: number(1)?, offset: number(2)? });
        at += 24;
    }
    if subjects == SUBJECTS_ANY {
        index.subjects = Subjects::Any;
        return Some((index, end, last));
    }
    for _ in 0..subjects {
        let length = usize::from(frame::u16_at(bytes, at)?);
        index.subjects.insert(bytes.get(at + 2..at + 2 + length)?);
        at += 2 + length;
    }
    Some((index, end, last))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn an_index_reads_what_it_wrote_and_a_flipped_bit_is_noticed(
            places in prop::collection::vec(any::<(u64, u64, u64)>(), 0..9),
            subjects in prop::option::of(prop::collection::vec("[a-z.]{1,20}", 0..9)),
            at in any::<prop::sample::Index>(), bit in 0u8..8
        ) {
            let places = places.into_iter().map(|(sequence, time, offset)| Place { sequence, time, offset }).collect();
            let listed = |names: Vec<String>| Subjects::Listed(names.iter().map(|s| s.as_bytes().into()).collect());
            let index = Index { places, subjects: subjects.map_or(Subjects::Any, listed) };
            let mut bytes = encode_index(&index, Salt(3), 4, 5);
            prop_assert_eq!(decode_index(&bytes, Salt(3)), Some((index, 4, 5)));
            prop_assert_eq!(decode_index(&bytes, Salt(4)), None);
            let at = at.index(bytes.len());
            bytes[at] ^= 1 << bit;
            prop_assert_eq!(decode_index(&bytes, Salt(3)), None);
        }
    }
}
