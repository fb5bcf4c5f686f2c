//! A Channel's durable place in a stream: what was handed out and not settled, and where the new begins.
//!
//! Everything below the cursor that is not pending is settled, so the state is one number and at most `max_ack_pending` entries
//! however many events there are. Deadlines (a retry's delay, the ack wait) stand in one heap. A consumer that has caught up is
//! *live*: the writer hands it the places of matching events as they are stored, up to [`HITS_MAX`]; otherwise it is
//! *behind* and scans on, with others that are. In memory; `snapshot` says what is kept. No files here, and no waiting.

mod inner;
mod ledger;
mod pick;
mod place;
mod ride;
mod snapshot;

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap, VecDeque};
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use saf_event::ChannelName;
use tokio::sync::Notify;

use ledger::Ledger;
pub(crate) use pick::{Brought, Picked, Step};
use ride::Finds;
pub(crate) use ride::{Piece, Seat};

use super::fault::Fault;
use super::log::Log;
use super::state::State;
use super::table::Table;
use super::wanted::Wanted;
use crate::{ChannelPlan, Lag, Order};

/// In `state.log`, before a Channel's name: its place.
pub(crate) const CONSUMERS: &str = "c/";
/// Most places that wait in memory for a live consumer.
pub(crate) const HITS_MAX: usize = 4096;
/// A consumer that only sees others' events pass by is saved this often, in sequences: a restart scans them again.
const SAVE_EVENTS: u64 = 64 << 10;

/// What the configuration says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Settings {
    pub(crate) wanted: Wanted,
    pub(crate) ack_wait: Duration,
    pub(crate) max_pending: usize,
    pub(crate) retain: bool,
}

impl Settings {
    pub(crate) fn of(plan: &ChannelPlan) -> Self {
        let max_pending = match plan.order {
            Order::None => plan.max_ack_pending.max(1),
            Order::All => 1,
        };
        let wanted = Wanted::channel(&plan.channel, &plan.subjects);
        Self { wanted, ack_wait: plan.ack_wait, max_pending, retain: plan.retain }
    }
}

/// A matching event's place: its sequence, and where its record begins in its frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Hit {
    pub(crate) sequence: u64,
    pub(crate) start: u32,
    pub(crate) end: u32,
}

/// A delivery, as its ticket names it: a stale one may finish its event, nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Handed {
    pub(crate) sequence: u64,
    pub(crate) deliveries: u32,
}

/// See the file's head.
pub(crate) struct Consumer {
    pub(crate) name: ChannelName,
    pub(crate) wake: Notify,
    /// Sources that are open: more than one while a Channel is reloaded.
    pub(crate) sources: AtomicUsize,
    /// The Channel's state, once it has some.
    pub(crate) table: OnceLock<Arc<Table>>,
    /// The first sequence that it could get; 0 when that is not known.
    pub(crate) began: AtomicU64,
    inner: Mutex<Inner>,
}

struct Inner {
    settings: Option<Settings>,
    /// Everything before it is settled, pending or found.
    cursor: u64,
    mode: Mode,
    found: Finds,
    hits: VecDeque<Hit>,
    ahead: BTreeSet<u64>,
    pending: Ledger,
    out: usize,
    due: BinaryHeap<Reverse<(Instant, u64)>>,
    ready: BTreeSet<u64>,
    lease: u64,
    careful: Option<Careful>,
    expired: u64,
    /// The sequences among which retention removed unsettled events, since the store was opened.
    gone: Option<(u64, u64)>,
    change: Change,
    saved_cursor: u64,
    last_picked: u64,
    /// Between its last two events, in sequences.
    gap: u64,
    /// The keeper found something wanted here.
    scouted: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    Behind,
    Live,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Change {
    Saved,
    Unsaved,
}

/// After an unclean stop: one at a time, until what was handed out before is behind us.
#[derive(Debug)]
struct Careful {
    until: u64,
    suspects: BTreeSet<u64>,
}

enum Pace {
    Free,
    /// One at a time.
    Alone,
}

#[derive(Debug)]
struct Pending {
    /// Of the present or the next delivery.
    attempt: u32,
    deliveries: u32,
    /// How many of those were given back without a verdict.
    released: u32,
    phase: Phase,
    /// Its entry in the heap.
    queued: Option<Instant>,
    /// Its settlement stands in a frame that is being written.
    claimed: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Out(Instant),
    Waiting(Instant),
    Ready,
}

/// What a delivery that comes back has to say about its event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Failed,
    None,
}

