//! The router: opens the broker, loads the Channels, opens the doors, waits, and closes in the opposite order.

mod announce;
mod readiness;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, select_all};
use futures::{FutureExt, StreamExt, stream};
use saf_broker::{Health, Note, Shared};
use saf_channel::{Channel, Deps, Metrics};
use saf_event::ChannelName;
use saf_host::{Component, Host};
use tokio::runtime::Handle;

use crate::config::Config;
use crate::exit::Failure;
use crate::shutdown::Signals;
use crate::telemetry::Instruments;
use readiness::Ready;

/// Wait between two tries to open the broker at start.
const BROKER_RETRY: Duration = Duration::from_secs(2);
/// Components loaded at once; compilation itself is bounded by the host.
const LOADS_AT_ONCE: usize = 8;
/// What the admin listener and the broker get to close after the Channels have.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Where things run.
pub(crate) struct Places {
    pub(crate) io: Handle,
    pub(crate) guests: Handle,
}

/// Runs until a signal (`Ok`) or until something fails.
pub(crate) async fn run(config: Config, places: Places, instruments: Instruments) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::internal)?;
    let host = Host::new(&config.host).map_err(|error| Failure::Config(error.to_string()))?;
    let components = load(&config, &host).await?;
    let plan = config.plan();
    let Some((broker, notes)) = open(&config, &plan, &mut signals).await? else { return Ok(()) };
    for note in notes {
        match note {
            Note::Done(text) => tracing::info!("{text}"),
            Note::Differs(text) => tracing::warn!("{text}"),
        }
    }
    let deps = Deps {
        broker: broker.clone(),
        host: host.clone(),
        io: places.io,
        guests: places.guests,
        metrics: Metrics::new(&instruments.meter),
    };
    let channels = start(&config, &plan, components, &deps).await?;
    let mut doors = Doors::open(&config, &broker, &channels, &instruments)?;
    announce::announce(&config, &doors, &broker, &channels);

    let end = tokio::select! {
        signal = signals.next() => Ok(signal),
        reason = failed(&broker) => Err(Failure::Store(reason)),
        reason = channel_failed(&channels) => Err(Failure::Internal(reason)),
        () = doors.ended() => Err(Failure::Internal("a listener ended by itself".to_owned())),
        () = sweep(&host) => Err(Failure::Internal("the sweep of idle instances ended".to_owned())),
    };
    let grace = match &end {
        Ok(signal) => {
            tracing::info!(signal, "stopping: what runs may finish; a second signal ends at once");
            config.shutdown.grace.0
        }
        Err(failure) => {
            tracing::error!(reason = %failure, "stopping");
            Duration::ZERO
        }
    };
    tokio::select! {
        () = close(doors, &channels, &broker, grace) => {}
        signal = signals.next() => tracing::warn!(signal, "ended at once"),
    }
    end.map(|_| ())
}

/// The components by Channel; each file is loaded once however many Channels share it.
async fn load(config: &Config, host: &Arc<Host>) -> Result<BTreeMap<ChannelName, Component>, Failure> {
    let files: BTreeSet<_> = config.channels.values().map(|channel| channel.component.as_path()).collect();
    let loads = files.into_iter().map(|file| async move { (file, host.load(file).await) });
    let loaded: BTreeMap<_, _> = stream::iter(loads).buffer_unordered(LOADS_AT_ONCE).collect().await;
    let component = |(name, channel): (&ChannelName, &saf_channel::Config)| {
        let file = channel.component.as_path();
        match loaded.get(file) {
            Some(Ok(component)) => Ok((name.clone(), component.clone())),
            Some(Err(error)) => {
                Err(Failure::Config(format!("[channels.{name}] {}: {error}", file.display())))
            }
            None => Err(Failure::Internal(format!("{} was not loaded", file.display()))),
        }
    };
    config.channels.iter().map(component).collect()
}

