//! How many events to take at once. A batch saves thread hops where guests are quick, and makes events wait for each other
//! where they are slow; so a hop holds about a millisecond of work, and no more is held than finishes well within the ack wait.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::Config;

/// More gains nothing, even for a guest that takes a microsecond.
const MAX_HOP_EVENTS: u64 = 256;
/// What a hop may take of one worker's time.
const LONGEST_HOP_NANOS: u64 = 1_000_000;
/// Less is not shared out between workers: waking one costs about a tenth of it.
const SHORTEST_HOP_NANOS: u64 = 100_000;
/// A slower hop moves the estimate by so much of the difference.
const SLOWER_DIVISOR: u64 = 16;
/// Most events held, whatever the speed: at 150,000 events a second this covers 27 ms of settling.
const MAX_HELD_EVENTS: u64 = 4096;
/// Of the ack wait, what may lie between the taking of an event and its settlement.
const ACK_WAIT_DIVISOR: u32 = 4;

/// The time of a call when nothing gets in its way, as it changes.
#[derive(Default)]
pub(crate) struct Pace {
    /// 0 until the first event was timed.
    nanos: AtomicU64,
}

impl Pace {
    /// Takes in the time of a hop's calls. A quicker hop counts at once, a slower one little by little: threads that were taken away
    /// in the middle of a call make it look slow, and small hops would make a Channel beside busy neighbours slow indeed.
    pub(crate) fn record(&self, events: u64, micros: u64) {
        let Some(mean) = (micros * 1_000).checked_div(events) else { return };
        let old = self.nanos.load(Ordering::Relaxed);
        let new = if old == 0 || mean < old { mean } else { old + (mean - old) / SLOWER_DIVISOR };
        self.nanos.store(new.max(1), Ordering::Relaxed);
    }

    /// Events for one hop, when so many are at hand for so many workers.
    pub(crate) fn hop(&self, at_hand: usize, workers: usize) -> usize {
        let nanos = match self.nanos.load(Ordering::Relaxed) {
            0 => return 1,
            nanos => nanos,
        };
        let most = (LONGEST_HOP_NANOS / nanos).clamp(1, MAX_HOP_EVENTS);
        let least = (SHORTEST_HOP_NANOS / nanos).clamp(1, most);
        (at_hand.div_ceil(workers.max(1)) as u64).clamp(least, most) as usize
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
            (1, 250, 1_000),
            (10, 100, 1_000),
            (100, 10, 1_000),
            (50_000, 1, 600),
            (5_000_000, 1, 4),
        ];
        for (micros, hop, held) in cases {
            let pace = Pace::default();
            pace.record(u64::from(micros > 0), micros);
            assert_eq!((pace.hop(1_000, 4), pace.held(&config)), (hop, held), "{micros} us an event");
        }
    }

    #[test]
    fn what_is_at_hand_is_shared_out_unless_it_is_too_little() {
        let pace = Pace::default();
        pace.record(1, 10);
        let hops = [(1, 10), (8, 10), (100, 25), (4_000, 100)];
        for (at_hand, hop) in hops {
            assert_eq!(pace.hop(at_hand, 4), hop, "{at_hand} at hand");
        }
    }

    #[test]
    fn a_hop_that_was_held_up_does_not_make_the_next_ones_small() {
        let pace = Pace::default();
        pace.record(100, 100);
        pace.record(100, 1_000);
        assert_eq!(pace.hop(1_000, 4), 250);
        for _ in 0..100 {
            pace.record(1, 50_000);
        }
        assert_eq!(pace.hop(1_000, 4), 1, "a guest that became slow");
    }
}
