//! A router without its front door: a broker, Channels with real guests, and the admin listener.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use opentelemetry::metrics::MeterProvider as _;
use opentelemetry_sdk::metrics::SdkMeterProvider;
use saf_broker::{Kind, Plan, Shared, StreamConfig, StreamPlan};
use saf_channel::{Channel, Config, Metrics};
use saf_event::{ChannelName, Dedupe, EventId, Headers, NewEvent, Size, StreamName, Subject};
use saf_host::{Component, Host};
use saf_http::{Admin, AdminConfig, AdminDeps, Report, Running, Verdict};
use saf_telemetry::Tracer;
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;

use crate::client::{Answer, Client};
use crate::nats::Nats;

/// Nothing here takes as long; what does hangs.
pub(crate) const HANG: Duration = Duration::from_mins(1);

/// Ends a test that hangs.
pub(crate) async fn within<T>(what: impl Future<Output = T>) -> T {
    timeout(2 * HANG, what).await.expect("it hangs")
}

/// Asks again until the answer is yes.
pub(crate) async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looked = timeout(HANG, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    });
    looked.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

/// What stores.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum On {
    Embedded,
    JetStream,
}

pub(crate) struct Scene {
    pub(crate) broker: Shared,
    pub(crate) host: Arc<Host>,
    pub(crate) plan: Plan,
    pub(crate) channels: Vec<Arc<Channel>>,
    pub(crate) nats: Option<Nats>,
    running: Option<Running>,
    address: std::net::SocketAddr,
    _provider: SdkMeterProvider,
    _folder: TempDir,
}

/// A Channel's section: its name, and the rest as TOML.
pub(crate) type Section<'a> = (&'a str, &'a str);

impl Scene {
    /// With the streams `events` and `other`.
    pub(crate) async fn start(on: On, sections: &[Section<'_>]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let nats = match on {
            On::Embedded => None,
            On::JetStream => Some(Nats::start(folder.path()).await),
        };
        let config = match &nats {
            None => saf_broker::Config { path: folder.path().join("store"), ..Default::default() },
            Some(nats) => {
                saf_broker::Config { kind: Kind::Jetstream, url: Some(nats.url()), ..Default::default() }
            }
        };
        let broker = saf_broker::open(&config).await.expect("the broker opens");
        let sections: Vec<_> =
            sections.iter().map(|(name, toml)| (channel_name(name), section(toml))).collect();
        let plan = Plan {
            streams: ["events", "other"]
                .map(|name| StreamPlan { name: stream(name), config: small() })
                .into(),
            channels: sections.iter().map(|(name, config)| saf_channel::plan(name, config, false)).collect(),
            ..Plan::default()
        };
        broker.prepare(&plan).await.expect("prepared");

        let registry = prometheus::Registry::new();
        let exporter = opentelemetry_prometheus::exporter()
            .with_registry(registry.clone())
            .build()
            .expect("an exporter");
        let provider = SdkMeterProvider::builder().with_reader(exporter).build();
        let meter = provider.meter("saf");
        let host = host();
        let deps = saf_channel::Deps {
            broker: broker.clone(),
            host: host.clone(),
            io: Handle::current(),
            guests: Handle::current(),
            metrics: Metrics::new(&meter),
            tracer: Tracer::off(),
        };
        let mut channels = Vec::new();
        for (plan, (_, config)) in plan.channels.iter().zip(sections) {
            let component = host.load(&config.component).await.expect("the guest loads");
            channels.push(Channel::start(plan, config, component, &deps).await.expect("the Channel starts"));
        }
        let config = AdminConfig { listen: "127.0.0.1:0".parse().expect("an address"), token: None };
        let readiness = || Report { verdict: Verdict::Ready, parts: serde_json::Map::new() };
        let deps = AdminDeps {
            meter,
            readiness: Arc::new(readiness),
            registry,
            channels: watch::channel(channels.clone()).1,
            streams: watch::channel(vec![stream("events"), stream("other")]).1,
        };
        let running = Admin::start(&config, broker.clone(), deps).expect("it listens");
        let address = running.local_addr();
        Self {
            broker,
            host,
            plan,
            channels,
            nats,
            running: Some(running),
            address,
            _provider: provider,
            _folder: folder,
        }
    }

    pub(crate) async fn shutdown(&mut self) {
        let running = self.running.take().expect("shut down once");
        running.shutdown(Duration::from_secs(20)).await;
    }

    pub(crate) async fn component(&self, guest: &str) -> Component {
        self.host.load(&guest_path(guest)).await.expect("the guest loads")
    }

    pub(crate) fn channel(&self, name: &str) -> &Arc<Channel> {
        self.channels.iter().find(|channel| channel.name().as_str() == name).expect("started")
    }

