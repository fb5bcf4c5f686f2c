//! The way to a log's writer: a `Mutex<Vec>` that the one writer thread swaps out whole, bounded by a semaphore over bytes, and
//! answers by oneshot. Records come encoded: the writer's core is the one that every publisher waits for.
//!
//! Dropping a submit's future before it queued leaves nothing behind; after that the units are stored all the same.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::thread::Thread;

use bytes::Bytes;
use tokio::sync::{Semaphore, oneshot};

use super::consumer::Consumer;
use super::dedupe::Key;

/// Room in the queue, in blocks of [`BLOCK_BYTES`]: 32 MiB together.
const QUEUE_BLOCKS: usize = 128 << 10;
const BLOCK_BYTES: usize = 256;
/// What a queued unit costs beyond its records, in bytes.
const UNIT_OVERHEAD_BYTES: usize = 256;

/// Records that are stored together, all or none, in one frame.
#[derive(Debug, Default)]
pub(crate) struct Unit {
    /// With their length prefixes.
    pub(crate) bytes: Bytes,
    pub(crate) records: u32,
    /// How many of the records take a sequence.
    pub(crate) events: u32,
    /// What makes it a duplicate.
    pub(crate) key: Option<Key>,
}

/// Events of a batch, encoded one after another and stored each for itself.
#[derive(Debug)]
pub(crate) struct Row {
    /// With their length prefixes.
    pub(crate) bytes: Bytes,
    /// Where each one ends in `bytes`, and what makes it a duplicate.
    pub(crate) events: Vec<(usize, Option<Key>)>,
}

/// A delivery's emissions and its settlement, which are stored together.
#[derive(Debug)]
pub(crate) struct Settled {
    /// Of the event that was handled.
    pub(crate) sequence: u64,
    /// The records, the settlement last.
    pub(crate) bytes: Bytes,
    /// All records but the settlement.
    pub(crate) events: u32,
    /// The record of the state's changes, a part of `bytes`; empty when there are none.
    pub(crate) changes: Bytes,
    /// The entry of the history, a part of `bytes`; empty when there is none.
    pub(crate) entry: Bytes,
}

/// What became of a unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Stored {
    /// Durable; the sequence of its first event.
    At(u64),
    /// Its key is that of an event with this sequence, which is durable. 0 when a settlement had been stored before.
    Duplicate(u64),
    /// A key of the state is not as it was read; not stored.
    Conflict,
    /// No room; not stored.
    Full(String),
    /// The writer takes nothing any more; not stored.
    Refused,
    /// The write or the sync failed: it may be there after a restart.
    Unknown,
}

/// Units with the way back.
pub(crate) enum Item {
    One(Unit, oneshot::Sender<Stored>),
    Many(Vec<Unit>, oneshot::Sender<Vec<Stored>>),
    Row(Row, oneshot::Sender<Vec<Stored>>),
    /// What one consumer's Channel handled.
    Settle(Arc<Consumer>, Vec<Settled>, oneshot::Sender<Vec<Stored>>),
}

impl Item {
    /// How much of the queue it takes, in blocks.
    pub(crate) fn blocks(&self) -> u32 {
        let cost = |bytes: &Bytes| bytes.len() + UNIT_OVERHEAD_BYTES;
        let bytes: usize = match self {
            Self::One(unit, _) => cost(&unit.bytes),
            Self::Many(units, _) => units.iter().map(|unit| cost(&unit.bytes)).sum(),
            Self::Row(row, _) => row.bytes.len() + row.events.len() * UNIT_OVERHEAD_BYTES,
            Self::Settle(_, settled, _) => settled.iter().map(|settled| cost(&settled.bytes)).sum(),
        };
        // One that is larger than the whole queue goes alone.
        bytes.div_ceil(BLOCK_BYTES).min(QUEUE_BLOCKS) as u32
    }
}

/// See the file's head.
pub(crate) struct Queue {
    waiting: Mutex<Waiting>,
    room: Semaphore,
    writer: OnceLock<Thread>,
    nudged: AtomicBool,
}

#[derive(Default)]
struct Waiting {
    items: Vec<Item>,
    door: Door,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Door {
    #[default]
    Open,
    /// What is queued is still written.
    Closing,
    /// Nobody reads any more.
    Closed,
}

/// What the writer finds.
pub(crate) enum Work {
    Items(Vec<Item>),
    /// Nothing queued, but somebody nudged.
    Nudge,
    /// Closed, and nothing is left.
    End,
}

impl Queue {
    pub(crate) fn new() -> Self {
        let room = Semaphore::new(QUEUE_BLOCKS);
        Self { waiting: Mutex::default(), room, writer: OnceLock::new(), nudged: AtomicBool::new(false) }
    }

    /// The writer's thread, so that it can be woken.
    pub(crate) fn attend(&self, writer: Thread) {
        self.writer.get_or_init(|| writer);
    }

    /// Stores one unit. Cancel-safe in this sense: once queued, it is stored whatever becomes of the future.
    pub(crate) async fn submit(&self, unit: Unit) -> Stored {
        let (answer, answered) = oneshot::channel();
        match self.push(Item::One(unit, answer)).await {
            Ok(()) => answered.await.unwrap_or(Stored::Unknown),
            Err(Closed) => Stored::Refused,
        }
    }

