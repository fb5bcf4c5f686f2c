//! The table of the router's metrics, the only place where one has a name.
//!
//! Names are OpenTelemetry's, with dots and without units; what Prometheus is shown is made from them ([`Instrument::exposed`]): units
//! and `_total` are put behind. A label's values are a closed set, or the names of what is configured: never a subject, an id or a key.

use std::fmt;

/// What an instrument is, for whoever reads it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Grows from 0 at the start of the process.
    Counter,
    /// Goes up and down.
    Gauge,
    /// Counts by size.
    Histogram,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        })
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Instrument {
    /// OpenTelemetry's name.
    pub name: &'static str,
    /// What it is.
    pub kind: Kind,
    /// A unit of UCUM: `s`, `By`, or what is counted in braces.
    pub unit: &'static str,
    /// The labels.
    pub labels: &'static [&'static str],
    /// Upper bounds of a histogram's buckets.
    pub bounds: &'static [f64],
    /// One sentence for people.
    pub about: &'static str,
}

impl Instrument {
    /// The name on `/metrics`.
    pub fn exposed(&self) -> String {
        let name = self.name.replace('.', "_");
        let unit = match self.unit {
            "s" => "_seconds",
            "By" => "_bytes",
            _ => "",
        };
        let total = match self.kind {
            Kind::Counter => "_total",
            Kind::Gauge | Kind::Histogram => "",
        };
        name + unit + total
    }
}

/// Seconds; a call into a long-lived instance takes about a microsecond, the default time-out is five seconds.
const CALL_SECONDS: &[f64] = &[2e-6, 1e-5, 5e-5, 2e-4, 1e-3, 5e-3, 2e-2, 0.1, 0.5, 1.0, 2.5, 5.0];
/// Seconds; what is handled at once waits a millisecond, what waits for a person hours.
const WAIT_SECONDS: &[f64] = &[0.001, 0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 30.0, 120.0, 600.0, 3600.0];
/// Seconds; a synced group takes 0.1 ms on a fast disk, and a broker that does not answer 5 s.
const STORE_SECONDS: &[f64] =
    &[0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0, 30.0];

/// What each label says, and its values.
pub const LABELS: [(&str, &str); 12] = [
    ("channel", "the Channel's name in the configuration"),
    ("stream", "the stream's name in the configuration"),
    (
        "outcome",
        "of an attempt: `done`, `retry`, `reject`, `trap`, `fuel`, `timeout`, `memory`, `output`, `expired`; of a post: `stored`, \
         `duplicate`, `refused`, `unavailable`, `unknown`, `full`, `mixed`",
    ),
    (
        "settlement",
        "what became of a delivery: `done`, `retry`, `dead_letter`, `release` (given back without a verdict)",
    ),
    (
        "state",
        "of a Channel: `starting`, `running`, `paused`, `sick`, `faulted`, `stopped`; of its instances: `idle`, `busy`",
    ),
    (
        "cause",
        "why an instance is gone: `fault`, `cancelled`, `events`, `memory`, `isolation`, `idle`, `evicted`, `retired`",
    ),
    ("listener", "`ingest` or `admin`"),
    ("broker", "`embedded` or `jetstream`"),
    ("digest", "the first 12 characters of the component's SHA-256"),
    ("component", "the component's file name"),
    ("version", "of the router"),
    (
        "result",
        "what became of spans: `sent`, `dropped` (no room until the next sending), `failed` (the collector did not take them)",
    ),
];

macro_rules! instruments {
    ($($constant:ident = $kind:ident $name:literal $unit:literal [$($label:literal),*] $($bounds:ident)? $about:literal;)*) => {
        $(
            #[doc = $about]
            pub const $constant: Instrument = Instrument {
                name: $name,
                kind: Kind::$kind,
                unit: $unit,
                labels: &[$($label),*],
                bounds: instruments!(@bounds $($bounds)?),
                about: $about,
            };
        )*

        /// Every instrument, in the order in which the page shows them.
        pub const ALL: &[Instrument] = &[$($constant),*];
    };
    (@bounds) => { &[] };
    (@bounds $bounds:ident) => { $bounds };
}

