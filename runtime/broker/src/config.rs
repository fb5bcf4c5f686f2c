//! `[broker]` and `[streams.<name>]`: JetStream's own names are kept for JetStream's ideas.

use std::path::PathBuf;

use saf_event::{Secret, Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `[broker]`: where streams live.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// `embedded` or `jetstream`.
    pub kind: Kind,
    /// embedded: the folder of the store; created when missing.
    pub path: PathBuf,
    /// jetstream: servers, separated by commas, such as `nats://127.0.0.1:4222`.
    pub url: Option<String>,
    /// jetstream: a credentials file, read again at each reconnect.
    pub creds: Option<PathBuf>,
    /// jetstream: the seed of an nkey.
    pub nkey: Option<Secret>,
    /// jetstream: a user name, with `password`.
    pub user: Option<String>,
    /// jetstream: the user's password.
    pub password: Option<Secret>,
    /// jetstream: an authentication token.
    pub token: Option<Secret>,
    /// jetstream: TLS.
    pub tls: Tls,
    /// jetstream: how long an answer to a publish is waited for.
    pub publish_timeout: Span,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            kind: Kind::Embedded,
            path: "data".into(),
            url: None,
            creds: None,
            nkey: None,
            user: None,
            password: None,
            token: None,
            tls: Tls::default(),
            publish_timeout: Span(std::time::Duration::from_secs(5)),
        }
    }
}

/// What stores streams.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// A log on this machine's disk, for one process.
    #[default]
    Embedded,
    /// NATS JetStream.
    Jetstream,
}

/// `[broker.tls]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tls {
    /// Refuse a server without TLS.
    pub required: bool,
    /// Start TLS before the server's first line, as servers with `handshake_first` want it.
    pub first: bool,
    /// PEM file of the authorities to trust, instead of the system's.
    pub ca: Option<PathBuf>,
    /// PEM file of the client's certificate chain.
    pub cert: Option<PathBuf>,
    /// PEM file of the client's key.
    pub key: Option<PathBuf>,
}

/// `[streams.<name>]`: a stream and its limits.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct StreamConfig {
    /// jetstream: what stands before an event's subject on NATS; the stream's name when absent, `""` for none.
    pub prefix: Option<String>,
    /// jetstream: `false` for a stream that others create and own; it is used as it is.
    pub manage: bool,
    /// Events older than this are removed.
    pub max_age: Span,
    /// Most bytes.
    pub max_bytes: Size,
    /// Most events; no limit when absent.
    pub max_messages: Option<u64>,
    /// How long a repeated dedupe key is recognised.
    pub duplicate_window: Span,
    /// What a full stream does.
    pub discard: Discard,
    /// jetstream: `file` or `memory`.
    pub storage: Storage,
    /// jetstream: copies in the cluster.
    pub replicas: usize,
    /// Dead letters older than this are removed.
    pub dead_letter_max_age: Span,
}

impl Default for StreamConfig {
    fn default() -> Self {
        const HOUR: u64 = 3600;
        let hours = |n: u64| Span(std::time::Duration::from_secs(n * HOUR));
        Self {
            prefix: None,
            manage: true,
            max_age: hours(24),
            max_bytes: Size::mib(10 * 1024),
            max_messages: None,
            duplicate_window: Span(std::time::Duration::from_mins(2)),
            discard: Discard::Old,
            storage: Storage::File,
            replicas: 1,
            dead_letter_max_age: hours(30 * 24),
        }
    }
}

/// What a full stream does.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Discard {
    /// Removes the oldest events.
    #[default]
    Old,
    /// Refuses new ones.
    New,
}

/// Where JetStream keeps a stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Storage {
    /// On disk.
    #[default]
    File,
    /// In memory: gone with the server.
    Memory,
}
