//! The state of one Channel in memory: what is durable, and, while a frame is made, the versions that it will bring.
//!
//! Only the writer changes it: it looks whether a settlement's changes still fit, takes them into the frame, and applies them when the
//! frame is durable. So whoever reads never sees a value that a power failure could take back. One mutex, held for a look-up, a frame's
//! changes, or one page of keys.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use saf_event::ByteString;

use super::record::state::StateRecord;
use crate::{Error, StateKeys, StateReader, StateValue};

/// What a key costs beside itself and its value, in bytes.
const KEY_OVERHEAD_BYTES: u64 = 64;
/// Most keys on a page, whatever the caller asks for.
const PAGE_KEYS_MAX: usize = 10_000;

/// See the file's head.
#[derive(Default)]
pub(crate) struct Table {
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    keys: BTreeMap<ByteString, Value>,
    bytes: u64,
    /// Versions that stand in the frame that is being made.
    staged: HashMap<ByteString, u64>,
    /// Changed since they were saved.
    unsaved: BTreeSet<ByteString>,
}

/// A value and its version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Value {
    pub(crate) version: u64,
    pub(crate) data: Bytes,
}

impl Table {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// For the writer: whether every key that a record read is still as it was.
    pub(crate) fn fits(&self, record: &StateRecord<'_>) -> bool {
        let inner = self.lock();
        let mut changes = record.changes();
        changes.all(|change| change.read.is_none_or(|read| read == inner.version(change.key)))
    }

    /// For the writer: the record stands in the frame that is being made.
    pub(crate) fn stage(&self, record: &StateRecord<'_>) {
        let mut inner = self.lock();
        for change in record.changes() {
            let version = change.value.map_or(0, |_| record.version());
            inner.staged.insert(change.key.into(), version);
        }
    }

    /// The frame of a record is durable. Everything that was staged stood in it.
    pub(crate) fn apply(&self, record: &StateRecord<'_>) {
        let mut inner = self.lock();
        inner.staged.clear();
        for change in record.changes() {
            let key = ByteString::from(change.key);
            // A copy: a slice would keep its whole frame in memory.
            let data = change.value.map(Bytes::copy_from_slice);
            inner.unsaved.insert(key.clone());
            inner.set(key, data.map(|data| Value { version: record.version(), data }));
        }
    }

    /// On opening.
    pub(crate) fn restore(&self, key: ByteString, value: Value) {
        self.lock().set(key, Some(value));
    }

    /// What changed since the last time; `None` for a key that is gone.
    pub(crate) fn take_unsaved(&self) -> Vec<(ByteString, Option<Value>)> {
        let mut inner = self.lock();
        let unsaved = std::mem::take(&mut inner.unsaved);
        unsaved.into_iter().map(|key| (key.clone(), inner.keys.get(&key).cloned())).collect()
    }

    /// At most `limit` keys behind one, in order, with their values.
    pub(crate) fn page(&self, after: Option<&str>, limit: usize) -> Vec<(ByteString, Value)> {
        let inner = self.lock();
        inner.behind(after).take(limit).map(|(key, value)| (key.clone(), value.clone())).collect()
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().keys.len()
    }
}

impl Inner {
    fn version(&self, key: &str) -> u64 {
        let stored = || self.keys.get(key).map_or(0, |value| value.version);
        self.staged.get(key).copied().unwrap_or_else(stored)
    }

    fn set(&mut self, key: ByteString, value: Option<Value>) {
        let cost = |key: &str, value: &Value| key.len() as u64 + value.data.len() as u64 + KEY_OVERHEAD_BYTES;
        match (self.keys.entry(key), value) {
            (Entry::Occupied(mut old), Some(value)) => {
                self.bytes += value.data.len() as u64;
                self.bytes -= old.get().data.len() as u64;
                old.insert(value);
            }
            (Entry::Occupied(old), None) => {
                let (key, value) = old.remove_entry();
                self.bytes -= cost(&key, &value);
            }
            (Entry::Vacant(place), Some(value)) => {
                self.bytes += cost(place.key(), &value);
                place.insert(value);
            }
            (Entry::Vacant(_), None) => {}
        }
    }

