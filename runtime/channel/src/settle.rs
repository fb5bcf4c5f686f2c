//! The io side of a Channel, second half: hands what was handled to the broker, many parts at a time, and does not let go of
//! a delivery before the broker has it. While the broker is away the deliveries stay held, and are kept alive as soon as it
//! is back.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use arc_swap::ArcSwap;
use futures::StreamExt;
use futures::stream::FuturesUnordered;
use saf_broker::{Account, Attempt, SettleError, Settlement, Settler, Settling, Unsettled};
use saf_event::{ChannelName, Outcome, unix_millis};
use saf_telemetry::{Settled, Tracer};
use tokio::sync::mpsc;
use tokio::time::sleep;

use crate::attempts::{Ask, Attempts, jittered};
use crate::build::Build;
use crate::held::Hop;
use crate::observe::{Observers, Told};
use crate::state::InFlight;
use crate::status::Counters;
use crate::traces;
use crate::worker::{Part, Work};

/// Most parts handed to the broker and not settled yet; each holds up to a hop.
const MAX_PARTS: usize = 128;
/// First and longest wait before a settlement is repeated.
const FIRST_WAIT: Duration = Duration::from_millis(50);
const LONGEST_WAIT: Duration = Duration::from_secs(5);
/// What even the broker's dead letters do not take is tried again after this.
const STUCK_WAIT: Duration = Duration::from_mins(1);

fn sequence(unsettled: &Unsettled) -> u64 {
    unsettled.settling.delivery.event.sequence
}

/// What settlements come to once they are stored.
#[derive(Clone, Copy, Default)]
struct Tally {
    emissions: u64,
    settled: [u64; Settled::ALL.len()],
}

impl Tally {
    fn of<'a>(settlings: impl Iterator<Item = &'a Settling>) -> Self {
        let mut tally = Self::default();
        for settling in settlings {
            tally.emissions += settling.settlement.emissions() as u64;
            tally.settled[traces::settled(&settling.settlement) as usize] += 1;
        }
        tally
    }
}

impl std::ops::Sub for Tally {
    type Output = Self;

    fn sub(self, rest: Self) -> Self {
        Self {
            emissions: self.emissions - rest.emissions,
            settled: std::array::from_fn(|n| self.settled[n] - rest.settled[n]),
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
    pub(crate) tracer: Tracer,
    pub(crate) state: Option<Arc<InFlight>>,
    /// Weak: workers end when the feed lets go of its end.
    pub(crate) work: mpsc::WeakSender<Work>,
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
        let Part { hop, mut batch, mut told } = part;
        let mut wait = FIRST_WAIT;
        loop {
            let before = batch.len();
            let handed_in = Tally::of(batch.iter());
            let changing = self.changing(&batch);
            let mut unsettled = self.settler.settle(batch).await;
            self.note_stored(changing, &unsettled);
            hop.release(before - unsettled.len());
            self.count(handed_in - Tally::of(unsettled.iter().map(|unsettled| &unsettled.settling)));
            self.call_again(&hop, &mut unsettled, &mut told);
            if unsettled.is_empty() {
                return self.tell(told);
            }
            batch = unsettled.into_iter().map(|unsettled| self.again(unsettled, &mut told)).collect();
            sleep(jittered(wait)).await;
            wait = (wait * 2).min(LONGEST_WAIT);
        }
    }

    fn tell(&self, told: Told) {
        let Told { observed, storing } = told;
        for storing in storing {
            storing.stored(&self.tracer, &self.channel);
        }
        self.observers.send(observed);
    }

    /// The events of a batch that change the Channel's state.
    fn changing(&self, batch: &[Settling]) -> Vec<u64> {
        if self.state.is_none() {
            return Vec::new();
        }
        let changing = batch.iter().filter(|settling| settling.settlement.changes_state());
        changing.map(|settling| settling.delivery.event.sequence).collect()
    }

    fn note_stored(&self, changing: Vec<u64>, unsettled: &[Unsettled]) {
        let Some(state) = &self.state else { return };
        let left: BTreeSet<u64> = unsettled.iter().map(sequence).collect();
        changing.into_iter().filter(|event| !left.contains(event)).for_each(|event| state.stored(event));
    }

    /// What was in conflict goes back to the workers at once, and is held meanwhile. What cannot, stays in `unsettled`.
    fn call_again(&self, hop: &Arc<Hop>, unsettled: &mut Vec<Unsettled>, told: &mut Told) {
        let Some(state) = &self.state else { return };
        let mut again = Vec::new();
        for Unsettled { settling, error } in std::mem::take(unsettled) {
            let event = settling.delivery.event.sequence;
            if error != SettleError::Conflict {
                unsettled.push(Unsettled { settling, error });
                continue;
            }
            self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
            told.forget(event);
            if state.conflicted(event) {
                again.push(settling);
            } else {
                unsettled.push(Unsettled { settling, error });
            }
        }
        if again.is_empty() {
            return;
        }
        let room = self.work.upgrade().and_then(|work| work.try_reserve_owned().ok());
        match room {
            Some(room) => {
                let deliveries = again.into_iter().map(|settling| settling.delivery).collect();
                room.send(Work { hop: hop.clone(), deliveries });
            }
            None => unsettled.extend(
                again.into_iter().map(|settling| Unsettled { settling, error: SettleError::Conflict }),
            ),
        }
    }

    fn count(&self, settled: Tally) {
        self.counters.emissions.fetch_add(settled.emissions, Ordering::Relaxed);
        for (how, deliveries) in Settled::ALL.into_iter().zip(settled.settled) {
            if deliveries > 0 {
                self.counters.settle(how, deliveries);
            }
        }
    }

    /// What to hand in next for a delivery that the broker did not settle.
    fn again(&self, unsettled: Unsettled, told: &mut Told) -> Settling {
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
            // It was called again often enough, or no worker has room: later, and no attempt is burnt.
            SettleError::Conflict => return settling.delivery.into(Settlement::Release),
            SettleError::Refused(refusal) => refusal.to_string(),
        };
        if let Some(state) = &self.state {
            state.refused(sequence);
        }
        let Settling { delivery, settlement, account } = settling;
        if !matches!(settlement, Settlement::Done { .. } | Settlement::Packed(_)) {
            tracing::error!(%channel, sequence, reason, "the broker refuses to settle; trying again in a minute");
            return delivery.into(Settlement::Retry { after: STUCK_WAIT });
        }
        let build = self.build.load();
        // Nothing of what it did is stored: that is what its history says.
        let account = account.map(|account| Account {
            outcome: Outcome::Output,
            reason: Some(reason.as_str().into()),
            ..account
        });
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
        for storing in told.storing.iter_mut().filter(|storing| storing.sequence == sequence) {
            storing.settled = traces::settled(&settlement);
        }
        delivery.told(settlement, account)
    }
}
