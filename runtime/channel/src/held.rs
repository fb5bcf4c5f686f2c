//! What a Channel holds, from the fill to the settlement: counted, so that no more is taken than can be finished soon, and
//! kept alive, so that the broker does not hand it to somebody else meanwhile (delivery rule 5).
//!
//! Invariant: a [`Hop`] is in the registry from [`Held::hop`] until all its deliveries are settled or dropped. The lock is
//! taken twice a hop, never once an event, and held for one insertion or removal.

use std::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use saf_broker::{Delivery, Ticket};
use slab::Slab;
use tokio::sync::Notify;

/// Of the limit, what has to be free before more is taken.
const ROOM_DIVISOR: usize = 8;

/// Everything one Channel holds in this process.
#[derive(Default)]
pub(crate) struct Held {
    count: AtomicUsize,
    freed: Notify,
    hops: Mutex<Slab<Vec<Ticket>>>,
}

/// A batch of deliveries on its way through the worker to the settler. Its deliveries leave in parts; when the last has
/// left, they are no longer kept alive.
pub(crate) struct Hop {
    held: Arc<Held>,
    key: usize,
    left: AtomicU32,
}

impl Held {
    /// Registers deliveries that were just taken.
    pub(crate) fn hop(self: &Arc<Self>, deliveries: &[Delivery]) -> Arc<Hop> {
        let tickets = deliveries.iter().filter_map(|delivery| delivery.ticket().cloned()).collect();
        let key = self.hops.lock().unwrap_or_else(PoisonError::into_inner).insert(tickets);
        self.count.fetch_add(deliveries.len(), Ordering::AcqRel);
        Arc::new(Hop { held: self.clone(), key, left: AtomicU32::new(deliveries.len() as u32) })
    }

    /// How many deliveries are held.
    pub(crate) fn count(&self) -> usize {
        self.count.load(Ordering::Acquire)
    }

    /// Waits until there is room for a fair share of `limit`, at least 1; says for how many. Taking each place as it becomes
    /// free would make every batch from here to the disk as small as the last one. Cancel-safe.
    pub(crate) async fn room(&self, limit: usize) -> usize {
        let share = (limit / ROOM_DIVISOR).max(1);
        loop {
            let freed = self.freed.notified();
            match limit.saturating_sub(self.count()) {
                room if room >= share => return room,
                _ => freed.await,
            }
        }
    }

    /// Waits until nothing is held. Cancel-safe.
    pub(crate) async fn empty(&self) {
        self.room(1).await;
    }

    /// The tickets of everything held.
    pub(crate) fn tickets(&self) -> Vec<Ticket> {
        self.hops
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .flat_map(|(_, hop)| hop.iter().cloned())
            .collect()
    }
}

impl Hop {
    /// So many of its deliveries are settled or given back; never more than are left.
    pub(crate) fn release(&self, n: usize) {
        if n == 0 {
            return;
        }
        let n = n as u32;
        self.left.fetch_sub(n, Ordering::AcqRel);
        self.held.count.fetch_sub(n as usize, Ordering::AcqRel);
        self.held.freed.notify_one();
    }
}

impl Drop for Hop {
    fn drop(&mut self) {
        self.release(self.left.load(Ordering::Acquire) as usize);
        self.held.hops.lock().unwrap_or_else(PoisonError::into_inner).remove(self.key);
    }
}