    /// Stores units, each all or none, in order; one answer for each.
    pub(crate) async fn submit_all(&self, units: Vec<Unit>) -> Vec<Stored> {
        let count = units.len();
        let (answer, answered) = oneshot::channel();
        match self.push(Item::Many(units, answer)).await {
            Ok(()) => answered.await.unwrap_or_else(|_| vec![Stored::Unknown; count]),
            Err(Closed) => vec![Stored::Refused; count],
        }
    }

    /// Stores the events of a batch, in order; one answer for each.
    pub(crate) async fn submit_row(&self, row: Row) -> Vec<Stored> {
        let count = row.events.len();
        let (answer, answered) = oneshot::channel();
        match self.push(Item::Row(row, answer)).await {
            Ok(()) => answered.await.unwrap_or_else(|_| vec![Stored::Unknown; count]),
            Err(Closed) => vec![Stored::Refused; count],
        }
    }

    /// Stores what a Channel handled, each delivery all or none, in order; one answer for each.
    pub(crate) async fn settle_all(&self, consumer: Arc<Consumer>, settled: Vec<Settled>) -> Vec<Stored> {
        let count = settled.len();
        let (answer, answered) = oneshot::channel();
        match self.push(Item::Settle(consumer, settled, answer)).await {
            Ok(()) => answered.await.unwrap_or_else(|_| vec![Stored::Unknown; count]),
            Err(Closed) => vec![Stored::Refused; count],
        }
    }

    async fn push(&self, item: Item) -> Result<(), Closed> {
        let room = self.room.acquire_many(item.blocks()).await.map_err(|_| Closed)?;
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.door != Door::Open {
            return Err(Closed);
        }
        room.forget();
        waiting.items.push(item);
        let was_empty = waiting.items.len() == 1;
        drop(waiting);
        if was_empty {
            self.wake();
        }
        Ok(())
    }

    fn wake(&self) {
        if let Some(writer) = self.writer.get() {
            writer.unpark();
        }
    }

    /// For the writer: waits for work, and takes all there is. `spare` is the emptied vector of the last time.
    pub(crate) fn take(&self, spare: Vec<Item>) -> Work {
        loop {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            if !waiting.items.is_empty() {
                return Work::Items(std::mem::replace(&mut waiting.items, spare));
            }
            if waiting.door != Door::Open {
                waiting.door = Door::Closed;
                return Work::End;
            }
            drop(waiting);
            if self.nudged.swap(false, Ordering::AcqRel) {
                return Work::Nudge;
            }
            std::thread::park();
        }
    }

    /// For the writer: so many blocks are free again.
    pub(crate) fn give_room(&self, blocks: usize) {
        self.room.add_permits(blocks);
    }

    /// Has the writer look after retention, soon.
    pub(crate) fn nudge(&self) {
        self.nudged.store(true, Ordering::Release);
        self.wake();
    }

    /// Nobody will write any more: those who wait learn that nothing is known of their events.
    pub(crate) fn abort(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        waiting.door = Door::Closed;
        waiting.items.clear();
        drop(waiting);
        self.room.close();
    }

    /// Takes nothing more; what is queued is written.
    pub(crate) fn close(&self) {
        let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
        if waiting.door == Door::Open {
            waiting.door = Door::Closing;
        }
        drop(waiting);
        self.room.close();
        self.wake();
    }
}

/// The queue takes nothing any more.
struct Closed;

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;

    fn large() -> Unit {
        Unit { bytes: vec![0; (QUEUE_BLOCKS / 4) * BLOCK_BYTES].into(), ..Unit::default() }
    }

    #[tokio::test]
    async fn a_full_queue_makes_publishers_wait_until_the_writer_has_written() {
        let queue = Queue::new();
        let mut publishers: Vec<_> = (0..5).map(|_| Box::pin(queue.submit(large()))).collect();
        for publisher in &mut publishers {
            assert!(publisher.now_or_never().is_none());
        }
        let Work::Items(items) = queue.take(Vec::new()) else { panic!("work") };
        assert_eq!(items.len(), 3, "a quarter each, and a little");
        queue.give_room(items.iter().map(|item| item.blocks() as usize).sum());
        for publisher in &mut publishers[3..] {
            assert!(publisher.now_or_never().is_none());
        }
        let Work::Items(rest) = queue.take(Vec::new()) else { panic!("work") };
        assert_eq!(rest.len(), 2);
    }

    #[tokio::test]
    async fn one_that_is_larger_than_the_queue_goes_alone() {
        let queue = Queue::new();
        let huge = Unit { bytes: vec![0; 2 * QUEUE_BLOCKS * BLOCK_BYTES].into(), ..Unit::default() };
        assert!(Box::pin(queue.submit(huge)).now_or_never().is_none());
        let Work::Items(items) = queue.take(Vec::new()) else { panic!("work") };
        assert_eq!((items.len(), items[0].blocks() as usize), (1, QUEUE_BLOCKS));
    }

    #[tokio::test]
    async fn a_closed_queue_refuses_the_waiting_and_hands_out_the_queued() {
        let queue = Queue::new();
        let mut queued = Box::pin(queue.submit(Unit::default()));
        assert!((&mut queued).now_or_never().is_none());
        queue.close();
        assert_eq!(queue.submit(Unit::default()).await, Stored::Refused);
        let Work::Items(items) = queue.take(Vec::new()) else { panic!("work") };
        drop(items);
        assert!(matches!(queue.take(Vec::new()), Work::End));
        assert_eq!(queued.await, Stored::Unknown, "nobody answered");
    }
}
