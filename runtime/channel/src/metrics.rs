//! Instruments of the Channels. Labels are bounded: channel, outcome, state; never a subject, an id or a key. Counters are
//! read from [`Counters`] when somebody asks, so an event pays for one histogram only.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, BoundHistogram, Histogram, Meter};
use saf_event::Outcome;
use saf_host::Usage;

use crate::Channel;
use crate::status::State;

/// Seconds; a call into a long-lived instance takes about a microsecond, the default time-out is five seconds.
const GUEST_SECONDS: [f64; 12] = [2e-6, 1e-5, 5e-5, 2e-4, 1e-3, 5e-3, 2e-2, 0.1, 0.5, 1.0, 2.5, 5.0];

/// An instrument that is read from a Channel: name, description, unit, value.
type Row = (&'static str, &'static str, &'static str, fn(&Channel) -> u64);

/// Where all Channels' instruments are; made once.
#[derive(Clone)]
pub struct Metrics {
    duration: Histogram<f64>,
    channels: Arc<Mutex<Vec<Weak<Channel>>>>,
}

impl Metrics {
    /// Registers the instruments.
    pub fn new(meter: &Meter) -> Self {
        let channels: Arc<Mutex<Vec<Weak<Channel>>>> = Arc::default();
        let duration = meter
            .f64_histogram("saf.channel.guest.duration")
            .with_description("Time in the guest, an attempt.")
            .with_unit("s")
            .with_boundaries(GUEST_SECONDS.to_vec())
            .build();
        let counters: [Row; 5] = [
            ("saf.channel.emissions", "Events emitted.", "{event}", |c| load(&c.counters.emissions)),
            ("saf.channel.fuel", "Fuel used.", "{fuel}", |c| load(&c.counters.fuel)),
            ("saf.channel.dead_letters", "Events given up.", "{event}", |c| load(&c.counters.dead_letters)),
            ("saf.channel.released", "Deliveries given back without a verdict.", "{delivery}", |c| {
                load(&c.counters.released)
            }),
            (
                "saf.channel.expired",
                "Events that retention removed before they were handled.",
                "{event}",
                |c| c.lag().expired,
            ),
        ];
        for (name, description, unit, read) in counters {
            let channels = channels.clone();
            let counter = meter.u64_observable_counter(name).with_description(description).with_unit(unit);
            counter
                .with_callback(move |observer| each(&channels, |c| observer.observe(read(c), &[label(c)])))
                .build();
        }
        let gauges: [Row; 5] = [
            ("saf.channel.peak_memory", "Largest linear memory of one event.", "By", |c| {
                load(&c.counters.peak_memory)
            }),
            ("saf.channel.held", "Deliveries taken and not settled.", "{delivery}", |c| {
                c.held.count() as u64
            }),
            ("saf.channel.waiting", "Events that failed and wait for a retry.", "{event}", |c| {
                c.attempts.waiting() as u64
            }),
            ("saf.channel.pending", "Matching events not handed out yet.", "{event}", |c| c.lag().pending),
            ("saf.channel.instances", "Guest instances.", "{instance}", |c| c.build.load().pool.live()),
        ];
        for (name, description, unit, read) in gauges {
            let channels = channels.clone();
            let gauge = meter.u64_observable_gauge(name).with_description(description).with_unit(unit);
            gauge
                .with_callback(move |observer| each(&channels, |c| observer.observe(read(c), &[label(c)])))
                .build();
        }
        let outcomes = channels.clone();
        meter
            .u64_observable_counter("saf.channel.attempts")
            .with_description("Attempts, by outcome.")
            .with_unit("{attempt}")
            .with_callback(move |observer| each(&outcomes, |c| observe_outcomes(c, observer)))
            .build();
        let states = channels.clone();
        meter
            .u64_observable_gauge("saf.channel.state")
            .with_description("1 for the state that the Channel is in.")
            .with_callback(move |observer| each(&states, |c| observe_state(c, observer)))
            .build();
        Self { duration, channels }
    }

    pub(crate) fn add(&self, channel: &Arc<Channel>) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|channel| channel.strong_count() > 0);
        channels.push(Arc::downgrade(channel));
    }

    pub(crate) fn timings(&self, channel: &str) -> Timings {
        let bound = Outcome::ALL.map(|outcome| {
            let labels =
                [KeyValue::new("channel", channel.to_owned()), KeyValue::new("outcome", outcome.as_str())];
            self.duration.bind(&labels)
        });
        Timings(bound)
    }
}

/// One Channel's share of the histogram. Bound to its labels, so that no event pays for looking them up.
pub(crate) struct Timings([BoundHistogram<f64>; Outcome::ALL.len()]);

impl Timings {
    pub(crate) fn record(&self, outcome: Outcome, usage: &Usage) {
        self.0[outcome as usize].record(usage.micros as f64 / 1e6);
    }
}

fn load(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(std::sync::atomic::Ordering::Relaxed)
}

fn each(channels: &Mutex<Vec<Weak<Channel>>>, mut observe: impl FnMut(&Channel)) {
    let channels = channels.lock().unwrap_or_else(PoisonError::into_inner).clone();
    channels.iter().filter_map(Weak::upgrade).for_each(|channel| observe(&channel));
}

fn label(channel: &Channel) -> KeyValue {
    KeyValue::new("channel", channel.name().to_string())
}

fn observe_outcomes(channel: &Channel, observer: &dyn AsyncInstrument<u64>) {
    for outcome in Outcome::ALL {
        let labels = [label(channel), KeyValue::new("outcome", outcome.as_str())];
        observer.observe(channel.counters.outcome(outcome), &labels);
    }
}

fn observe_state(channel: &Channel, observer: &dyn AsyncInstrument<u64>) {
    let now = channel.status().state;
    for state in State::ALL {
        observer.observe(u64::from(state == now), &[label(channel), KeyValue::new("state", state.as_str())]);
    }
}
