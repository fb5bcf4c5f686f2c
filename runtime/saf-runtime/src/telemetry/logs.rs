//! Log lines: for people on a terminal, JSON anywhere else. Those about an event that is traced carry its `trace_id` and `span_id`.

use std::io::IsTerminal;

use anyhow::Context;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tracing_subscriber::fmt;
use tracing_subscriber::layer::{Identity, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Layer, Registry};

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
    start_logs_beside(config, Identity::new())
}

/// The same, beside somebody else who reads along, whatever the level.
pub(crate) fn start_logs_beside(
    config: &Config,
    listener: impl Layer<Registry> + Send + Sync,
) -> anyhow::Result<()> {
    let directives = std::env::var("RUST_LOG").unwrap_or_else(|_| config.level.clone());
    let filter = EnvFilter::try_new(&directives)
        .with_context(|| format!("log.level {directives:?} cannot be read"))?;
    let pretty = match config.format {
        Format::Auto => std::io::stderr().is_terminal(),
        Format::Pretty => true,
        Format::Json => false,
    };
    let registry = tracing_subscriber::registry().with(listener);
    if pretty {
        let layer =
            fmt::layer().with_writer(std::io::stderr).with_ansi(std::io::stderr().is_terminal()).compact();
        registry.with(layer.with_filter(filter)).init();
    } else {
        let layer = fmt::layer().json().flatten_event(true).with_writer(std::io::stderr);
        registry.with(layer.with_filter(filter)).init();
    }
    Ok(())
}
