//! A clock that costs one load: a thread writes milliseconds to an atomic. A deadline is compared at every host call and at
//! every yield of a guest, where `Instant::now` would cost 30 to 270 ns an event (measured).
//!
//! Deliberately not a wall clock, and not more exact than the scheduler: a reading may be a millisecond or two old.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

const TICK_MILLIS: u64 = 1;

/// Milliseconds since the clock was started. Clones read the same clock; its thread ends when the last one is gone.
#[derive(Clone, Debug)]
pub(crate) struct Clock(Arc<AtomicU64>);

impl Clock {
    /// Starts the thread `saf-clock`.
    pub(crate) fn start() -> std::io::Result<Self> {
        let millis = Arc::new(AtomicU64::new(0));
        let written = Arc::downgrade(&millis);
        std::thread::Builder::new().name("saf-clock".into()).spawn(move || {
            let started = Instant::now();
            while let Some(millis) = written.upgrade() {
                millis.store(started.elapsed().as_millis() as u64, Relaxed);
                drop(millis);
                std::thread::sleep(Duration::from_millis(TICK_MILLIS));
            }
        })?;
        Ok(Self(millis))
    }

    /// Milliseconds since the start.
    pub(crate) fn now(&self) -> u64 {
        self.0.load(Relaxed)
    }

    /// The reading from which on `span` has certainly passed.
    pub(crate) fn after(&self, span: Duration) -> u64 {
        self.now().saturating_add(span.as_millis() as u64).saturating_add(2 * TICK_MILLIS)
    }
}
