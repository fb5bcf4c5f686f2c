//! A Channel's state between its guests and its broker: what this process has handed to the settler and not yet seen stored, over what
//! the broker has. Without it, two events in a row that change the same key would be a conflict each time.
//!
//! A guest's changes are compared when the guest is done, under one lock: if another event has changed a key since it was read, the guest is
//! called again, which costs nobody an attempt. What passes gets a version that nobody had before, and a place in the queue to the
//! settler, so that changes are handed in in the order in which they build on each other. The broker compares once more, because other
//! replicas write too, and because what was handed in before may turn out not to be storable.
//!
//! Invariant: a key is in `keys` from the hand-over of a change until the settlement with the newest one of it ended, well or not.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use saf_broker::{Settling, StateChange, StateChanges, StateReader};
use saf_event::ByteString;
use saf_host::{Change, Held, KeyPage, State};
use tokio::sync::{RwLock, RwLockReadGuard, RwLockWriteGuard, mpsc};

use crate::held::Hop;
use crate::observe::{Observed, Told};
use crate::traces::Storing;
use crate::worker::Part;

/// So often an event is called again beside others; after that it runs while no other event of the Channel does.
const CONFLICTS_BESIDE_OTHERS: u32 = 3;
/// So often an event that the broker found in conflict is called again at once; after that it goes back, and comes again a little later.
const CONFLICTS_AT_ONCE: u32 = 8;
/// Most settlements of a part.
const PART_SETTLINGS: usize = 256;

/// See the file's head.
pub(crate) struct InFlight {
    reader: Arc<dyn StateReader>,
    inner: Mutex<Inner>,
    calm: RwLock<()>,
}

#[derive(Default)]
struct Inner {
    keys: HashMap<ByteString, Handed>,
    events: HashMap<u64, Event>,
    conflicts: HashMap<u64, u32>,
    bytes: u64,
    /// In the order in which they are handed in.
    queue: VecDeque<Part>,
}

/// A key's newest value that is on its way.
struct Handed {
    value: Option<Bytes>,
    /// Of the settlement that it belongs to.
    by: u64,
}

/// An event whose settlement is on its way.
struct Event {
    version: u64,
    keys: Vec<ByteString>,
}

impl Handed {
    fn version(&self) -> u64 {
        if self.value.is_some() { self.by } else { 0 }
    }
}

/// Why changes are not handed in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum NotYet {
    /// Another event was quicker: call the guest again.
    Conflict,
    /// Another delivery of the same event is on its way.
    UnderWay,
}

/// How an event runs; held while its guest is called and its changes are handed in.
pub(crate) enum Turn<'a> {
    Beside { _others: RwLockReadGuard<'a, ()> },
    Alone { _others: RwLockWriteGuard<'a, ()> },
}

/// Changes that passed; nothing else passes before they are queued.
pub(crate) struct Passed<'a> {
    inner: MutexGuard<'a, Inner>,
    event: u64,
    changes: StateChanges,
}

impl InFlight {
    pub(crate) fn new(reader: Arc<dyn StateReader>) -> Self {
        Self { reader, inner: Mutex::default(), calm: RwLock::new(()) }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until an event that had so many conflicts may run.
    pub(crate) async fn turn(&self, conflicts: u32) -> Turn<'_> {
        if conflicts <= CONFLICTS_BESIDE_OTHERS {
            Turn::Beside { _others: self.calm.read().await }
        } else {
            Turn::Alone { _others: self.calm.write().await }
        }
    }

