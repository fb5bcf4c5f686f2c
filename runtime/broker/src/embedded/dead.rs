//! A stream's dead letters: a second log of the same kind, in which a deletion is a record too. A letter has the key
//! `d/<channel>/<sequence>`, so that storing it again, after a crash before its settlement, stores nothing.
//!
//! What is gone (deleted letters, and the deletions) is a set of sequences in memory, rebuilt on open. Letters are never thrown
//! away to make room: a full log refuses, the delivery stays unsettled, and somebody is told. Deleted letters give their room
//! back when no older one is left.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use bytes::{Bytes, BytesMut};
use saf_event::{Event, StreamName};

use super::append::{Appender, Hold};
use super::dedupe::{Dedupe, KEYS_MAX, Key, KeyMaker};
use super::fault::Fault;
use super::file::Disk;
use super::frame::{Builder, Frame};
use super::log::{Depth, Evidence, Log};
use super::marks::{Mark, Marks};
use super::queue::{Queue, Stored, Unit};
use super::record::{self, Record, letter};
use super::spare::Workshop;
use super::vitals::Vitals;
use super::writer::{Configured, Follower, Settles, Writer};
use crate::history::codec::Pack;
use crate::{Attempt, DeadLetter, Error, Refusal, SettleError, StoredDeadLetter, detail};

/// Longest text of a dead letter's details, in bytes; longer ones are cut.
const TEXT_BYTES_MAX: usize = 4 << 10;
/// Most attempts that a dead letter keeps, the newest.
const ATTEMPTS_MAX: usize = 32;

/// See the file's head.
pub(crate) struct Dead {
    pub(crate) log: Arc<Log>,
    pub(crate) queue: Arc<Queue>,
    pub(crate) marks: Arc<Marks>,
    keys: KeyMaker,
    index: Arc<Index>,
    /// Replays and deletions go one at a time.
    pub(crate) turn: tokio::sync::Mutex<()>,
}

#[derive(Default)]
struct Index {
    gone: Mutex<BTreeSet<u64>>,
    configured: Mutex<Option<Configured>>,
}

impl Index {
    fn is_gone(&self, sequence: u64) -> bool {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).contains(&sequence)
    }

    fn bury(&self, sequences: impl IntoIterator<Item = u64>) {
        self.gone.lock().unwrap_or_else(PoisonError::into_inner).extend(sequences);
    }
}

/// What is needed to open one.
pub(crate) struct Opening<'a> {
    pub(crate) folder: &'a Path,
    pub(crate) marks: Marks,
    pub(crate) disk: Arc<dyn Disk>,
    pub(crate) workshop: &'a Workshop,
    pub(crate) configured: Configured,
    pub(crate) vitals: Vitals,
    /// Letters whose replay stands in the events' log, whether their deletion was stored or not.
    pub(crate) replayed: BTreeSet<u64>,
}

impl Dead {
    /// Opens the log; the writer is to be run on a thread of its own.
    pub(crate) fn open(opening: Opening<'_>) -> Result<(Self, Writer<Grave>), Fault> {
        let Opening { folder, marks, disk, workshop, configured, vitals, replayed } = opening;
        let log = Arc::new(Log::open(folder, marks.get().evidence, Depth::Newest)?);
        let keys = KeyMaker::default();
        let mut dedupe = Dedupe::new(u64::MAX, KEYS_MAX);
        let mut gone = BTreeSet::new();
        log.walk(0, |frame| {
            for (sequence, range) in frame.events() {
                match Record::parse(&frame.bytes[range]) {
                    Some(Record::Letter(letter)) => {
                        dedupe.insert(
                            key(&keys, letter.channel, letter.sequence, letter.time),
                            sequence,
                            frame.head.time,
                        );
                    }
                    Some(Record::Deleted { sequence: letter }) => gone.extend([sequence, letter]),
                    _ => {}
                }
            }
        })?;
        let mut appender = Appender::new(log.clone(), disk, configured.limits, workshop.spare(folder)?)?;
        for letter in replayed.into_iter().filter(|n| (log.first()..=log.last()).contains(n)) {
            if !gone.contains(&letter) {
                gone.extend([letter, delete_now(&mut appender, letter)?]);
            }
        }
        let index = Arc::new(Index { gone: Mutex::new(gone), configured: Mutex::default() });
        let (queue, marks) = (Arc::new(Queue::new()), Arc::new(marks));
        let grave = Grave { log: log.clone(), index: index.clone(), marks: marks.clone(), vitals };
        let writer = Writer::new(queue.clone(), appender, dedupe, grave);
        Ok((Self { log, queue, marks, keys, index, turn: tokio::sync::Mutex::default() }, writer))
    }

    /// Takes over new limits, soon.
    pub(crate) fn configure(&self, configured: Configured) {
        *self.index.configured.lock().unwrap_or_else(PoisonError::into_inner) = Some(configured);
        self.queue.nudge();
    }

    /// What stores a letter.
    pub(crate) fn unit(&self, event: &Event, letter: &DeadLetter) -> Result<Unit, Refusal> {
        let mut bytes = BytesMut::new();
        letter::encode(event, &clipped(letter), &mut bytes)?;
        let key = key(&self.keys, letter.channel.as_str(), event.sequence, event.time);
        Ok(Unit { bytes: bytes.freeze(), records: 1, events: 1, key: Some(key) })
    }