    fn behind(&self, after: Option<&str>) -> impl Iterator<Item = (&ByteString, &Value)> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.keys.range::<str, _>((from, Bound::Unbounded))
    }
}

impl StateReader for Table {
    /// A settlement and its changes are one, so an event that is handed out again has changed nothing.
    fn get<'a>(&'a self, _: u64, key: &'a str) -> BoxFuture<'a, Result<StateValue, Error>> {
        let value = self.lock().keys.get(key).cloned();
        let value = value
            .map(|Value { version, data }| StateValue { value: Some(data), version })
            .unwrap_or_default();
        ready(Ok(value)).boxed()
    }

    fn keys<'a>(&'a self, after: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<StateKeys, Error>> {
        let limit = limit.clamp(1, PAGE_KEYS_MAX);
        let inner = self.lock();
        let keys: Vec<ByteString> = inner.behind(after).take(limit).map(|(key, _)| key.clone()).collect();
        let more = keys.last().is_some_and(|last| inner.behind(Some(last)).next().is_some());
        let next = more.then(|| keys.last().map(ToString::to_string)).flatten();
        ready(Ok(StateKeys { keys, next })).boxed()
    }

    fn bytes(&self) -> u64 {
        self.lock().bytes
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use saf_event::ChannelName;

    use super::*;
    use crate::embedded::record::state;
    use crate::{StateChange, StateChanges};

    fn record(version: u64, changes: &[(&str, Option<&str>, Option<u64>)]) -> Bytes {
        let all = changes.iter().map(|(key, value, read)| StateChange {
            key: (*key).into(),
            value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())),
            read: *read,
        });
        let changes = StateChanges { version, all: all.collect() };
        let mut out = BytesMut::new();
        let channel = ChannelName::parse("counter").expect("valid");
        let start = state::encode(&channel, 1, &changes, &mut out).expect("small");
        out.freeze().slice(start..)
    }

    #[test]
    fn a_change_of_a_version_that_is_gone_does_not_fit_even_before_the_frame_is_durable() {
        let table = Table::default();
        let first = record(7, &[("k", Some("1"), Some(0))]);
        let first = StateRecord::own(&first);
        assert!(table.fits(&first));
        table.stage(&first);
        assert!(!table.fits(&first), "another one of the same frame");
        assert_eq!(table.bytes(), 0, "nobody sees it yet");
        let second = record(8, &[("k", None, Some(7)), ("l", Some("22"), None)]);
        let second = StateRecord::own(&second);
        assert!(table.fits(&second));
        table.stage(&second);
        table.apply(&first);
        assert_eq!(table.bytes(), 66);
        table.apply(&second);
        assert_eq!((table.bytes(), table.len()), (67, 1));
        let third = record(9, &[("k", Some("3"), Some(0))]);
        assert!(table.fits(&StateRecord::own(&third)), "a key that is gone has version 0");
        let unsaved = table.take_unsaved();
        let unsaved: Vec<_> = unsaved.iter().map(|(key, value)| (&**key, value.is_some())).collect();
        assert_eq!(unsaved, [("k", false), ("l", true)]);
        assert!(table.take_unsaved().is_empty());
    }

    #[test]
    fn keys_come_in_pages_and_the_last_one_says_so() {
        let table = Table::default();
        for n in 0..25u64 {
            table.restore(format!("{n:02}").into(), Value { version: n, data: Bytes::new() });
        }
        let (mut seen, mut cursor) = (Vec::new(), None);
        loop {
            let page = table.keys(cursor.as_deref(), 10).now_or_never().expect("at once").expect("keys");
            seen.extend(page.keys);
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        assert_eq!(seen, (0..25).map(|n| ByteString::from(format!("{n:02}"))).collect::<Vec<_>>());
        let beyond = table.keys(Some("zz\u{fffd}"), 10).now_or_never().expect("at once").expect("keys");
        assert_eq!(beyond, StateKeys::default());
    }
}
