//! The instruments of the Channels, as `saf_telemetry::instruments` has them. Counters are read from [`Counters`] when somebody asks,
//! so an event pays for two histograms only.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, BoundHistogram, Histogram, Meter};
use saf_event::Outcome;
use saf_host::{Ended, Usage};
use saf_telemetry::instruments::{self as table, Instrument};
use saf_telemetry::{Kind, Settled};

use crate::Channel;
use crate::status::State;

/// Characters of a digest: enough to tell two builds apart.
const DIGEST_CHARS: usize = 12;

/// An instrument with one value a Channel.
type Row = (Instrument, fn(&Channel) -> u64);

/// What is read from a Channel when somebody asks.
const ROWS: [Row; 11] = [
    (table::CHANNEL_EMISSIONS, |c| load(&c.counters.emissions)),
    (table::CHANNEL_FUEL, |c| load(&c.counters.fuel)),
    (table::CHANNEL_DEAD_LETTERS, |c| c.counters.settled(Settled::DeadLetter)),
    (table::CHANNEL_CONFLICTS, |c| load(&c.counters.conflicts)),
    (table::CHANNEL_EXPIRED, |c| c.lag().expired),
    (table::CHANNEL_PEAK_MEMORY, |c| load(&c.counters.peak_memory)),
    (table::CHANNEL_LAG, |c| c.behind().as_secs()),
    (table::CHANNEL_HELD, |c| c.held.count() as u64),
    (table::CHANNEL_WAITING, |c| c.attempts.waiting() as u64),
    (table::CHANNEL_PENDING, |c| c.lag().pending),
    (table::CHANNEL_INSTANCES_STARTED, |c| c.build.load().pool.started()),
];

/// An instrument with several series a Channel.
type Many = (Instrument, fn(&Channel, &dyn AsyncInstrument<u64>));

const MANY: [Many; 6] = [
    (table::CHANNEL_ATTEMPTS, observe_attempts),
    (table::CHANNEL_DELIVERIES, observe_deliveries),
    (table::CHANNEL_STATE, observe_state),
    (table::CHANNEL_INFO, observe_info),
    (table::CHANNEL_INSTANCES, observe_instances),
    (table::CHANNEL_INSTANCES_ENDED, observe_ended),
];

/// Where all Channels' instruments are; made once.
#[derive(Clone)]
pub struct Metrics {
    duration: Histogram<f64>,
    queued: Histogram<f64>,
    channels: Arc<Mutex<Vec<Weak<Channel>>>>,
}

impl Metrics {
    /// Registers the instruments.
    pub fn new(meter: &Meter) -> Self {
        let channels: Arc<Mutex<Vec<Weak<Channel>>>> = Arc::default();
        for (instrument, read) in ROWS {
            let channels = channels.clone();
            register(meter, &instrument, move |observer| {
                each(&channels, |channel| observer.observe(read(channel), &[name(channel)]));
            });
        }
        for (instrument, observe) in MANY {
            let channels = channels.clone();
            register(meter, &instrument, move |observer| {
                each(&channels, |channel| observe(channel, observer))
            });
        }
        Self {
            duration: table::CHANNEL_GUEST_DURATION.histogram(meter),
            queued: table::CHANNEL_QUEUE_DURATION.histogram(meter),
            channels,
        }
    }

    pub(crate) fn add(&self, channel: &Arc<Channel>) {
        let mut channels = self.channels.lock().unwrap_or_else(PoisonError::into_inner);
        channels.retain(|channel| channel.strong_count() > 0);
        channels.push(Arc::downgrade(channel));
    }

    pub(crate) fn timings(&self, channel: &str) -> Timings {
        let name = KeyValue::new("channel", channel.to_owned());
        let attempts = Outcome::ALL
            .map(|outcome| self.duration.bind(&[name.clone(), KeyValue::new("outcome", outcome.as_str())]));
        Timings { attempts, queued: self.queued.bind(&[name]) }
    }
}

/// One Channel's share of the histograms. Bound to its labels, so that no event pays for looking them up.
pub(crate) struct Timings {
    attempts: [BoundHistogram<f64>; Outcome::ALL.len()],
    queued: BoundHistogram<f64>,
}

impl Timings {
    pub(crate) fn record(&self, outcome: Outcome, usage: &Usage) {
        self.attempts[outcome as usize].record(usage.micros as f64 / 1e6);
    }

    /// How long an event waited for its first attempt.
    pub(crate) fn queued(&self, millis: u64) {
        self.queued.record(millis as f64 / 1e3);
    }
}

fn register(
    meter: &Meter,
    instrument: &Instrument,
    read: impl Fn(&dyn AsyncInstrument<u64>) + Send + Sync + 'static,
) {
    match instrument.kind {
        Kind::Counter => instrument.counted(meter, read),
        Kind::Gauge | Kind::Histogram => instrument.gauged(meter, read),
    }
}

fn load(counter: &std::sync::atomic::AtomicU64) -> u64 {
    counter.load(std::sync::atomic::Ordering::Relaxed)
}

fn each(channels: &Mutex<Vec<Weak<Channel>>>, mut observe: impl FnMut(&Channel)) {
    let channels = channels.lock().unwrap_or_else(PoisonError::into_inner).clone();
    channels.iter().filter_map(Weak::upgrade).for_each(|channel| observe(&channel));
}

fn name(channel: &Channel) -> KeyValue {
    KeyValue::new("channel", channel.name().to_string())
}

fn observe_attempts(channel: &Channel, observer: &dyn AsyncInstrument<u64>) {
    for outcome in Outcome::ALL {
        let labels = [name(channel), KeyValue::new("outcome", outcome.as_str())];
        observer.observe(channel.counters.outcome(outcome), &labels);
    }
}

fn observe_deliveries(channel: &Channel, observer: &dyn AsyncInstrument<u64>) {
    for settled in Settled::ALL {
        let labels = [name(channel), KeyValue::new("settlement", settled.as_str())];
        observer.observe(channel.counters.settled(settled), &labels);
    }
}

fn observe_state(channel: &Channel, observer: &dyn AsyncInstrument<u64>) {
    let now = channel.status().state;
    for state in State::ALL {
        observer.observe(u64::from(state == now), &[name(channel), KeyValue::new("state", state.as_str())]);
    }
}

fn observe_info(channel: &Channel, observer: &dyn AsyncInstrument<u64>) {
    let build = channel.build.load();
    let digest = build.component.digest();
    let file = build.config.component.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let digest = digest.get(..DIGEST_CHARS).unwrap_or(digest).to_owned();
    observer.observe(1, &[name(channel), KeyValue::new("digest", digest), KeyValue::new("component", file)]);
}

fn observe_instances(channel: &Channel, observer: &dyn AsyncInstrument<u64>) {
    let build = channel.build.load();
    let idle = build.pool.idle() as u64;
    let busy = build.pool.live().saturating_sub(idle);
    for (state, count) in [("idle", idle), ("busy", busy)] {
        observer.observe(count, &[name(channel), KeyValue::new("state", state)]);
    }
}

fn observe_ended(channel: &Channel, observer: &dyn AsyncInstrument<u64>) {
    let build = channel.build.load();
    for cause in Ended::ALL {
        observer.observe(build.pool.ended(cause), &[name(channel), KeyValue::new("cause", cause.as_str())]);
    }
}