/// How the process before this one ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stopped {
    Clean,
    Unclean,
}

impl Consumer {
    /// A new one, that begins with a sequence.
    pub(crate) fn begin(name: ChannelName, cursor: u64) -> Self {
        Self::with(name, Inner::at(cursor))
    }

    fn with(name: ChannelName, inner: Inner) -> Self {
        let (wake, sources, table) = (Notify::new(), AtomicUsize::new(0), OnceLock::new());
        Self { name, wake, sources, table, began: AtomicU64::new(0), inner: Mutex::new(inner) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over what the configuration says. New filters apply from where the consumer stands. `changed` tells the writer
    /// to look again; it runs before the consumer can be live with them.
    pub(crate) fn configure(&self, settings: Option<Settings>, dispatched: u64, changed: impl FnOnce()) {
        let mut inner = self.lock();
        inner.cursor = inner.effective(dispatched);
        inner.mode = Mode::Behind;
        inner.found.clear();
        inner.hits.clear();
        inner.settings = settings;
        changed();
        drop(inner);
        self.wake.notify_one();
    }

    /// What the configuration says; `None` for a Channel that is not in it any more.
    pub(crate) fn settings(&self) -> Option<Settings> {
        self.lock().settings.clone()
    }

    /// For the source: the lease is on disk up to here.
    pub(crate) fn leased(&self, until: u64) {
        let mut inner = self.lock();
        inner.lease = inner.lease.max(until);
    }

    /// For whoever scanned: there is nothing wanted from `from` to before `to`.
    pub(crate) fn pass_over(&self, from: u64, to: u64) {
        let mut inner = self.lock();
        if inner.mode == Mode::Behind && inner.cursor == from && to > from {
            inner.cursor = to;
            inner.forget_ahead();
        }
    }

    /// For the keeper: where to look ahead, for a consumer whose source may not ask, so that what it does not want holds
    /// nothing back; `None` when it is live, or stands before an event that it wants.
    pub(crate) fn looks_from(&self) -> Option<(u64, Wanted)> {
        let inner = self.lock();
        let settings = inner.settings.as_ref()?;
        let looks = inner.mode == Mode::Behind && inner.found.is_empty() && inner.scouted != inner.cursor;
        looks.then(|| (inner.cursor, settings.wanted.clone()))
    }

    /// For the keeper: there is something at `at`, so this is where it stands until its source takes it.
    pub(crate) fn scouted(&self, at: u64) {
        self.lock().scouted = at;
    }

    /// For the keeper: from here on the writer tells, if it has caught up.
    pub(crate) fn go_live(&self, log: &Log) {
        let mut inner = self.lock();
        if inner.settings.is_some() && inner.cursor > log.last() {
            inner.mode = Mode::Live;
        }
    }

    /// For the writer: matching events of a frame that was just stored.
    pub(crate) fn dispatch(&self, hits: &[Hit]) {
        let mut inner = self.lock();
        if inner.mode == Mode::Behind {
            return;
        }
        for hit in hits {
            if hit.sequence < inner.cursor {
                continue;
            }
            if inner.hits.len() >= HITS_MAX {
                (inner.mode, inner.cursor) = (Mode::Behind, hit.sequence);
                break;
            }
            inner.hits.push_back(*hit);
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// For the writer, before it writes settlements: which of them are the first of their event.
    pub(crate) fn claim(&self, sequences: impl Iterator<Item = u64>) -> Vec<bool> {
        let mut inner = self.lock();
        let mut first = |sequence| match inner.pending.get_mut(sequence) {
            Some(pending) => !std::mem::replace(&mut pending.claimed, true),
            None => false,
        };
        sequences.map(&mut first).collect()
    }

    /// For the writer: it did not write this one after all.
    pub(crate) fn disclaim(&self, sequence: u64) {
        if let Some(pending) = self.lock().pending.get_mut(sequence) {
            pending.claimed = false;
        }
    }

    /// Whether a delivery's event is settled already.
    #[cfg(test)]
    pub(crate) fn is_settled(&self, sequence: u64) -> bool {
        self.lock().pending.get(sequence).is_none()
    }

    /// Whether the scan has passed a sequence.
    #[cfg(test)]
    pub(crate) fn has_passed(&self, sequence: u64) -> bool {
        sequence < self.lock().effective(0)
    }

    /// These events are handled.
    pub(crate) fn done(&self, sequences: &[u64]) {
        let mut inner = self.lock();
        let was_full = inner.is_full() || inner.careful.is_some();
        for sequence in sequences {
            inner.remove(*sequence);
            inner.verdict(*sequence);
        }
        drop(inner);
        if was_full {
            self.wake.notify_one();
        }
    }

    /// On opening: a settlement that stands in the log, perhaps of an event that the snapshot does not know as handed out.
    pub(crate) fn replay_done(&self, sequence: u64) {
        let mut inner = self.lock();
        inner.remove(sequence);
        if sequence >= inner.cursor {
            inner.ahead.insert(sequence);
        }
        // The mark moves on, so the next snapshot has to know of it.
        inner.change = Change::Unsaved;
        inner.verdict(sequence);
    }

    /// The attempt failed; another one after a while.
    pub(crate) fn retry(&self, handed: Handed, after: Duration, now: Instant) {
        self.put_back(handed, after, now, Verdict::Failed);
    }

    /// Not the event's fault; again at once.
    pub(crate) fn release(&self, handed: Handed, now: Instant) {
        self.put_back(handed, Duration::ZERO, now, Verdict::None);
    }

    fn put_back(&self, handed: Handed, after: Duration, now: Instant, verdict: Verdict) {
        let mut inner = self.lock();
        let Some(pending) = inner.current(handed) else { return };
        match verdict {
            Verdict::Failed => pending.attempt = pending.attempt.saturating_add(1),
            Verdict::None => pending.released += 1,
        }
        let sequence = handed.sequence;
        inner.out -= 1;
        inner.verdict(sequence);
        if after.is_zero() {
            inner.make_ready(sequence);
        } else {
            inner.wait(sequence, Phase::Waiting(now + after));
        }
        inner.change = Change::Unsaved;
        drop(inner);
        self.wake.notify_one();
    }

    /// The event is still worked on.
    pub(crate) fn extend(&self, handed: Handed, now: Instant) {
        let mut inner = self.lock();
        let Some(wait) = inner.settings.as_ref().map(|s| s.ack_wait) else { return };
        if let Some(pending) = inner.current(handed) {
            // The entry in the heap stays; it is looked at again when it comes up.
            pending.phase = Phase::Out(now + wait);
        }
    }

    /// The oldest sequence that retention must keep for it; `None` when it holds nothing.
    pub(crate) fn holds(&self, dispatched: u64) -> Option<u64> {
        let inner = self.lock();
        let retains = inner.settings.as_ref().is_some_and(|s| s.retain);
        retains.then(|| inner.floor(dispatched) + 1)
    }

    /// How far it is behind. `pending` is exact where the backlog is in memory, and else an upper bound.
    pub(crate) fn lag(&self, log: &Log) -> Lag {
        let mut inner = self.lock();
        inner.pass_expired(log.first());
        let pending = match inner.mode {
            Mode::Live => 0,
            Mode::Behind => inner.backlog(log),
        };
        let pending = pending + (inner.found.len() + inner.hits.len()) as u64;
        Lag {
            pending,
            unsettled: inner.pending.len() as u64,
            floor: inner.floor(log.dispatched()),
            expired: inner.expired,
        }
    }

    /// Puts a snapshot into the state if it changed since the last time. Under the lock, so that an older snapshot can
    /// never be put after a newer one.
    pub(crate) fn save_changes(&self, state: &State, dispatched: u64) -> Result<(), Fault> {
        let mut inner = self.lock();
        let passed = inner.effective(dispatched).saturating_sub(inner.saved_cursor);
        if inner.change == Change::Saved && passed < SAVE_EVENTS {
            Ok(())
        } else {
            inner.save(self, state, dispatched)
        }
    }

    /// Puts a snapshot into the state; not synced.
    pub(crate) fn save(&self, state: &State, dispatched: u64) -> Result<(), Fault> {
        self.lock().save(self, state, dispatched)
    }
}
