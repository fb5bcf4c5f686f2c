//! The embedded broker: a segmented log of our own on this machine's disk, for one process.
//!
//! ```text
//! <path>/FORMAT  LOCK  state.log (switches)
//! <path>/streams/<name>/state.log                     consumers, and how far the logs reach
//! <path>/streams/<name>/events/<first sequence>.seg   4 to 64 MiB each; .idx beside the sealed ones
//! <path>/streams/<name>/dead/                         the same, for dead letters
//! <path>/streams/<name>/history/                      what became of deliveries
//! <path>/streams/<name>/values.log                    the Channels' state, and how far in the log it reaches
//!
//! publish ---> queue ---> writer: one frame, one sync ---> answers ---> consumers (the newest frames in memory)
//!                 ^                                                          |
//!                 +---- emissions + settlement, one unit <---- Settler <---- Source::fill
//! ```
//!
//! Emissions, what changed in the Channel's state, and the settlement that they belong to stand in one frame, which makes all of it
//! exactly once. Other settlements are kept lazily: a crash may cost a repeated call, never an event. The first failed write or sync ends the store
//! ([`Health::Failed`](crate::Health)); nothing is retried on the same file. Deliberately absent: compression, compaction, an
//! index by subject, and more than one process.

mod annals;
mod append;
mod check;
mod consumer;
mod dead;
mod dedupe;
mod dispatch;
mod fault;
mod feed;
mod file;
mod frame;
mod ground;
mod history;
mod journal;
mod keeper;
mod letters;
mod limits;
mod lock;
mod log;
mod marks;
mod prepare;
mod queue;
mod record;
mod recover;
mod roster;
mod scan;
mod scout;
mod segment;
mod spare;
mod state;
mod stream;
mod switches;
mod table;
#[cfg(test)]
mod tests;
mod values;
mod vitals;
mod wanted;
mod writer;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use futures::FutureExt;
use futures::future::{BoxFuture, ready};
use saf_event::{ChannelName, NewEvent, StreamName};
use tokio::sync::watch;

pub use check::{Cut, Finding, Part, Report, StreamReport, check, cut};
pub use fault::Damage;

use self::fault::Fault;
use self::file::{Disk, Real};
use self::keeper::Keeper;
use self::lock::Lock;
use self::spare::Workshop;
use self::stream::{Stream, receipt};
use self::switches::Switches;
use self::vitals::Vitals;
use crate::{
    Broker, ChannelPlan, DeadLetters, Durability, Error, Feed, Health, History, Journal, Note, Plan, Profile,
    PublishError, Receipt, Refusal, Switch,
};

/// Largest [`NewEvent::size`], in bytes.
pub const MAX_EVENT_BYTES: usize = 1 << 20;
/// Most emissions of one settlement.
pub const MAX_EMISSIONS: usize = 1000;
/// What `FORMAT` says of a store in which no Channel has state, which versions before state read too.
const FORMAT: &str = "saf store 1\n";
/// What it says otherwise.
const FORMAT_WITH_STATE: &str = "saf store 2\n";

/// Sizes that tests make small.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Tuning {
    pub(crate) segment_bytes_min: u64,
    pub(crate) segment_bytes_max: u64,
    pub(crate) dead_segment_bytes_max: u64,
    pub(crate) keys_max: usize,
}

impl Default for Tuning {
    fn default() -> Self {
        Self {
            segment_bytes_min: 4 << 20,
            segment_bytes_max: 64 << 20,
            dead_segment_bytes_max: 8 << 20,
            keys_max: dedupe::KEYS_MAX,
        }
    }
}

type Streams = Arc<RwLock<BTreeMap<StreamName, Arc<Stream>>>>;

/// The broker. Dropping it without [`Broker::close`] loses nothing; the next start then hands out one at a time what may have
/// been in work.
pub struct Embedded {
    root: PathBuf,
    disk: Arc<dyn Disk>,
    tuning: Tuning,
    vitals: Vitals,
    streams: Streams,
    switches: Switches,
    workshop: Mutex<Option<Workshop>>,
    keeper: Mutex<Option<Keeper>>,
    lock: Mutex<Option<Lock>>,
    keeps_history: AtomicBool,
}

