//! Logs and instruments. Logs are for people on a terminal and JSON lines anywhere else; instruments are OpenTelemetry's, read
//! by `/metrics`.

use std::io::IsTerminal;

use anyhow::Context;
use opentelemetry::metrics::{Meter, MeterProvider};
use opentelemetry_sdk::metrics::{Instrument, SdkMeterProvider, Stream};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

/// Most series of one instrument; OpenTelemetry's own limit of 2,000 is nine outcomes of 222 Channels, and folds the rest into one.
const MAX_SERIES: usize = 100_000;

/// `[log]`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// A level, or directives as `RUST_LOG` takes them: `"info,saf_channel=debug"`. `RUST_LOG` wins.
    pub(crate) level: String,
    /// `pretty`, `json`, or by where it goes.
    pub(crate) format: Format,
}

impl Default for Config {
    fn default() -> Self {
        Self { level: "info".to_owned(), format: Format::Auto }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Format {
    /// Pretty on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// For people.
    Pretty,
    /// A JSON object a line.
    Json,
}

/// Starts logging to stderr.
pub(crate) fn start_logs(config: &Config) -> anyhow::Result<()> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| config.level.clone());
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("log.level {directives:?} cannot be read"))?;
    let pretty = match config.format {
        Format::Auto => std::io::stderr().is_terminal(),
        Format::Pretty => true,
        Format::Json => false,
    };
    let registry = tracing_subscriber::registry().with(filter);
    if pretty {
        let layer =
            fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).compact();
        registry.with(layer).init();
    } else {
        registry.with(fmt::layer().json().flatten_event(true).with_writer(std::io::stderr)).init();
    }
    Ok(())
}

/// The instruments' source, and the registry that `/metrics` reads.
pub(crate) struct Instruments {
    pub(crate) meter: Meter,
    pub(crate) registry: prometheus::Registry,
    /// Instruments live as long as this.
    _provider: SdkMeterProvider,
}

pub(crate) fn instruments() -> anyhow::Result<Instruments> {
    let registry = prometheus::Registry::new();
    let exporter = opentelemetry_prometheus::exporter().with_registry(registry.clone()).build()?;
    let unfolded = |_: &Instrument| Stream::builder().with_cardinality_limit(MAX_SERIES).build().ok();
    let provider = SdkMeterProvider::builder().with_reader(exporter).with_view(unfolded).build();
    Ok(Instruments { meter: provider.meter("saf"), registry, _provider: provider })
}
