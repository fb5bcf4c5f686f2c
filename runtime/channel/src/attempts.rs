//! What follows from a failed attempt: another one, or a dead letter. Remembers the attempts of every event that failed here
//! and is not through yet, for its dead letter and for telling whether the events are sick or the Channel is.
//!
//! Invariant: at most [`Attempts::capacity`] events are remembered; the oldest is forgotten first. An event that another
//! replica settled is forgotten that way.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use saf_broker::{Attempt, DeadLetter, Settlement};
use saf_event::{ChannelName, Outcome};

use crate::Config;

/// An event is a suspect when it was handed out this many times `max_attempts` and never finished.
const NEVER_FINISHED_FACTOR: u32 = 2;

/// Fewer failed events than this never make a Channel sick, however little it may have out.
const FEWEST_SICK_EVENTS: usize = 8;

/// The failed attempts of a Channel's events.
pub(crate) struct Attempts {
    channel: ChannelName,
    capacity: usize,
    /// As many as there are in `failed`, readable without its lock.
    waiting: AtomicUsize,
    failed: Mutex<Failed>,
}

#[derive(Default)]
struct Failed {
    events: HashMap<u64, (u64, Vec<Attempt>)>,
    clock: u64,
}

/// What a failed attempt asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The next step of the backoff.
    Backoff,
    /// This long.
    After(Duration),
    /// A dead letter now.
    Never,
}

/// How an event is to be run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Suspicion {
    /// With others.
    None,
    /// Alone: it was handed out more often than it may fail, and nobody ever saw it finish.
    Alone,
    /// Not at all: dead-letter it.
    Dead,
}

impl Attempts {
    pub(crate) fn new(channel: ChannelName, config: &Config) -> Self {
        let capacity = config.max_ack_pending;
        Self { channel, capacity, waiting: AtomicUsize::new(0), failed: Mutex::default() }
    }

    /// How many events failed here and are not through yet.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    /// Whether half of all that may be out waits for a retry: the Channel is sick, not its events.
    pub(crate) fn sick(&self) -> bool {
        self.waiting() > (self.capacity / 2).max(FEWEST_SICK_EVENTS)
    }

    /// Forgets an event that is done.
    pub(crate) fn done(&self, sequence: u64) {
        if self.waiting() > 0 {
            self.take(sequence);
        }
    }

    /// What becomes of a failed attempt.
    pub(crate) fn failed(
        &self,
        config: &Config,
        sequence: u64,
        digest: &str,
        attempt: Attempt,
        ask: Ask,
    ) -> Settlement {
        let number = attempt.number;
        let after = match ask {
            Ask::Never => return self.dead(sequence, digest, attempt),
            _ if number >= config.max_attempts => return self.dead(sequence, digest, attempt),
            Ask::After(after) => after,
            Ask::Backoff => jittered(config.backoff(number)),
        };
        self.remember(sequence, attempt);
        Settlement::Retry { after }
    }

    /// What an event that was handed out `deliveries` times deserves.
    pub(crate) fn suspicion(&self, config: &Config, sequence: u64, deliveries: u32) -> Suspicion {
        if deliveries <= config.max_attempts {
            return Suspicion::None;
        }
        let unfinished = deliveries.saturating_sub(self.verdicts(sequence));
        match unfinished {
            n if n > config.max_attempts.saturating_mul(NEVER_FINISHED_FACTOR) => Suspicion::Dead,
            n if n > config.max_attempts => Suspicion::Alone,
            _ => Suspicion::None,
        }
    }

    /// The dead letter of an event that never finished.
    pub(crate) fn never_finished(&self, sequence: u64, digest: &str, deliveries: u32) -> Settlement {
        let reason = format!(
            "never finished: handed out {deliveries} times, and the process ended or the broker was lost each time before an \
             attempt was over"
        );
        self.letter(digest, Outcome::Expired, reason, self.take(sequence))
    }

    fn dead(&self, sequence: u64, digest: &str, attempt: Attempt) -> Settlement {
        let outcome = attempt.outcome;
        let reason = attempt.reason.clone().unwrap_or_else(|| outcome.to_string());
        let mut attempts = self.take(sequence);
        attempts.push(attempt);
        self.letter(digest, outcome, reason, attempts)
    }

    fn letter(&self, digest: &str, outcome: Outcome, reason: String, attempts: Vec<Attempt>) -> Settlement {
        let channel = self.channel.clone();
        Settlement::Dead(Box::new(DeadLetter {
            channel,
            digest: digest.to_owned(),
            outcome,
            reason,
            attempts,
        }))
    }

