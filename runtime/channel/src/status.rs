//! How a Channel is, for people and for `/readyz`: one state with a reason, and plain counters that cost an addition on the
//! event's way. Metrics read them when somebody asks (`metrics.rs`).

use std::sync::atomic::{AtomicU64, Ordering};

use saf_event::{Outcome, unix_millis};
use saf_host::Usage;
use saf_telemetry::Settled;
use tokio::sync::watch;

use crate::durations::Durations;

/// What a Channel is doing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Its first instance is being made.
    #[default]
    Starting,
    /// It takes events.
    Running,
    /// A person paused it; its events wait.
    Paused,
    /// Half of all it may have out waits for a retry: it takes probes only, until one succeeds.
    Sick,
    /// No instance can be had; tried again with backoff. Its events wait, and no attempt is burnt.
    Faulted,
    /// It was stopped with the runtime.
    Stopped,
}

impl State {
    /// Every state, in the order that tables show them.
    pub const ALL: [Self; 6] =
        [Self::Starting, Self::Running, Self::Paused, Self::Sick, Self::Faulted, Self::Stopped];

    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Paused => "paused",
            Self::Sick => "sick",
            Self::Faulted => "faulted",
            Self::Stopped => "stopped",
        }
    }
}

/// Whether an instance can be had, as the workers and the feed last saw it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Supply {
    /// Nobody tried yet.
    Untried,
    /// One was had.
    Ready,
    /// None was had, and why.
    Faulted(String),
}

/// A state, why, and since when.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Status {
    /// What it is doing.
    pub state: State,
    /// Why, when it is not simply running.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Since when, in milliseconds since the Unix epoch.
    pub since: u64,
}

/// The status of one Channel, as it changes; each change is a log line.
pub(crate) struct StatusSender(watch::Sender<Status>);

impl StatusSender {
    pub(crate) fn new() -> (Self, watch::Receiver<Status>) {
        let (sender, receiver) = watch::channel(Status { since: unix_millis(), ..Status::default() });
        (Self(sender), receiver)
    }

    /// Notifies only when something changed.
    pub(crate) fn set(&self, channel: &str, state: State, reason: Option<String>) {
        self.0.send_if_modified(|status| {
            if status.state == state && status.reason == reason {
                return false;
            }
            let text = reason.as_deref().unwrap_or_default();
            match state {
                State::Sick | State::Faulted => {
                    tracing::warn!(channel, state = state.as_str(), reason = text, "channel")
                }
                State::Starting | State::Running | State::Paused | State::Stopped => {
                    tracing::info!(channel, state = state.as_str(), reason = text, "channel");
                }
            }
            *status = Status { state, reason, since: unix_millis() };
            true
        });
    }
}

/// What a Channel did since the process started.
#[derive(Debug, Default)]
pub struct Counters {
    outcomes: [AtomicU64; Outcome::ALL.len()],
    settled: [AtomicU64; Settled::ALL.len()],
    /// Events stored on behalf of the guest.
    pub emissions: AtomicU64,
    /// Units of fuel.
    pub fuel: AtomicU64,
    /// Microseconds in the guest.
    pub micros: AtomicU64,
    /// Attempts by their time in the guest.
    pub durations: Durations,
    /// Largest linear memory of one event, in bytes.
    pub peak_memory: AtomicU64,
    /// Calls that were repeated because another event changed the same state meanwhile; no attempts.
    pub conflicts: AtomicU64,
}

impl Counters {
    /// How many attempts ended so.
    pub fn outcome(&self, outcome: Outcome) -> u64 {
        self.outcomes[outcome as usize].load(Ordering::Relaxed)
    }

    /// How many deliveries were settled so.
    pub fn settled(&self, settled: Settled) -> u64 {
        self.settled[settled as usize].load(Ordering::Relaxed)
    }

    pub(crate) fn settle(&self, settled: Settled, deliveries: u64) {
        self.settled[settled as usize].fetch_add(deliveries, Ordering::Relaxed);
    }

    pub(crate) fn count(&self, outcome: Outcome, usage: &Usage) {
        self.outcomes[outcome as usize].fetch_add(1, Ordering::Relaxed);
        self.fuel.fetch_add(usage.fuel, Ordering::Relaxed);
        self.micros.fetch_add(usage.micros, Ordering::Relaxed);
        self.durations.add(usage.micros);
        if self.peak_memory.load(Ordering::Relaxed) < usage.peak_memory {
            self.peak_memory.fetch_max(usage.peak_memory, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_index_their_counters() {
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, i);
        }
        for (i, settled) in Settled::ALL.into_iter().enumerate() {
            assert_eq!(settled as usize, i);
        }
    }
}
