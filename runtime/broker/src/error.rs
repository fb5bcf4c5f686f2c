//! What can go wrong at the seam, by what the caller does about it. Each broker translates its own errors in one place.

use std::time::Duration;

/// Why a call other than a publish or a settlement failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The broker cannot be reached or does not answer; try again.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// It will not work before a person changes something; the text says what.
    #[error("{0}")]
    Config(String),
    /// No such stream, event, dead letter or Channel.
    #[error("there is no {0}")]
    NotFound(String),
    /// The broker refuses to go on; the process must be restarted.
    #[error("the broker failed: {0}")]
    Failed(String),
}

/// Why an event was not stored, or is not known to be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PublishError {
    /// It never will be as it is. Do not repeat.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The stream has no room; certainly not stored.
    #[error("the stream is full: {limit}")]
    Full {
        /// Which limit, as a person reads it.
        limit: String,
    },
    /// Nothing was sent; certainly not stored.
    #[error("the broker is unavailable")]
    Unavailable {
        /// When to try again.
        retry_after: Duration,
    },
    /// Sent, and no answer came: it may be stored. Repeat only under the same dedupe key.
    #[error("the broker did not answer within {} ms; the event may be stored", waited.as_millis())]
    Unknown {
        /// How long the answer was waited for.
        waited: Duration,
    },
}

/// Why an event is not acceptable to the broker.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Larger than the broker's limit.
    #[error("an event of {size} bytes is larger than the broker's limit of {limit}")]
    TooLarge {
        /// The event's size.
        size: usize,
        /// The broker's limit.
        limit: usize,
    },
    /// No such stream is configured.
    #[error("there is no stream {0:?}")]
    NoStream(String),
    /// More emissions than one settlement can store.
    #[error("{count} emissions are more than the {limit} that can be stored together")]
    TooMany {
        /// How many there were.
        count: usize,
        /// How many there may be.
        limit: usize,
    },
    /// The broker's own words.
    #[error("the broker refused the event: {0}")]
    Broker(String),
}

/// Why a delivery is not settled.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SettleError {
    /// Try again, or let it be delivered again: emissions have dedupe keys.
    #[error("the broker is unavailable: {0}")]
    Unavailable(String),
    /// The stream has no room for the emissions; try again later, no attempt is burnt.
    #[error("the stream is full: {0}")]
    Full(String),
    /// A key was changed by another event since this one read it; nothing is stored. Call the guest again.
    #[error("another event changed the same state")]
    Conflict,
    /// The broker will not take these emissions: the guest's fault.
    #[error(transparent)]
    Refused(#[from] Refusal),
}
