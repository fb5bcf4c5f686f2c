//! The listeners: ingest, where the role has one, and the operators'.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use saf_broker::Shared;

use super::fleet::Fleet;
use super::readiness::Ready;
use super::role::Role;
use crate::config::Config;
use crate::exit::Failure;
use crate::telemetry::Instruments;

/// The listeners, open.
pub(super) struct Doors {
    ingest: Option<saf_http::Running>,
    admin: saf_http::Running,
}

impl Doors {
    pub(super) fn open(
        config: &Config,
        role: Role,
        broker: &Shared,
        fleet: &Fleet,
        instruments: &Instruments,
    ) -> Result<Self, Failure> {
        let readiness = Arc::new(Ready::of(fleet, role));
        let cannot = |error: saf_http::Error| Failure::Config(error.to_string());
        let deps = saf_http::AdminDeps {
            registry: instruments.registry.clone(),
            readiness: readiness.clone(),
            meter: instruments.meter.clone(),
            channels: fleet.channels(),
            streams: fleet.streams(),
        };
        let admin = saf_http::Admin::start(&config.admin, broker.clone(), deps).map_err(cannot)?;
        let (meter, tracer) = (instruments.meter.clone(), instruments.tracer.clone());
        let deps = saf_http::Deps { meter, tracer, readiness };
        let ingest = || saf_http::Ingest::start(&config.http, broker.clone(), deps).map_err(cannot);
        let ingest = role.takes_events().then(ingest).transpose()?;
        Ok(Self { ingest, admin })
    }

    /// Where events come in, if they do here.
    pub(super) fn ingest(&self) -> Option<SocketAddr> {
        self.ingest.as_ref().map(saf_http::Running::local_addr)
    }

    /// Where operators look.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Resolves when one of them ends by itself. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        let ingest = async {
            match &mut self.ingest {
                Some(ingest) => ingest.ended().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = ingest => {}
            () = self.admin.ended() => {}
        }
    }

    /// In the opposite order of opening: no more events in, then what runs, then the broker; the operators' door last, so that
    /// `/readyz` and `/metrics` can be watched to the end.
    pub(super) async fn close(self, fleet: &Fleet, broker: &Shared, grace: Duration, close_grace: Duration) {
        let Self { ingest, admin } = self;
        let no_more_events = async {
            if let Some(ingest) = ingest {
                ingest.shutdown(grace).await;
            }
        };
        tokio::join!(no_more_events, fleet.stop(grace));
        broker.close(close_grace).await;
        admin.shutdown(close_grace).await;
    }
}
