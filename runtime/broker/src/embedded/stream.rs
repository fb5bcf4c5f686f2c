//! One stream: its log, its consumers, its dead letters and its `state.log`, in a folder of its own; and how it comes back.
//!
//! Recovery: `state.log` gives the consumers as they were at a mark; settlements that stand in frames behind the mark are
//! applied again (which changes nothing when they are in the snapshot already); then the dedupe window is scanned.

use std::path::Path;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Instant;

use bytes::BytesMut;
use saf_event::{ChannelName, NewEvent, StreamName};

use super::append::Appender;
use super::dead::{self, Dead};
use super::dedupe::{Dedupe, KeyMaker};
use super::dispatch::Dispatcher;
use super::fault::Fault;
use super::file::Disk;
use super::ground::{self, Folders, Ground};
use super::limits::{dead_limits, events_limits, unit_bytes_max};
use super::log::{Depth, Evidence, Log};
use super::marks::{Mark, Marks};
use super::queue::{Queue, Stored, Unit};
use super::record;
use super::recover::{recover, replay_key, restore};
use super::roster::{Roster, Router};
use super::spare::Workshop;
use super::state::State;
use super::vitals::Vitals;
use super::writer::{Configured, Writer};
use super::{MAX_EVENT_BYTES, Tuning};
use crate::{PublishError, Receipt, Refusal, StreamConfig};

/// What a store's streams share.
pub(crate) struct Shared<'a> {
    pub(crate) disk: &'a Arc<dyn Disk>,
    pub(crate) workshop: &'a Workshop,
    pub(crate) vitals: &'a Vitals,
    pub(crate) tuning: Tuning,
}

/// See the file's head.
pub(crate) struct Stream {
    pub(crate) name: StreamName,
    pub(crate) log: Arc<Log>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) dead: Dead,
    pub(crate) roster: Arc<Roster>,
    pub(crate) state: Arc<State>,
    pub(crate) vitals: Vitals,
    keys: KeyMaker,
    marks: Arc<Marks>,
    applied: Arc<AtomicU64>,
    configured: Arc<Mutex<Option<Configured>>>,
    config: Mutex<StreamConfig>,
    tuning: Tuning,
    unit_bytes_max: AtomicUsize,
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
        let Shared { disk, workshop, vitals, tuning } = shared;
        let folders = Folders::of(folder);
        let Ground { state, marks, dead_marks, stopped } = Ground::open(folder, &folders, disk)?;
        let mark = marks.get();
        let log = Arc::new(Log::open(&folders.events, mark.evidence, Depth::Newest)?);
        let roster = Arc::new(restore(&state, log.last(), stopped)?);
        // From here on a crash is one: nothing may be handed out before this is on disk.
        ground::begin(&state)?;

        let configured = events_limits(config, *tuning);
        let keys = KeyMaker::default();
        let mut dedupe = Dedupe::new(configured.window_millis, tuning.keys_max);
        let replayed = recover(&log, mark, &roster, &keys, &mut dedupe, configured.window_millis)?;
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
        let dispatcher = Dispatcher {
            log: log.clone(),
            roster: roster.clone(),
            router: Router::new(roster.clone()),
            marks: marks.clone(),
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
            vitals: (*vitals).clone(),
            keys,
            marks,
            applied,
            configured: pending,
            config: Mutex::new(config.clone()),
            tuning: *tuning,
            unit_bytes_max: AtomicUsize::new(unit_bytes_max(configured.limits)),
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

    /// Encodes an event that somebody publishes. `room` is shared by a batch.
    pub(crate) fn unit(&self, event: &NewEvent, room: &mut BytesMut) -> Result<Unit, Refusal> {
        if event.size() > MAX_EVENT_BYTES {
            return Err(Refusal::TooLarge { size: event.size(), limit: MAX_EVENT_BYTES });
        }
        room.clear();
        record::encode_event(event, None, room)?;
        let (subject, id) = (event.subject.as_str().as_bytes(), event.id.as_str().as_bytes());
        let key = match &event.dedupe {
            saf_event::Dedupe::SubjectAndId => Some(self.keys.key(&[subject, id])),
            saf_event::Dedupe::Source(source) => Some(self.keys.key(&[subject, source.as_bytes(), id])),
            saf_event::Dedupe::Settlement => None,
        };
        Ok(Unit { bytes: room.split().freeze(), records: 1, events: 1, key })
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
        for consumer in self.roster.all().iter() {
            consumer.save_changes(&self.state, self.log.dispatched())?;
        }
        let evidence = Evidence { first: self.log.first(), last: self.log.last() };
        self.marks.advance(Mark { applied, evidence })?;
        self.dead.save()
    }

    /// Ends the writers after what is queued, and leaves the marker of a clean stop unless something failed. Blocks.
    pub(crate) fn close(&self) -> Result<(), Fault> {
        self.stop();
        if self.vitals.has_failed() {
            return Ok(());
        }
        self.save()?;
        self.state.sync()?;
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
        Stored::Refused => Err(PublishError::Unavailable { retry_after: RETRY_AFTER }),
        Stored::Unknown => Err(PublishError::Unknown { waited: since.elapsed() }),
    }
}
