//! The router: opens the broker, loads the Channels, opens the doors, serves, and closes in the opposite order.
//!
//! `run` and `dev` are two ways to drive the same router: both open it, then serve with something beside that asks the [`Fleet`]
//! to reload (`follow` for `run`, the author's loop for `dev`).

mod announce;
mod difference;
mod doors;
mod fleet;
mod follow;
mod load;
mod readiness;
mod reload;
mod role;
mod vitals;
mod watch;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use saf_broker::{Health, Note, Shared};
use saf_channel::{Deps, Metrics};
use saf_host::Host;
use tokio::runtime::Handle;

use crate::config::Config;
use crate::exit::Failure;
use crate::shutdown::Signals;
use crate::telemetry::Instruments;

pub(crate) use fleet::Fleet;
pub(crate) use follow::{follow, hangups};
pub(crate) use reload::{Change, Succession};
pub(crate) use role::Role;
pub(crate) use watch::{Target, Watch};

use doors::Doors;
use vitals::Vitals;

/// Wait between two tries at a broker that is not there.
const BROKER_RETRY: Duration = Duration::from_secs(2);
/// What the admin listener and the broker get to close after the Channels have.
const CLOSE_GRACE: Duration = Duration::from_secs(5);

/// Where things run.
pub(crate) struct Places {
    pub(crate) io: Handle,
    pub(crate) guests: Handle,
}

/// A router that runs.
pub(crate) struct Router {
    host: Arc<Host>,
    broker: Shared,
    fleet: Fleet,
    vitals: Vitals,
    doors: Doors,
}

impl Router {
    /// Opens everything that the configuration names, however long the broker takes to come up. `None` when a signal came first.
    pub(crate) async fn open(
        config: Config,
        role: Role,
        places: Places,
        instruments: &Instruments,
        signals: &mut Signals,
    ) -> Result<Option<Self>, Failure> {
        let host = Host::new(&config.host).map_err(|error| Failure::Config(error.to_string()))?;
        let mut components = BTreeMap::new();
        for (name, component) in load::load(&config, &host).await {
            let component =
                component.map_err(|reason| Failure::Config(format!("[channels.{name}] {reason}")))?;
            components.insert(name, component);
        }
        let Some((broker, notes)) = open(&config, signals).await? else { return Ok(None) };
        let vitals = Vitals::observe(&instruments.meter, &broker);
        let deps = Deps {
            broker: broker.clone(),
            host: host.clone(),
            io: places.io,
            guests: places.guests,
            metrics: Metrics::new(&instruments.meter),
            tracer: instruments.tracer.clone(),
        };
        let fleet = Fleet::start(config.clone(), components, deps, notes).await?;
        let doors = Doors::open(&config, role, &broker, &fleet, instruments)?;
        Ok(Some(Self { host, broker, fleet, vitals, doors }))
    }

    /// Says in the log what runs, and where.
    pub(crate) fn announce(&self) {
        announce::announce(self);
    }

    /// Where events come in, if they do here.
    pub(crate) fn ingest(&self) -> Option<SocketAddr> {
        self.doors.ingest()
    }

    /// Where operators look.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.doors.admin()
    }

    /// Serves until a signal (`Ok`), until something fails, or until `beside` ends; then closes.
    pub(crate) async fn serve(
        self,
        mut signals: Signals,
        beside: impl AsyncFnOnce(&Fleet) -> Failure,
    ) -> Result<(), Failure> {
        let Self { host, broker, fleet, vitals, mut doors } = self;
        let end = tokio::select! {
            signal = signals.next() => Ok(signal),
            reason = failed(&broker) => Err(Failure::Store(reason)),
            reason = fleet.failed() => Err(Failure::Internal(reason)),
            () = doors.ended() => Err(Failure::Internal("a listener ended by itself".to_owned())),
            () = sweep(&host) => Err(Failure::Internal("the sweep of idle instances ended".to_owned())),
            () = Box::pin(vitals.watch(&fleet)) => Err(Failure::Internal("the look at the streams ended".to_owned())),
            failure = beside(&fleet) => Err(failure),
        };
        let grace = match &end {
            Ok(signal) => {
                tracing::info!(signal, "stopping: what runs may finish; a second signal ends at once");
                fleet.grace().await
            }
            Err(failure) => {
                tracing::error!(reason = %failure, "stopping");
                Duration::ZERO
            }
        };
        tokio::select! {
            () = doors.close(&fleet, &broker, grace, CLOSE_GRACE) => {}
            signal = signals.next() => tracing::warn!(signal, "ended at once"),
        }
        end.map(|_| ())
    }
}

/// Opens and prepares the broker. `None` when a signal came first.
async fn open(config: &Config, signals: &mut Signals) -> Result<Option<(Shared, Vec<Note>)>, Failure> {
    let plan = config.plan();
    let mut opened: Option<Shared> = None;
    let mut attempt = async || {
        let broker = match &opened {
            Some(broker) => broker.clone(),
            None => opened.insert(saf_broker::open(&config.broker).await?).clone(),
        };
        let notes = broker.prepare(&plan).await?;
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

/// Drops idle instances, once a second.
async fn sweep(host: &Arc<Host>) {
    let mut tick = tokio::time::interval(Duration::from_secs(1));
    loop {
        tick.tick().await;
        host.sweep();
    }
}
