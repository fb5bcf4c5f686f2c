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
mod emit;
mod feed;
mod held;
mod metrics;
mod observe;
mod pace;
mod settle;
mod status;
mod upkeep;
mod worker;

use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use saf_broker::{ChannelPlan, Lag, Order, Settler, Shared};
use saf_event::ChannelName;
use saf_host::{Component, Host};
use tokio::runtime::Handle;
use tokio::sync::{broadcast, mpsc, watch};
use tokio::task::{AbortHandle, JoinSet};
use tokio_util::sync::CancellationToken;

pub use config::{Config, ConfigError, Emit, From};
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
use status::{StatusSender, Supply};
use upkeep::Upkeep;
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
    lag: Arc<Mutex<Lag>>,
    /// Weak: a stopped Channel that somebody still looks at lets its feed go.
    settler: Weak<dyn Settler>,
    observers: Observers,
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
    ) -> Result<Arc<Self>, saf_broker::Error> {
        let feed = deps.broker.subscribe(plan).await?;
        let name = plan.channel.clone();
        let concurrency = match config.order {
            Order::None => config.concurrency,
            Order::All => 1,
        };
        let (held, pace) = (Arc::<Held>::default(), Arc::<Pace>::default());
        let (counters, lag) = (Arc::<Counters>::default(), Arc::<Mutex<Lag>>::default());
        let attempts = Arc::new(Attempts::new(name.clone(), &config));
        let observers = Observers::new();
        let build = Arc::new(ArcSwap::from_pointee(Build::new(&deps.host, &name, config, component)));
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
            observers: observers.clone(),
            supply: supply.clone(),
            stop: stop.clone(),
            work: work_seen.into(),
            parts: parts.clone(),
        });
        let upkeep = Upkeep {
            channel: name.clone(),
            settler: feed.settler.clone(),
            held: held.clone(),
            lag: lag.clone(),
            ack_wait: plan.ack_wait,
        };
        let settle = SettleStage {
            channel: name.clone(),
            settler: feed.settler,
            build: build.clone(),
            attempts: attempts.clone(),
            counters: counters.clone(),
            observers: observers.clone(),
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
            lag,
            settler,
            observers,
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
        *self.lag.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How far it is behind now; `None` when it is stopped, or the broker does not answer. Cancel-safe.
    pub async fn look(&self) -> Option<Lag> {
        self.settler.upgrade()?.lag().await.ok()
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
    /// is done, it may have put the new one in place or not, never half of it.
    pub async fn replace(&self, config: Config, component: Component) -> Result<(), String> {
        let build = Arc::new(Build::new(&self.host, &self.name, config, component));
        let trial = build.clone();
        let tried = self.guests.spawn(async move { trial.pool.acquire().await.map(drop) }).await;
        tried.map_err(|error| error.to_string())?.map_err(|error| error.to_string())?;
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