    /// Stores an event whose id is its data; the sequence that it got.
    pub(crate) async fn publish(&self, subject: &str, data: &str) -> u64 {
        self.store("events", event(subject, data, Some("text/plain"), data.as_bytes())).await
    }

    /// Stores an event with an id of its own; the sequence that it got.
    pub(crate) async fn publish_as(&self, subject: &str, id: &str, data: &str) -> u64 {
        self.store("events", event(subject, id, Some("text/plain"), data.as_bytes())).await
    }

    pub(crate) async fn store(&self, into: &str, event: NewEvent) -> u64 {
        self.broker.publish(&stream(into), event).await.expect("stored").sequence
    }

    pub(crate) async fn connect(&self) -> Client {
        Client::connect(self.address).await
    }

    /// One request on a connection of its own.
    pub(crate) async fn ask(&self, method: &str, path: &str, body: &str) -> Answer {
        let mut client = self.connect().await;
        client.request(method, path, body).await;
        client.answer().await
    }

    /// GET of JSON that must be there.
    pub(crate) async fn get(&self, path: &str) -> Value {
        let answer = self.ask("GET", path, "").await;
        assert_eq!(answer.status, 200, "{path}: {answer:?}");
        answer.json()
    }

    /// Every item of a listing, page by page.
    pub(crate) async fn all(&self, path: &str) -> Vec<Value> {
        let (mut items, mut cursor) = (Vec::new(), String::new());
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{join}limit=2{cursor}")).await;
            let found = page["items"].as_array().expect("items");
            assert!(found.len() <= 2, "{page}");
            items.extend(found.iter().cloned());
            match page["next"].as_str() {
                Some(next) => cursor = format!("&after={next}"),
                None => return items,
            }
        }
    }

    /// Waits for so many dead letters.
    pub(crate) async fn dead_letters(&self, count: usize) -> Vec<Value> {
        until("the dead letters are written", async || self.all("/api/v1/dead-letters").await.len() == count)
            .await;
        self.all("/api/v1/dead-letters").await
    }
}

/// A Channel that rejects all that comes: `also` is more of its section.
pub(crate) fn rejecting(subject: &str, also: &str) -> String {
    format!(
        "component = '{}'\nsubjects = ['{subject}']\n{also}\nconfig = {{ mode = 'reject' }}",
        guest_path("hostile").display()
    )
}

/// A Channel that fails as the data says: `also` is more of its section.
pub(crate) fn failing(subject: &str, also: &str) -> String {
    format!("component = '{}'\nsubjects = ['{subject}']\n{also}", guest_path("fail").display())
}

/// A Channel that emits what comes, under `echo.`.
pub(crate) fn echoing(subject: &str) -> String {
    let echo = guest_path("echo");
    format!("component = '{}'\nsubjects = ['{subject}']\nemit.subjects = ['echo.>']", echo.display())
}

/// A Channel that takes all that comes.
pub(crate) fn taking(subject: &str) -> String {
    format!("component = '{}'\nsubjects = ['{subject}']", guest_path("sink").display())
}

pub(crate) fn section(toml: &str) -> Config {
    let config: Config = toml::from_str(toml).expect("TOML");
    config.check().expect("valid");
    config
}

/// A server reserves what its streams may take; the default is more than a full disk has.
fn small() -> StreamConfig {
    StreamConfig { max_bytes: Size::mib(256), ..StreamConfig::default() }
}

pub(crate) fn stream(name: &str) -> StreamName {
    StreamName::parse(name).expect("a name")
}

fn channel_name(name: &str) -> ChannelName {
    ChannelName::parse(name).expect("a name")
}

pub(crate) fn event(subject: &str, id: &str, content_type: Option<&'static str>, data: &[u8]) -> NewEvent {
    let mut headers = Headers::new();
    headers.push("x-tag", "a").expect("valid");
    headers.push("x-tag", "b").expect("valid");
    NewEvent {
        id: EventId::parse(id.to_owned()).expect("an id"),
        subject: Subject::parse(subject.to_owned()).expect("a subject"),
        content_type: content_type.map(Into::into),
        headers,
        data: Bytes::copy_from_slice(data),
        lineage: None,
        dedupe: Dedupe::SubjectAndId,
    }
}

fn guest_path(name: &str) -> PathBuf {
    let folder = std::env::var_os("SAF_GUESTS")
        .map_or_else(|| concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/dist").into(), PathBuf::from);
    let path = folder.join("rust").join(name).with_extension("wasm");
    assert!(path.exists(), "{} is missing: run cargo xtask guests", path.display());
    path
}

/// One sandbox for all tests: its instances take address space.
fn host() -> Arc<Host> {
    static HOST: OnceLock<Arc<Host>> = OnceLock::new();
    let make = || {
        let cache = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("admin-guest-cache");
        Host::new(&saf_host::Config { cache, ..Default::default() }).expect("a sandbox")
    };
    HOST.get_or_init(make).clone()
}
