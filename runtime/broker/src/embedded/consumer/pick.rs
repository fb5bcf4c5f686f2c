//! What a source hands out next: what came back first, then what scans found, then the places that the writer left. A decision
//! under the consumer's lock, without waiting: whatever has to be brought from files or written first is a [`Step`].

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use super::ride::{Found, SPARSE_EVENTS};
use super::{Change, Consumer, Hit, Inner, Mode, Pace, Pending, Phase, Settings};
use crate::embedded::frame::Frame;
use crate::embedded::log::Log;

/// How far the lease runs ahead of what was handed out, in sequences. It is written each time, and after a crash what it covers is
/// handed out one by one: so it reaches further for a consumer whose events are few among many, once for each [`LEASE_GAP`]
/// between two of them.
const LEASE_EVENTS: u64 = 4096;
const LEASE_GAP: u64 = 16;
const LEASE_TIMES_MAX: u64 = 64;

/// An event about to be handed out.
#[derive(Debug)]
pub(crate) struct Picked {
    pub(crate) sequence: u64,
    pub(crate) time: u64,
    pub(crate) record: Bytes,
    pub(crate) attempt: u32,
    pub(crate) deliveries: u32,
    pub(crate) released: u32,
}

/// Single events that a reader of files brought along; `None` for one that is not there any more.
pub(crate) type Brought = BTreeMap<u64, Option<(u64, Bytes)>>;

/// What a source does next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Hand out what was picked.
    HandOut,
    /// Make the lease durable up to here (no sync), then ask again.
    Lease(u64),
    /// Save and sync, then hand out what was picked: it may kill the process.
    Mark,
    /// Bring these events, then ask again.
    Fetch(Vec<u64>),
    /// Scan on, then ask again.
    Scan,
    /// Nothing to do before a wake-up, or this instant.
    Wait(Option<Instant>),
}

impl Consumer {
    /// Takes the next events to hand out. Never blocks; see [`Step`].
    pub(crate) fn take(
        &self,
        log: &Log,
        now: Instant,
        want: usize,
        brought: &mut Brought,
        picked: &mut Vec<Picked>,
    ) -> Step {
        let mut inner = self.lock();
        let Some(settings) = inner.settings.clone() else { return Step::Wait(None) };
        inner.pass_expired(log.first());
        inner.promote_due(now);
        let want = match inner.pace() {
            Pace::Alone if inner.out > 0 => return Step::Wait(inner.next_deadline()),
            Pace::Alone => 1,
            Pace::Free => want,
        };
        let mut pick = Pick { inner: &mut inner, log, settings, now, want, picked, frame: None };
        let step = match pick.redeliveries(brought) {
            Some(step) => step,
            None => pick.new_ones(brought),
        };
        inner.forget_ahead();
        if picked.is_empty() {
            return step;
        }
        if inner.careful.is_some() {
            return Step::Mark;
        }
        let more = !inner.ready.is_empty()
            || !inner.found.is_empty()
            || !inner.hits.is_empty()
            || inner.mode == Mode::Behind;
        drop(inner);
        if more && self.sources.load(Ordering::Relaxed) > 1 {
            self.wake.notify_one();
        }
        Step::HandOut
    }
}

/// One call of [`Consumer::take`].
struct Pick<'a> {
    inner: &'a mut Inner,
    log: &'a Log,
    settings: Settings,
    now: Instant,
    want: usize,
    picked: &'a mut Vec<Picked>,
    /// Where the last place was that the writer left: the next one is often in it too.
    frame: Option<Frame>,
}

