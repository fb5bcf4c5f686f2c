//! One stream: its log, its consumers, its dead letters and its `state.log`, in a folder of its own; and how it comes back.
//!
//! Recovery: `state.log` gives the consumers as they were at a mark, `values.log` the Channels' state at another; what stands in frames
//! behind the marks is applied again (which changes nothing when it is in the snapshot already); then the dedupe window is scanned.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::BytesMut;
use saf_event::{ChannelName, NewEvent, StreamName};

use super::annals::Annals;
use super::append::Appender;
use super::dead::{self, Dead};
use super::dedupe::{Dedupe, Key, KeyMaker};
use super::dispatch::Dispatcher;
use super::fault::Fault;
use super::file::Disk;
use super::frame::u64_at;
use super::ground::{self, Folders, Ground};
use super::limits::{dead_limits, events_limits, unit_bytes_max};
use super::log::{Depth, Evidence, Log};
use super::marks::{Mark, Marks};
use super::queue::{Queue, Row, Stored, Unit};
use super::record;
use super::recover::{Recovery, recover, replay_key, restore};
use super::roster::{Roster, Router};
use super::scan::Scan;
use super::spare::Workshop;
use super::state::State;
use super::values::{PROMISED, Values};
use super::vitals::Vitals;
use super::writer::{Configured, Writer};
use super::{MAX_EVENT_BYTES, Tuning};
use crate::{HistoryConfig, PublishError, Receipt, Refusal, StreamConfig};

/// In `state.log`: what the history says up to here is in the consumers' snapshots.
const TOLD: &str = "log/history";

/// What a store's streams share.
pub(crate) struct Shared<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) workshop: &'a Workshop,
    pub(crate) vitals: &'a Vitals,
    pub(crate) tuning: Tuning,
    pub(crate) history: &'a HistoryConfig,
}

/// See the file's head.
pub(crate) struct Stream {
    pub(crate) name: StreamName,
    pub(crate) log: Arc<Log>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) dead: Dead,
    pub(crate) roster: Arc<Roster>,
    pub(crate) state: Arc<State>,
    pub(crate) values: Arc<Values>,
    pub(crate) annals: Arc<Annals>,
    /// The newest entry of the history at the last save: what it says is in the consumers' snapshots by the next one.
    told: AtomicU64,
    saved_told: AtomicU64,
    pub(crate) vitals: Vitals,
    keys: KeyMaker,
    marks: Arc<Marks>,
    applied: Arc<AtomicU64>,
    configured: Arc<Mutex<Option<Configured>>>,
    config: Mutex<StreamConfig>,
    tuning: Tuning,
    unit_bytes_max: AtomicUsize,
    /// For who is behind.
    pub(crate) scan: tokio::sync::Mutex<Scan>,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

