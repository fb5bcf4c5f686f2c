//! Who may have an instance: one bound over all pools, idle instances included. When it is reached, the idle instance that was
//! parked longest ago anywhere makes room; when none is idle, callers queue, first come first served over all pools, so that no
//! pool can starve another.
//!
//! One mutex, held for some tens of nanoseconds, twice an event; instances are made and dropped outside it. Invariant: while
//! somebody queues, no instance is idle and all places are taken. The queue needs no bound of its own: a caller that waits is a
//! worker, and their number is configured. Deliberately absent: knowledge of guests.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::instance::Instance;
use crate::tally::{Ended, Tally};

/// Names a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct PoolId(u64);

impl PoolId {
    /// Whoever parks nothing.
    pub(crate) const NONE: Self = Self(0);
}

/// Every instance, wherever it is.
pub(crate) struct Roster {
    max: u32,
    state: Mutex<State>,
}

struct State {
    taken: u32,
    pools: u64,
    parkings: u64,
    lanes: HashMap<PoolId, Lane>,
    waiting: VecDeque<Waiter>,
}

/// A pool's idle instances, the one that was parked last at the back: it is used first, so the front was not used for longest.
struct Lane {
    idle: VecDeque<Idle>,
    tally: Arc<Tally>,
}

struct Idle {
    instance: Box<Instance>,
    parking: u64,
    until_millis: u64,
}

struct Waiter {
    pool: PoolId,
    grant: oneshot::Sender<Grant>,
}

/// What a caller gets.
pub(crate) enum Grant {
    /// An idle instance of its pool.
    Instance(Box<Instance>),
    /// A place for a new one.
    Place(Slot),
}

/// The right to one instance. Dropping it hands it to whoever waits longest.
pub(crate) struct Slot(Option<Arc<Roster>>);

impl Drop for Slot {
    fn drop(&mut self) {
        if let Some(roster) = self.0.take() {
            roster.vacate();
        }
    }
}

impl Slot {
    fn new(roster: &Arc<Roster>) -> Self {
        Self(Some(Arc::clone(roster)))
    }

    fn disarm(mut self) {
        self.0 = None;
    }
}

/// What became of an instance that was handed back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Parking {
    /// It waits for its pool's next caller, or went to one that waited.
    Kept,
    /// It is gone: another pool's caller got its place, or its pool is no more.
    Ended(Ended),
}

impl Roster {
    pub(crate) fn new(max: u32) -> Arc<Self> {
        let state =
            State { taken: 0, pools: 0, parkings: 0, lanes: HashMap::new(), waiting: VecDeque::new() };
        Arc::new(Self { max, state: Mutex::new(state) })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Nothing panics between two writes under this lock.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A pool that may park instances.
    pub(crate) fn enroll(&self, tally: &Arc<Tally>) -> PoolId {
        let mut state = self.state();
        state.pools += 1;
        let pool = PoolId(state.pools);
        state.lanes.insert(pool, Lane { idle: VecDeque::new(), tally: Arc::clone(tally) });
        pool
    }

    /// Drops a pool's idle instances and lets it park no more.
    pub(crate) fn retire(&self, pool: PoolId) {
        let lane = self.state().lanes.remove(&pool);
        let Some(Lane { idle, tally }) = lane else { return };
        for instance in idle {
            drop(instance);
            tally.end(Ended::Retired);
        }
    }

    /// How many of a pool's instances are idle.
    pub(crate) fn idle(&self, pool: PoolId) -> usize {
        self.state().lanes.get(&pool).map_or(0, |lane| lane.idle.len())
    }

    /// An idle instance of the pool, or a place for a new one, as soon as there is one. Cancel-safe: what was granted to a caller
    /// that is gone goes to the next.
    pub(crate) async fn acquire(self: &Arc<Self>, pool: PoolId) -> Grant {
        let granted = {
            let mut state = self.state();
            if let Some(idle) = state.lanes.get_mut(&pool).and_then(|lane| lane.idle.pop_back()) {
                return Grant::Instance(idle.instance);
            }
            if state.taken < self.max {
                state.taken += 1;
                return Grant::Place(Slot::new(self));
            }
            if let Some(idle) = state.oldest_idle() {
                Ok(idle.instance)
            } else {
                let (grant, granted) = oneshot::channel();
                // Who gave up leaves the queue here at the latest, so it holds no more than wait and one.
                state.waiting.retain(|waiter| !waiter.grant.is_closed());
                state.waiting.push_back(Waiter { pool, grant });
                Err(granted)
            }
        };
        match granted {
            Ok(evicted) => Grant::Place(evicted.into_slot()),
            Err(granted) => match granted.await {
                Ok(grant) => grant,
                // The sender lies in our own queue until it sends, and `self` keeps the queue.
                Err(_) => unreachable!("a waiter is only dropped by granting"),
            },
        }
    }

    /// Takes an instance back after a call.
    pub(crate) fn park(
        self: &Arc<Self>,
        pool: PoolId,
        mut instance: Box<Instance>,
        until_millis: u64,
    ) -> Parking {
        loop {
            let mut state = self.state();
            if !state.lanes.contains_key(&pool) {
                drop(state);
                drop(instance);
                return Parking::Ended(Ended::Retired);
            }
            let Some(waiter) = state.waiting.pop_front() else {
                state.parkings += 1;
                let parking = state.parkings;
                if let Some(lane) = state.lanes.get_mut(&pool) {
                    lane.idle.push_back(Idle { instance, parking, until_millis });
                }
                return Parking::Kept;
            };
            drop(state);
            if waiter.pool != pool {
                let slot = instance.into_slot();
                match waiter.grant.send(Grant::Place(slot)) {
                    Ok(()) => {}
                    Err(grant) => drop(grant), // its place goes to the next one
                }
                return Parking::Ended(Ended::Evicted);
            }
            match waiter.grant.send(Grant::Instance(instance)) {
                Ok(()) => return Parking::Kept,
                Err(Grant::Instance(back)) => instance = back,
                Err(Grant::Place(..)) => unreachable!("an instance was sent"),
            }
        }
    }

    /// Drops what has been idle until now.
    pub(crate) fn sweep(&self, now_millis: u64) {
        let mut expired = Vec::new();
        let mut state = self.state();
        for lane in state.lanes.values_mut() {
            while lane.idle.front().is_some_and(|idle| idle.until_millis <= now_millis) {
                expired.extend(lane.idle.pop_front());
                lane.tally.end(Ended::Idle);
            }
        }
        drop(state);
        drop(expired);
    }

    fn vacate(self: &Arc<Self>) {
        loop {
            let mut state = self.state();
            let Some(waiter) = state.waiting.pop_front() else {
                state.taken -= 1;
                return;
            };
            drop(state);
            match waiter.grant.send(Grant::Place(Slot::new(self))) {
                Ok(()) => return,
                Err(Grant::Place(slot)) => slot.disarm(),
                Err(Grant::Instance(_)) => unreachable!("a place was sent"),
            }
        }
    }
}

impl State {
    /// Takes out the instance that was not used for longest.
    fn oldest_idle(&mut self) -> Option<Idle> {
        let parked = |lane: &Lane| lane.idle.front().map(|idle| idle.parking);
        let lanes = self.lanes.values_mut().filter(|lane| !lane.idle.is_empty());
        let lane = lanes.min_by_key(|lane| parked(lane))?;
        lane.tally.end(Ended::Evicted);
        lane.idle.pop_front()
    }
}
