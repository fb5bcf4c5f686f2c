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

        self.count(&batch);
        let mut wait = FIRST_WAIT;
        loop {
            let before = batch.len();
            let unsettled = self.settler.settle(batch).await;
            hop.release(before - unsettled.len());
            if unsettled.is_empty() {
                return self.observers.send(observed);
            }
            batch = unsettled.into_iter().map(|unsettled| self.again(unsettled)).collect();
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn count(&self, batch: &[Settling]) {
        for settling in batch {
            let (counter, n) = match &settling.settlement {
                Settlement::Done { emit } => (&self.counters.emissions, emit.len() as u64),
                Settlement::Dead(_) => (&self.counters.dead_letters, 1),
                Settlement::Release => (&self.counters.released, 1),
                Settlement::Retry { .. } => continue,
            };
            counter.fetch_add(n, Ordering::Relaxed);
        }
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
        if !matches!(settlement, Settlement::Done { .. }) {
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
