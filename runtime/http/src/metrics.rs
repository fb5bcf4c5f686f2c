//! The instruments of this crate, as `saf_telemetry::instruments` has them. What an event pays for is bound to its labels, so that
//! nothing is looked up for it.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{BoundCounter, BoundHistogram, Counter, Meter, UpDownCounter};
use saf_broker::{PublishError, Receipt};
use saf_telemetry::instruments as table;

use crate::problem::{Kind, Problem};

/// What became of a posted event, or of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Stored,
    Duplicate,
    /// The sender must change something.
    Refused,
    /// Nothing was stored, and the same may be sent again.
    Unavailable,
    /// It may be stored.
    Unknown,
    Full,
    /// A batch whose events do not share an outcome.
    Mixed,
}

impl Outcome {
    const ALL: [Self; 7] = [
        Self::Stored,
        Self::Duplicate,
        Self::Refused,
        Self::Unavailable,
        Self::Unknown,
        Self::Full,
        Self::Mixed,
    ];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Stored => "stored",
            Self::Duplicate => "duplicate",
            Self::Refused => "refused",
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Full => "full",
            Self::Mixed => "mixed",
        }
    }

    pub(crate) fn of(problem: &Problem) -> Self {
        match problem.kind() {
            Kind::Unknown => Self::Unknown,
            Kind::Full => Self::Full,
            kind if kind.status().is_server_error() => Self::Unavailable,
            _ => Self::Refused,
        }
    }

    /// What the broker said.
    pub(crate) const fn published(result: &Result<Receipt, PublishError>) -> Self {
        match result {
            Ok(receipt) if receipt.duplicate => Self::Duplicate,
            Ok(_) => Self::Stored,
            Err(PublishError::Refused(_)) => Self::Refused,
            Err(PublishError::Full { .. }) => Self::Full,
            Err(PublishError::Unavailable { .. }) => Self::Unavailable,
            Err(PublishError::Unknown { .. }) => Self::Unknown,
        }
    }

    /// Of several together.
    pub(crate) fn shared(mut outcomes: impl Iterator<Item = Self>) -> Self {
        let first = outcomes.next().unwrap_or(Self::Stored);
        if outcomes.all(|outcome| outcome == first) { first } else { Self::Mixed }
    }

    fn label(self) -> [KeyValue; 1] {
        [KeyValue::new("outcome", self.as_str())]
    }
}

/// Of the ingest listener.
pub(crate) struct Ingest {
    events: [BoundCounter<u64>; Outcome::ALL.len()],
    requests: [BoundHistogram<f64>; Outcome::ALL.len()],
    publishes: [BoundHistogram<f64>; Outcome::ALL.len()],
}

impl Ingest {
    pub(crate) fn new(meter: &Meter) -> Self {
        let events = table::INGEST_EVENTS.counter(meter);
        let requests = table::INGEST_DURATION.histogram(meter);
        let publishes = table::PUBLISH_DURATION.histogram(meter);
        // From 0 on, so that the first event of a kind is a rise.
        let events = Outcome::ALL.map(|outcome| {
            let bound = events.bind(&outcome.label());
            bound.add(0);
            bound
        });
        Self {
            events,
            requests: Outcome::ALL.map(|outcome| requests.bind(&outcome.label())),
            publishes: Outcome::ALL.map(|outcome| publishes.bind(&outcome.label())),
        }
    }

    pub(crate) fn events(&self, count: u64, outcome: Outcome) {
        self.events[outcome as usize].add(count);
    }

    pub(crate) fn request(&self, took: Duration, outcome: Outcome) {
        self.requests[outcome as usize].record(took.as_secs_f64());
    }

    pub(crate) fn publish(&self, took: Duration, outcome: Outcome) {
        self.publishes[outcome as usize].record(took.as_secs_f64());
    }
}

/// Of a listener's connections.
#[derive(Clone)]
pub(crate) struct Connections {
    open: UpDownCounter<i64>,
    refused: Counter<u64>,
    listener: &'static str,
}

impl Connections {
    pub(crate) fn new(meter: &Meter, listener: &'static str) -> Self {
        let (open, refused) =
            (table::HTTP_CONNECTIONS.level(meter), table::HTTP_CONNECTIONS_REFUSED.counter(meter));
        let connections = Self { open, refused, listener };
        connections.open.add(0, &connections.label());
        connections.refused.add(0, &connections.label());
        connections
    }

    /// Counts a connection for as long as the guard lives.
    pub(crate) fn opened(&self) -> Open {
        self.open.add(1, &self.label());
        Open(self.clone())
    }

    pub(crate) fn refused(&self) {
        self.refused.add(1, &self.label());
    }

    fn label(&self) -> [KeyValue; 1] {
        [KeyValue::new("listener", self.listener)]
    }
}

/// A connection that counts as open.
pub(crate) struct Open(Connections);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.add(-1, &self.0.label());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_index_their_instruments() {
        for (i, outcome) in Outcome::ALL.into_iter().enumerate() {
            assert_eq!(outcome as usize, i);
        }
    }
}