    /// Compares an event's changes with what is on its way.
    pub(crate) fn pass(&self, event: u64, changes: Vec<Change>) -> Result<Passed<'_>, NotYet> {
        let inner = self.lock();
        if inner.events.contains_key(&event) {
            return Err(NotYet::UnderWay);
        }
        let stale = |change: &Change| {
            let handed = inner.keys.get(&change.key);
            change.read.zip(handed).is_some_and(|(read, handed)| read != handed.version())
        };
        if changes.iter().any(stale) {
            return Err(NotYet::Conflict);
        }
        let all =
            changes.into_iter().map(|Change { key, value, read }| StateChange { key, value, read }).collect();
        Ok(Passed { inner, event, changes: StateChanges { version: fastrand::u64(1..), all } })
    }

    /// Hands on what is queued, in order. `None` when the settler is gone.
    pub(crate) async fn flush(&self, parts: &mpsc::Sender<Part>) -> Option<()> {
        while !self.lock().queue.is_empty() {
            let permit = parts.reserve().await.ok()?;
            // Taken and sent under the lock: nobody comes in between.
            let mut inner = self.lock();
            if let Some(part) = inner.queue.pop_front() {
                permit.send(part);
            }
        }
        Some(())
    }

    /// The settlement of an event is stored.
    pub(crate) fn stored(&self, event: u64) {
        let mut inner = self.lock();
        inner.end(event);
        inner.conflicts.remove(&event);
    }

    /// The settlement of an event will not be stored.
    pub(crate) fn refused(&self, event: u64) {
        self.lock().end(event);
    }

    /// The broker found the changes of an event stale; says whether it may be called again at once.
    pub(crate) fn conflicted(&self, event: u64) -> bool {
        let mut inner = self.lock();
        inner.end(event);
        let conflicts = inner.conflicts.entry(event).or_default();
        *conflicts += 1;
        if *conflicts <= CONFLICTS_AT_ONCE {
            return true;
        }
        inner.conflicts.remove(&event);
        false
    }

    async fn value(&self, event: u64, key: &str) -> Result<Held, String> {
        if let Some(handed) = self.lock().keys.get(key) {
            return Ok(Held { value: handed.value.clone(), version: handed.version() });
        }
        let stored = self.reader.get(event, key).await.map_err(|error| error.to_string())?;
        Ok(Held { value: stored.value, version: stored.version })
    }

    async fn page(&self, after: Option<&str>, limit: usize) -> Result<KeyPage, String> {
        let page = self.reader.keys(after, limit).await.map_err(|error| error.to_string())?;
        let mut page = KeyPage { keys: page.keys, next: page.next };
        let mut new = Vec::new();
        {
            let inner = self.lock();
            page.keys.retain(|key| inner.keys.get(key).is_none_or(|handed| handed.value.is_some()));
            if page.next.is_none() {
                new.extend(
                    inner
                        .keys
                        .iter()
                        .filter(|(_, handed)| handed.value.is_some())
                        .map(|(key, _)| key.clone()),
                );
            }
        }
        for key in new {
            let stored = self.reader.get(0, &key).await.map_err(|error| error.to_string())?;
            if stored.value.is_none() {
                page.keys.push(key);
            }
        }
        Ok(page)
    }
}

impl Passed<'_> {
    /// For the settlement.
    pub(crate) fn changes(&self) -> StateChanges {
        self.changes.clone()
    }

    /// Puts the event's settlement behind those that passed before.
    pub(crate) fn queue(
        self,
        hop: &Arc<Hop>,
        settling: Settling,
        observed: Option<Observed>,
        storing: Option<Storing>,
    ) {
        let Self { mut inner, event, changes } = self;
        let StateChanges { version, all } = changes;
        let mut keys = Vec::with_capacity(all.len());
        for StateChange { key, value, .. } in all {
            inner.bytes += cost(&key, value.as_ref());
            if let Some(old) = inner.keys.insert(key.clone(), Handed { value, by: version }) {
                inner.bytes -= cost(&key, old.value.as_ref());
            }
            keys.push(key);
        }
        inner.events.insert(event, Event { version, keys });
        let last = inner.queue.back_mut();
        let last = last.filter(|part| Arc::ptr_eq(&part.hop, hop) && part.batch.len() < PART_SETTLINGS);
        if let Some(part) = last {
            part.batch.push(settling);
            part.told.add(observed, storing);
            return;
        }
        let mut told = Told::default();
        told.add(observed, storing);
        inner.queue.push_back(Part { hop: hop.clone(), batch: vec![settling], told });
    }
}

impl Inner {
    fn end(&mut self, event: u64) {
        let Some(Event { version, keys }) = self.events.remove(&event) else { return };
        for key in keys {
            if self.keys.get(&key).is_some_and(|handed| handed.by == version)
                && let Some(handed) = self.keys.remove(&key)
            {
                self.bytes -= cost(&key, handed.value.as_ref());
            }
        }
    }
}

fn cost(key: &str, value: Option<&Bytes>) -> u64 {
    (key.len() + value.map_or(0, Bytes::len)) as u64
}

impl State for InFlight {
    fn get<'a>(&'a self, event: u64, key: &'a str) -> BoxFuture<'a, Result<Held, String>> {
        self.value(event, key).boxed()
    }

    fn keys<'a>(&'a self, after: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<KeyPage, String>> {
        self.page(after, limit).boxed()
    }

    fn bytes(&self) -> u64 {
        self.reader.bytes() + self.lock().bytes
    }
}

impl fmt::Debug for InFlight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InFlight").finish_non_exhaustive()
    }
}
