//! Where a row plays: a fresh folder and, for JetStream, a fresh nats-server, so that no row sees what another left behind.

use std::fmt::Write as _;

use anyhow::ensure;
use bytes::Bytes;
use tempfile::TempDir;

use crate::bench::{Bench, Programs};
use crate::load::{Load, Until};
use crate::nats::Nats;
use crate::payload::{self, SUBJECT, Size};
use crate::router::Router;

/// Events of a request that fills a stream.
const FILL_BATCH: u64 = 100;
/// Connections that fill a stream.
const FILL_CONNECTIONS: usize = 16;

/// Which broker is under the router.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Broker {
    Embedded,
    JetStream,
}

impl Broker {
    pub(crate) const ALL: [Self; 2] = [Self::Embedded, Self::JetStream];

    /// In rows' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Embedded => "embedded",
            Self::JetStream => "jetstream",
        }
    }
}

/// A Channel to be.
pub(crate) struct ChannelPlan<'a> {
    pub(crate) name: String,
    pub(crate) guest: &'a str,
    pub(crate) subject: String,
    pub(crate) concurrency: usize,
    pub(crate) code: Code,
}

/// What answers for a guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// Its component.
    Wasm,
    /// The Rust function of the same name, in a router built for it.
    Native,
}

/// Most deliveries of a Channel that are out at once, for the router and for the native loops alike.
pub(crate) const MAX_ACK_PENDING: usize = 4_096;

/// Of every Channel here, as TOML.
const EMITS: &str = r#"["echo.>", "enriched.>", "github.*.summary", "github.*.*.summary"]"#;

pub(crate) struct Stage<'a> {
    programs: &'a Programs,
    pub(crate) folder: TempDir,
    pub(crate) nats: Option<Nats>,
    /// More of the routers' configuration, as TOML.
    config: String,
}

impl<'a> Stage<'a> {
    pub(crate) fn new(bench: &'a Bench, broker: Broker) -> anyhow::Result<Self> {
        let folder = tempfile::tempdir()?;
        let nats = match broker {
            Broker::Embedded => None,
            Broker::JetStream => Some(Nats::start(&bench.programs.nats_server, folder.path())?),
        };
        Ok(Self { programs: &bench.programs, folder, nats, config: String::new() })
    }

    /// Its routers' configuration goes on with this.
    pub(crate) fn with(self, config: String) -> Self {
        Self { config, ..self }
    }

    /// A router with these Channels, ready.
    pub(crate) fn router(&self, channels: &[ChannelPlan]) -> anyhow::Result<Router> {
        let mut config = match &self.nats {
            None => "[broker]\nkind = \"embedded\"\npath = \"store\"\n".to_owned(),
            Some(nats) => format!("[broker]\nkind = \"jetstream\"\nurl = \"{}\"\n", nats.url),
        };
        // Every event is measured once: nothing else may need a line in the log.
        write!(
            config,
            "[log]\nlevel = \"warn\"\n[host]\ncache = {:?}\n",
            self.programs.cache().display().to_string()
        )?;
        config.push_str(&self.config);
        for channel in channels {
            let ChannelPlan { name, guest, subject, concurrency, code } = channel;
            write!(
                config,
                "[channels.{name}]\ncomponent = {:?}\nsubjects = [\"{subject}\"]\nconcurrency = {concurrency}\n\
                 max_ack_pending = {MAX_ACK_PENDING}\nemit.subjects = {EMITS}\n",
                self.programs.guest(guest).display().to_string()
            )?;
            match code {
                Code::Wasm => {}
                Code::Native => writeln!(config, "config.native = \"{guest}\"")?,
            }
        }
        let native = channels.iter().any(|channel| channel.code == Code::Native);
        let program = if native { &self.programs.native_router } else { &self.programs.router };
        Router::start(program, self.folder.path(), &config)
    }

    /// Stores so many events by posting them to a router without Channels, which then ends. `subject` names the `n`th one's.
    pub(crate) fn fill(
        &self,
        events: u64,
        size: Size,
        subject: impl Fn(u64) -> String,
    ) -> anyhow::Result<()> {
        let router = self.router(&[])?;
        let batches = events / FILL_BATCH;
        let requests: Vec<Bytes> = (0..batches.min(payload::VARIETY))
            .map(|n| payload::batch(n * FILL_BATCH, FILL_BATCH, size, &subject))
            .collect();
        let connections = FILL_CONNECTIONS.min(batches as usize);
        let load = Load {
            address: router.ingest,
            requests: &requests,
            connections,
            until: Until::Requests(batches),
        };
        let loaded = load.run()?;
        ensure!(loaded.accepted == batches, "filling the stream: {}", loaded.problem());
        router.stop()
    }

    /// [`Stage::fill`] with the one subject of most rows.
    pub(crate) fn fill_plain(&self, events: u64, size: Size) -> anyhow::Result<()> {
        self.fill(events, size, |_| SUBJECT.to_owned())
    }
}
