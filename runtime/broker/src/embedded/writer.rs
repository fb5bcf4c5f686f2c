//! Group commit: one thread a log takes what waits, never waits for more, writes one frame, syncs once, and answers everybody.
//!
//! A group is at most [`GROUP_RECORDS`] records or [`GROUP_BYTES`] bytes, or one larger unit. The next frame is written only after
//! the last is durable. The first failed write or sync ends the writer: nothing is retried on the same file, because after a
//! failed sync nobody knows what is on it.

use std::cell::OnceCell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::thread::JoinHandle;

use bytes::Bytes;
use tokio::sync::oneshot;

use super::append::{Appender, Full, Hold, Limits};
use super::consumer::Consumer;
use super::dedupe::{Dedupe, Key};
use super::fault::Fault;
use super::frame::{Builder, FRAME_HEAD_BYTES, Frame};
use super::queue::{Item, Queue, Row, Settled, Stored, Unit, Work};
use super::record::state::StateRecord;
use super::vitals::Vitals;
use crate::history::codec::Pack;

/// Most records of a group.
const GROUP_RECORDS: u32 = 1024;
/// Most bytes of a group, unless one unit alone is larger.
const GROUP_BYTES: usize = 1 << 20;

/// What a configuration says about a log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Configured {
    pub(crate) limits: Limits,
    /// How long a key is remembered, in milliseconds.
    pub(crate) window_millis: u64,
}

/// What happens beside the log: the one part in which the events' log and the dead letters' differ.
pub(crate) trait Follower: Send + 'static {
    /// What retention may not pass.
    fn hold(&self) -> Option<Hold>;

    /// A frame is durable; nobody has been told yet.
    fn stored(&mut self, frame: &Frame, settled: &[Settles], history: &Pack);

    /// Everybody has been told.
    fn told(&mut self, frame: &Frame);

    /// Makes the floor of retention durable, so that segments below it may go.
    fn keep_floor(&mut self, first: u64) -> Result<(), Fault>;

    /// A floor below which nothing is needed any more, whatever the limits say.
    fn floor(&mut self) -> u64;

    /// New limits and window, if there are any.
    fn limits(&mut self) -> Option<Configured>;

    /// The writer ends, for good.
    fn failed(&mut self, fault: &Fault);
}

/// The thread's own.
pub(crate) struct Writer<F> {
    pub(crate) queue: Arc<Queue>,
    pub(crate) appender: Appender,
    pub(crate) dedupe: Dedupe,
    pub(crate) follower: F,
    group: Group,
}

#[derive(Default)]
struct Group {
    builder: Builder,
    answers: Vec<Answer>,
    settled: Vec<Settles>,
    /// What is told of them.
    history: Pack,
    blocks: usize,
    /// The time, once it was asked.
    now: OnceCell<u64>,
    /// What retention may not pass, once it was asked.
    hold: OnceCell<Option<Hold>>,
}

/// What is settled with a frame, of one consumer.
pub(crate) struct Settles {
    pub(crate) consumer: Arc<Consumer>,
    pub(crate) sequences: Vec<u64>,
    /// Records of what changed in its state.
    pub(crate) changes: Vec<Bytes>,
}

/// Who is told what, once the frame is durable.
enum Answer {
    One(Stored, oneshot::Sender<Stored>),
    /// With how many of them were durable before this frame.
    Many(Vec<Stored>, usize, oneshot::Sender<Vec<Stored>>),
}

/// Records that are stored together, as the writer takes them in.
struct Piece<'a> {
    bytes: &'a [u8],
    records: u32,
    events: u32,
    key: Option<Key>,
}

impl<'a> Piece<'a> {
    fn of(unit: &'a Unit) -> Self {
        Self { bytes: &unit.bytes, records: unit.records, events: unit.events, key: unit.key }
    }
}

/// The units of an item that do not fit the frame wait in front of it.
struct Open {
    results: Vec<Stored>,
    durable: usize,
}

impl<F: Follower> Writer<F> {
    pub(crate) fn new(queue: Arc<Queue>, appender: Appender, dedupe: Dedupe, follower: F) -> Self {
        Self { queue, appender, dedupe, follower, group: Group::default() }
    }