    fn verdicts(&self, sequence: u64) -> u32 {
        let failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.events.get(&sequence).map_or(0, |(_, attempts)| attempts.len() as u32)
    }

    fn remember(&self, sequence: u64, attempt: Attempt) {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        failed.clock += 1;
        let now = failed.clock;
        let entry = failed.events.entry(sequence).or_default();
        entry.0 = now;
        entry.1.push(attempt);
        if failed.events.len() > self.capacity
            && let Some(oldest) =
                failed.events.iter().min_by_key(|(_, (at, _))| *at).map(|(sequence, _)| *sequence)
        {
            failed.events.remove(&oldest);
        }
        self.waiting.store(failed.events.len(), Ordering::Relaxed);
    }

    fn take(&self, sequence: u64) -> Vec<Attempt> {
        let mut failed = self.failed.lock().unwrap_or_else(PoisonError::into_inner);
        let attempts = failed.events.remove(&sequence).map(|(_, attempts)| attempts).unwrap_or_default();
        self.waiting.store(failed.events.len(), Ordering::Relaxed);
        attempts
    }
}

/// Plus or minus a quarter, so that what failed together does not come back together.
pub(crate) fn jittered(wait: Duration) -> Duration {
    wait.mul_f64(0.75 + fastrand::f64() / 2.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> Config {
        Config { max_attempts: 3, max_ack_pending: 20, ..Config::default() }
    }

    fn attempts() -> Attempts {
        Attempts::new(ChannelName::parse("upper").expect("valid"), &config())
    }

    fn trap(number: u32) -> Attempt {
        Attempt {
            number,
            outcome: Outcome::Trap,
            at: 0,
            micros: 1,
            fuel: 2,
            memory: 3,
            reason: Some(format!("trap {number}")),
            backtrace: None,
            stderr: None,
        }
    }

    #[test]
    fn a_failed_event_is_retried_with_jittered_backoff_and_then_dead_with_all_attempts() {
        let attempts = attempts();
        for number in 1..3 {
            let Settlement::Retry { after } = attempts.failed(&config(), 7, "d", trap(number), Ask::Backoff)
            else {
                panic!("attempt {number} is not the last")
            };
            let step = config().backoff(number);
            assert!(after >= step.mul_f64(0.75) && after <= step.mul_f64(1.25), "{after:?}");
        }
        assert_eq!(attempts.waiting(), 1);
        let Settlement::Dead(letter) = attempts.failed(&config(), 7, "d", trap(3), Ask::Backoff) else {
            panic!("the last")
        };
        assert_eq!((letter.outcome, letter.reason.as_str()), (Outcome::Trap, "trap 3"));
        assert_eq!(letter.attempts.iter().map(|a| a.number).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(attempts.waiting(), 0);
    }

    #[test]
    fn the_guest_may_choose_the_wait_or_say_never() {
        let attempts = attempts();
        let wait = Duration::from_millis(1_500);
        let retry = attempts.failed(&config(), 1, "d", trap(1), Ask::After(wait));
        assert!(matches!(retry, Settlement::Retry { after } if after == wait));
        assert!(matches!(attempts.failed(&config(), 2, "d", trap(1), Ask::Never), Settlement::Dead(_)));
    }

    #[test]
    fn half_of_all_that_may_be_out_waiting_makes_the_channel_sick_and_memory_is_bounded() {
        let attempts = attempts();
        let fail = |sequence| attempts.failed(&config(), sequence, "d", trap(1), Ask::Backoff);
        for sequence in 1..=10 {
            fail(sequence);
        }
        assert!(!attempts.sick());
        fail(11);
        assert!(attempts.sick());
        for sequence in 12..=25 {
            fail(sequence);
        }
        assert_eq!(attempts.waiting(), 20);
        (6..=25).for_each(|sequence| attempts.done(sequence));
        assert_eq!((attempts.waiting(), attempts.sick()), (0, false));
    }

    #[test]
    fn an_event_that_never_finishes_is_run_alone_and_then_not_at_all() {
        let attempts = attempts();
        let suspicion = |deliveries| attempts.suspicion(&config(), 5, deliveries);
        assert_eq!(
            [1, 3, 4, 6, 7].map(suspicion),
            [Suspicion::None, Suspicion::None, Suspicion::Alone, Suspicion::Alone, Suspicion::Dead]
        );
        attempts.failed(&config(), 5, "d", trap(1), Ask::Backoff);
        assert_eq!(suspicion(4), Suspicion::None, "one of the four is known to have ended in a verdict");
    }
}
