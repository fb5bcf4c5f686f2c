//! Where a consumer stands towards one event, for who asks why it was not handled.

use std::sync::atomic::Ordering;
use std::time::Instant;

use saf_event::unix_millis;

use super::{Consumer, Inner, Mode, Phase};
use crate::Place;
use crate::embedded::log::Log;

impl Consumer {
    /// `ahead` of an event that waits is exact where the backlog is in memory, and else an upper bound.
    pub(crate) fn place(&self, sequence: u64, log: &Log) -> Place {
        let began = self.began.load(Ordering::Relaxed);
        let mut inner = self.lock();
        inner.pass_expired(log.first());
        inner.place(sequence, log, began)
    }
}

impl Inner {
    fn place(&self, sequence: u64, log: &Log, began: u64) -> Place {
        let now = Instant::now();
        if let Some(pending) = self.pending.get(sequence) {
            let attempt = pending.attempt;
            return match pending.phase {
                Phase::Out(_) => Place::Out { attempt },
                Phase::Waiting(until) => {
                    let wait = until.saturating_duration_since(now).as_millis() as u64;
                    Place::Again { attempt, at: unix_millis() + wait }
                }
                Phase::Ready => Place::Again { attempt, at: unix_millis() },
            };
        }
        if sequence >= self.effective(log.dispatched()) && !self.ahead.contains(&sequence) {
            return Place::Waiting { ahead: self.before(sequence) };
        }
        match self.gone {
            _ if sequence < began => Place::BeforeStart,
            Some((first, last)) if (first..=last).contains(&sequence) => Place::Expired,
            _ => Place::Passed,
        }
    }

    /// How many events come before one that waits.
    fn before(&self, sequence: u64) -> u64 {
        let found = self.found.before(sequence);
        let hits = self.hits.iter().take_while(|hit| hit.sequence < sequence).count();
        let behind = match self.mode {
            Mode::Live => 0,
            Mode::Behind => {
                sequence.saturating_sub(self.cursor.max(self.found.last().map_or(0, |last| last + 1)))
            }
        };
        (found + hits + self.ready.len()) as u64 + behind
    }
}