impl Stream {
    /// Opens the stream in a folder; makes it when there is none.
    pub(crate) fn open(
        name: &StreamName,
        folder: &Path,
        config: &StreamConfig,
        shared: &Shared<'_>,
    ) -> Result<Self, Fault> {
        let Shared { disk, workshop, vitals, tuning, history } = shared;
        let folders = Folders::of(folder);
        let Ground { state, marks, dead_marks, stopped } = Ground::open(folder, &folders, disk)?;
        let mark = marks.get();
        let log = Arc::new(Log::open(&folders.events, mark.evidence, Depth::Newest)?);
        let roster = Arc::new(restore(&state, log.last(), stopped)?);
        let promised = state.get(PROMISED).and_then(|bytes| u64_at(&bytes, 0));
        let values = Arc::new(Values::open(&folders.values, promised, (*disk).clone())?);
        let told = state.get(TOLD).and_then(|bytes| u64_at(&bytes, 0));
        let (annals, behind) = Annals::open(&folders.history, history, told)?;
        let annals = Arc::new(annals);
        // From here on a crash is one: nothing may be handed out before this is on disk.
        ground::begin(&state)?;

        let configured = events_limits(config, *tuning);
        let keys = KeyMaker::default();
        let mut dedupe = Dedupe::new(configured.window_millis, tuning.keys_max);
        let recovery = Recovery {
            log: &log,
            mark,
            roster: &roster,
            values: &values,
            keys: &keys,
            annals: &annals,
            behind: &behind,
        };
        let replayed = recover(&recovery, &mut dedupe, configured.window_millis)?;
        let (dead, dead_writer) = Dead::open(dead::Opening {
            folder: &folders.dead,
            marks: dead_marks,
            disk: (*disk).clone(),
            workshop,
            configured: dead_limits(config, *tuning),
            vitals: (*vitals).clone(),
            replayed,
        })?;
        let appender =
            Appender::new(log.clone(), (*disk).clone(), configured.limits, workshop.spare(&folders.events)?)?;
        let (queue, marks, applied) =
            (Arc::new(Queue::new()), Arc::new(marks), Arc::new(AtomicU64::new(log.last())));
        let pending = Arc::new(Mutex::new(None));
        let scan = tokio::sync::Mutex::new(Scan::new(Router::new(roster.clone())));
        let dispatcher = Dispatcher {
            log: log.clone(),
            roster: roster.clone(),
            router: Router::new(roster.clone()),
            marks: marks.clone(),
            values: values.clone(),
            annals: annals.clone(),
            applied: applied.clone(),
            configured: pending.clone(),
            vitals: (*vitals).clone(),
        };
        let writer = Writer::new(queue.clone(), appender, dedupe, dispatcher);
        let threads = vec![
            writer.start(format!("saf-log-{name}"), vitals).map_err(Fault::at(folder))?,
            dead_writer.start(format!("saf-dead-{name}"), vitals).map_err(Fault::at(folder))?,
        ];
        let stream = Self {
            name: name.clone(),
            log,
            queue,
            dead,
            roster,
            state,
            values,
            told: AtomicU64::new(annals.last()),
            saved_told: AtomicU64::new(u64::MAX),
            annals,
            vitals: (*vitals).clone(),
            keys,
            marks,
            applied,
            configured: pending,
            config: Mutex::new(config.clone()),
            tuning: *tuning,
            unit_bytes_max: AtomicUsize::new(unit_bytes_max(configured.limits)),
            scan,
            threads: Mutex::new(threads),
        };
        // The spares are made by then.
        stream.queue.nudge();
        stream.dead.queue.nudge();
        Ok(stream)
    }

    /// Takes over a configuration; says whether it differs from the one before.
    pub(crate) fn configure(&self, config: &StreamConfig) -> bool {
        let mut present = self.config.lock().unwrap_or_else(PoisonError::into_inner);
        if *present == *config {
            return false;
        }
        present.clone_from(config);
        let limits = events_limits(config, self.tuning);
        self.unit_bytes_max.store(unit_bytes_max(limits.limits), Ordering::Relaxed);
        *self.configured.lock().unwrap_or_else(PoisonError::into_inner) = Some(limits);
        self.queue.nudge();
        self.dead.configure(dead_limits(config, self.tuning));
        true
    }

    /// Most bytes that one settlement can store together.
    pub(crate) fn unit_bytes_max(&self) -> usize {
        self.unit_bytes_max.load(Ordering::Relaxed)
    }

    /// Encodes an event that somebody publishes.
    pub(crate) fn unit(&self, event: &NewEvent) -> Result<Unit, Refusal> {
        let mut bytes = BytesMut::new();
        let key = self.encode(event, &mut bytes)?;
        Ok(Unit { bytes: bytes.freeze(), records: 1, events: 1, key })
    }

    /// Encodes the events of a batch that can be stored; what cannot be is said in its place.
    pub(crate) fn row(&self, events: &[NewEvent]) -> (Row, Vec<Option<Refusal>>) {
        let mut bytes = BytesMut::with_capacity(events.iter().map(record::bytes_max).sum());
        let mut taken = Vec::with_capacity(events.len());
        let encoded = events.iter().map(|event| {
            let start = bytes.len();
            match self.encode(event, &mut bytes) {
                Ok(key) => {
                    taken.push((bytes.len(), key));
                    None
                }
                Err(refusal) => {
                    bytes.truncate(start);
                    Some(refusal)
                }
            }
        });
        let refused = encoded.collect();
        (Row { bytes: bytes.freeze(), events: taken }, refused)
    }

    /// Appends an event's record; returns what makes it a duplicate.
    fn encode(&self, event: &NewEvent, out: &mut BytesMut) -> Result<Option<Key>, Refusal> {
        if event.size() > MAX_EVENT_BYTES {
            return Err(Refusal::TooLarge { size: event.size(), limit: MAX_EVENT_BYTES });
        }
        record::encode_event(event, None, out)?;
        let (subject, id) = (event.subject.as_str().as_bytes(), event.id.as_str().as_bytes());
        Ok(match &event.dedupe {
            saf_event::Dedupe::SubjectAndId => Some(self.keys.key(&[subject, id])),
            saf_event::Dedupe::Source(source) => Some(self.keys.key(&[subject, source.as_bytes(), id])),
            saf_event::Dedupe::Settlement => None,
        })
    }

