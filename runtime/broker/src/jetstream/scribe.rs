//! What became of deliveries, on its way to a stream of its own: packed, many entries a message, off the event's way.
//!
//! Settlers hand over what they settled; one task gathers it for a second, or up to [`MESSAGE_BYTES`], and stores it. A full queue, and a
//! server that does not take a message, cost entries, which are counted, never a delivery. So a crash costs the last second, and
//! [`Scribe::flush`] is called before a clean end. Deliberately absent: dedupe keys; a message whose answer was lost may be there.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use saf_event::{ChannelName, StreamName};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{MissedTickBehavior, interval};

use super::Core;
use super::codec::Head;
use super::names::history_of;
use super::publisher::Outgoing;
use crate::HistoryConfig;
use crate::history::codec::{EntryRecord, Pack};

/// A message is sent once it holds so many bytes.
pub(super) const MESSAGE_BYTES: usize = 64 << 10;
/// How long entries wait for others.
const GATHER: Duration = Duration::from_secs(1);
/// Most batches that wait to be gathered, and most entries in them.
const QUEUE_BATCHES: usize = 4_096;
const QUEUE_ENTRIES: u64 = 65_536;

/// What the task is asked for.
pub(super) enum Told {
    /// To gather these.
    Batch(StreamName, ChannelName, Pack),
    /// To store what it has, and to say so.
    Flush(oneshot::Sender<()>),
}

/// The settlers' side.
pub(super) struct Scribe {
    queue: mpsc::Sender<Told>,
    queued: AtomicU64,
    enabled: AtomicBool,
    dropped: AtomicU64,
}

impl Scribe {
    pub(super) fn new() -> (Self, mpsc::Receiver<Told>) {
        let (queue, told) = mpsc::channel(QUEUE_BATCHES);
        let (enabled, none) = (AtomicBool::new(false), || AtomicU64::new(0));
        (Self { queue, queued: none(), enabled, dropped: none() }, told)
    }

    pub(super) fn configure(&self, config: &HistoryConfig) {
        self.enabled.store(config.enabled, Ordering::Relaxed);
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Entries that were not kept.
    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Hands over what was settled; never waits.
    pub(super) fn offer(&self, stream: &StreamName, channel: &ChannelName, pack: Pack) {
        if pack.is_empty() || !self.is_enabled() {
            return;
        }
        let entries = pack.entries;
        let full = self.queued.fetch_add(entries, Ordering::Relaxed) >= QUEUE_ENTRIES;
        if full || self.queue.try_send(Told::Batch(stream.clone(), channel.clone(), pack)).is_err() {
            self.queued.fetch_sub(entries, Ordering::Relaxed);
            self.lose(entries, "more was settled than could be written");
        }
    }

    /// Resolves when everything that was handed over before is stored or lost. Cancel-safe.
    pub(super) async fn flush(&self) {
        let (done, flushed) = oneshot::channel();
        if self.queue.send(Told::Flush(done)).await.is_ok() {
            let _ = flushed.await;
        }
    }

    fn lose(&self, entries: u64, why: &str) {
        if self.dropped.fetch_add(entries, Ordering::Relaxed) == 0 {
            tracing::warn!(entries, why, "history is left out");
        }
    }
}

/// Gathers and stores; ends when the broker is gone.
pub(super) async fn write(core: Arc<Core>, mut told: mpsc::Receiver<Told>) {
    let mut packs: HashMap<(StreamName, ChannelName), Pack> = HashMap::new();
    let mut tick = interval(GATHER);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            next = told.recv() => match next {
                None => return,
                Some(Told::Batch(stream, channel, batch)) => {
                    core.scribe.queued.fetch_sub(batch.entries, Ordering::Relaxed);
                    let place = (stream, channel);
                    let due = if let Some(pack) = packs.get_mut(&place) {
                        pack.bytes.extend_from_slice(&batch.bytes);
                        pack.entries += batch.entries;
                        pack.bytes.len() >= MESSAGE_BYTES
                    } else {
                        let due = batch.bytes.len() >= MESSAGE_BYTES;
                        packs.insert(place.clone(), batch);
                        due
                    };
                    if due && let Some(pack) = packs.remove(&place) {
                        store(&core, place, pack).await;
                    }
                }
                Some(Told::Flush(done)) => {
                    store_all(&core, &mut packs).await;
                    let _ = done.send(());
                }
            },
            _ = tick.tick() => store_all(&core, &mut packs).await,
        }
    }
}

async fn store_all(core: &Core, packs: &mut HashMap<(StreamName, ChannelName), Pack>) {
    for (place, pack) in packs.drain() {
        store(core, place, pack).await;
    }
}

/// In as many messages as it takes.
async fn store(core: &Core, (stream, channel): (StreamName, ChannelName), pack: Pack) {
    let limit = MESSAGE_BYTES.min(core.publisher.max_bytes() / 2);
    let (mut rest, mut message) = (EntryRecord::all(&pack.bytes).peekable(), Pack::default());
    while let Some(entry) = rest.next() {
        message.bytes.extend_from_slice(entry.bytes());
        message.entries += 1;
        if message.bytes.len() < limit && rest.peek().is_some() {
            continue;
        }
        let Pack { bytes, entries } = std::mem::take(&mut message);
        let subject = history_of(&stream, Some(&channel));
        if let Err(error) = core.store(Outgoing { subject, head: Head::new(), data: bytes.into() }).await {
            core.scribe.lose(entries, &error.to_string());
        }
    }
}
