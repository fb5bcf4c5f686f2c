//! The instruments of this crate. Labels are closed sets: no subject, id or address ever becomes one.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{Counter, Histogram, Meter, UpDownCounter};

use crate::problem::{Kind, Problem};

/// Seconds; a synced group takes 0.1 ms on a fast disk, and a broker that does not answer 5 s.
const DURATION_BOUNDS_SECS: [f64; 14] =
    [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

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
    const fn as_str(self) -> &'static str {
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
}

/// Of the ingest listener.
#[derive(Clone)]
pub(crate) struct Ingest {
    events: Counter<u64>,
    duration: Histogram<f64>,
}

impl Ingest {
    pub(crate) fn new(meter: &Meter) -> Self {
        Self {
            events: meter
                .u64_counter("saf.ingest.events")
                .with_description("Events that were posted, by what became of them")
                .build(),
            duration: meter
                .f64_histogram("saf.ingest.duration")
                .with_unit("s")
                .with_description("From the end of a request's head to its answer")
                .with_boundaries(DURATION_BOUNDS_SECS.to_vec())
                .build(),
        }
    }

    pub(crate) fn events(&self, count: u64, outcome: Outcome) {
        self.events.add(count, &[KeyValue::new("outcome", outcome.as_str())]);
    }

    pub(crate) fn request(&self, took: Duration, outcome: Outcome) {
        self.duration.record(took.as_secs_f64(), &[KeyValue::new("outcome", outcome.as_str())]);
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
        Self {
            open: meter
                .i64_up_down_counter("saf.http.connections")
                .with_description("Open connections")
                .build(),
            refused: meter
                .u64_counter("saf.http.connections.refused")
                .with_description("Connections beyond max_connections")
                .build(),
            listener,
        }
    }

    /// Counts a connection for as long as the guard lives.
    pub(crate) fn opened(&self) -> Open {
        self.open.add(1, &[KeyValue::new("listener", self.listener)]);
        Open { open: self.open.clone(), listener: self.listener }
    }

    pub(crate) fn refused(&self) {
        self.refused.add(1, &[KeyValue::new("listener", self.listener)]);
    }
}

/// A connection that counts as open.
pub(crate) struct Open {
    open: UpDownCounter<i64>,
    listener: &'static str,
}

impl Drop for Open {
    fn drop(&mut self) {
        self.open.add(-1, &[KeyValue::new("listener", self.listener)]);
    }
}
