//! wasi:keyvalue 0.2.0-draft2: what a Channel remembers from event to event, over instances and restarts. One bucket, `""`, the Channel's
//! own; granted by `grants.keyvalue = true`.
//!
//! A guest writes into a draft ([`draft`]) that leaves the instance with the event's emissions, when the event is done: a trap, a retry or
//! a reject writes nothing. So there is nothing to undo, and `increment` and `swap` need no server: they are a read and a write,
//! and when another event changed the key meanwhile, this one is called again. A number is text (`"42"`), so that every language reads it.
//! Reached only while an event is handled: `init` has no settlement to write with. Deliberately absent: watching keys, other buckets,
//! expiry.

mod draft;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use bytes::Bytes;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};

use crate::config::Limits;
use crate::state::{Change, State};
use draft::{Bounds, Draft, Over};

mod bindings {
    #![allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)]
    wasmtime::component::bindgen!({
        inline: "
            package wasi:keyvalue@0.2.0-draft2;
            interface store {
                variant error { no-such-store, access-denied, other(string) }
                record key-response { keys: list<string>, cursor: option<string> }
                open: func(identifier: string) -> result<bucket, error>;
                resource bucket {
                    get: func(key: string) -> result<option<list<u8>>, error>;
                    set: func(key: string, value: list<u8>) -> result<_, error>;
                    delete: func(key: string) -> result<_, error>;
                    exists: func(key: string) -> result<bool, error>;
                    list-keys: func(cursor: option<string>) -> result<key-response, error>;
                }
            }
            interface atomics {
                use store.{bucket, error};
                variant cas-error { store-error(error), cas-failed(cas) }
                resource cas {
                    new: static func(bucket: borrow<bucket>, key: string) -> result<cas, error>;
                    current: func() -> result<option<list<u8>>, error>;
                }
                increment: func(bucket: borrow<bucket>, key: string, delta: s64) -> result<s64, error>;
                swap: func(cas: cas, value: list<u8>) -> result<_, cas-error>;
            }
            interface batch {
                use store.{bucket, error};
                get-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<list<tuple<string, option<list<u8>>>>, error>;
                set-many: func(bucket: borrow<bucket>, key-values: list<tuple<string, list<u8>>>) -> result<_, error>;
                delete-many: func(bucket: borrow<bucket>, keys: list<string>) -> result<_, error>;
            }
            world imports { import store; import atomics; import batch; }
        ",
        world: "imports",
        imports: { default: async | trappable },
        with: {
            "wasi:keyvalue/store.bucket": crate::capability::keyvalue::Bucket,
            "wasi:keyvalue/atomics.cas": crate::capability::keyvalue::Cas,
        },
    });
}

use bindings::wasi::keyvalue::atomics::{self, CasError};
use bindings::wasi::keyvalue::batch;
use bindings::wasi::keyvalue::store::{self, Error, KeyResponse};

/// What a bucket is called.
const BUCKET: &str = "";

/// A bucket that a guest holds; there is only one.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Bucket;

/// A key that a guest wants to change if it is still as it is now.
#[allow(unreachable_pub, reason = "the bindings re-export it")]
pub struct Cas {
    key: String,
    /// Of the event that made it.
    event: u64,
    writes: u64,
}

/// The owned context of an instance.
pub(crate) struct KeyValue {
    /// `None` without a grant.
    state: Option<Arc<dyn State>>,
    limits: Bounds,
    /// The event that is handled now.
    event: Option<u64>,
    draft: Draft,
}

impl KeyValue {
    pub(crate) fn new(state: Option<Arc<dyn State>>, limits: &Limits) -> Self {
        Self { state, limits: Bounds::of(limits), event: None, draft: Draft::default() }
    }

    /// An event begins, with nothing written.
    pub(crate) fn begin_event(&mut self, sequence: u64) {
        self.event = Some(sequence);
        self.draft = Draft::default();
    }

    /// What the event wrote.
    pub(crate) fn take(&mut self) -> Vec<Change> {
        self.draft.take()
    }

    /// What was not taken is forgotten.
    pub(crate) fn end_event(&mut self) {
        self.event = None;
        self.draft = Draft::default();
    }

    fn open(&mut self) -> Result<(&mut Draft, Over<'_>), Error> {
        let Self { state, limits, event, draft } = self;
        let Some(state) = state else { return Err(Error::AccessDenied) };
        let Some(event) = *event else {
            return Err(Error::Other(
                "state is there while an event is handled, and init handles none".to_owned(),
            ));
        };
        Ok((draft, Over { state, event, limits: *limits }))
    }
}

/// Borrowed for a call.
pub(crate) struct View<'a> {
    pub(crate) keyvalue: &'a mut KeyValue,
    pub(crate) table: &'a mut ResourceTable,
}

impl View<'_> {
    async fn read(&mut self, key: &str) -> Result<Option<Bytes>, Error> {
        let (draft, over) = self.keyvalue.open()?;
        draft.get(over, key).await.map_err(Error::Other)
    }

    fn write(&mut self, key: &str, value: Option<Bytes>) -> Result<(), Error> {
        let (draft, over) = self.keyvalue.open()?;
        draft.put(over, key, value).map_err(Error::Other)
    }

    async fn add(&mut self, key: &str, delta: i64) -> Result<i64, Error> {
        let value = self.read(key).await?;
        let number = value.map_or(Ok(0), |value| number(&value))?;
        let sum = number.checked_add(delta);
        let sum = sum.ok_or_else(|| Error::Other(format!("{number} + {delta} is no 64-bit number")))?;
        self.write(key, Some(sum.to_string().into()))?;
        Ok(sum)
    }

    /// Makes a handle; a guest that holds too many is told so.
    fn hold<T: Send + 'static>(&mut self, what: T) -> Result<Resource<T>, Error> {
        self.table.push(what).map_err(|_| Error::Other("too many handles are open; drop some".to_owned()))
    }

    /// A handle on a key as it is now. A read, so that a change by somebody else is noticed when the event is stored.
    async fn mark(&mut self, key: String) -> Result<Resource<Cas>, Error> {
        self.read(&key).await?;
        let event = self.keyvalue.event.unwrap_or_default();
        let writes = self.keyvalue.draft.writes(&key);
        self.hold(Cas { key, event, writes })
    }
}

