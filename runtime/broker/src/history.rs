//! What became of deliveries: one small record for each attempt that was settled, and for what people did to its dead letter.
//!
//! The Channel says what happened ([`Account`], with the [`crate::Settling`] that it belongs to), the broker keeps it ([`Entry`]). The
//! embedded broker keeps it with the settlement; JetStream beside it, packed, and may lack the last second after a crash. Bounded by
//! age and by number. Deliberately absent: payloads, and anything that is not known when the delivery is settled.

pub(crate) mod codec;

use futures::future::BoxFuture;
use saf_event::{ChannelName, Outcome, Span, StreamName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Error, Page};

/// Longest reason that is kept, in bytes; a longer one is cut.
pub const MAX_REASON_BYTES: usize = 256;

/// `[history]`: what is kept of settled deliveries.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HistoryConfig {
    /// Keep a record of every settled delivery, for `events tree`, `events why` and the like. Read when
    /// the router starts.
    pub enabled: bool,
    /// Records older than this are not shown, and removed.
    pub max_age: Span,
    /// Most records of a stream (embedded), or of all streams (jetstream, where it is a limit of about 96 bytes a record). A record
    /// takes about 80 bytes, and a reason up to 256 more.
    pub max_records: u64,
}

impl Default for HistoryConfig {
    fn default() -> Self {
        const WEEK: std::time::Duration = std::time::Duration::from_hours(7 * 24);
        Self { enabled: true, max_age: Span(WEEK), max_records: 1_000_000 }
    }
}

/// What a Channel says of an attempt that it settles. Costs no allocation when the attempt succeeded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Account {
    /// The first bytes of the component's SHA-256.
    pub digest: [u8; 8],
    /// What became of the attempt.
    pub outcome: Outcome,
    /// When the call began, in milliseconds since the Unix epoch.
    pub started: u64,
    /// From the storing of the event to the call, in milliseconds.
    pub queued_millis: u32,
    /// Wall-clock microseconds in the guest.
    pub micros: u64,
    /// Units of fuel.
    pub fuel: u64,
    /// Peak linear memory, in bytes.
    pub memory: u64,
    /// Why, when it was not done.
    pub reason: Option<Box<str>>,
}

/// What is kept of one settled delivery.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The event.
    pub sequence: u64,
    /// The Channel.
    pub channel: ChannelName,
    /// 1 for the first; 0 where nothing was attempted.
    pub attempt: u32,
    /// What became of the event.
    pub fate: Fate,
    /// What became of the attempt; of the last one, where a dead letter was replayed or deleted.
    pub account: Account,
}

impl Entry {
    /// When the attempt was over, in milliseconds since the Unix epoch.
    pub fn ended(&self) -> u64 {
        self.account.started + self.account.micros / 1_000
    }
}

/// What became of an event after an attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Handled.
    Done {
        /// How many events were emitted.
        emitted: u32,
        /// Their sequences; empty where the broker did not say them.
        sequences: Vec<u64>,
    },
    /// Another attempt, so many milliseconds later.
    Retry {
        /// Counted from the end of this one.
        after_millis: u64,
    },
    /// A dead letter.
    DeadLetter {
        /// Its place in the dead letters of the stream; 0 where the broker did not say it.
        letter: u64,
    },
    /// Given back, not the event's fault.
    Released,
    /// The dead letter was replayed, as another event.
    Replayed {
        /// That event; 0 where the broker did not say it.
        sequence: u64,
    },
    /// The dead letter was deleted.
    Deleted,
}

/// Which entries; every field that is set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct HistoryFilter {
    /// Of this Channel.
    pub channel: Option<ChannelName>,
    /// With this outcome.
    pub outcome: Option<Outcome>,
    /// Whose attempt was over at or after this time, in milliseconds since the Unix epoch.
    pub since: Option<u64>,
    /// Whose attempt was over before this time.
    pub until: Option<u64>,
}

/// Reads what became of deliveries.
pub trait History: Send + Sync {
    /// What became of one event, oldest first; of one Channel's delivery when it is named. Looks through a bounded part of what is
    /// kept: the cursor says that there may be more than was found.
    fn of<'a>(
        &'a self,
        stream: &'a StreamName,
        sequence: u64,
        channel: Option<&'a ChannelName>,
    ) -> BoxFuture<'a, Result<Page<Entry>, Error>>;

    /// Matching entries of a stream as they were settled, oldest first; `after` is the cursor of the page before, a number. A page may
    /// hold fewer than `limit`, or none, and have a cursor.
    fn list<'a>(
        &'a self,
        stream: &'a StreamName,
        filter: &'a HistoryFilter,
        after: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Entry>, Error>>;

    /// Records that could not be kept, since the broker was opened.
    fn dropped(&self) -> u64;
}

/// Where a Channel's consumer stands towards an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The broker cannot say.
    Unknown,
    /// The consumer began behind it.
    BeforeStart,
    /// Behind the consumer: settled, or never for it.
    Passed,
    /// Handed out, or waiting to be handed out again, or settled ahead of others: the broker does not say which.
    Open,
    /// Handed out, and not settled yet.
    Out {
        /// Which attempt this is.
        attempt: u32,
    },
    /// Waits to be handed out again.
    Again {
        /// Which attempt that will be.
        attempt: u32,
        /// When, in milliseconds since the Unix epoch; not before now.
        at: u64,
    },
    /// Not handed out yet.
    Waiting {
        /// So many events of the Channel come first, at most.
        ahead: u64,
    },
    /// Retention removed it before it was settled.
    Expired,
}