impl Embedded {
    /// Opens the store in a folder, and makes the folder when it is missing. Blocks for as long as the disk takes. Streams are
    /// opened by [`Broker::prepare`].
    pub fn open(path: &Path) -> Result<Self, Error> {
        Self::open_with(path, Arc::new(Real), Tuning::default())
    }

    pub(crate) fn open_with(path: &Path, disk: Arc<dyn Disk>, tuning: Tuning) -> Result<Self, Error> {
        fs::create_dir_all(path).map_err(|error| {
            Error::Config(format!(
                "cannot make the store's folder {}: {error}; check broker.path",
                path.display()
            ))
        })?;
        let lock = Lock::take(path)?;
        check_format(path)?;
        let vitals = Vitals::new();
        let switches = Switches::open(&path.join("state.log"), disk.clone())?;
        let streams = Streams::default();
        let all = streams.clone();
        let threads = Workshop::start().and_then(|workshop| {
            let keeper = Keeper::start(vitals.clone(), move || opened(&all))?;
            Ok((workshop, keeper))
        });
        let (workshop, keeper) =
            threads.map_err(|error| Error::Unavailable(format!("cannot start a thread: {error}")))?;
        Ok(Self {
            root: path.to_owned(),
            disk,
            tuning,
            vitals,
            streams,
            switches,
            workshop: Mutex::new(Some(workshop)),
            keeper: Mutex::new(Some(keeper)),
            lock: Mutex::new(Some(lock)),
            keeps_history: AtomicBool::new(false),
        })
    }

    fn stream(&self, name: &StreamName) -> Result<Arc<Stream>, Error> {
        let streams = self.streams.read().unwrap_or_else(PoisonError::into_inner);
        streams
            .get(name)
            .cloned()
            .ok_or_else(|| Error::NotFound(format!("stream {name}; configure streams.{name}")))
    }

    fn streams(&self) -> Vec<Arc<Stream>> {
        opened(&self.streams)
    }

    fn target(&self, name: &StreamName) -> Result<Arc<Stream>, Refusal> {
        self.stream(name).map_err(|_| Refusal::NoStream(name.to_string()))
    }

    /// What `close` and dropping have in common: ends all threads. Blocks.
    fn end_threads(&self) {
        self.vitals.close();
        drop(take(&self.keeper));
        for stream in self.streams() {
            stream.stop();
            stream.wake_all();
        }
        // The writers, which order spares, are gone by now.
        drop(take(&self.workshop));
    }
}

fn take<T>(slot: &Mutex<Option<T>>) -> Option<T> {
    slot.lock().unwrap_or_else(PoisonError::into_inner).take()
}

fn opened(streams: &Streams) -> Vec<Arc<Stream>> {
    streams.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
}

/// A store of another version is refused before anything in it is touched.
fn check_format(root: &Path) -> Result<(), Error> {
    let path = root.join("FORMAT");
    match fs::read_to_string(&path) {
        Ok(text) if [FORMAT, FORMAT_WITH_STATE].contains(&&*text) => return Ok(()),
        Ok(text) => {
            let (path, text) = (path.display(), text.trim());
            return Err(Error::Config(format!(
                "{path} says {text:?}, and this version reads {:?} and {:?}: use the version that wrote the store, or another broker.path",
                FORMAT.trim(),
                FORMAT_WITH_STATE.trim()
            )));
        }
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {}
        Err(error) => return Err(Fault::at(&path)(error).into()),
    }
    if root.join("streams").exists() {
        let path = path.display();
        return Err(Error::Config(format!(
            "{path} is missing beside a store; restore it, or use another broker.path"
        )));
    }
    write_format(root, FORMAT)
}

/// From here on versions that know no state refuse the store.
fn allow_state(root: &Path) -> Result<(), Error> {
    let path = root.join("FORMAT");
    if fs::read_to_string(&path).map_err(Fault::at(&path))? == FORMAT_WITH_STATE {
        return Ok(());
    }
    write_format(root, FORMAT_WITH_STATE)
}

