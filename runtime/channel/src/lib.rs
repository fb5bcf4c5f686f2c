//! A Channel's life: take events from its stream, call its guest with each, hand the results back.
//!
//! ```text
//! io runtime                         guest runtime
//! feed: Source::fill --Vec<Delivery>, bounded--> worker: Lease::call, judge   (x concurrency)
//!                                                   |
//! settle: Settler::settle <--Vec<Settling>, bounded-+
//! upkeep: extend what is held, look at the lag
//! ```
//!
//! Everything a Channel decides is here and nowhere else: how much to take ([`pace`]), what a failed attempt leads to
//! ([`attempts`]), what may be emitted ([`emit`]), when to stop taking ([`feed`]). It knows neither which broker it runs on nor
//! what WebAssembly is.

mod attempts;
mod build;
mod config;
mod durations;
mod emit;
mod feed;
mod held;
mod metrics;
mod observe;
mod pace;
mod settle;
mod state;
mod status;
mod traces;
mod upkeep;
mod worker;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use saf_broker::{ChannelPlan, Error, Lag, Order, Place, Settler, Shared, StatePlan};
use saf_event::ChannelName;
use saf_host::{Component, Host};
use saf_telemetry::Tracer;
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use config::{Config, ConfigError, Emit, From};
pub use durations::Durations;
pub use emit::check_emissions;
pub use metrics::Metrics;
pub use observe::{Next, Observed};
pub use status::{Counters, State, Status};

use attempts::Attempts;
use build::Build;
use emit::Emitter;
use feed::Feeder;
use held::Held;
use observe::Observers;
use pace::Pace;
use settle::SettleStage;
use state::InFlight;
use status::{StatusSender, Supply};
use upkeep::{Standing, Upkeep};
use worker::Worker;

/// Hops that wait for a worker, and parts that wait for the settler; what is held is bounded before these are full.
const QUEUE_HOPS: usize = 256;

/// What every Channel of a process shares.
#[derive(Clone)]
pub struct Deps {
    /// The broker, prepared with a plan that holds the Channel.
    pub broker: Shared,
    /// The sandbox.
    pub host: Arc<Host>,
    /// Where the network is served: feeding and settling.
    pub io: Handle,
    /// Where guests run.
    pub guests: Handle,
    /// Instruments.
    pub metrics: Metrics,
    /// Where spans go.
    pub tracer: Tracer,
}

/// A running Channel.
pub struct Channel {
    name: ChannelName,
    host: Arc<Host>,
    guests: Handle,
    build: Arc<ArcSwap<Build>>,
    counters: Arc<Counters>,
    attempts: Arc<Attempts>,
    held: Arc<Held>,
    standing: Arc<Mutex<Standing>>,
    /// Weak: a stopped Channel that somebody still looks at lets its feed go.
    settler: Weak<dyn Settler>,
    observers: Observers,
    state: Option<Arc<InFlight>>,
    supply: watch::Sender<Supply>,
    status: watch::Receiver<Status>,
    stop: CancellationToken,
    ended: watch::Receiver<Option<String>>,
}

/// The consumer that a Channel's configuration asks of its broker.
pub fn plan(name: &ChannelName, config: &Config, retain: bool) -> ChannelPlan {
    let max_ack_pending = match config.order {
        Order::None => config.max_ack_pending,
        Order::All => 1,
    };
    ChannelPlan {
        channel: name.clone(),
        stream: config.stream.clone(),
        subjects: config.subjects.clone(),
        start: config.start.0,
        ack_wait: config.ack_wait.0,
        max_ack_pending,
        order: config.order,
        retain: config.retain.unwrap_or(retain),
        state: config.grants.keyvalue.then_some(StatePlan { max_bytes: config.limits.state_max.0 }),
    }
}

