//! A log as its only writer sees it: appending frames, rolling to the next segment, and retention.
//!
//! Retention moves a floor: by count to the event, by bytes and age to the frame. Segments that lie wholly below it are given
//! back after the floor itself is on disk (so that an oldest segment that is missing is always damage). `retain` holds bytes
//! and count at the oldest event that a Channel has not settled; age holds always.

use std::fmt;
use std::fs::{self, OpenOptions};
use std::sync::Arc;
use std::time::{Duration, Instant};

use saf_event::{ChannelName, Size};

use super::fault::Fault;
use super::file::{Disk, sync_folder};
use super::frame::{Builder, Frame, Head, SEGMENT_HEAD_BYTES, Salt, SegmentHead};
use super::log::Log;
use super::segment::Segment;
use super::spare::Spare;
use crate::Discard;

/// The first segment of a log, in bytes.
const FIRST_SEGMENT_BYTES: u64 = 4 << 20;
/// How many segments grow.
const GROWING_SEGMENTS: usize = 4;
/// How long an answer about free space is believed.
const FREE_SPACE_CHECK: Duration = Duration::from_millis(100);

/// The limits of a log, in bytes, events and milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    pub(crate) max_bytes: u64,
    pub(crate) max_events: u64,
    pub(crate) max_age_millis: u64,
    pub(crate) discard: Discard,
    /// Of segments; a log's first ones are smaller.
    pub(crate) segment_bytes: u64,
}

/// What retention by bytes and count may not pass.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Hold {
    /// The oldest sequence that must stay.
    pub(crate) sequence: u64,
    /// Whose it is; `None` while the Channels are not prepared yet.
    pub(crate) holder: Option<ChannelName>,
}

impl fmt::Display for Hold {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.holder {
            Some(channel) => {
                write!(f, "channel {channel} has not handled event {} (retain = true)", self.sequence)
            }
            None => f.write_str("the Channels are not prepared yet"),
        }
    }
}

/// Why there is no room.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Full(pub(crate) String);

/// The writer's side.
pub(crate) struct Appender {
    pub(crate) log: Arc<Log>,
    disk: Arc<dyn Disk>,
    pub(crate) limits: Limits,
    active: Option<Arc<Segment>>,
    spare: Spare,
    oldest: Oldest,
    free: Option<(Instant, Result<(), Full>)>,
    last_time: u64,
}

/// The oldest frame that is kept, and the bytes from it on.
struct Oldest {
    segment: Option<Arc<Segment>>,
    offset: u64,
    head: Option<Head>,
    bytes: u64,
}

impl Appender {
    pub(crate) fn new(
        log: Arc<Log>,
        disk: Arc<dyn Disk>,
        limits: Limits,
        spare: Spare,
    ) -> Result<Self, Fault> {
        let active = log.segments().last().cloned();
        let oldest = Oldest::find(&log)?;
        log.set_bounds(log.first(), oldest.bytes);
        let mut last_time = 0;
        log.walk(log.last(), |frame| last_time = frame.head.time)?;
        Ok(Self { log, disk, limits, active, spare, oldest, free: None, last_time })
    }

    /// The time for the next frame: now, but never before the last frame's.
    pub(crate) fn now(&self) -> u64 {
        saf_event::unix_millis().max(self.last_time)
    }

    /// Largest frame that fits a segment, in bytes.
    pub(crate) fn frame_bytes_max(&self) -> usize {
        (self.limits.segment_bytes as usize).saturating_sub(SEGMENT_HEAD_BYTES)
    }

    /// A small log takes little room: its first segments grow by four, up to the limit.
    fn next_segment_bytes(&self, frame: usize) -> u64 {
        let grown = FIRST_SEGMENT_BYTES << (2 * self.log.segments().len().min(GROWING_SEGMENTS));
        let needed = ((frame + SEGMENT_HEAD_BYTES) as u64).next_power_of_two();
        grown.max(needed).min(self.limits.segment_bytes)
    }

    /// Whether the active segment has room for a frame of so many bytes.
    pub(crate) fn fits(&self, bytes: usize) -> bool {
        self.active.as_ref().is_some_and(|active| active.end() + bytes as u64 <= active.size)
    }

