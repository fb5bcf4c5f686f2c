//! The seam between the router and whatever stores its streams, and the brokers behind it.
//!
//! ```text
//! http ----> Broker::publish ----> stream ----> Source::fill ----> Channel ----> Settler::settle(done, emissions)
//!                                    ^                                                  |
//!                                    +--------------------------------------------------+
//! ```
//!
//! `settle` takes the emissions, and what the event changed in its Channel's state, so that nothing can be acknowledged before what
//! follows from it is stored. Not in the seam:
//! order, backoff, concurrency, hops (the Channel's), statuses (HTTP's). `tests/contract` runs one suite over every broker.
//!
//! Invariant: only `jetstream` and `core` name async-nats, only `embedded` its files.

mod config;
mod dead_letter;
mod delivery;
mod detail;
pub mod embedded;
mod error;
mod history;
#[cfg(feature = "jetstream")]
mod jetstream;
mod journal;
mod plan;
mod state;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use saf_event::{ChannelName, NewEvent, StreamName};
use tokio::sync::watch;

pub use config::{Config, Discard, Kind, Storage, StreamConfig, Tls};
pub use dead_letter::{Attempt, DeadLetter, DeadLetterFilter, DeadLetters, StoredDeadLetter, digest_bytes};
pub use delivery::{Delivery, Feed, Lag, Packed, Settlement, Settler, Settling, Source, Ticket, Unsettled};
pub use error::{Error, PublishError, Refusal, SettleError};
pub use history::{Account, Entry, Fate, History, HistoryConfig, HistoryFilter, MAX_REASON_BYTES, Place};
pub use journal::{From, Journal, Page, Summary, Tail, Tailed};
pub use plan::{ChannelPlan, Note, Order, Plan, Start, StreamPlan};
pub use state::{
    MAX_STATE_KEY_BYTES, StateChange, StateChanges, StateKeys, StatePlan, StateReader, StateValue,
};

/// What stores streams. Every future may be dropped at any time; what was sent by then stays sent.
pub trait Broker: Send + Sync + 'static {
    /// What a receipt of this broker is worth, and what it takes.
    fn profile(&self) -> Profile;

    /// Whether the broker can be reached, as it changes.
    fn health(&self) -> watch::Receiver<Health>;

    /// Creates and reconciles streams and consumers; run once before anything else, and again after a reload. The notes say
    /// what was created, changed, or differs and may not be changed.
    fn prepare<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Note>, Error>>;

    /// Stores one event. The receipt comes after the event is as durable as [`Profile::durability`] says.
    fn publish<'a>(
        &'a self,
        stream: &'a StreamName,
        event: NewEvent,
    ) -> BoxFuture<'a, Result<Receipt, PublishError>>;

    /// Stores independent events, pipelined; one result for each, in order. They are lent, because the caller answers for each.
    fn publish_all<'a>(
        &'a self,
        stream: &'a StreamName,
        events: &'a [NewEvent],
    ) -> BoxFuture<'a, Vec<Result<Receipt, PublishError>>>;

    /// Opens a Channel's feed. The Channel must have been in the plan that was prepared.
    fn subscribe<'a>(&'a self, channel: &'a ChannelPlan) -> BoxFuture<'a, Result<Feed, Error>>;

    /// Reading streams from a position; `None` when the broker stores nothing.
    fn journal(&self) -> Option<&dyn Journal>;

    /// The dead letters; `None` when the broker stores nothing.
    fn dead_letters(&self) -> Option<&dyn DeadLetters>;

    /// What became of deliveries; `None` when the broker keeps nothing of them, as `[history]` says.
    fn history(&self) -> Option<&dyn History> {
        None
    }

    /// Every Channel's switch, as it changes; a Channel that is not in the map is running.
    fn switches(&self) -> watch::Receiver<BTreeMap<ChannelName, Switch>>;

    /// Sets a Channel's switch, for every replica, across restarts.
    fn switch<'a>(&'a self, channel: &'a ChannelName, to: Switch) -> BoxFuture<'a, Result<(), Error>>;

    /// Flushes and closes within `grace`.
    fn close(&self, grace: Duration) -> BoxFuture<'_, ()>;
}

/// A broker that several owners share.
pub type Shared = Arc<dyn Broker>;

/// Opens the broker that the configuration names. Waits for it at most as long as its kind says (JetStream: ten seconds for
/// the first connection); what cannot work says what to change.
#[cfg_attr(
    not(feature = "jetstream"),
    allow(clippy::unused_async, reason = "only JetStream has to be waited for")
)]
pub async fn open(config: &Config) -> Result<Shared, Error> {
    match config.kind {
        Kind::Embedded => Ok(Arc::new(embedded::Embedded::open(&config.path)?)),
        #[cfg(feature = "jetstream")]
        Kind::Jetstream => Ok(Arc::new(jetstream::JetStream::open(config).await?)),
        #[cfg(not(feature = "jetstream"))]
        Kind::Jetstream => Err(Error::Config(
            "this build has no jetstream broker: build it with --features jetstream".into(),
        )),
    }
}

/// What a stored event got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Receipt {
    /// The event's place in its stream; of the first one, when this is a duplicate. 0 on a broker that stores nothing.
    pub sequence: u64,
    /// An event with the same dedupe key was stored within the duplicate window; this one was not.
    pub duplicate: bool,
}

/// What a broker promises.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// `embedded`, `jetstream` or `core`.
    pub kind: &'static str,
    /// What a receipt is worth.
    pub durability: Durability,
    /// Largest [`NewEvent::size`] that is taken, in bytes.
    pub max_event_bytes: usize,
    /// Most emissions that one settlement can store together.
    pub max_emissions: usize,
}

/// What a receipt is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Synced to this machine's disk.
    Synced,
    /// Acknowledged by the JetStream server, on so many replicas; how soon it syncs is the server's `sync_interval`.
    Acknowledged {
        /// Replicas of the stream with the fewest.
        replicas: usize,
    },
    /// Nothing is stored.
    None,
}

/// Whether a broker can be used right now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It can.
    Up,
    /// It cannot, and may come back by itself.
    Down {
        /// What a person reads in `/readyz`.
        reason: String,
    },
    /// It cannot, and will not before a restart: the process should end, non-zero, with this reason.
    Failed {
        /// What a person reads in the last log line.
        reason: String,
    },
}

/// Whether a Channel takes events; set by a person, kept by the broker.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Switch {
    /// It does.
    #[default]
    Running,
    /// It does not, until somebody resumes it; its events wait.
    Paused,
}