/// Opens and prepares the broker, however long it takes to come up. `None` when a signal came first.
async fn open(
    config: &Config,
    plan: &saf_broker::Plan,
    signals: &mut Signals,
) -> Result<Option<(Shared, Vec<Note>)>, Failure> {
    let mut opened: Option<Shared> = None;
    let mut attempt = async || {
        let broker = match &opened {
            Some(broker) => broker.clone(),
            None => opened.insert(saf_broker::open(&config.broker).await?).clone(),
        };
        let notes = broker.prepare(plan).await?;
        Ok::<_, saf_broker::Error>((broker, notes))
    };
    loop {
        let prepared = tokio::select! {
            prepared = attempt() => prepared,
            _ = signals.next() => return Ok(None),
        };
        match prepared {
            Ok(prepared) => return Ok(Some(prepared)),
            Err(error @ saf_broker::Error::Unavailable(_)) => {
                tracing::warn!(%error, "waiting for the broker")
            }
            Err(error) => return Err(error.into()),
        }
        tokio::select! {
            () = tokio::time::sleep(BROKER_RETRY) => {}
            _ = signals.next() => return Ok(None),
        }
    }
}

async fn start(
    config: &Config,
    plan: &saf_broker::Plan,
    mut components: BTreeMap<ChannelName, Component>,
    deps: &Deps,
) -> Result<Vec<Arc<Channel>>, Failure> {
    let mut channels = Vec::with_capacity(plan.channels.len());
    for plan in &plan.channels {
        let channel = config.channels.get(&plan.channel).zip(components.remove(&plan.channel));
        if let Some((config, component)) = channel {
            channels.push(Channel::start(plan, config.clone(), component, deps).await?);
        }
    }
    Ok(channels)
}

/// The listeners.
pub(crate) struct Doors {
    pub(crate) ingest: saf_http::Running,
    pub(crate) admin: saf_http::Running,
}

impl Doors {
    fn open(
        config: &Config,
        broker: &Shared,
        channels: &[Arc<Channel>],
        instruments: &Instruments,
    ) -> Result<Self, Failure> {
        let readiness = Arc::new(Ready::new(channels.to_vec()));
        let cannot = |error: saf_http::Error| Failure::Config(error.to_string());
        let meter = instruments.meter.clone();
        let deps = saf_http::AdminDeps {
            registry: instruments.registry.clone(),
            readiness: readiness.clone(),
            meter,
            channels: channels.to_vec(),
            streams: config.streams.keys().cloned().collect(),
        };
        let admin = saf_http::Admin::start(&config.admin, broker.clone(), deps).map_err(cannot)?;
        let deps = saf_http::Deps { meter: instruments.meter.clone(), readiness };
        let ingest = saf_http::Ingest::start(&config.http, broker.clone(), deps).map_err(cannot)?;
        Ok(Self { ingest, admin })
    }

    async fn ended(&mut self) {
        tokio::select! {
            () = self.ingest.ended() => {}
            () = self.admin.ended() => {}
        }
    }
}

/// In the opposite order of opening: no more events in, then what runs, then the broker; the admin door last, so that
/// `/readyz` and `/metrics` can be watched to the end.
async fn close(doors: Doors, channels: &[Arc<Channel>], broker: &Shared, grace: Duration) {
    let Doors { ingest, admin } = doors;
    tokio::join!(ingest.shutdown(grace), join_all(channels.iter().map(|channel| channel.stop(grace))));
    broker.close(CLOSE_GRACE).await;
    admin.shutdown(CLOSE_GRACE).await;
}

/// Resolves when the broker will not work again before a restart.
async fn failed(broker: &Shared) -> String {
    let mut health = broker.health();
    let seen =
        health.wait_for(|health| matches!(health, Health::Failed { .. })).await.map(|health| health.clone());
    match seen {
        Ok(Health::Failed { reason }) => reason,
        Ok(Health::Up | Health::Down { .. }) | Err(_) => std::future::pending().await,
    }
}

async fn channel_failed(channels: &[Arc<Channel>]) -> String {
    if channels.is_empty() {
        return std::future::pending().await;
    }
    let (reason, index, _) = select_all(channels.iter().map(|channel| channel.failed().boxed())).await;
    format!("Channel {}: {reason}", channels[index].name())
}

/// Drops idle instances, once a second.
async fn sweep(host: &Arc<Host>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        host.sweep();
    }
}