impl Pick<'_> {
    fn is_full(&self) -> bool {
        self.picked.len() >= self.want
    }

    /// What came back first; `Some` when something has to be brought before.
    fn redeliveries(&mut self, brought: &mut Brought) -> Option<Step> {
        let ready: Vec<u64> = self.inner.ready.iter().take(self.want).copied().collect();
        let mut missing = Vec::new();
        for sequence in ready {
            let event = match brought.remove(&sequence) {
                Some(None) => {
                    self.inner.expire(sequence);
                    continue;
                }
                found => found.flatten().or_else(|| self.log.in_memory(sequence)),
            };
            let Some((time, record)) = event else {
                missing.push(sequence);
                continue;
            };
            self.inner.ready.remove(&sequence);
            self.hand_out(sequence, time, record);
        }
        (!missing.is_empty() && self.picked.is_empty()).then_some(Step::Fetch(missing))
    }

    fn new_ones(&mut self, brought: &mut Brought) -> Step {
        while !self.is_full() && !self.inner.is_full() {
            if let Some(sequence) = self.inner.found.first() {
                if self.inner.lease < sequence {
                    return self.lease_for(sequence);
                }
                if let Some(Found { sequence, time, record }) = self.inner.found.pop() {
                    self.hand_out(sequence, time, record);
                }
                continue;
            }
            if let Some(hit) = self.inner.hits.front().copied() {
                if self.inner.lease < hit.sequence {
                    return self.lease_for(hit.sequence);
                }
                if let Some(step) = self.hit(hit, brought) {
                    return step;
                }
                continue;
            }
            let cursor = self.inner.cursor;
            if self.inner.mode == Mode::Live {
                break;
            }
            if cursor > self.log.last() {
                self.inner.mode = Mode::Live;
                break;
            }
            return Step::Scan;
        }
        Step::Wait(self.inner.next_deadline())
    }

    /// Takes the first place that the writer left; `Some` when its event has to be brought before.
    fn hit(&mut self, hit: Hit, brought: &mut Brought) -> Option<Step> {
        let event = if let Some(brought) = brought.remove(&hit.sequence) {
            brought
        } else {
            if self.frame.as_ref().is_none_or(|frame| !frame.holds(hit.sequence)) {
                self.frame = self.log.frame_in_memory(hit.sequence);
            }
            let Some(frame) = &self.frame else { return self.fell_out(hit) };
            let record = frame.bytes.slice(hit.start as usize..hit.end as usize);
            Some((frame.head.time, self.inner.own(hit.sequence, record)))
        };
        self.inner.hits.pop_front();
        match event {
            Some((time, record)) => self.hand_out(hit.sequence, time, record),
            None => self.inner.expired += 1,
        }
        None
    }

    /// The event is in memory no more. A few among many are read one by one, because scanning for them would read everything;
    /// many among few are scanned.
    fn fell_out(&mut self, hit: Hit) -> Option<Step> {
        let hits = &self.inner.hits;
        let span = hits.back().map_or(0, |last| last.sequence - hit.sequence);
        if span > SPARSE_EVENTS * hits.len() as u64 {
            return Some(Step::Fetch(hits.iter().take(self.want).map(|hit| hit.sequence).collect()));
        }
        (self.inner.mode, self.inner.cursor) = (Mode::Behind, hit.sequence);
        self.inner.hits.clear();
        None
    }

    fn lease_for(&self, sequence: u64) -> Step {
        let times = (self.inner.gap / LEASE_GAP).clamp(1, LEASE_TIMES_MAX);
        Step::Lease(sequence.saturating_add(LEASE_EVENTS * times))
    }

    fn hand_out(&mut self, sequence: u64, time: u64, record: Bytes) {
        let until = self.now + self.settings.ack_wait;
        let fresh = Pending {
            attempt: 1,
            deliveries: 0,
            released: 0,
            phase: Phase::Ready,
            queued: None,
            claimed: false,
        };
        let pending = self.inner.pending.get_or_insert(sequence, fresh);
        pending.deliveries = pending.deliveries.saturating_add(1);
        let Pending { attempt, deliveries, released, .. } = *pending;
        self.inner.out += 1;
        self.inner.wait(sequence, Phase::Out(until));
        if let Some(careful) = &mut self.inner.careful {
            careful.suspects.insert(sequence);
        }
        self.inner.change = Change::Unsaved;
        self.picked.push(Picked { sequence, time, record, attempt, deliveries, released });
    }
}
