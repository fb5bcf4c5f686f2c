//! The io side of a Channel, second half: hands what was handled to the broker, many parts at a time, and does not let go of
//! a delivery before the broker has it. While the broker is away the deliveries stay held, and are kept alive as soon as it
//! is back.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use saf_broker::{Attempt, SettleError, Settlement, Settler, Settling, Unsettled};
use saf_event::{ChannelName, Outcome, unix_millis};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::attempts::{Ask, Attempts, jittered};
use crate::build::Build;
use crate::observe::Observers;
use crate::status::Counters;
use crate::worker::Part;

/// Most parts handed to the broker and not settled yet; each holds up to a hop.
const MAX_PARTS: usize = 128;
/// First and longest wait before a settlement is repeated.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What even the broker's dead letters do not take is tried again after this.
const STUCK_WAIT: Duration = Duration::from_mins(1);

/// What settlements come to once they are stored.
#[derive(Clone, Copy, Default)]
struct Tally {
    emissions: u64,
    dead_letters: u64,
    released: u64,
}

impl Tally {
    fn of<'a>(settlings: impl Iterator<Item = &'a Settling>) -> Self {
        let mut tally = Self::default();
        for settling in settlings {
            tally.emissions += settling.settlement.emissions() as u64;
            match &settling.settlement {
                Settlement::Dead(_) => tally.dead_letters += 1,
                Settlement::Release => tally.released += 1,
                Settlement::Done { .. } | Settlement::Packed(_) | Settlement::Retry { .. } => {}
            }
        }
        tally
    }
}

impl std::ops::Sub for Tally {
    type Output = Self;

    fn sub(self, rest: Self) -> Self {
        Self {
            emissions: self.emissions - rest.emissions,
            dead_letters: self.dead_letters - rest.dead_letters,
            released: self.released - rest.released,
        }
    }
}

pub(crate) struct SettleStage {
    pub(crate) channel: ChannelName,
    pub(crate) settler: Arc<dyn Settler>,
    pub(crate) build: Arc<ArcSwap<Build>>,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) observers: Observers,
}

impl SettleStage {
    /// Settles until every sender of parts is gone and everything is settled.
    pub(crate) async fn run(self, mut parts: mpsc::Receiver<Part>) {
        let mut running = FuturesUnordered::new();
        loop {
            tokio::select! {
                biased;
                Some(()) = running.next(), if !running.is_empty() => {}
                part = parts.recv(), if running.len() < MAX_PARTS => match part {
                    Some(part) => running.push(self.part(part)),
                    None => break,
                },
            }
        }
        while let Some(()) = running.next().await {}
    }

    async fn part(&self, part: Part) {
        let Part { hop, mut batch, observed } = part;

        let mut wait = FIRST_WAIT;
        loop {
            let before = batch.len();
            let handed_in = Tally::of(batch.iter());
            let unsettled = self.settler.settle(batch).await;
            hop.release(before - unsettled.len());
            self.count(handed_in - Tally::of(unsettled.iter().map(|unsettled| &unsettled.settling)));
            if unsettled.is_empty() {
                return self.observers.send(observed);
            }
            batch = unsettled.into_iter().map(|unsettled| self.again(unsettled)).collect();
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn count(&self, settled: Tally) {
        self.counters.emissions.fetch_add(settled.emissions, Ordering::Relaxed);
        self.counters.dead_letters.fetch_add(settled.dead_letters, Ordering::Relaxed);
        self.counters.released.fetch_add(settled.released, Ordering::Relaxed);
    }

    /// What to hand in next for a delivery that the broker did not settle.
    fn again(&self, unsettled: Unsettled) -> Settling {
        let Unsettled { settling, error } = unsettled;
        let (channel, sequence) = (&self.channel, settling.delivery.event.sequence);
        let reason = match error {
            SettleError::Unavailable(reason) => {
                tracing::debug!(%channel, sequence, reason, "not settled yet");
                return settling;
            }
            SettleError::Full(limit) => {
                tracing::warn!(%channel, sequence, limit, "the stream is full: emissions wait");
                return settling;
            }
            SettleError::Refused(refusal) => refusal.to_string(),
        };
        let Settling { delivery, settlement } = settling;
        if !matches!(settlement, Settlement::Done { .. } | Settlement::Packed(_)) {
            tracing::error!(%channel, sequence, reason, "the broker refuses to settle; trying again in a minute");
            return delivery.into(Settlement::Retry { after: STUCK_WAIT });
        }
        let build = self.build.load();
        let attempt = Attempt {
            number: delivery.attempt,
            outcome: Outcome::Output,
            at: unix_millis(),
            micros: 0,
            fuel: 0,
            memory: 0,
            reason: Some(reason),
            backtrace: None,
            stderr: None,
        };
        let settlement =
            self.attempts.failed(&build.config, sequence, build.component.digest(), attempt, Ask::Backoff);
        delivery.into(settlement)
    }
}