impl Channel {
    /// Subscribes, and starts the Channel's tasks. Its first instance is made in the background: until then, or as long as that
    /// fails, its events wait.
    pub async fn start(
        plan: &ChannelPlan,
        config: Config,
        component: Component,
        deps: &Deps,
    ) -> Result<Arc<Self>, Error> {
        let feed = deps.broker.subscribe(plan).await?;
        let name = plan.channel.clone();
        if plan.state.is_some() && feed.state.is_none() {
            let kind = deps.broker.profile().kind;
            return Err(Error::Config(format!(
                "channels.{name}.grants.keyvalue: broker.kind = {kind:?} keeps no state; take embedded or jetstream"
            )));
        }
        let state = feed.state.map(|reader| Arc::new(InFlight::new(reader)));
        let concurrency = match config.order {
            Order::None => config.concurrency,
            Order::All => 1,
        };
        let (held, pace) = (Arc::<Held>::default(), Arc::<Pace>::default());
        let (counters, standing) = (Arc::<Counters>::default(), Arc::<Mutex<Standing>>::default());
        let attempts = Arc::new(Attempts::new(name.clone(), &config));
        let observers = Observers::new();
        let build = Build::new(&deps.host, &name, config, component, state.clone(), None);
        let build = Arc::new(ArcSwap::from_pointee(build));
        let settler = Arc::downgrade(&feed.settler);
        let (status, status_seen) = StatusSender::new();
        let supply = watch::Sender::new(Supply::Untried);
        let stop = CancellationToken::new();
        let (work, work_seen) = mpsc::channel(QUEUE_HOPS);
        let (parts, parts_seen) = mpsc::channel(QUEUE_HOPS);

        let worker = Arc::new(Worker {
            build: build.clone(),
            settler: feed.settler.clone(),
            emitter: Emitter { channel: name.clone(), profile: deps.broker.profile() },
            attempts: attempts.clone(),
            pace: pace.clone(),
            counters: counters.clone(),
            timings: deps.metrics.timings(name.as_str()),
            tracer: deps.tracer.clone(),
            observers: observers.clone(),
            supply: supply.clone(),
            stop: stop.clone(),
            work: work_seen.into(),
            parts: parts.clone(),
            state: state.clone(),
            history: deps.broker.history().is_some(),
        });
        let upkeep = Upkeep {
            channel: name.clone(),
            broker: deps.broker.clone(),
            build: build.clone(),
            settler: feed.settler.clone(),
            held: held.clone(),
            standing: standing.clone(),
            ack_wait: plan.ack_wait,
        };
        let settle = SettleStage {
            channel: name.clone(),
            settler: feed.settler,
            build: build.clone(),
            attempts: attempts.clone(),
            counters: counters.clone(),
            observers: observers.clone(),
            tracer: deps.tracer.clone(),
            state: state.clone(),
            work: work.downgrade(),
        };
        let feeder = Feeder {
            channel: name.clone(),
            build: build.clone(),
            guests: deps.guests.clone(),
            held: held.clone(),
            pace,
            attempts: attempts.clone(),
            counters: counters.clone(),
            status: Arc::new(status),
            switches: deps.broker.switches(),
            supply: supply.clone(),
            stop: stop.clone(),
            work,
            parts,
            history: deps.broker.history().is_some(),
        };

        let mut tasks = JoinSet::new();
        let upkeep = tasks.spawn_on(upkeep.run(), &deps.io);
        tasks.spawn_on(feeder.run(feed.source), &deps.io);
        tasks.spawn_on(settle.run(parts_seen), &deps.io);
        for _ in 0..concurrency {
            tasks.spawn_on(worker.clone().run(), &deps.guests);
        }
        drop(worker);
        let (ended_sender, ended) = watch::channel(None);
        deps.io.spawn(watch_tasks(tasks, upkeep, stop.clone(), ended_sender));

        let channel = Arc::new(Self {
            name,
            host: deps.host.clone(),
            guests: deps.guests.clone(),
            build,
            counters,
            attempts,
            held,
            standing,
            settler,
            observers,
            state,
            supply,
            status: status_seen,
            stop,
            ended,
        });
        deps.metrics.add(&channel);
        Ok(channel)
    }

    /// Its name.
    pub fn name(&self) -> &ChannelName {
        &self.name
    }

    /// How it is.
    pub fn status(&self) -> Status {
        self.status.borrow().clone()
    }

    /// How it is, as it changes.
    pub fn watch(&self) -> watch::Receiver<Status> {
        self.status.clone()
    }

    /// What it did since the process started.
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// How far it was behind at the last look, a few seconds ago at most.
    pub fn lag(&self) -> Lag {
        self.standing().lag
    }

    /// The age of the oldest event that it had not settled at the last look; zero when there was none.
    pub fn behind(&self) -> Duration {
        self.standing().behind
    }