fn number(value: &[u8]) -> Result<i64, Error> {
    let text = std::str::from_utf8(value).ok();
    let number = text.and_then(|text| text.parse().ok());
    number.ok_or_else(|| {
        Error::Other("the value is no decimal number, so nothing can be added to it".to_owned())
    })
}

impl store::Host for View<'_> {
    async fn open(&mut self, identifier: String) -> wasmtime::Result<Result<Resource<Bucket>, Error>> {
        if self.keyvalue.state.is_none() {
            return Ok(Err(Error::AccessDenied));
        }
        if identifier != BUCKET {
            return Ok(Err(Error::NoSuchStore));
        }
        Ok(self.hold(Bucket))
    }
}

impl store::HostBucket for View<'_> {
    async fn get(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        Ok(self.read(&key).await.map(|value| value.map(Vec::from)))
    }

    async fn set(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        value: Vec<u8>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.write(&key, Some(value.into())))
    }

    async fn delete(&mut self, _: Resource<Bucket>, key: String) -> wasmtime::Result<Result<(), Error>> {
        Ok(self.write(&key, None))
    }

    async fn exists(&mut self, _: Resource<Bucket>, key: String) -> wasmtime::Result<Result<bool, Error>> {
        Ok(self.read(&key).await.map(|value| value.is_some()))
    }

    async fn list_keys(
        &mut self,
        _: Resource<Bucket>,
        cursor: Option<String>,
    ) -> wasmtime::Result<Result<KeyResponse, Error>> {
        let (draft, over) = match self.keyvalue.open() {
            Ok(open) => open,
            Err(error) => return Ok(Err(error)),
        };
        let page = draft.keys(over, cursor.as_deref()).await.map_err(Error::Other);
        Ok(page.map(|page| KeyResponse {
            keys: page.keys.iter().map(ToString::to_string).collect(),
            cursor: page.next,
        }))
    }

    async fn drop(&mut self, bucket: Resource<Bucket>) -> wasmtime::Result<()> {
        self.table.delete(bucket)?;
        Ok(())
    }
}

impl atomics::Host for View<'_> {
    async fn increment(
        &mut self,
        _: Resource<Bucket>,
        key: String,
        delta: i64,
    ) -> wasmtime::Result<Result<i64, Error>> {
        Ok(self.add(&key, delta).await)
    }

    async fn swap(&mut self, cas: Resource<Cas>, value: Vec<u8>) -> wasmtime::Result<Result<(), CasError>> {
        let Cas { key, event, writes } = self.table.delete(cas)?;
        // What others do is seen when the event is stored; here only what this one did itself, and a handle of an earlier event.
        let fresh = self.keyvalue.event == Some(event) && self.keyvalue.draft.writes(&key) == writes;
        let swapped = if fresh {
            self.write(&key, Some(value.into()))
        } else {
            match self.mark(key).await {
                Ok(cas) => return Ok(Err(CasError::CasFailed(cas))),
                Err(error) => Err(error),
            }
        };
        Ok(swapped.map_err(CasError::StoreError))
    }
}

impl atomics::HostCas for View<'_> {
    async fn new(
        &mut self,
        _: Resource<Bucket>,
        key: String,
    ) -> wasmtime::Result<Result<Resource<Cas>, Error>> {
        Ok(self.mark(key).await)
    }

    async fn current(&mut self, cas: Resource<Cas>) -> wasmtime::Result<Result<Option<Vec<u8>>, Error>> {
        let key = self.table.get(&cas)?.key.clone();
        Ok(self.read(&key).await.map(|value| value.map(Vec::from)))
    }

    async fn drop(&mut self, cas: Resource<Cas>) -> wasmtime::Result<()> {
        self.table.delete(cas)?;
        Ok(())
    }
}

impl batch::Host for View<'_> {
    async fn get_many(
        &mut self,
        _: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<Vec<(String, Option<Vec<u8>>)>, Error>> {
        let mut pairs = Vec::with_capacity(keys.len());
        for key in keys {
            match self.read(&key).await {
                Ok(value) => pairs.push((key, value.map(Vec::from))),
                Err(error) => return Ok(Err(error)),
            }
        }
        Ok(Ok(pairs))
    }

    async fn set_many(
        &mut self,
        _: Resource<Bucket>,
        pairs: Vec<(String, Vec<u8>)>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(pairs.into_iter().try_for_each(|(key, value)| self.write(&key, Some(value.into()))))
    }

    async fn delete_many(
        &mut self,
        _: Resource<Bucket>,
        keys: Vec<String>,
    ) -> wasmtime::Result<Result<(), Error>> {
        Ok(keys.iter().try_for_each(|key| self.write(key, None)))
    }
}

struct Granted;

impl HasData for Granted {
    type Data<'a> = View<'a>;
}

/// Adds `wasi:keyvalue` 0.2.0-draft2: store, atomics and batch.
pub(crate) fn add_to_linker<T: Send + 'static>(
    linker: &mut Linker<T>,
    view: fn(&mut T) -> View<'_>,
) -> wasmtime::Result<()> {
    store::add_to_linker::<T, Granted>(linker, view)?;
    atomics::add_to_linker::<T, Granted>(linker, view)?;
    batch::add_to_linker::<T, Granted>(linker, view)
}