    /// Runs on a thread of its own until the queue is closed and empty, or until the disk fails. A panic is a failure too.
    pub(crate) fn start(self, name: String, vitals: &Vitals) -> std::io::Result<JoinHandle<()>> {
        let (queue, vitals, log) = (self.queue.clone(), vitals.clone(), self.appender.log.clone());
        let work = move || {
            if catch_unwind(AssertUnwindSafe(|| self.run())).is_err() {
                vitals.fail(&Fault::at(&log.folder)(std::io::Error::other(
                    "the writer panicked; its thread said why",
                )));
                queue.abort();
            }
        };
        std::thread::Builder::new().name(name).spawn(work)
    }

    fn run(mut self) {
        self.queue.attend(std::thread::current());
        let mut spare = Vec::new();
        loop {
            let result = match self.queue.take(std::mem::take(&mut spare)) {
                Work::End => return,
                Work::Nudge => self.look_after_retention(),
                Work::Items(mut items) => {
                    let mut waiting = items.drain(..);
                    let result = waiting.by_ref().try_for_each(|item| self.admit(item));
                    // After a failure these were never written.
                    waiting.for_each(refuse);
                    spare = items;
                    result.and_then(|()| self.commit())
                }
            };
            if let Err(fault) = result {
                return self.fail(&fault);
            }
        }
    }

    fn fail(&mut self, fault: &Fault) {
        tracing::error!(%fault, "the store failed and takes nothing more; restart the process");
        self.follower.failed(fault);
        self.queue.close();
        self.group.answer_unknown();
        while let Work::Items(items) = self.queue.take(Vec::new()) {
            items.into_iter().for_each(refuse);
        }
    }

    fn admit(&mut self, item: Item) -> Result<(), Fault> {
        let blocks = item.blocks() as usize;
        match item {
            Item::One(unit, answer) => match self.add(&Piece::of(&unit), None) {
                Ok(stored) => self.group.answers.push(Answer::One(stored, answer)),
                Err(fault) => {
                    // It was not written yet: what failed is the frame before it.
                    answer.send(Stored::Refused).ok();
                    return Err(fault);
                }
            },
            Item::Many(units, answer) => {
                let count = units.len();
                self.admit_all(count, units, answer, |writer, unit, open| {
                    writer.add(&Piece::of(&unit), Some(open))
                })?;
            }
            Item::Row(Row { bytes, events }, answer) => {
                let (count, mut start) = (events.len(), 0);
                self.admit_all(count, events, answer, |writer, (end, key), open| {
                    let bytes = &bytes[std::mem::replace(&mut start, end)..end];
                    writer.add(&Piece { bytes, records: 1, events: 1, key }, Some(open))
                })?;
            }
            Item::Settle(consumer, settled, answer) => {
                let first = consumer.claim(settled.iter().map(|settled| settled.sequence));
                let (count, settled) = (settled.len(), settled.into_iter().zip(first));
                self.admit_all(count, settled, answer, |writer, (settled, first), open| {
                    if first { writer.settle(&consumer, settled, open) } else { Ok(Stored::Duplicate(0)) }
                })?;
            }
        }
        self.group.blocks += blocks;
        Ok(())
    }

    fn admit_all<T>(
        &mut self,
        count: usize,
        all: impl IntoIterator<Item = T>,
        answer: oneshot::Sender<Vec<Stored>>,
        mut admit: impl FnMut(&mut Self, T, &mut Open) -> Result<Stored, Fault>,
    ) -> Result<(), Fault> {
        let mut open = Open { results: Vec::with_capacity(count), durable: 0 };
        for one in all {
            match admit(self, one, &mut open) {
                Ok(stored) => open.results.push(stored),
                Err(fault) => {
                    open.results.truncate(open.durable);
                    open.results.resize(count, Stored::Unknown);
                    answer.send(open.results).ok();
                    return Err(fault);
                }
            }
        }
        self.group.answers.push(Answer::Many(open.results, open.durable, answer));
        Ok(())
    }

