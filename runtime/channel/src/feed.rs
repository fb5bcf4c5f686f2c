//! The io side of a Channel, first half: decides whether to take events, how many, and hands them to the workers. Nothing is
//! pulled while the Channel is paused or no instance can be had, so that no attempt is burnt for what is not the event's fault.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use saf_broker::{Account, Delivery, Source, Switch};
use saf_event::{ChannelName, Outcome, unix_millis};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use crate::attempts::{Attempts, Suspicion, jittered};
use crate::build::Build;
use crate::held::Held;
use crate::observe::Told;
use crate::pace::Pace;
use crate::status::{Counters, State, StatusSender, Supply};
use crate::worker::{Part, Work};

/// First wait after a failed try at an instance, or at the broker; doubles up to the longest.
const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

pub(crate) struct Feeder {
    pub(crate) channel: ChannelName,
    pub(crate) build: Arc<ArcSwap<Build>>,
    pub(crate) guests: Handle,
    pub(crate) held: Arc<Held>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) status: Arc<StatusSender>,
    pub(crate) switches: watch::Receiver<BTreeMap<ChannelName, Switch>>,
    /// Set by a worker that got no instance, and here.
    pub(crate) supply: watch::Sender<Supply>,
    pub(crate) stop: CancellationToken,
    pub(crate) work: mpsc::Sender<Work>,
    pub(crate) parts: mpsc::Sender<Part>,
    /// Whether the broker keeps what is told of attempts.
    pub(crate) history: bool,
}

/// What a sick Channel may take before the next look at how it does.
struct Probe {
    budget: usize,
    wait: Duration,
    /// Events done by the last look.
    done: u64,
}

impl Feeder {
    /// Feeds until stopped. What was taken and not handed on is given back.
    pub(crate) async fn run(self, mut source: Box<dyn Source>) {
        tokio::select! {
            biased;
            () = self.stop.cancelled() => {}
            () = self.feed(&mut *source) => {}
        }
        self.set(State::Stopped, None);
    }

    async fn feed(&self, source: &mut dyn Source) {
        let mut probe = Probe { budget: 1, wait: FIRST_WAIT, done: 0 };
        let mut broker_wait = FIRST_WAIT;
        let mut taken = Vec::new();
        loop {
            self.running().await;
            self.instance().await;
            let want = self.want(&mut probe).await;
            match self.fill(source, want, &mut taken).await {
                Ok(()) => broker_wait = FIRST_WAIT,
                Err(error) => {
                    tracing::warn!(channel = %self.channel, %error, "no events can be taken; trying again");
                    sleep(jittered(broker_wait)).await;
                    broker_wait = (broker_wait * 2).min(LONGEST_WAIT);
                }
            }
            if self.hand_on(&mut taken).await.is_none() {
                return;
            }
        }
    }

    fn set(&self, state: State, reason: Option<String>) {
        self.status.set(self.channel.as_str(), state, reason);
    }

    /// Waits until nobody pauses the Channel.
    async fn running(&self) {
        let mut switches = self.switches.clone();
        if !self.is_paused(&switches.borrow()) {
            return;
        }
        self.set(State::Paused, Some("paused by an operator".to_owned()));
        // The broker outlives its Channels; if it does not, there is nothing to take either.
        let _ = switches.wait_for(|switches| !self.is_paused(switches)).await;
    }

    fn is_paused(&self, switches: &BTreeMap<ChannelName, Switch>) -> bool {
        switches.get(&self.channel) == Some(&Switch::Paused)
    }

    /// Waits until an instance can be had. Costs nothing while no worker has reported a fault.
    async fn instance(&self) {
        let mut wait = FIRST_WAIT;
        loop {
            let supply = self.supply.borrow().clone();
            match supply {
                Supply::Ready => break,
                Supply::Untried => {}
                Supply::Faulted(reason) => {
                    self.set(State::Faulted, Some(reason));
                    self.sleep_unless_replaced(jittered(wait)).await;
                    wait = (wait * 2).min(LONGEST_WAIT);
                }
            }
            self.supply.send_replace(self.try_instance().await);
        }
        self.set(if self.attempts.sick() { State::Sick } else { State::Running }, self.sickness());
    }

    /// A component that is put in the place of a faulty one is tried at once.
    async fn sleep_unless_replaced(&self, wait: Duration) {
        let mut supply = self.supply.subscribe();
        tokio::select! {
            () = sleep(wait) => {}
            _ = supply.wait_for(|supply| *supply == Supply::Ready) => {}
        }
    }

    async fn try_instance(&self) -> Supply {
        let build = self.build.load_full();
        match self.guests.spawn(async move { build.pool.acquire().await.map(drop) }).await {
            Ok(Ok(())) => Supply::Ready,
            Ok(Err(error)) => Supply::Faulted(error.to_string()),
            Err(error) => Supply::Faulted(format!("making an instance failed: {error}")),
        }
    }

