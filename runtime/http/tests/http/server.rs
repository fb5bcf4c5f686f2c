//! A listener under test, and the real broker behind it.

use std::sync::Arc;
use std::time::Duration;

use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use saf_broker::{Plan, Shared, StreamConfig, StreamPlan};
use saf_event::StreamName;
use saf_http::{Admin, AdminConfig, AdminDeps, Config, Deps, Ingest, Report, Running, Verdict};
use saf_telemetry::Tracer;
use tempfile::TempDir;
use tokio::sync::watch;

use crate::client::{Answer, Client, post};

/// Nothing here takes as long; what does hangs.
pub(crate) const HANG: Duration = Duration::from_secs(30);

/// Ends a test that hangs.
pub(crate) async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(HANG, what).await.expect("it hangs")
}

pub(crate) fn stream(name: &str) -> StreamName {
    StreamName::parse(name).expect("a name")
}

/// The embedded broker with the streams `events` and `other`.
pub(crate) async fn embedded() -> (Shared, TempDir) {
    let folder = tempfile::tempdir().expect("a folder");
    let config = saf_broker::Config { path: folder.path().join("store"), ..saf_broker::Config::default() };
    let broker = saf_broker::open(&config).await.expect("the store opens");
    let streams = ["events", "other"]
        .map(|name| StreamPlan { name: stream(name), config: StreamConfig::default() })
        .into();
    broker.prepare(&Plan { streams, ..Plan::default() }).await.expect("the streams are made");
    (broker, folder)
}

/// A listener under test, with the registry that its metrics end up in.
pub(crate) struct Server {
    pub(crate) running: Running,
    pub(crate) registry: prometheus::Registry,
    _provider: SdkMeterProvider,
}

impl Server {
    /// Ingest with this `[http]` section, on a free port and one thread unless it says otherwise.
    pub(crate) fn ingest(broker: Shared, toml: &str) -> Self {
        Self::ingest_when(broker, toml, Verdict::Ready)
    }

    pub(crate) fn ingest_when(broker: Shared, toml: &str, verdict: Verdict) -> Self {
        let mut config: Config = toml::from_str(toml).expect("TOML");
        config.listen.set_port(0);
        if config.threads == 0 {
            config.threads = 1;
        }
        let (registry, provider) = metrics();
        let (meter, readiness) = (provider.meter("saf"), Arc::new(move || report(verdict)));
        let deps = Deps { meter, tracer: Tracer::off(), readiness };
        let running = Ingest::start(&config, broker, deps).expect("it starts");
        Self { running, registry, _provider: provider }
    }

    /// The admin listener with this `[admin]` section, on a free port.
    pub(crate) fn admin(broker: Shared, toml: &str) -> Self {
        let mut config: AdminConfig = toml::from_str(toml).expect("TOML");
        config.listen.set_port(0);
        let (registry, provider) = metrics();
        let deps = AdminDeps {
            meter: provider.meter("saf"),
            readiness: Arc::new(|| report(Verdict::Ready)),
            registry: registry.clone(),
            channels: watch::channel(Vec::new()).1,
            streams: watch::channel(Vec::new()).1,
        };
        let running = Admin::start(&config, broker, deps).expect("it starts");
        Self { running, registry, _provider: provider }
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.running.local_addr()).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn send(&self, request: &str) -> Answer {
        let mut client = self.connect().await;
        client.write(request.as_bytes()).await;
        client.answer().await
    }

    /// One post on a connection of its own.
    pub(crate) async fn post(&self, path: &str, headers: &[(&str, &str)], body: &str) -> Answer {
        self.send(&post(path, headers, body)).await
    }

    /// The metrics as `/metrics` shows them.
    pub(crate) fn metrics(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).expect("text")
    }
}

fn metrics() -> (prometheus::Registry, SdkMeterProvider) {
    let registry = prometheus::Registry::new();
    let exporter =
        opentelemetry_prometheus::exporter().with_registry(registry.clone()).build().expect("an exporter");
    (registry, SdkMeterProvider::builder().with_reader(exporter).build())
}

fn report(verdict: Verdict) -> Report {
    let mut parts = serde_json::Map::new();
    parts.insert("channels".into(), serde_json::json!({ "printer": "running" }));
    Report { verdict, parts }
}
