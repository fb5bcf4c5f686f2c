//! How many events to take at once. A batch saves thread hops where guests are quick, and makes events wait for each other
//! where they are slow; so a hop holds about a millisecond of work, and no more is held than finishes well within the ack wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Config;

/// More gains nothing, even for a guest that takes a microsecond.
const MAX_HOP_EVENTS: u64 = 256;
/// What a hop should take of one worker's time.
const HOP_TARGET_NANOS: u64 = 1_000_000;
/// Most events held, whatever the speed: at 150,000 events a second this covers 27 ms of settling.
const MAX_HELD_EVENTS: u64 = 4096;
/// Of the ack wait, what may lie between the taking of an event and its settlement.
const ACK_WAIT_DIVISOR: u32 = 4;

/// The mean time of a call, as it changes.
#[derive(Default)]
pub(crate) struct Pace {
    /// 0 until the first event was timed.
    nanos: AtomicU64,
}

impl Pace {
    /// Takes the time of some calls into the mean, the last hop weighing a quarter.
    pub(crate) fn record(&self, events: u64, micros: u64) {
        let Some(mean) = (micros * 1_000).checked_div(events) else { return };
        let old = self.nanos.load(Ordering::Relaxed);
        let new = if old == 0 { mean } else { (old * 3 + mean) / 4 };
        self.nanos.store(new.max(1), Ordering::Relaxed);
    }

    /// Events for one hop.
    pub(crate) fn hop(&self) -> usize {
        match self.nanos.load(Ordering::Relaxed) {
            0 => 1,
            nanos => (HOP_TARGET_NANOS / nanos).clamp(1, MAX_HOP_EVENTS) as usize,
        }
    }

    /// Most events that may be held.
    pub(crate) fn held(&self, config: &Config) -> usize {
        let concurrency = config.concurrency as u64;
        let budget = Duration::from(config.ack_wait) / ACK_WAIT_DIVISOR;
        let in_time = match self.nanos.load(Ordering::Relaxed) {
            0 => concurrency * 2,
            nanos => (budget.as_nanos() as u64 / nanos).saturating_mul(concurrency),
        };
        let limit = MAX_HELD_EVENTS.min(config.max_ack_pending as u64);
        in_time.clamp(concurrency.min(limit), limit) as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quick_guests_get_large_hops_and_slow_ones_are_not_prefetched_past_their_ack_wait() {
        let config = Config { concurrency: 4, max_ack_pending: 1_000, ..Config::default() };
        let cases = [
            (0, 1, 8),
            (1, 256, 1_000),
            (10, 100, 1_000),
            (100, 10, 1_000),
            (50_000, 1, 600),
            (5_000_000, 1, 4),
        ];
        for (micros, hop, held) in cases {
            let pace = Pace::default();
            pace.record(u64::from(micros > 0), micros);
            assert_eq!((pace.hop(), pace.held(&config)), (hop, held), "{micros} us an event");
        }
    }
}
