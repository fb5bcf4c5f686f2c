//! The listeners: ingest, and the operators'.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use saf_broker::Shared;

use super::fleet::Fleet;
use super::readiness::Ready;
use crate::config::Config;
use crate::exit::Failure;
use crate::telemetry::Instruments;

/// Both listeners, open.
pub(super) struct Doors {
    ingest: saf_http::Running,
    admin: saf_http::Running,
}

impl Doors {
    pub(super) fn open(
        config: &Config,
        broker: &Shared,
        fleet: &Fleet,
        instruments: &Instruments,
    ) -> Result<Self, Failure> {
        let readiness = Arc::new(Ready::of(fleet));
        let cannot = |error: saf_http::Error| Failure::Config(error.to_string());
        let deps = saf_http::AdminDeps {
            registry: instruments.registry.clone(),
            readiness: readiness.clone(),
            meter: instruments.meter.clone(),
            channels: fleet.channels(),
            streams: fleet.streams(),
        };
        let admin = saf_http::Admin::start(&config.admin, broker.clone(), deps).map_err(cannot)?;
        let deps = saf_http::Deps { meter: instruments.meter.clone(), readiness };
        let ingest = saf_http::Ingest::start(&config.http, broker.clone(), deps).map_err(cannot)?;
        Ok(Self { ingest, admin })
    }

    /// Where events come in.
    pub(super) fn ingest(&self) -> SocketAddr {
        self.ingest.local_addr()
    }

    /// Where operators look.
    pub(super) fn admin(&self) -> SocketAddr {
        self.admin.local_addr()
    }

    /// Resolves when one of them ends by itself. Cancel-safe.
    pub(super) async fn ended(&mut self) {
        tokio::select! {
            () = self.ingest.ended() => {}
            () = self.admin.ended() => {}
        }
    }

    /// In the opposite order of opening: no more events in, then what runs, then the broker; the operators' door last, so that
    /// `/readyz` and `/metrics` can be watched to the end.
    pub(super) async fn close(self, fleet: &Fleet, broker: &Shared, grace: Duration, close_grace: Duration) {
        let Self { ingest, admin } = self;
        tokio::join!(ingest.shutdown(grace), fleet.stop(grace));
        broker.close(close_grace).await;
        admin.shutdown(close_grace).await;
    }
}
