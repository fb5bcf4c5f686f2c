//! Whether the store lives: its health for `/readyz`, and the one flag that tells every waiting call that it is over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;

use super::fault::Fault;
use crate::{Error, Health};

/// Shared by all parts of a store.
#[derive(Clone)]
pub(crate) struct Vitals {
    health: Arc<watch::Sender<Health>>,
    closed: Arc<AtomicBool>,
}

impl Vitals {
    pub(crate) fn new() -> Self {
        Self { health: Arc::new(watch::Sender::new(Health::Up)), closed: Arc::default() }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    /// A write or a sync failed: it is over.
    pub(crate) fn fail(&self, fault: &Fault) {
        self.health.send_if_modified(|health| {
            let first = !matches!(health, Health::Failed { .. });
            if first {
                *health =
                    Health::Failed { reason: format!("{fault}; restart the process once the disk is well") };
            }
            first
        });
    }

    /// Damage was met while reading: whoever needs that place stops, the others go on.
    pub(crate) fn damaged(&self, fault: &Fault) {
        let reason = fault.to_string();
        let changed = self.health.send_if_modified(|health| {
            let up = matches!(health, Health::Up);
            if up {
                *health = Health::Down { reason: reason.clone() };
            }
            up
        });
        if changed {
            tracing::error!(reason, "stored data cannot be read");
        }
    }

    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
    }

    pub(crate) fn has_failed(&self) -> bool {
        matches!(*self.health.borrow(), Health::Failed { .. })
    }

    /// Why nothing more is to be expected, if so.
    pub(crate) fn over(&self) -> Option<Error> {
        if self.closed.load(Ordering::SeqCst) {
            return Some(Error::Unavailable("the store is closed".to_owned()));
        }
        match &*self.health.borrow() {
            Health::Failed { reason } => Some(Error::Failed(reason.clone())),
            Health::Up | Health::Down { .. } => None,
        }
    }
}
