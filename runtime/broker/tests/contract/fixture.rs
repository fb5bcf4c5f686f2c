//! How a broker is started for a promise, and what may differ between brokers.

use std::time::Duration;

use saf_broker::{Config, Shared};

use crate::support::NatsServer;

/// A broker with its store, both gone at the end.
pub trait Fixture: Sized {
    /// Starts it with an empty store; nothing is prepared.
    async fn start() -> Self;

    /// The broker.
    fn broker(&self) -> &Shared;

    /// Stops the broker, and whatever stores for it, and starts both again on the same store; nothing is prepared.
    async fn restart(&mut self);
}

/// JetStream, on a server of its own.
pub struct Jetstream {
    broker: Shared,
    server: NatsServer,
}

impl Fixture for Jetstream {
    async fn start() -> Self {
        let server = NatsServer::start();
        let broker = saf_broker::open(&server.config()).await.expect("a broker");
        Self { broker, server }
    }

    fn broker(&self) -> &Shared {
        &self.broker
    }

    async fn restart(&mut self) {
        self.broker.close(Duration::from_secs(5)).await;
        self.server.stop();
        self.server.run();
        self.broker = saf_broker::open(&self.server.config()).await.expect("a broker");
    }
}

/// The embedded store, in a folder of its own.
pub struct Embedded {
    broker: Shared,
    folder: tempfile::TempDir,
}

impl Embedded {
    async fn open(folder: &tempfile::TempDir) -> Shared {
        let config = Config { path: folder.path().join("data"), ..Config::default() };
        saf_broker::open(&config).await.expect("a broker")
    }
}

impl Fixture for Embedded {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a temp folder");
        Self { broker: Self::open(&folder).await, folder }
    }

    fn broker(&self) -> &Shared {
        &self.broker
    }

    async fn restart(&mut self) {
        self.broker.close(Duration::from_secs(5)).await;
        self.broker = Self::open(&self.folder).await;
    }
}
