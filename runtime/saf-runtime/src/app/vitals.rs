//! What is measured of the broker as a whole: whether it can be reached, how often it came back, how full the streams are, and what
//! its history forgot.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::metrics::{AsyncInstrument, Meter};
use saf_broker::{Health, History, Shared, Summary};
use saf_event::StreamName;
use saf_telemetry::instruments::{self as table, Instrument};
use tokio::time::{MissedTickBehavior, interval};

use super::fleet::Fleet;

/// How often the broker is asked how full the streams are; JetStream answers from memory, the embedded store from its own.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// What was seen last.
pub(super) struct Vitals {
    broker: Shared,
    reconnects: Arc<AtomicU64>,
    streams: Arc<Mutex<BTreeMap<StreamName, Seen>>>,
}

/// An instrument with a value for each stream.
type Row = (Instrument, fn(&Seen) -> u64);

/// A stream at the last look.
struct Seen {
    summary: Summary,
    max_bytes: u64,
}

impl Vitals {
    /// Registers the instruments.
    pub(super) fn observe(meter: &Meter, broker: &Shared) -> Self {
        let vitals = Self { broker: broker.clone(), reconnects: Arc::default(), streams: Arc::default() };
        let kind = KeyValue::new("broker", broker.profile().kind);
        let (health, label) = (broker.health(), kind.clone());
        table::BROKER_UP.gauged(meter, move |observer| {
            observer.observe(u64::from(*health.borrow() == Health::Up), std::slice::from_ref(&label));
        });
        let reconnects = vitals.reconnects.clone();
        table::BROKER_RECONNECTS.counted(meter, move |observer| {
            observer.observe(reconnects.load(Relaxed), std::slice::from_ref(&kind));
        });
        let history = broker.clone();
        table::HISTORY_DROPPED.counted(meter, move |observer| {
            observer.observe(history.history().map_or(0, History::dropped), &[]);
        });
        let rows: [Row; 3] = [
            (table::STREAM_EVENTS, |seen| seen.summary.events),
            (table::STREAM_SIZE, |seen| seen.summary.bytes),
            (table::STREAM_MAX_SIZE, |seen| seen.max_bytes),
        ];
        for (instrument, read) in rows {
            let streams = vitals.streams.clone();
            instrument.gauged(meter, move |observer| observe(&streams, observer, read));
        }
        vitals
    }

    /// Keeps looking. Never returns; to be dropped.
    pub(super) async fn watch(&self, fleet: &Fleet) {
        tokio::join!(self.count_reconnects(), self.look_at_streams(fleet));
    }

    async fn count_reconnects(&self) {
        let mut health = self.broker.health();
        loop {
            let down = health.wait_for(|health| *health != Health::Up).await.is_ok();
            if !down || health.wait_for(|health| *health == Health::Up).await.is_err() {
                // The broker is gone, and the router with it.
                return std::future::pending().await;
            }
            self.reconnects.fetch_add(1, Relaxed);
        }
    }

    async fn look_at_streams(&self, fleet: &Fleet) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tick.tick().await;
            let Some(journal) = self.broker.journal() else { return std::future::pending().await };
            let mut seen = BTreeMap::new();
            for (name, max_bytes) in fleet.limits().await {
                // One that cannot be looked at now is left out: an old figure would look like a new one.
                if let Ok(summary) = journal.summary(&name).await {
                    seen.insert(name, Seen { summary, max_bytes });
                }
            }
            *self.streams.lock().unwrap_or_else(PoisonError::into_inner) = seen;
        }
    }
}

fn observe(
    streams: &Mutex<BTreeMap<StreamName, Seen>>,
    observer: &dyn AsyncInstrument<u64>,
    read: fn(&Seen) -> u64,
) {
    for (name, seen) in &*streams.lock().unwrap_or_else(PoisonError::into_inner) {
        observer.observe(read(seen), &[KeyValue::new("stream", name.to_string())]);
    }
}