fn write_format(root: &Path, text: &str) -> Result<(), Error> {
    let (path, making) = (root.join("FORMAT"), root.join("FORMAT.making"));
    let write = || {
        fs::write(&making, text)?;
        fs::File::open(&making)?.sync_all()?;
        fs::rename(&making, &path)?;
        file::sync_folder(root)
    };
    Ok(write().map_err(Fault::at(&path))?)
}

impl Broker for Embedded {
    fn profile(&self) -> Profile {
        Profile {
            kind: "embedded",
            durability: Durability::Synced,
            max_event_bytes: MAX_EVENT_BYTES,
            max_emissions: MAX_EMISSIONS,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.vitals.watch()
    }

    fn prepare<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Note>, Error>> {
        // On this thread: it happens at start and at a reload, and the caller waits for it.
        async move { self.make_ready(plan) }.boxed()
    }

    fn publish<'a>(
        &'a self,
        stream: &'a StreamName,
        event: NewEvent,
    ) -> BoxFuture<'a, Result<Receipt, PublishError>> {
        async move {
            let stream = self.target(stream)?;
            let unit = stream.unit(&event)?;
            let since = Instant::now();
            receipt(stream.queue.submit(unit).await, since)
        }
        .boxed()
    }

    fn publish_all<'a>(
        &'a self,
        stream: &'a StreamName,
        events: &'a [NewEvent],
    ) -> BoxFuture<'a, Vec<Result<Receipt, PublishError>>> {
        async move {
            let since = Instant::now();
            let stream = match self.target(stream) {
                Ok(stream) => stream,
                Err(refusal) => return events.iter().map(|_| Err(refusal.clone().into())).collect(),
            };
            let (row, refused) = stream.row(events);
            let stored = stream.queue.submit_row(row).await;
            let mut stored = stored.into_iter().map(|stored| receipt(stored, since));
            let result = |refused: Option<Refusal>| match refused {
                Some(refusal) => Some(Err(refusal.into())),
                None => stored.next(),
            };
            refused.into_iter().filter_map(result).collect()
        }
        .boxed()
    }

    fn subscribe<'a>(&'a self, channel: &'a ChannelPlan) -> BoxFuture<'a, Result<Feed, Error>> {
        ready(self.stream(&channel.stream).and_then(|stream| feed::open(&stream, channel))).boxed()
    }

    fn journal(&self) -> Option<&dyn Journal> {
        Some(self)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }

    fn history(&self) -> Option<&dyn History> {
        self.keeps_history.load(Ordering::Relaxed).then_some(self as &dyn History)
    }

    fn switches(&self) -> watch::Receiver<BTreeMap<ChannelName, Switch>> {
        self.switches.watch()
    }

    fn switch<'a>(&'a self, channel: &'a ChannelName, to: Switch) -> BoxFuture<'a, Result<(), Error>> {
        async move { Ok(self.switches.set(channel, to).await?) }.boxed()
    }

    /// Stores what is queued, saves the consumers, leaves the marker of a clean stop, and gives the lock back. What takes longer
    /// than `grace` goes on in the background; only the marker may be missing then.
    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        async move {
            self.vitals.close();
            let (keeper, workshop, lock) = (take(&self.keeper), take(&self.workshop), take(&self.lock));
            let streams = self.streams();
            let work = move || {
                drop(keeper);
                for stream in &streams {
                    if let Err(fault) = stream.close() {
                        tracing::error!(%fault, stream = %stream.name, "the stream could not be closed cleanly");
                    }
                    stream.wake_all();
                }
                drop(workshop);
                drop(lock);
            };
            if tokio::time::timeout(grace, tokio::task::spawn_blocking(work)).await.is_err() {
                tracing::warn!(?grace, "the store did not close in time; the disk is slow");
            }
        }
        .boxed()
    }
}

impl Drop for Embedded {
    fn drop(&mut self) {
        self.end_threads();
    }
}
