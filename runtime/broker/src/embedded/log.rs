//! A log as its readers see it: an ordered row of segments, the newest frames in memory, and the bounds of what is there. The
//! one who writes is in `append`.
//!
//! Readers at the tail share the newest frames as [`Bytes`], so a thousand Channels do not read the disk for every event; those
//! that catch up read files, in large pieces, and pass over sealed segments that hold nothing for them.

mod row;

use std::collections::{BTreeMap, VecDeque};
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use bytes::Bytes;
use tokio::sync::watch;

use super::fault::Fault;
use super::frame::{Frame, Head};
use super::segment::{Segment, event_in};
use super::wanted::Wanted;

pub(crate) use row::segment_paths;

/// The newest frames kept in memory, in bytes.
const TAIL_BYTES: usize = 16 << 20;

/// What is known to be stored, from elsewhere: less than this is damage, not a torn tail.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Evidence {
    /// The first sequence that retention kept; 0 when nothing is known.
    pub(crate) first: u64,
    /// A sequence that was durable.
    pub(crate) last: u64,
}

/// How much is read on opening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Depth {
    /// The newest segment; sealed ones have an index.
    Newest,
    /// All of them.
    All,
}

/// The readers' side.
pub(crate) struct Log {
    pub(crate) folder: PathBuf,
    segments: RwLock<VecDeque<Arc<Segment>>>,
    tail: RwLock<Tail>,
    first: AtomicU64,
    last: AtomicU64,
    bytes: AtomicU64,
    dispatched: AtomicU64,
    growth: watch::Sender<u64>,
}

/// Where the reading goes on: spares the walk from the index' place.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Hint {
    segment: u64,
    sequence: u64,
    offset: u64,
}

/// What a read found.
#[derive(Debug)]
pub(crate) struct Chunk {
    /// Nothing before this is wanted.
    pub(crate) from: u64,
    /// In order; may begin before `from`. Empty at the end of the log.
    pub(crate) frames: Vec<Frame>,
    pub(crate) hint: Option<Hint>,
}

#[derive(Default)]
struct Tail {
    frames: VecDeque<Frame>,
    bytes: usize,
}

impl Tail {
    fn push(&mut self, frame: Frame) {
        self.bytes += frame.bytes.len();
        self.frames.push_back(frame);
        while self.bytes > TAIL_BYTES
            && let Some(old) = self.frames.pop_front()
        {
            self.bytes -= old.bytes.len();
        }
    }

    fn position(&self, sequence: u64) -> Option<usize> {
        let n = self.frames.partition_point(|frame| frame.head.first <= sequence).checked_sub(1)?;
        self.frames[n].holds(sequence).then_some(n)
    }
}

impl Log {
    /// Opens a folder; makes it when it is missing. The log may come out empty.
    pub(crate) fn open(folder: &Path, evidence: Evidence, depth: Depth) -> Result<Self, Fault> {
        fs::create_dir_all(folder).map_err(Fault::at(folder))?;
        let mut segments: VecDeque<Arc<Segment>> = VecDeque::new();
        let paths = row::remove_garbage(segment_paths(folder)?, evidence.first)?;
        for (n, (first, path)) in paths.iter().enumerate() {
            let newest = n + 1 == paths.len();
            let Some(segment) = Segment::open(path.clone(), *first)? else {
                row::discard_headless(path, *first, newest, evidence)?;
                continue;
            };
            if newest || !segment.load_index() || depth == Depth::All {
                segment.scan(|_| {})?;
            }
            if let Some(before) = segments.back() {
                row::follows(before, *first)?;
            }
            segments.push_back(Arc::new(segment));
        }
        if let Some(newest) = segments.back() {
            // It is written again, so what stands beside it would be out of date.
            fs::remove_file(newest.path.with_extension("idx")).ok();
        }
        row::reaches(folder, &segments, evidence)?;
        let first = segments.front().map_or(1, |s| s.first).max(evidence.first);
        let last = segments.back().map_or(0, |s| s.last());
        Ok(Self {
            folder: folder.to_owned(),
            segments: RwLock::new(segments),
            tail: RwLock::default(),
            first: AtomicU64::new(first),
            last: AtomicU64::new(last),
            bytes: AtomicU64::new(0),
            dispatched: AtomicU64::new(last),
            growth: watch::Sender::new(last),
        })
    }

    /// The oldest sequence that is there; `last + 1` when there is none.
    pub(crate) fn first(&self) -> u64 {
        self.first.load(Ordering::Acquire)
    }