instruments! {
    INGEST_EVENTS = Counter "saf.ingest.events" "{event}" ["outcome"]
        "Events that were posted, by what became of them.";
    INGEST_DURATION = Histogram "saf.ingest.duration" "s" ["outcome"] STORE_SECONDS
        "From the end of a request's head to its answer.";
    PUBLISH_DURATION = Histogram "saf.publish.duration" "s" ["outcome"] STORE_SECONDS
        "From handing a request's events to the broker to its receipt.";
    HTTP_CONNECTIONS = Gauge "saf.http.connections" "{connection}" ["listener"]
        "Open connections.";
    HTTP_CONNECTIONS_REFUSED = Counter "saf.http.connections.refused" "{connection}" ["listener"]
        "Connections beyond max_connections.";

    CHANNEL_STATE = Gauge "saf.channel.state" "" ["channel", "state"]
        "1 for the state that the Channel is in, 0 for the others.";
    CHANNEL_INFO = Gauge "saf.channel.info" "" ["channel", "digest", "component"]
        "1, with the component that the Channel runs.";
    CHANNEL_ATTEMPTS = Counter "saf.channel.attempts" "{attempt}" ["channel", "outcome"]
        "Calls of the guest, by outcome.";
    CHANNEL_DELIVERIES = Counter "saf.channel.deliveries" "{delivery}" ["channel", "settlement"]
        "Deliveries that were settled, by what became of them.";
    CHANNEL_EMISSIONS = Counter "saf.channel.emissions" "{event}" ["channel"]
        "Events that were stored for the guest.";
    CHANNEL_DEAD_LETTERS = Counter "saf.channel.dead_letters" "{event}" ["channel"]
        "Events given up.";
    CHANNEL_EXPIRED = Counter "saf.channel.expired" "{event}" ["channel"]
        "Events that retention removed before they were handled.";
    CHANNEL_CONFLICTS = Counter "saf.channel.conflicts" "{call}" ["channel"]
        "Calls repeated because another event changed the same state meanwhile.";
    CHANNEL_GUEST_DURATION = Histogram "saf.channel.guest.duration" "s" ["channel", "outcome"] CALL_SECONDS
        "Time in the guest, an attempt.";
    CHANNEL_QUEUE_DURATION = Histogram "saf.channel.queue.duration" "s" ["channel"] WAIT_SECONDS
        "From the storing of an event to its first attempt; in whole milliseconds.";
    CHANNEL_FUEL = Counter "saf.channel.fuel" "{fuel}" ["channel"]
        "Fuel used by the guest.";
    CHANNEL_PEAK_MEMORY = Gauge "saf.channel.peak_memory" "By" ["channel"]
        "Largest linear memory of one event since the start.";
    CHANNEL_LAG = Gauge "saf.channel.lag" "s" ["channel"]
        "Age of the oldest event that is not settled, at the last look a few seconds ago; 0 when there is none.";
    CHANNEL_PENDING = Gauge "saf.channel.pending" "{event}" ["channel"]
        "Matching events not handed out yet, at the last look.";
    CHANNEL_HELD = Gauge "saf.channel.held" "{delivery}" ["channel"]
        "Deliveries in flight here: taken and not settled.";
    CHANNEL_WAITING = Gauge "saf.channel.waiting" "{event}" ["channel"]
        "Events that failed and wait for a retry.";
    CHANNEL_INSTANCES = Gauge "saf.channel.instances" "{instance}" ["channel", "state"]
        "Guest instances.";
    CHANNEL_INSTANCES_STARTED = Counter "saf.channel.instances.started" "{instance}" ["channel"]
        "Guest instances that were made.";
    CHANNEL_INSTANCES_ENDED = Counter "saf.channel.instances.ended" "{instance}" ["channel", "cause"]
        "Guest instances that are gone, by the cause.";

    BROKER_UP = Gauge "saf.broker.up" "" ["broker"]
        "1 while the broker can be reached, else 0.";
    BROKER_RECONNECTS = Counter "saf.broker.reconnects" "{connection}" ["broker"]
        "Times that the broker could be reached again after it could not.";
    STREAM_EVENTS = Gauge "saf.stream.events" "{event}" ["stream"]
        "Events that the stream holds, at the last look.";
    STREAM_SIZE = Gauge "saf.stream.size" "By" ["stream"]
        "What the stream takes, at the last look.";
    STREAM_MAX_SIZE = Gauge "saf.stream.max_size" "By" ["stream"]
        "What the stream may take: its max_bytes.";
    HISTORY_DROPPED = Counter "saf.history.dropped" "{record}" []
        "Records of what became of events that found no room; the events were handled.";
    TRACES_SPANS = Counter "saf.traces.spans" "{span}" ["result"]
        "Spans of traces, by what became of them.";
    BUILD_INFO = Gauge "saf.build.info" "" ["version"]
        "1, with the version of the router.";

    PROCESS_CPU = Counter "process.cpu" "s" []
        "CPU time of the process, user and system.";
    PROCESS_RESIDENT_MEMORY = Gauge "process.resident.memory" "By" []
        "Memory of the process that is in RAM.";
    PROCESS_VIRTUAL_MEMORY = Gauge "process.virtual.memory" "By" []
        "Address space of the process; the sandbox reserves terabytes that cost nothing.";
    PROCESS_OPEN_FDS = Gauge "process.open_fds" "{file}" []
        "Open file descriptors of the process.";
    PROCESS_MAX_FDS = Gauge "process.max_fds" "{file}" []
        "File descriptors that the process may have open.";
    PROCESS_THREADS = Gauge "process.threads" "{thread}" []
        "Threads of the process.";
    PROCESS_START_TIME = Gauge "process.start_time" "s" []
        "When the process started, since the Unix epoch.";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_row_follows_the_habits_of_prometheus_and_opentelemetry() {
        let mut exposed = BTreeSet::new();
        for row in ALL {
            let name = row.name;
            assert!(exposed.insert(row.exposed()), "{name} twice");
            assert!(name.starts_with("saf.") || name.starts_with("process."), "{name}");
            assert!(name.chars().all(|c| c.is_ascii_lowercase() || ".0_".contains(c)), "{name}");
            assert!(["", "s", "By"].contains(&row.unit) || row.unit.starts_with('{'), "{name}: {}", row.unit);
            assert!(row.about.ends_with('.'), "{name}");
            assert_eq!(row.kind == Kind::Histogram, !row.bounds.is_empty(), "{name}");
            assert!(row.bounds.is_sorted(), "{name}");
            for label in row.labels {
                assert!(LABELS.iter().any(|(known, _)| known == label), "{name}: {label}");
            }
        }
        for (label, _) in LABELS {
            assert!(ALL.iter().any(|row| row.labels.contains(&label)), "nobody has the label {label}");
        }
    }

    #[test]
    fn units_and_total_stand_behind_the_name() {
        for (row, exposed) in [
            (CHANNEL_ATTEMPTS, "saf_channel_attempts_total"),
            (CHANNEL_GUEST_DURATION, "saf_channel_guest_duration_seconds"),
            (CHANNEL_STATE, "saf_channel_state"),
            (PROCESS_CPU, "process_cpu_seconds_total"),
            (PROCESS_RESIDENT_MEMORY, "process_resident_memory_bytes"),
            (PROCESS_START_TIME, "process_start_time_seconds"),
        ] {
            assert_eq!(row.exposed(), exposed);
        }
    }
}