    /// Makes room for a frame, or says what is in the way. `hold` is asked only when something has to go.
    pub(crate) fn make_room(
        &mut self,
        bytes: u64,
        events: u64,
        hold: &dyn Fn() -> Option<Hold>,
    ) -> Result<Result<(), Full>, Fault> {
        match self.has_free_space() {
            Ok(()) => self.trim(bytes, events, hold),
            Err(full) => Ok(Err(full)),
        }
    }

    /// Removes the oldest until so much more is within the limits, or says which one is in the way.
    pub(crate) fn trim(
        &mut self,
        bytes: u64,
        events: u64,
        hold: &dyn Fn() -> Option<Hold>,
    ) -> Result<Result<(), Full>, Fault> {
        let Limits { max_bytes, max_events, discard, .. } = self.limits;
        let too_many = |log: &Log| (log.last() + 1 - log.first()).saturating_add(events) > max_events;
        let too_large = |oldest: &Oldest| oldest.bytes.saturating_add(bytes) > max_bytes;
        if !too_many(&self.log) && !too_large(&self.oldest) {
            return Ok(Ok(()));
        }
        let limit = if too_many(&self.log) {
            format!("max_messages ({max_events}) is reached")
        } else {
            format!("max_bytes ({}) is reached", Size(max_bytes))
        };
        if discard == Discard::New {
            return Ok(Err(Full(format!("{limit}, and discard is \"new\""))));
        }
        let hold = hold();
        let held = |next: u64| match &hold {
            Some(hold) if next > hold.sequence => Err(Full(format!("{limit}, and {hold}"))),
            _ => Ok(()),
        };
        while too_many(&self.log) {
            let first = (self.log.last() + 1 + events).saturating_sub(max_events);
            if first > self.log.last() + 1 {
                return Ok(Err(Full(limit)));
            }
            if let Err(full) = held(first) {
                return Ok(Err(full));
            }
            self.drop_below(first)?;
        }
        while too_large(&self.oldest) {
            let Some(head) = self.oldest.head(&self.log)? else { return Ok(Err(Full(limit))) };
            if let Err(full) = held(head.next()) {
                return Ok(Err(full));
            }
            self.drop_below(head.next())?;
        }
        Ok(Ok(()))
    }

    fn has_free_space(&mut self) -> Result<(), Full> {
        if let Some((at, answer)) = &self.free
            && at.elapsed() < FREE_SPACE_CHECK
        {
            return answer.clone();
        }
        let wanted = self.limits.segment_bytes;
        let answer = match self.disk.free_bytes(&self.log.folder) {
            Ok(free) if free < wanted => {
                let (folder, wanted) = (self.log.folder.display(), Size(wanted));
                Err(Full(format!("less than {wanted} are free on the disk of {folder}; make room there")))
            }
            // A failing question is no reason to refuse: the write will tell.
            Ok(_) | Err(_) => Ok(()),
        };
        self.free = Some((Instant::now(), answer.clone()));
        answer
    }

    /// Appends a frame that [`Self::fits`], makes it durable, and shows it to readers. After an error nothing more may be
    /// written to this log.
    pub(crate) fn append(&mut self, builder: &mut Builder, now: u64) -> Result<Frame, Fault> {
        let Some(active) = self.active.clone() else {
            return Err(Fault::at(&self.log.folder)(std::io::Error::other("no active segment")));
        };
        let frame = builder.finish(self.log.last() + 1, now, active.salt);
        let offset = active.end();
        self.disk.write_at(&active.file, &frame.bytes, offset).map_err(Fault::at(&active.path))?;
        self.disk.sync(&active.file).map_err(Fault::at(&active.path))?;
        active.grow(&frame, offset);
        self.last_time = now;
        self.oldest.bytes += frame.bytes.len() as u64;
        self.log.set_bounds(self.log.first(), self.oldest.bytes);
        self.log.show(frame.clone());
        Ok(frame)
    }