    fn standing(&self) -> Standing {
        *self.standing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is behind now; `None` when it is stopped, or the broker does not answer. Cancel-safe.
    pub async fn look(&self) -> Option<Lag> {
        self.settler.upgrade()?.lag().await.ok()
    }

    /// Where it stands towards an event of its stream; `None` when it is stopped, or the broker does not answer. Cancel-safe.
    pub async fn place(&self, sequence: u64) -> Option<Place> {
        self.settler.upgrade()?.place(sequence).await.ok()
    }

    /// Whether this process holds a delivery of an event.
    pub fn holds(&self, sequence: u64) -> bool {
        self.held.tickets().iter().any(|ticket| ticket.sequence == sequence)
    }

    /// Deliveries that it holds, and events that failed and wait for a retry.
    pub fn in_flight(&self) -> (usize, usize) {
        (self.held.count(), self.attempts.waiting())
    }

    /// Its attempts from now on, each after its settlement was stored; an observer more than a thousand behind misses some.
    pub fn observe(&self) -> broadcast::Receiver<Observed> {
        self.observers.subscribe()
    }

    /// The configuration in use.
    pub fn config(&self) -> Config {
        self.build.load().config.clone()
    }

    /// The component in use.
    pub fn component(&self) -> Component {
        self.build.load().component.clone()
    }

    /// Puts another component, with its configuration, in place: makes an instance of it first, and changes nothing when that
    /// fails. What is being handled finishes on the old one; a Channel that was faulted goes on at once. `subjects`, `start`,
    /// `order`, `ack_wait`, `max_ack_pending` and `concurrency` stay as they were: those belong to the consumer. Dropped before it
    /// is done, it may have put the new one in place or not, never half of it. A version that needs state, where the Channel was started
    /// without, is only tried: it takes over when the Channel is started again.
    pub async fn replace(&self, config: Config, component: Component) -> Result<(), String> {
        let waits = config.grants.keyvalue && self.state.is_none();
        let before = self.build.load_full();
        let build = Build::new(&self.host, &self.name, config, component, self.state.clone(), Some(&before));
        let build = Arc::new(build);
        let trial = build.clone();
        let tried = self.guests.spawn(async move { trial.pool.acquire().await.map(drop) }).await;
        tried.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
        if waits {
            return Ok(());
        }
        self.build.store(build);
        self.supply.send_replace(Supply::Ready);
        Ok(())
    }

    /// Stops taking, lets what runs finish, gives the rest back. Returns when all is settled, or after `grace`, when what is
    /// left is taken by another replica or after a restart.
    pub async fn stop(&self, grace: Duration) {
        self.stop.cancel();
        let mut ended = self.ended.clone();
        if tokio::time::timeout(grace, ended.wait_for(Option::is_some)).await.is_err() {
            tracing::warn!(channel = %self.name, held = self.held.count(), "not finished within the grace period");
        }
    }

    /// Resolves with the reason when one of its tasks ends that should not have: a bug, after which the runtime stops.
    pub async fn failed(&self) -> String {
        let mut ended = self.ended.clone();
        loop {
            let reason = ended.wait_for(Option::is_some).await.map(|reason| reason.clone());
            match reason {
                Ok(Some(reason)) if !reason.is_empty() => return reason,
                _ => std::future::pending().await,
            }
        }
    }
}

/// Joins a Channel's tasks. Before [`Channel::stop`] none of them may end. Reports an empty reason for an orderly end.
async fn watch_tasks(
    mut tasks: JoinSet<()>,
    upkeep: AbortHandle,
    stop: CancellationToken,
    ended: watch::Sender<Option<String>>,
) {
    while let Some(end) = tasks.join_next().await {
        let unexpected = match end {
            Err(error) if error.is_panic() => Some(format!("a task of the Channel panicked: {error}")),
            _ if !stop.is_cancelled() => Some("a task of the Channel ended by itself".to_owned()),
            _ => None,
        };
        if unexpected.is_some() {
            ended.send_replace(unexpected);
            return;
        }
        // Upkeep runs until everything else is through: what is being settled is still held.
        if tasks.len() == 1 {
            upkeep.abort();
        }
    }
    ended.send_replace(Some(String::new()));
}