    /// Encodes a replay: an event for one Channel, once for each dead letter.
    pub(crate) fn replay(
        &self,
        event: &NewEvent,
        channel: &ChannelName,
        letter: u64,
    ) -> Result<Unit, Refusal> {
        let mut bytes = BytesMut::new();
        record::encode_event(event, Some(record::Address { channel: channel.as_str(), letter }), &mut bytes)?;
        Ok(Unit { bytes: bytes.freeze(), records: 1, events: 1, key: Some(replay_key(&self.keys, letter)) })
    }

    /// Brings `state.log` up to date; not synced.
    pub(crate) fn save(&self) -> Result<(), Fault> {
        // Before the snapshots: what is applied meanwhile is applied once more after a crash, and changes nothing.
        let applied = self.applied.load(Ordering::SeqCst);
        let told = self.told.swap(self.annals.last(), Ordering::SeqCst);
        for consumer in self.roster.all().iter() {
            consumer.save_changes(&self.state, self.log.dispatched())?;
        }
        self.values.save(applied)?;
        // On opening, what lies below the floor is removed: no frame whose changes are not durable elsewhere.
        let first = self.values.needs_from().map_or(self.log.first(), |needed| needed.min(self.log.first()));
        let evidence = Evidence { first, last: self.log.last() };
        self.marks.advance(Mark { applied, evidence })?;
        if self.saved_told.swap(told, Ordering::SeqCst) != told {
            self.state.put(TOLD, &told.to_le_bytes())?;
        }
        self.dead.save()
    }

    /// Makes what was saved durable. Blocks.
    pub(crate) fn sync(&self) -> Result<(), Fault> {
        if let Some(mark) = self.values.sync()? {
            self.marks.promise_values(mark)?;
        }
        // Before the snapshots, so that what they know as settled is told of.
        if let Err(error) = self.annals.sync() {
            tracing::warn!(%error, stream = %self.name, "history could not be made durable");
        }
        self.state.sync()
    }

    /// Gives a Channel its state.
    pub(crate) fn keep_values(&self, channel: &ChannelName) -> Result<(), Fault> {
        self.values.create(self.applied.load(Ordering::SeqCst))?;
        if let Some(consumer) = self.roster.find(channel) {
            consumer.table.get_or_init(|| self.values.table(channel));
        }
        Ok(())
    }

    /// Ends the writers after what is queued, and leaves the marker of a clean stop unless something failed. Blocks.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        self.stop();
        if self.vitals.has_failed() {
            return Ok(());
        }
        self.save()?;
        self.sync()?;
        ground::end(&self.state)
    }

    /// Ends the writers after what is queued. Blocks.
    pub(crate) fn stop(&self) {
        self.queue.close();
        self.dead.queue.close();
        let threads = std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!(stream = %self.name, "a writer's thread panicked");
            }
        }
    }

    /// Takes nothing more, and tells everybody who waits.
    pub(crate) fn refuse(&self) {
        self.queue.close();
        self.dead.queue.close();
        self.wake_all();
    }

    /// Wakes everybody who waits, to see that it is over.
    pub(crate) fn wake_all(&self) {
        for consumer in self.roster.all().iter() {
            consumer.wake.notify_waiters();
            consumer.wake.notify_one();
        }
        self.log.announce();
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.stop();
    }
}

/// How long a publisher is told to wait when the store takes nothing; the process is about to be restarted.
const RETRY_AFTER: std::time::Duration = std::time::Duration::from_secs(5);

/// What became of a publish.
pub(crate) fn receipt(stored: Stored, since: Instant) -> Result<Receipt, PublishError> {
    match stored {
        Stored::At(sequence) => Ok(Receipt { sequence, duplicate: false }),
        Stored::Duplicate(sequence) => Ok(Receipt { sequence, duplicate: true }),
        Stored::Full(limit) => Err(PublishError::Full { limit }),
        // A publisher changes nobody's state.
        Stored::Refused | Stored::Conflict => Err(PublishError::Unavailable { retry_after: RETRY_AFTER }),
        Stored::Unknown => Err(PublishError::Unknown { waited: since.elapsed() }),
    }
}