    /// Takes a unit into the frame, after writing the frame when it does not fit.
    fn add(&mut self, piece: &Piece<'_>, open: Option<&mut Open>) -> Result<Stored, Fault> {
        let Some(key) = piece.key else { return self.push(piece.bytes, piece.records, piece.events, open) };
        let now = *self.group.now.get_or_init(|| self.appender.now());
        // It keeps this sequence when the frame is written before it.
        if let Err(sequence) = self.dedupe.note(key, self.next_sequence(), now) {
            // A duplicate is answered with its group, so never before the first one is durable.
            return Ok(Stored::Duplicate(sequence));
        }
        let stored = self.push(piece.bytes, piece.records, piece.events, open)?;
        if !matches!(stored, Stored::At(_)) {
            self.dedupe.forget_newest();
        }
        Ok(stored)
    }

    fn next_sequence(&self) -> u64 {
        self.appender.log.last() + 1 + u64::from(self.group.builder.events())
    }

    /// Takes a settlement that is the first of its event into the frame.
    fn settle(
        &mut self,
        consumer: &Arc<Consumer>,
        settled: Settled,
        open: &mut Open,
    ) -> Result<Stored, Fault> {
        let Settled { sequence, bytes, events, changes, entry } = settled;
        let stored = if fits(consumer, &changes) {
            self.push(&bytes, events + 1, events, Some(open))?
        } else {
            Stored::Conflict
        };
        match stored {
            Stored::At(first) => {
                self.group.settles(consumer, sequence, changes);
                if !entry.is_empty() {
                    self.group.history.add_encoded(&entry, first);
                }
            }
            _ => consumer.disclaim(sequence),
        }
        Ok(stored)
    }

    fn push(
        &mut self,
        bytes: &[u8],
        records: u32,
        events: u32,
        open: Option<&mut Open>,
    ) -> Result<Stored, Fault> {
        let frame = self.group.builder.len() + bytes.len();
        let too_many = self.group.builder.records() + records > GROUP_RECORDS || frame > GROUP_BYTES;
        let waits = !self.group.builder.is_empty();
        if waits && (too_many || !self.appender.fits(frame)) {
            self.commit()?;
            if let Some(open) = open {
                open.durable = open.results.len();
            }
        }
        if let Err(Full(limit)) = self.make_room(bytes.len(), events)? {
            return Ok(Stored::Full(limit));
        }
        let sequence = self.next_sequence();
        self.group.builder.push(bytes, records, events);
        Ok(Stored::At(sequence))
    }

    fn make_room(&mut self, bytes: usize, events: u32) -> Result<Result<(), Full>, Fault> {
        let frame = self.group.builder.len() + bytes;
        if FRAME_HEAD_BYTES + bytes > self.appender.frame_bytes_max() {
            return Ok(Err(Full("what is to be stored together is larger than a segment".to_owned())));
        }
        let events = u64::from(self.group.builder.events() + events);
        if let Err(full) = self.within_limits(frame as u64, events)? {
            return Ok(Err(full));
        }
        if self.appender.fits(frame) {
            return Ok(Ok(()));
        }
        match self.roll(frame) {
            Err(fault) if fault.is_full() => Ok(Err(Full(format!("the disk has no room ({fault})")))),
            Err(fault) => Err(fault),
            Ok(()) => Ok(Ok(())),
        }
    }

    /// Asking all Channels what they hold costs more than a unit, so it is asked once a group, and again before refusing.
    fn within_limits(&mut self, bytes: u64, events: u64) -> Result<Result<(), Full>, Fault> {
        let Self { appender, follower, group, .. } = self;
        let was_known = group.hold.get().is_some();
        let known = || group.hold.get_or_init(|| follower.hold()).clone();
        // The disk was asked for this group when its first unit came.
        let room = if group.builder.is_empty() {
            appender.make_room(bytes, events, &known)?
        } else {
            appender.trim(bytes, events, &known)?
        };
        if room.is_ok() || !was_known {
            return Ok(room);
        }
        group.hold.take();
        appender.make_room(bytes, events, &|| follower.hold())
    }

