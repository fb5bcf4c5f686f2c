//! What one event reads and writes: a draft over the Channel's state, which exists until the event is done and leaves only then. It
//! reads its own writes. Every key remembers the version that was read first, so that whoever stores the draft can tell whether
//! somebody else was quicker. Values that were only read are not kept.
//!
//! Bounded by `limits.state_reads`, `limits.state_bytes` and the length of keys; what is over a limit is an error for the guest, and
//! nothing is half done.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use saf_event::ByteString;

use crate::config::Limits;
use crate::state::{Change, KeyPage, State};

/// Longest key, in bytes.
const MAX_KEY_BYTES: usize = 255;
/// Longest cursor that is looked at, in bytes: a key, or a number.
const MAX_CURSOR_BYTES: usize = 255;
/// What a written key counts beside itself and its value, in bytes.
const WRITE_OVERHEAD_BYTES: usize = 64;
/// Keys on a page of a listing.
const PAGE_KEYS: usize = 1000;

/// See the file's head.
#[derive(Default)]
pub(super) struct Draft {
    entries: BTreeMap<ByteString, Entry>,
    reads: u32,
    /// Of keys and values that were written.
    bytes: usize,
}

/// A key that the event has touched.
#[derive(Default)]
struct Entry {
    read: Option<u64>,
    written: Option<Written>,
    /// How often it was written.
    writes: u64,
}

enum Written {
    Value(Bytes),
    Deleted,
}

impl Written {
    fn value(&self) -> Option<&Bytes> {
        match self {
            Self::Value(value) => Some(value),
            Self::Deleted => None,
        }
    }
}

/// Whose draft it is.
#[derive(Clone, Copy)]
pub(super) struct Over<'a> {
    pub(super) state: &'a Arc<dyn State>,
    pub(super) event: u64,
    pub(super) limits: Bounds,
}

/// The limits of an event.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounds {
    reads: u32,
    bytes: usize,
    max: u64,
}

impl Bounds {
    pub(super) fn of(limits: &Limits) -> Self {
        Self { reads: limits.state_reads, bytes: limits.state_bytes.bytes(), max: limits.state_max.0 }
    }
}

impl Draft {
    /// The value that the event sees.
    pub(super) async fn get(&mut self, over: Over<'_>, key: &str) -> Result<Option<Bytes>, String> {
        check(key)?;
        if let Some(written) = self.entries.get(key).and_then(|entry| entry.written.as_ref()) {
            return Ok(written.value().cloned());
        }
        self.count_read(over.limits)?;
        let held = over.state.get(over.event, key).await?;
        self.entries.entry(key.into()).or_default().read.get_or_insert(held.version);
        Ok(held.value)
    }

    /// Writes a key, or deletes it.
    pub(super) fn put(&mut self, over: Over<'_>, key: &str, value: Option<Bytes>) -> Result<(), String> {
        check(key)?;
        let cost = |value: Option<&Bytes>| key.len() + value.map_or(0, Bytes::len) + WRITE_OVERHEAD_BYTES;
        let before = self.entries.get(key).and_then(|entry| entry.written.as_ref());
        let before = before.map_or(0, |written| cost(written.value()));
        let bytes = self.bytes - before + cost(value.as_ref());
        if bytes > over.limits.bytes {
            let limit = over.limits.bytes;
            return Err(format!("this event writes more than limits.state_bytes allows ({limit} bytes)"));
        }
        // Deleting is how a guest makes room.
        if value.is_some() && over.state.bytes().saturating_add(bytes as u64) > over.limits.max {
            let limit = over.limits.max;
            return Err(format!("the Channel's state is full: limits.state_max is {limit} bytes"));
        }
        self.bytes = bytes;
        let entry = self.entries.entry(key.into()).or_default();
        entry.written = Some(value.map_or(Written::Deleted, Written::Value));
        entry.writes += 1;
        Ok(())
    }

    /// How often the event wrote a key so far.
    pub(super) fn writes(&self, key: &str) -> u64 {
        self.entries.get(key).map_or(0, |entry| entry.writes)
    }

    /// A page of keys as the event sees them: those that it has written come last.
    pub(super) async fn keys(&mut self, over: Over<'_>, after: Option<&str>) -> Result<KeyPage, String> {
        if after.is_some_and(|cursor| cursor.len() > MAX_CURSOR_BYTES) {
            return Err("this is no cursor of list-keys".to_owned());
        }
        self.count_read(over.limits)?;
        let mut page = over.state.keys(after, PAGE_KEYS).await?;
        let written = |key: &str| self.entries.get(key).and_then(|entry| entry.written.as_ref());
        page.keys.retain(|key| written(key).is_none());
        if page.next.is_none() {
            let own =
                self.entries.iter().filter(|(_, entry)| matches!(entry.written, Some(Written::Value(_))));
            page.keys.extend(own.map(|(key, _)| key.clone()));
        }
        Ok(page)
    }

    /// What the event changed.
    pub(super) fn take(&mut self) -> Vec<Change> {
        let entries = std::mem::take(self).entries;
        let change = |(key, entry): (ByteString, Entry)| {
            let value = entry.written?.value().cloned();
            Some(Change { key, value, read: entry.read })
        };
        entries.into_iter().filter_map(change).collect()
    }

    fn count_read(&mut self, limits: Bounds) -> Result<(), String> {
        if self.reads >= limits.reads {
            return Err(format!(
                "this event reads more often than limits.state_reads allows ({})",
                limits.reads
            ));
        }
        self.reads += 1;
        Ok(())
    }
}

fn check(key: &str) -> Result<(), String> {
    match key.len() {
        0 => Err("a key is not empty".to_owned()),
        length if length > MAX_KEY_BYTES => {
            Err(format!("a key has at most {MAX_KEY_BYTES} bytes, and this one has {length}"))
        }
        _ => Ok(()),
    }
}
