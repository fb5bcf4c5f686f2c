//! A Channel's state as the host sees it: it reads, and says with each event what the event changed. Where state is kept, and whether the
//! changes still fit what is there, is somebody else's: nothing that a guest writes leaves its instance before the event is done.

use std::fmt;

use bytes::Bytes;
use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use saf_event::ByteString;

/// The state of one Channel. Errors are for the guest, in words.
pub trait State: Send + Sync + fmt::Debug {
    /// A key's value, for the attempt of the event with this sequence.
    fn get<'a>(&'a self, event: u64, key: &'a str) -> BoxFuture<'a, Result<Held, String>>;

    /// Some keys, about `limit`, each once over all pages; `after` is the cursor of the page before.
    fn keys<'a>(&'a self, after: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<KeyPage, String>>;

    /// What all keys and values take, in bytes; 0 when that is counted elsewhere.
    fn bytes(&self) -> u64;
}

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Held {
    /// `None` when it is not there.
    pub value: Option<Bytes>,
    /// Names this value towards whoever keeps it.
    pub version: u64,
}

/// A page of keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPage {
    /// The keys.
    pub keys: Vec<ByteString>,
    /// Where the next page begins; `None` when there is none.
    pub next: Option<String>,
}

/// What an event made of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key, 1 to 255 bytes.
    pub key: ByteString,
    /// `None` when it was deleted.
    pub value: Option<Bytes>,
    /// The version that the event read first; `None` when it wrote without reading.
    pub read: Option<u64>,
}

/// No keys, ever: what a case begins with.
#[derive(Debug)]
pub(crate) struct Empty;

impl State for Empty {
    fn get<'a>(&'a self, _: u64, _: &'a str) -> BoxFuture<'a, Result<Held, String>> {
        ready(Ok(Held::default())).boxed()
    }

    fn keys<'a>(&'a self, _: Option<&'a str>, _: usize) -> BoxFuture<'a, Result<KeyPage, String>> {
        ready(Ok(KeyPage::default())).boxed()
    }

    fn bytes(&self) -> u64 {
        0
    }
}