    /// Removes a letter that is there. The caller has the turn.
    pub(crate) async fn delete(&self, letter: u64) -> Result<(), Error> {
        let mut bytes = BytesMut::new();
        record::encode_deleted(letter, &mut bytes);
        let unit = Unit { bytes: bytes.freeze(), records: 1, events: 1, key: None };
        match self.queue.submit(unit).await {
            Stored::At(sequence) | Stored::Duplicate(sequence) => {
                self.index.bury([letter, sequence]);
                Ok(())
            }
            Stored::Full(limit) => Err(Error::Unavailable(format!("the dead letters are full: {limit}"))),
            Stored::Refused | Stored::Conflict | Stored::Unknown => {
                Err(Error::Unavailable("the dead letters cannot be written".into()))
            }
        }
    }

    /// The letters of a frame that are there.
    pub(crate) fn letters<'a>(
        &'a self,
        stream: &'a StreamName,
        frame: &'a Frame,
    ) -> impl Iterator<Item = (u64, StoredDeadLetter)> + 'a {
        let there = move |sequence: &u64| *sequence >= self.log.first() && !self.index.is_gone(*sequence);
        frame.events().filter(move |(sequence, _)| there(sequence)).filter_map(move |(sequence, range)| {
            Some((sequence, stored(stream, sequence, frame.head.time, &frame.bytes.slice(range))?))
        })
    }

    /// One letter. Blocks.
    pub(crate) fn get(&self, stream: &StreamName, sequence: u64) -> Result<Option<StoredDeadLetter>, Fault> {
        if self.index.is_gone(sequence) {
            return Ok(None);
        }
        let found = self.log.get(sequence)?;
        Ok(found.and_then(|(time, record)| stored(stream, sequence, time, &record)))
    }

    /// For the keeper.
    pub(crate) fn save(&self) -> Result<(), Fault> {
        let evidence = Evidence { first: self.log.first(), last: self.log.last() };
        self.marks.advance(Mark { applied: 0, evidence })
    }
}

/// With the time, because a cut gives sequences out again.
fn key(keys: &KeyMaker, channel: &str, sequence: u64, time: u64) -> Key {
    keys.key(&[channel.as_bytes(), &sequence.to_le_bytes(), &time.to_le_bytes()])
}

fn stored(stream: &StreamName, sequence: u64, time: u64, record: &Bytes) -> Option<StoredDeadLetter> {
    let (event, letter) = letter::decode(record)?;
    let id = format!("{stream}:{sequence}");
    Some(StoredDeadLetter { id, time, stream: stream.clone(), event, data_omitted: false, letter })
}

/// The deletion that a crash kept from being stored, before the writer runs.
fn delete_now(appender: &mut Appender, letter: u64) -> Result<u64, Fault> {
    let mut bytes = BytesMut::new();
    record::encode_deleted(letter, &mut bytes);
    let mut builder = Builder::default();
    builder.push(&bytes, 1, 1);
    if !appender.fits(builder.len()) {
        appender.roll(builder.len())?;
    }
    let now = appender.now();
    Ok(appender.append(&mut builder, now)?.head.first)
}

/// Details as they are stored: each text and the number of attempts is bounded.
fn clipped(letter: &DeadLetter) -> DeadLetter {
    let start = letter.attempts.len().saturating_sub(ATTEMPTS_MAX);
    let attempt = |attempt: &Attempt| Attempt {
        reason: attempt.reason.as_deref().map(clip),
        backtrace: attempt.backtrace.as_deref().map(|text| detail::fit_backtrace(text, TEXT_BYTES_MAX)),
        stderr: attempt.stderr.as_deref().map(clip),
        ..attempt.clone()
    };
    DeadLetter {
        reason: clip(&letter.reason),
        attempts: letter.attempts[start..].iter().map(attempt).collect(),
        ..letter.clone()
    }
}

fn clip(text: &str) -> String {
    detail::cut(text, TEXT_BYTES_MAX)
}

/// What became of a letter, for the one who settles.
pub(crate) fn settled(stored: Stored) -> Result<(), SettleError> {
    match stored {
        Stored::At(_) | Stored::Duplicate(_) => Ok(()),
        Stored::Full(limit) => {
            Err(SettleError::Full(format!("dead letters: {limit}; replay or delete some")))
        }
        Stored::Refused | Stored::Conflict => {
            Err(SettleError::Unavailable("the store takes nothing any more".to_owned()))
        }
        Stored::Unknown => {
            Err(SettleError::Unavailable("the dead letter may or may not be stored".to_owned()))
        }
    }
}

/// The follower of the dead letters' writer.
pub(crate) struct Grave {
    log: Arc<Log>,
    index: Arc<Index>,
    marks: Arc<Marks>,
    vitals: Vitals,
}

impl Follower for Grave {
    fn hold(&self) -> Option<Hold> {
        None
    }

    fn stored(&mut self, _: &Frame, _: &[Settles], _: &Pack) {}

    fn told(&mut self, _: &Frame) {}

    fn keep_floor(&mut self, first: u64) -> Result<(), Fault> {
        self.marks.keep_floor(first)
    }

    fn floor(&mut self) -> u64 {
        let mut gone = self.index.gone.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = self.log.first();
        *gone = gone.split_off(&first);
        // They stay in the set until the log has moved on: a letter that is in neither would be there again for a moment.
        while gone.contains(&first) {
            first += 1;
        }
        first
    }

    fn limits(&mut self) -> Option<Configured> {
        self.index.configured.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&mut self, fault: &Fault) {
        self.vitals.fail(fault);
    }
}