    /// Begins a new segment, for a frame of so many bytes. An error that [`Fault::is_full`] leaves the log as it was.
    pub(crate) fn roll(&mut self, frame: usize) -> Result<(), Fault> {
        let size = self.next_segment_bytes(frame);
        let made = self.spare.take(size)?;
        let head = SegmentHead { first: self.log.last() + 1, salt: Salt::random() };
        let path = Segment::path(&self.log.folder, head.first);
        if let Some(sealed) = self.active.take() {
            sealed.seal();
        }
        fs::rename(&made, &path).map_err(Fault::at(&path))?;
        let file = OpenOptions::new().read(true).write(true).open(&path).map_err(Fault::at(&path))?;
        self.disk.write_at(&file, &head.encode(), 0).map_err(Fault::at(&path))?;
        self.disk.sync(&file).map_err(Fault::at(&path))?;
        sync_folder(&self.log.folder).map_err(Fault::at(&self.log.folder))?;
        let segment = Arc::new(Segment::fresh(path, file, size, head));
        self.log.add(segment.clone());
        self.active = Some(segment);
        self.free = None;
        Ok(())
    }

    /// Has the next segment made ahead, unless there is one.
    pub(crate) fn order_spare(&mut self) {
        self.spare.order(self.next_segment_bytes(0));
    }

    /// Removes what is older than `max_age`.
    pub(crate) fn expire(&mut self) -> Result<(), Fault> {
        let oldest = self.now().saturating_sub(self.limits.max_age_millis);
        while let Some(head) = self.oldest.head(&self.log)?
            && head.time < oldest
        {
            self.drop_below(head.next())?;
        }
        Ok(())
    }

    /// Moves the floor up.
    pub(crate) fn drop_below(&mut self, first: u64) -> Result<(), Fault> {
        while let Some(head) = self.oldest.head(&self.log)?
            && head.next() <= first
        {
            self.oldest.drop_frame(&head);
        }
        self.log.set_bounds(first.max(self.log.first()), self.oldest.bytes);
        Ok(())
    }

    /// Whether segments wait to be given back.
    pub(crate) fn has_garbage(&self) -> bool {
        let first = self.log.first();
        let segments = self.log.segments();
        segments.len() > 1 && segments[0].last() < first
    }

    /// Gives segments back that lie wholly below a floor that is on disk.
    pub(crate) fn collect(&mut self, durable_first: u64) -> Result<(), Fault> {
        while let Some(old) = self.log.take_below(durable_first) {
            old.retire();
            fs::remove_file(old.path.with_extension("idx")).ok();
            self.spare.recycle(&old.path, self.next_segment_bytes(0))?;
        }
        Ok(())
    }
}

impl Oldest {
    /// The frame that holds the log's first sequence.
    fn find(log: &Log) -> Result<Self, Fault> {
        let (first, segments) = (log.first(), log.segments());
        let start =
            segments.iter().position(|s| s.last() >= first).unwrap_or(segments.len().saturating_sub(1));
        let Some(segment) = segments.get(start).cloned() else {
            return Ok(Self { segment: None, offset: 0, head: None, bytes: 0 });
        };
        let offset = segment.place_of(first);
        let content = |s: &Arc<Segment>| s.end() - SEGMENT_HEAD_BYTES as u64;
        let bytes = segment.end() - offset + segments[start + 1..].iter().map(content).sum::<u64>();
        let mut oldest = Self { segment: Some(segment), offset, head: None, bytes };
        while let Some(head) = oldest.head(log)?
            && head.next() <= first
        {
            oldest.drop_frame(&head);
        }
        Ok(oldest)
    }

    /// The head of the oldest frame; `None` when there is none.
    fn head(&mut self, log: &Log) -> Result<Option<Head>, Fault> {
        if self.head.is_some() {
            return Ok(self.head);
        }
        loop {
            let segment = match &self.segment {
                Some(segment) => segment.clone(),
                None => match log.segments().first() {
                    Some(first) => first.clone(),
                    None => return Ok(None),
                },
            };
            self.offset = self.offset.max(SEGMENT_HEAD_BYTES as u64);
            if self.offset < segment.end() {
                self.head = Some(segment.head_at(self.offset)?);
                self.segment = Some(segment);
                return Ok(self.head);
            }
            let next = log.segments().into_iter().find(|s| s.first > segment.first);
            self.segment = Some(segment);
            let Some(next) = next else { return Ok(None) };
            (self.segment, self.offset) = (Some(next), 0);
        }
    }

    fn drop_frame(&mut self, head: &Head) {
        self.offset += head.bytes as u64;
        self.bytes = self.bytes.saturating_sub(head.bytes as u64);
        self.head = None;
    }
}