    fn roll(&mut self, frame: usize) -> Result<(), Fault> {
        self.appender.roll(frame)?;
        self.collect()
    }

    fn collect(&mut self) -> Result<(), Fault> {
        if self.appender.has_garbage() {
            let first = self.appender.log.first();
            self.follower.keep_floor(first)?;
            self.appender.collect(first)?;
        }
        self.appender.order_spare();
        Ok(())
    }

    fn look_after_retention(&mut self) -> Result<(), Fault> {
        if let Some(Configured { limits, window_millis }) = self.follower.limits() {
            self.appender.limits = limits;
            self.dedupe.set_window(window_millis);
        }
        self.appender.expire()?;
        // Limits may have been lowered; what is in the way is told to the next publisher.
        let follower = &self.follower;
        self.appender.trim(0, 0, &|| follower.hold())?.ok();
        let floor = self.follower.floor();
        if floor > self.appender.log.first() {
            self.appender.drop_below(floor)?;
        }
        self.dedupe.expire(self.appender.now());
        self.collect()
    }

    /// Writes the frame, syncs, and answers.
    fn commit(&mut self) -> Result<(), Fault> {
        let frame = if self.group.builder.is_empty() {
            None
        } else {
            let now = self.appender.now();
            let frame = self.appender.append(&mut self.group.builder, now)?;
            self.dedupe.expire(now);
            self.follower.stored(&frame, &self.group.settled, &self.group.history);
            Some(frame)
        };
        self.group.answer();
        self.queue.give_room(std::mem::take(&mut self.group.blocks));
        if let Some(frame) = frame {
            self.follower.told(&frame);
        }
        Ok(())
    }
}

impl Group {
    fn settles(&mut self, consumer: &Arc<Consumer>, sequence: u64, changes: Bytes) {
        match self.settled.last_mut().filter(|last| Arc::ptr_eq(&last.consumer, consumer)) {
            Some(last) => last.sequences.push(sequence),
            None => self.settled.push(Settles {
                consumer: consumer.clone(),
                sequences: vec![sequence],
                changes: Vec::new(),
            }),
        }
        if !changes.is_empty()
            && let (Some(last), Some(table)) = (self.settled.last_mut(), consumer.table.get())
        {
            table.stage(&StateRecord::own(&changes));
            last.changes.push(changes);
        }
    }

    fn answer(&mut self) {
        self.settled.clear();
        self.history.clear();
        self.hold.take();
        self.now.take();
        for answer in self.answers.drain(..) {
            // Whoever hung up has stored his event all the same.
            match answer {
                Answer::One(stored, to) => drop(to.send(stored)),
                Answer::Many(stored, _, to) => drop(to.send(stored)),
            }
        }
    }

    fn answer_unknown(&mut self) {
        for answer in self.answers.drain(..) {
            match answer {
                Answer::One(stored, to) => drop(to.send(unknown(stored))),
                Answer::Many(stored, durable, to) => {
                    let doubt = |(n, stored)| if n < durable { stored } else { unknown(stored) };
                    drop(to.send(stored.into_iter().enumerate().map(doubt).collect()));
                }
            }
        }
    }
}

/// Whether what a settlement changes is still as its event read it.
fn fits(consumer: &Consumer, changes: &Bytes) -> bool {
    changes.is_empty() || consumer.table.get().is_some_and(|table| table.fits(&StateRecord::own(changes)))
}

/// What the failed frame was to hold is not known to be stored.
fn unknown(stored: Stored) -> Stored {
    match stored {
        Stored::At(_) | Stored::Duplicate(_) => Stored::Unknown,
        stored => stored,
    }
}

fn refuse(item: Item) {
    match item {
        Item::One(_, to) => drop(to.send(Stored::Refused)),
        Item::Many(units, to) => drop(to.send(vec![Stored::Refused; units.len()])),
        Item::Row(row, to) => drop(to.send(vec![Stored::Refused; row.events.len()])),
        Item::Settle(_, settled, to) => drop(to.send(vec![Stored::Refused; settled.len()])),
    }
}
