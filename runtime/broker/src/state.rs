//! What a Channel remembers from event to event: keys with values, written with the settlement of the event that changed them.
//!
//! A change names the version of its key that the event read, so that two events that ran at once are never both stored on the
//! same value: the second one is a [`crate::SettleError::Conflict`], and is called again. Versions are numbers that the caller
//! chooses, a new one for every settlement; 0 is a key that is not there. Deliberately absent: transactions over keys that were only
//! read, and change notifications.

use bytes::Bytes;
use futures::future::BoxFuture;
use saf_event::ByteString;

use crate::Error;

/// Longest key, in bytes; none is empty.
pub const MAX_STATE_KEY_BYTES: usize = 255;

/// The state of one Channel, as it is stored.
pub trait StateReader: Send + Sync {
    /// A key's value, for the attempt of the event with this sequence. When an earlier attempt of the same event stored a value and
    /// could not settle, it is the value before that one, on a broker where this can happen and as far as it still knows.
    fn get<'a>(&'a self, event: u64, key: &'a str) -> BoxFuture<'a, Result<StateValue, Error>>;

    /// About `limit` keys, each once, in any order; `after` is the cursor of the page before. What changes meanwhile may be
    /// in it or not.
    fn keys<'a>(&'a self, after: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<StateKeys, Error>>;

    /// What keys and values take, in bytes; 0 where the broker itself refuses what is too much.
    fn bytes(&self) -> u64;
}

/// A key's value.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateValue {
    /// `None` when the key is not there.
    pub value: Option<Bytes>,
    /// What a change of it names.
    pub version: u64,
}

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateKeys {
    /// The keys.
    pub keys: Vec<ByteString>,
    /// The cursor for the next page; `None` when this was the last.
    pub next: Option<String>,
}

/// What one event changes, all or none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateChanges {
    /// The version that the changed keys have from then on; never 0, and never used before.
    pub version: u64,
    /// A key at most once.
    pub all: Vec<StateChange>,
}

impl StateChanges {
    /// Whether nothing is changed.
    pub fn is_empty(&self) -> bool {
        self.all.is_empty()
    }
}

/// One key's change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChange {
    /// 1 to [`MAX_STATE_KEY_BYTES`] bytes.
    pub key: ByteString,
    /// `None` removes it.
    pub value: Option<Bytes>,
    /// The version that was read; `None` when it was not, and then whatever is there is replaced.
    pub read: Option<u64>,
}

/// What a Channel's state may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StatePlan {
    /// Keys and values together, in bytes.
    pub max_bytes: u64,
}
