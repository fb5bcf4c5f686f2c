//! Scanning with others: a consumer that is behind and has nothing to hand out drives a scan from its cursor, and everybody who
//! is behind and whose cursor the scan comes by rides along. So what a backlog costs to read does not grow with the number of
//! Channels, as long as they keep together; one that is much slower than the others falls off and drives for itself later.

use std::collections::VecDeque;

use bytes::Bytes;

use super::{Consumer, Hit, Inner, Mode};
use crate::embedded::frame::Frame;
use crate::embedded::log::Log;
use crate::embedded::wanted::Wanted;

/// Most events that wait for a consumer that rides along, and most bytes of them, unless one is larger. Who drives takes what its
/// piece of the log holds.
const RIDER_EVENTS: usize = 256;
const RIDER_BYTES: usize = 64 << 10;
/// From this distance on, in sequences, a Channel's events count as few among many.
pub(super) const SPARSE_EVENTS: u64 = 8;

/// An event that a scan found and that was not handed out yet.
pub(super) struct Found {
    pub(super) sequence: u64,
    pub(super) time: u64,
    pub(super) record: Bytes,
}

/// What scans found, in order: all of it comes before the places that the writer left.
#[derive(Default)]
pub(super) struct Finds {
    events: VecDeque<Found>,
    bytes: usize,
}

impl Finds {
    pub(super) fn first(&self) -> Option<u64> {
        self.events.front().map(|found| found.sequence)
    }

    pub(super) fn last(&self) -> Option<u64> {
        self.events.back().map(|found| found.sequence)
    }

    /// How many come before a sequence.
    pub(super) fn before(&self, sequence: u64) -> usize {
        self.events.partition_point(|found| found.sequence < sequence)
    }

    pub(super) fn len(&self) -> usize {
        self.events.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.events.is_empty()
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    pub(super) fn pop(&mut self) -> Option<Found> {
        let found = self.events.pop_front()?;
        self.bytes -= found.record.len();
        Some(found)
    }

    fn push(&mut self, found: Found) {
        self.bytes += found.record.len();
        self.events.push_back(found);
    }

    fn is_full(&self) -> bool {
        self.events.len() >= RIDER_EVENTS || self.bytes >= RIDER_BYTES
    }
}

/// A piece of the log that is scanned: from one sequence to before another, with all frames between.
#[derive(Clone, Copy)]
pub(crate) struct Piece<'a> {
    pub(crate) frames: &'a [Frame],
    pub(crate) from: u64,
    pub(crate) to: u64,
}

impl Piece<'_> {
    fn frame(&self, sequence: u64) -> Option<&Frame> {
        self.frames.get(self.frames.partition_point(|frame| frame.head.next() <= sequence))
    }
}

/// What a consumer is to a scan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Seat {
    Driver,
    Rider,
}

impl Consumer {
    /// Where it wants to be scanned for and what for; `None` when it has something to hand out, or nothing can be found.
    pub(crate) fn scans_from(&self, log: &Log) -> Option<(u64, Wanted)> {
        let inner = self.lock();
        let settings = inner.settings.as_ref()?;
        let scans = inner.mode == Mode::Behind
            && inner.found.is_empty()
            && inner.hits.is_empty()
            && inner.cursor <= log.last();
        scans.then(|| (inner.cursor, settings.wanted.clone()))
    }

    /// Takes what a scan found for it, if it came by its cursor. `is_current` says, under the lock, whether the scan knows the
    /// present filters.
    pub(crate) fn ride(&self, piece: Piece<'_>, hits: &[Hit], seat: Seat, is_current: impl FnOnce() -> bool) {
        let mut inner = self.lock();
        let comes_by = inner.mode == Mode::Behind
            && inner.hits.is_empty()
            && (piece.from..piece.to).contains(&inner.cursor);
        if !comes_by || !is_current() {
            return;
        }
        let had_nothing = inner.found.is_empty();
        inner.cursor = inner.take_along(piece, hits, seat);
        let wakes = had_nothing && !inner.found.is_empty() && seat == Seat::Rider;
        drop(inner);
        if wakes {
            self.wake.notify_one();
        }
    }

    /// Lets go of what was found and not handed out: the next scan finds it again.
    pub(crate) fn let_go(&self) {
        self.lock().let_go();
    }

    /// Whether something was found that is not handed out.
    pub(crate) fn holds_finds(&self) -> bool {
        !self.lock().found.is_empty()
    }
}

impl Inner {
    /// Returns where the scan goes on.
    fn take_along(&mut self, piece: Piece<'_>, hits: &[Hit], seat: Seat) -> u64 {
        for hit in hits {
            if hit.sequence < self.cursor || self.ahead.contains(&hit.sequence) {
                continue;
            }
            if seat == Seat::Rider && self.found.is_full() {
                return hit.sequence;
            }
            let Some(frame) = piece.frame(hit.sequence) else { return hit.sequence };
            let record = self.own(hit.sequence, frame.bytes.slice(hit.start as usize..hit.end as usize));
            self.found.push(Found { sequence: hit.sequence, time: frame.head.time, record });
        }
        piece.to
    }

    pub(super) fn let_go(&mut self) {
        if let Some(first) = self.found.first() {
            (self.mode, self.cursor) = (Mode::Behind, first);
            self.found.clear();
            self.hits.clear();
        }
    }

    /// An event that was picked from among many others is copied: held for a while, it would keep them all in memory.
    pub(super) fn own(&mut self, sequence: u64, record: Bytes) -> Bytes {
        self.gap = sequence.saturating_sub(self.last_picked);
        self.last_picked = sequence;
        if self.gap > SPARSE_EVENTS { Bytes::copy_from_slice(&record) } else { record }
    }
}
