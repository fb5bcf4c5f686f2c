//! A pool's instances in numbers: started, and gone by the reason. Read by metrics, written with one atomic addition.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Numbers for metrics; each is exact by itself, together they may be a moment apart.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    started: AtomicU64,
    ended: [AtomicU64; Ended::ALL.len()],
}

/// Why an instance is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Ended {
    /// A trap or a limit.
    Fault,
    /// Its call was dropped before it ended.
    Cancelled,
    /// It had handled `max_events`.
    Events,
    /// Its memory was above the mark.
    Memory,
    /// `isolation = "event"`.
    Isolation,
    /// It was not used for `idle`.
    Idle,
    /// Another Channel needed its place.
    Evicted,
    /// Its pool was dropped.
    Retired,
}

impl Ended {
    /// Every reason.
    pub const ALL: [Self; 8] = [
        Self::Fault,
        Self::Cancelled,
        Self::Events,
        Self::Memory,
        Self::Isolation,
        Self::Idle,
        Self::Evicted,
        Self::Retired,
    ];

    /// The word used in metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fault => "fault",
            Self::Cancelled => "cancelled",
            Self::Events => "events",
            Self::Memory => "memory",
            Self::Isolation => "isolation",
            Self::Idle => "idle",
            Self::Evicted => "evicted",
            Self::Retired => "retired",
        }
    }
}

impl Tally {
    pub(crate) fn start(&self) {
        self.started.fetch_add(1, Relaxed);
    }

    pub(crate) fn end(&self, why: Ended) {
        self.ended[why as usize].fetch_add(1, Relaxed);
    }

    pub(crate) fn started(&self) -> u64 {
        self.started.load(Relaxed)
    }

    pub(crate) fn live(&self) -> u64 {
        let ended: u64 = Ended::ALL.iter().map(|why| self.ended(*why)).sum();
        self.started().saturating_sub(ended)
    }

    pub(crate) fn ended(&self, why: Ended) -> u64 {
        self.ended[why as usize].load(Relaxed)
    }
}