    fn sickness(&self) -> Option<String> {
        let waiting = self.attempts.waiting();
        self.attempts
            .sick()
            .then(|| format!("{waiting} events failed and wait for a retry; taking probes only"))
    }

    /// How many to take now. A sick Channel takes one, sees what becomes of it, and takes twice as many each time that something
    /// was done; otherwise it waits twice as long, up to the last step of its backoff. So an outage of what its guest depends on costs a dead letter a probe at
    /// most, not the backlog, and a backlog of bad events still comes to its end.
    async fn want(&self, probe: &mut Probe) -> usize {
        let build = self.build.load();
        let limit = self.pace.held(&build.config);
        let longest = build.config.backoff(u32::MAX).clamp(FIRST_WAIT, LONGEST_WAIT);
        drop(build);
        let done = self.counters.outcome(Outcome::Done);
        if !self.attempts.sick() {
            *probe = Probe { budget: 1, wait: FIRST_WAIT, done };
            return self.held.room(limit).await;
        }
        self.held.empty().await;
        let done = self.counters.outcome(Outcome::Done);
        if done > probe.done {
            *probe = Probe { budget: (probe.budget * 2).min(limit), wait: FIRST_WAIT, done };
        } else {
            sleep(jittered(probe.wait)).await;
            *probe = Probe { budget: 1, wait: (probe.wait * 2).min(longest), done };
        }
        probe.budget
    }

    /// Takes events, unless the Channel is paused or faulted meanwhile.
    async fn fill(
        &self,
        source: &mut dyn Source,
        want: usize,
        taken: &mut Vec<Delivery>,
    ) -> Result<(), saf_broker::Error> {
        let mut switches = self.switches.clone();
        let mut supply = self.supply.subscribe();
        let paused = async {
            if switches.wait_for(|switches| self.is_paused(switches)).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        let faulted = async {
            if supply.wait_for(|supply| *supply != Supply::Ready).await.is_err() {
                std::future::pending::<()>().await;
            }
        };
        tokio::select! {
            biased;
            () = paused => Ok(()),
            () = faulted => Ok(()),
            filled = source.fill(want, taken) => filled,
        }
    }

    /// Gives the workers what was taken, in hops. `None` when they are gone.
    async fn hand_on(&self, taken: &mut Vec<Delivery>) -> Option<()> {
        let build = self.build.load();
        let max = self.pace.hop(taken.len(), build.config.concurrency);
        let mut hop = Vec::new();
        for delivery in taken.drain(..) {
            let sequence = delivery.event.sequence;
            match self.attempts.suspicion(&build.config, sequence, delivery.deliveries) {
                Suspicion::None => {
                    hop.push(delivery);
                    if hop.len() >= max {
                        self.send(std::mem::take(&mut hop)).await?;
                    }
                }
                Suspicion::Alone => {
                    self.send(std::mem::take(&mut hop)).await?;
                    self.alone(delivery).await?;
                }
                Suspicion::Dead => self.bury(&build, delivery).await?,
            }
        }
        self.send(hop).await
    }

    async fn send(&self, deliveries: Vec<Delivery>) -> Option<()> {
        if deliveries.is_empty() {
            return Some(());
        }
        let hop = self.held.hop(&deliveries);
        self.work.send(Work { hop, deliveries }).await.ok()
    }

    /// If this one kills the process, no other is blamed.
    async fn alone(&self, delivery: Delivery) -> Option<()> {
        tracing::warn!(
            channel = %self.channel, sequence = delivery.event.sequence, deliveries = delivery.deliveries,
            "handed out again and again and never finished: running it alone"
        );
        self.held.empty().await;
        self.send(vec![delivery]).await?;
        self.held.empty().await;
        Some(())
    }

    fn bury<'a>(&'a self, build: &Build, delivery: Delivery) -> impl Future<Output = Option<()>> + 'a {
        let sequence = delivery.event.sequence;
        let letter = self.attempts.never_finished(sequence, build.component.digest(), delivery.deliveries);
        let hop = self.held.hop(std::slice::from_ref(&delivery));
        tracing::warn!(channel = %self.channel, sequence, "never finished: dead letter");
        let account = self.history.then(|| Account {
            digest: build.digest_bytes,
            outcome: Outcome::Expired,
            started: unix_millis(),
            queued_millis: 0,
            micros: 0,
            fuel: 0,
            memory: 0,
            reason: Some("never finished".into()),
        });
        let batch = vec![delivery.told(letter, account)];
        async move { self.parts.send(Part { hop, batch, told: Told::default() }).await.ok() }
    }
}