    /// The newest durable sequence; 0 when there never was one.
    pub(crate) fn last(&self) -> u64 {
        self.last.load(Ordering::SeqCst)
    }

    /// Bytes of the frames from `first` on.
    pub(crate) fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Acquire)
    }

    /// Live consumers know of everything up to this sequence.
    pub(crate) fn dispatched(&self) -> u64 {
        self.dispatched.load(Ordering::SeqCst)
    }

    /// For the writer, after every live consumer was told.
    pub(crate) fn set_dispatched(&self, sequence: u64) {
        self.dispatched.store(sequence, Ordering::SeqCst);
    }

    /// `last`, as it grows; closed with the log.
    pub(crate) fn growth(&self) -> watch::Receiver<u64> {
        self.growth.subscribe()
    }

    /// Tells those who tail that something came.
    pub(crate) fn announce(&self) {
        if self.growth.receiver_count() > 0 {
            self.growth.send_replace(self.last());
        }
    }

    /// For the writer: what retention left.
    pub(crate) fn set_bounds(&self, first: u64, bytes: u64) {
        self.first.store(first, Ordering::Release);
        self.bytes.store(bytes, Ordering::Release);
    }

    /// For the writer: shows a durable frame to readers.
    pub(crate) fn show(&self, frame: Frame) {
        let last = frame.head.next() - 1;
        self.tail.write().unwrap_or_else(PoisonError::into_inner).push(frame);
        self.last.store(last, Ordering::SeqCst);
    }

    /// For the writer: a new active segment.
    pub(crate) fn add(&self, segment: Arc<Segment>) {
        self.segments.write().unwrap_or_else(PoisonError::into_inner).push_back(segment);
    }

    /// For the writer: takes a segment out that lies wholly below a sequence; never the newest one.
    pub(crate) fn take_below(&self, sequence: u64) -> Option<Arc<Segment>> {
        let mut segments = self.segments.write().unwrap_or_else(PoisonError::into_inner);
        if segments.len() > 1 && segments.front().is_some_and(|s| s.last() < sequence) {
            segments.pop_front()
        } else {
            None
        }
    }

    /// All segments, oldest first.
    pub(crate) fn segments(&self) -> Vec<Arc<Segment>> {
        self.segments.read().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    /// Frames in memory from the one that holds a sequence on, `bytes_max` of them or one; `None` when it is not in memory.
    pub(crate) fn newest(&self, sequence: u64, bytes_max: usize) -> Option<Vec<Frame>> {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        let start = tail.position(sequence)?;
        let mut bytes = 0;
        let fits = |frame: &&Frame| {
            let first = bytes == 0;
            bytes += frame.bytes.len();
            first || bytes <= bytes_max
        };
        Some(tail.frames.iter().skip(start).take_while(fits).cloned().collect())
    }

    /// The frame that holds a sequence, if it is in memory.
    pub(crate) fn frame_in_memory(&self, sequence: u64) -> Option<Frame> {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        tail.position(sequence).map(|n| tail.frames[n].clone())
    }

    /// One event's time and record, if it is in memory.
    pub(crate) fn in_memory(&self, sequence: u64) -> Option<(u64, Bytes)> {
        let frame = self.frame_in_memory(sequence)?;
        Some((frame.head.time, event_in(&frame, sequence)?))
    }

    /// The oldest sequence in memory; `last + 1` when there is none.
    pub(crate) fn newest_first(&self) -> u64 {
        let tail = self.tail.read().unwrap_or_else(PoisonError::into_inner);
        tail.frames.front().map_or_else(|| self.last() + 1, |frame| frame.head.first)
    }

    /// The segment that holds a sequence, or the first one behind it.
    fn locate(&self, sequence: u64) -> Option<(Arc<Segment>, Option<u64>)> {
        let segments = self.segments.read().unwrap_or_else(PoisonError::into_inner);
        let n = segments.partition_point(|s| s.first <= sequence).saturating_sub(1);
        let next = segments.get(n + 1).map(|s| s.first);
        segments.get(n).map(|segment| (segment.clone(), next))
    }

    /// Reads from files, from a sequence on. Blocks.
    pub(crate) fn read(&self, from: u64, wanted: &Wanted, hint: Option<Hint>) -> Result<Chunk, Fault> {
        let mut from = from.max(self.first());
        while from <= self.last() {
            let Some((segment, next)) = self.locate(from) else { break };
            if let Some(next) = next
                && (from >= next || segment.last() < from || segment.is_sealed() && !segment.may_hold(wanted))
            {
                from = next;
                continue;
            }
            let offset = match hint {
                Some(hint) if hint.segment == segment.first && hint.sequence == from => hint.offset,
                _ => segment.place_of(from),
            };
            match read_from(&segment, offset, from) {
                Ok((frames, offset)) => {
                    let sequence = frames.last().map_or(from, |frame| frame.head.next());
                    return Ok(Chunk {
                        from,
                        frames,
                        hint: Some(Hint { segment: segment.first, sequence, offset }),
                    });
                }
                // Its file was given to another segment while we read: retention moved on, and so do we.
                Err(_) if segment.is_retired() => from = from.max(self.first()),
                Err(fault) => return Err(fault),
            }
        }
        Ok(Chunk { from, frames: Vec::new(), hint: None })
    }

    /// One event's time and record, from memory or from its file; `None` when it is not there (any more). Blocks.
    pub(crate) fn get(&self, sequence: u64) -> Result<Option<(u64, Bytes)>, Fault> {
        if let Some(event) = self.in_memory(sequence) {
            return Ok(Some(event));
        }
        let frames = self.frames_of(sequence)?;
        Ok(found(&frames, sequence))
    }

    /// What was read from a file around a sequence; nothing when it is not there (any more).
    fn frames_of(&self, sequence: u64) -> Result<Vec<Frame>, Fault> {
        while (self.first()..=self.last()).contains(&sequence) {
            let Some((segment, _)) = self.locate(sequence) else { break };
            match read_from(&segment, segment.place_of(sequence), sequence) {
                Ok((frames, _)) => return Ok(frames),
                Err(_) if segment.is_retired() => {}
                Err(fault) => return Err(fault),
            }
        }
        Ok(Vec::new())
    }

    /// Several events, in order of their sequences; neighbours share a read. Blocks.
    pub(crate) fn get_all(&self, sequences: &[u64]) -> Result<BTreeMap<u64, Option<(u64, Bytes)>>, Fault> {
        let (mut events, mut frames) = (BTreeMap::new(), Vec::new());
        for sequence in sequences.iter().copied() {
            let mut event = found(&frames, sequence).or_else(|| self.in_memory(sequence));
            if event.is_none() {
                frames = self.frames_of(sequence)?;
                event = found(&frames, sequence);
            }
            // One small event must not keep all that was read with it.
            events.insert(sequence, event.map(|(time, record)| (time, Bytes::copy_from_slice(&record))));
        }
        Ok(events)
    }

    /// The first sequence stored at or after a time, in milliseconds; `last + 1` when there is none. Blocks.
    pub(crate) fn at_time(&self, time: u64) -> Result<u64, Fault> {
        for segment in self.segments() {
            if let Some(found) = first_at(&segment, time)? {
                return Ok(found.max(self.first()));
            }
        }
        Ok(self.last() + 1)
    }

    /// Walks every frame from a sequence on, oldest first. Blocks; for opening.
    pub(crate) fn walk(&self, from: u64, mut visit: impl FnMut(&Frame)) -> Result<(), Fault> {
        for segment in self.segments().into_iter().filter(|s| s.last() >= from) {
            let mut offset = segment.place_of(from);
            while offset < segment.end() {
                let frames = segment.read(offset)?;
                offset += frames.iter().map(|frame| frame.bytes.len() as u64).sum::<u64>();
                frames.iter().filter(|frame| frame.head.next() > from).for_each(&mut visit);
            }
        }
        Ok(())
    }
}

fn found(frames: &[Frame], sequence: u64) -> Option<(u64, Bytes)> {
    let frame = frames.iter().find(|frame| frame.holds(sequence))?;
    Some((frame.head.time, event_in(frame, sequence)?))
}

/// Reads on from an offset until the frame with the sequence is among what was read.
fn read_from(segment: &Segment, mut offset: u64, sequence: u64) -> Result<(Vec<Frame>, u64), Fault> {
    loop {
        let frames = segment.read(offset)?;
        offset += frames.iter().map(|frame| frame.bytes.len() as u64).sum::<u64>();
        if frames.is_empty() || frames.last().is_some_and(|frame| frame.head.next() > sequence) {
            return Ok((frames, offset));
        }
    }
}

fn first_at(segment: &Segment, time: u64) -> Result<Option<u64>, Fault> {
    let mut offset = segment.place_at(time);
    while offset < segment.end() {
        let head: Head = segment.head_at(offset)?;
        if head.time >= time {
            return Ok(Some(head.first));
        }
        offset += head.bytes as u64;
    }
    Ok(None)
}
