//! The bookkeeping of a consumer: phases, deadlines, the cursor. Whoever calls holds the lock.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::time::Instant;

use super::ledger::Ledger;
use super::ride::Finds;
use super::{CONSUMERS, Change, Consumer, Handed, Inner, Mode, Pace, Pending, Phase};
use crate::embedded::fault::Fault;
use crate::embedded::log::Log;
use crate::embedded::record::EventRecord;
use crate::embedded::segment::event_records;
use crate::embedded::state::State;

impl Inner {
    pub(super) fn at(cursor: u64) -> Self {
        Self {
            settings: None,
            cursor,
            mode: Mode::Behind,
            found: Finds::default(),
            hits: VecDeque::new(),
            ahead: BTreeSet::new(),
            pending: Ledger::default(),
            out: 0,
            due: BinaryHeap::new(),
            ready: BTreeSet::new(),
            lease: 0,
            careful: None,
            expired: 0,
            gone: None,
            change: Change::Unsaved,
            saved_cursor: cursor,
            last_picked: 0,
            gap: 0,
            scouted: 0,
        }
    }

    pub(super) fn save(&mut self, consumer: &Consumer, state: &State, dispatched: u64) -> Result<(), Fault> {
        (self.change, self.saved_cursor) = (Change::Saved, self.effective(dispatched));
        let snapshot = self.snapshot(Instant::now(), dispatched);
        state.put(&format!("{CONSUMERS}{}", consumer.name), &snapshot)
    }

    /// Where the new begins: all before it is settled or pending.
    pub(super) fn effective(&self, dispatched: u64) -> u64 {
        if let Some(first) = self.found.first() {
            return first;
        }
        match (self.hits.front(), self.mode) {
            (Some(hit), _) => hit.sequence,
            (None, Mode::Live) => self.cursor.max(dispatched + 1),
            (None, Mode::Behind) => self.cursor,
        }
    }

    pub(super) fn floor(&self, dispatched: u64) -> u64 {
        let effective = self.effective(dispatched);
        let oldest = self.pending.first().map_or(effective, |sequence| effective.min(sequence));
        oldest.saturating_sub(1)
    }

    pub(super) fn is_full(&self) -> bool {
        self.settings.as_ref().is_some_and(|s| self.pending.len() >= s.max_pending)
    }

    /// The first sequence that was not handed out, as far as scans know.
    fn next(&self) -> u64 {
        self.found.first().unwrap_or(self.cursor)
    }

    /// Forgets what was settled ahead and is behind us now.
    pub(super) fn forget_ahead(&mut self) {
        if !self.ahead.is_empty() {
            self.ahead = self.ahead.split_off(&self.next());
        }
    }

    /// Leaves the careful mode when nothing speaks for it any more.
    pub(super) fn pace(&mut self) -> Pace {
        match &self.careful {
            Some(careful) if !careful.suspects.is_empty() || self.next() <= careful.until => Pace::Alone,
            _ => {
                self.careful = None;
                Pace::Free
            }
        }
    }

    pub(super) fn verdict(&mut self, sequence: u64) {
        if let Some(careful) = &mut self.careful {
            careful.suspects.remove(&sequence);
        }
    }

    /// The delivery that a ticket names, if it is still the present one.
    pub(super) fn current(&mut self, handed: Handed) -> Option<&mut Pending> {
        let pending = self.pending.get_mut(handed.sequence)?;
        let present = pending.deliveries == handed.deliveries && matches!(pending.phase, Phase::Out(_));
        present.then_some(pending)
    }

    pub(super) fn remove(&mut self, sequence: u64) {
        let Some(pending) = self.pending.remove(sequence) else { return };
        match pending.phase {
            Phase::Out(_) => self.out -= 1,
            Phase::Waiting(_) => {}
            Phase::Ready => {
                self.ready.remove(&sequence);
            }
        }
        self.change = Change::Unsaved;
    }

    /// Retention took it before it was settled.
    pub(super) fn expire(&mut self, sequence: u64) {
        self.remove(sequence);
        self.verdict(sequence);
        self.expired += 1;
        self.lose(sequence, sequence);
    }

    fn lose(&mut self, low: u64, high: u64) {
        let (first, last) = self.gone.unwrap_or((low, high));
        self.gone = Some((first.min(low), last.max(high)));
    }

    pub(super) fn pass_expired(&mut self, first: u64) {
        while let Some(sequence) = self.found.first().filter(|sequence| *sequence < first) {
            self.found.pop();
            self.expired += 1;
            self.lose(sequence, sequence);
        }
        while let Some(hit) = self.hits.front().copied().filter(|hit| hit.sequence < first) {
            self.hits.pop_front();
            self.expired += 1;
            self.lose(hit.sequence, hit.sequence);
        }
        if self.mode == Mode::Behind && self.found.is_empty() && self.hits.is_empty() && self.cursor < first {
            let settled = self.ahead.range(self.cursor..first).count() as u64;
            self.expired += first - self.cursor - settled;
            self.lose(self.cursor, first - 1);
            (self.cursor, self.change) = (first, Change::Unsaved);
            self.forget_ahead();
        }
        let gone: Vec<u64> = self.ready.range(..first).copied().collect();
        for sequence in gone {
            self.expire(sequence);
        }
    }

    pub(super) fn wait(&mut self, sequence: u64, phase: Phase) {
        let (Phase::Out(until) | Phase::Waiting(until)) = phase else { return };
        let Some(pending) = self.pending.get_mut(sequence) else { return };
        (pending.phase, pending.queued) = (phase, Some(until));
        self.due.push(Reverse((until, sequence)));
        // What was settled in time leaves its entry behind.
        if self.due.len() > 2 * self.pending.len() + 64 {
            let pending = &self.pending;
            self.due.retain(|Reverse((at, n))| pending.get(*n).is_some_and(|p| p.queued == Some(*at)));
        }
    }

    pub(super) fn make_ready(&mut self, sequence: u64) {
        if let Some(pending) = self.pending.get_mut(sequence) {
            (pending.phase, pending.queued) = (Phase::Ready, None);
            self.ready.insert(sequence);
        }
    }

    /// Moves what is due from the heap to the front.
    pub(super) fn promote_due(&mut self, now: Instant) {
        while let Some(Reverse((at, sequence))) = self.due.peek().copied()
            && at <= now
        {
            self.due.pop();
            let Some(pending) = self.pending.get(sequence).filter(|p| p.queued == Some(at)) else {
                continue;
            };
            match pending.phase {
                Phase::Out(until) if until > now => self.wait(sequence, Phase::Out(until)),
                Phase::Out(_) => {
                    self.out -= 1;
                    self.make_ready(sequence);
                }
                Phase::Waiting(_) => self.make_ready(sequence),
                Phase::Ready => {}
            }
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Instant> {
        self.due.peek().map(|Reverse((at, _))| *at)
    }

    /// Matching events from the cursor on: counted in memory, else all of them.
    pub(super) fn backlog(&self, log: &Log) -> u64 {
        let rest = (log.last() + 1).saturating_sub(self.cursor);
        let (Some(settings), Some(frames)) = (&self.settings, log.newest(self.cursor, usize::MAX)) else {
            return rest - (self.ahead.range(self.cursor..).count() as u64).min(rest);
        };
        let wanted = |(sequence, record): (u64, EventRecord<'_>)| {
            !self.ahead.contains(&sequence) && settings.wanted.event(&record)
        };
        let records = frames.iter().flat_map(|frame| event_records(frame, self.cursor));
        records.filter(|(sequence, _, record)| wanted((*sequence, *record))).count() as u64
    }
}
