//! Reading streams without consuming them: a page from a position, and a lossy tail of what is stored from now on.

use futures::future::BoxFuture;
use futures::stream::BoxStream;
use saf_event::{Event, Filter, StreamName};

use crate::Error;

/// A page of a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Page<T> {
    /// What was found.
    pub items: Vec<T>,
    /// The cursor for the next page; `None` when this was the last for now.
    pub next: Option<String>,
}

/// Where to begin reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum From {
    /// The first event with this sequence or a higher one.
    Sequence(u64),
    /// The first event stored at or after this time, in milliseconds since the Unix epoch.
    Time(u64),
}

/// What a tail yields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tailed {
    /// An event that was just stored.
    Event(Box<Event>),
    /// The reader was too slow: so many events were left out here.
    Skipped(u64),
}

/// A tail: ends when the broker is closed.
pub type Tail = BoxStream<'static, Tailed>;

/// Reads streams.
pub trait Journal: Send + Sync {
    /// One event. An event of a Channel's replay is shown under its own subject.
    fn get<'a>(&'a self, stream: &'a StreamName, sequence: u64) -> BoxFuture<'a, Result<Event, Error>>;

    /// At most `limit` matching events from a position on, in order; the cursor is the next sequence to read. A page may hold
    /// fewer, or none, and have a cursor: where much lies between matching events, reading goes on with the next page.
    fn read<'a>(
        &'a self,
        stream: &'a StreamName,
        from: From,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Event>, Error>>;

    /// Matching events stored from now on, as long as the reader keeps up.
    fn tail<'a>(&'a self, stream: &'a StreamName, filter: &'a Filter) -> BoxFuture<'a, Result<Tail, Error>>;

    /// First and last sequence, events and bytes of a stream.
    fn summary<'a>(&'a self, stream: &'a StreamName) -> BoxFuture<'a, Result<Summary, Error>>;
}

/// A stream in numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Summary {
    /// The oldest event's sequence; `last + 1` when the stream is empty.
    pub first: u64,
    /// The newest event's sequence; 0 when there never was one.
    pub last: u64,
    /// How many events it holds.
    pub events: u64,
    /// How many bytes they take.
    pub bytes: u64,
}
