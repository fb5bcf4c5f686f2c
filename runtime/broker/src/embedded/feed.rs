//! A Channel's feed: the [`Source`] that hands out and the [`Settler`] that takes back. The decisions are `consumer`'s; here is
//! the waiting, the reading of files on blocking threads, and the way to the writers.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use futures::FutureExt;
use futures::future::BoxFuture;
use saf_event::{ByteString, NewEvent};

use super::consumer::{Brought, Consumer, Handed, Picked, Step};
use super::fault::Fault;
use super::queue::{Settled, Stored, Unit};
use super::stream::Stream;
use super::{MAX_EMISSIONS, MAX_EVENT_BYTES, dead, record};
use crate::history::codec::{self, Pack};
use crate::{
    Account, ChannelPlan, Delivery, Error, Fate, Feed, Lag, Packed, Place, Refusal, SettleError, Settlement,
    Settler, Settling, Source, StateChanges, StateReader, Ticket, Unsettled,
};

/// How long what was read ahead is kept while nothing is taken.
const READ_AHEAD_KEPT: Duration = Duration::from_secs(1);
/// What packed emissions share, in bytes: one allocation for many.
const ROOM_BYTES: usize = 64 << 10;

/// Opens a feed on a consumer that `prepare` made.
pub(crate) fn open(stream: &Arc<Stream>, channel: &ChannelPlan) -> Result<Feed, Error> {
    let consumer = stream.roster.find(&channel.channel).filter(|c| c.settings().is_some());
    let consumer = consumer.ok_or_else(|| {
        Error::NotFound(format!(
            "consumer of channel {} in stream {}; prepare makes it",
            channel.channel, stream.name
        ))
    })?;
    let table = channel.state.and_then(|_| consumer.table.get());
    let state = table.cloned().map(|table| -> Arc<dyn StateReader> { table });
    consumer.sources.fetch_add(1, Ordering::Relaxed);
    let settler: Arc<dyn Settler> = Arc::new(Taker { stream: stream.clone(), consumer: consumer.clone() });
    let source = Hander {
        stream: stream.clone(),
        consumer,
        home: settler.clone(),
        brought: Brought::default(),
        picked: Vec::new(),
        marked: None,
    };
    Ok(Feed { source: Box::new(source), settler, state })
}

/// The source.
struct Hander {
    stream: Arc<Stream>,
    consumer: Arc<Consumer>,
    home: Arc<dyn Settler>,
    brought: Brought,
    picked: Vec<Picked>,
    /// Handed out as soon as its mark is on disk; given back when the source is dropped.
    marked: Option<Delivery>,
}

impl Source for Hander {
    fn fill<'a>(&'a mut self, want: usize, into: &'a mut Vec<Delivery>) -> BoxFuture<'a, Result<(), Error>> {
        self.fill_some(want.max(1), into).boxed()
    }
}

impl Hander {
    async fn fill_some(&mut self, want: usize, into: &mut Vec<Delivery>) -> Result<(), Error> {
        loop {
            if let Some(error) = self.stream.vitals.over() {
                return Err(error);
            }
            if self.marked.is_some() {
                return self.hand_out_marked(into).await;
            }
            let step = self.consumer.take(
                &self.stream.log,
                Instant::now(),
                want,
                &mut self.brought,
                &mut self.picked,
            );
            match step {
                Step::HandOut => return self.hand_out(into),
                Step::Mark => {
                    let mut alone = Vec::with_capacity(1);
                    self.hand_out(&mut alone)?;
                    self.marked = alone.pop();
                }
                Step::Lease(until) => self.lease(until)?,
                Step::Fetch(sequences) => self.fetch(sequences).await?,
                Step::Scan => self.scan().await?,
                Step::Wait(until) => self.wait(until).await,
            }
        }
    }

    /// Until a wake-up or the instant; both mean: look again. A wake-up since the last look is not missed: it left a permit.
    async fn wait(&mut self, until: Option<Instant>) {
        let wake = self.consumer.wake.notified();
        if !self.consumer.holds_finds() {
            return match until {
                None => wake.await,
                Some(until) => drop(tokio::time::timeout_at(until.into(), wake).await),
            };
        }
        // What was read ahead is kept for a Channel that goes on soon, not for one that rests.
        let patience = Instant::now() + READ_AHEAD_KEPT;
        let until = until.map_or(patience, |until| until.min(patience));
        if tokio::time::timeout_at(until.into(), wake).await.is_err() && Instant::now() >= patience {
            self.consumer.let_go();
        }
    }

    fn hand_out(&mut self, into: &mut Vec<Delivery>) -> Result<(), Error> {
        let mut unreadable = Ok(());
        for Picked { sequence, time, record, attempt, deliveries, released } in self.picked.drain(..) {
            let Some(event) = record::decode_event(&record, sequence, time) else {
                unreadable = Err(Error::Failed(format!(
                    "event {sequence} of stream {} is not one that this version can read; use the version that wrote it",
                    self.stream.name
                )));
                continue;
            };
            let ticket = Ticket { sequence, handle: handle(deliveries) };
            into.push(Delivery::new(event, attempt, deliveries - released, ticket, self.home.clone()));
        }
        unreadable
    }

    async fn hand_out_marked(&mut self, into: &mut Vec<Delivery>) -> Result<(), Error> {
        let (stream, consumer) = (self.stream.clone(), self.consumer.clone());
        blocking(move || {
            consumer.save(&stream.state, stream.log.dispatched())?;
            stream.state.sync()
        })
        .await
        .map_err(|fault| self.fail(&fault))?;
        into.extend(self.marked.take());
        Ok(())
    }

    /// Says how far events may have been handed out when the process dies. Not synced: only a dying process matters here.
    fn lease(&self, until: u64) -> Result<(), Error> {
        self.consumer.leased(until);
        let saved = self.consumer.save(&self.stream.state, self.stream.log.dispatched());
        saved.map_err(|fault| self.fail(&fault))
    }

    fn fail(&self, fault: &Fault) -> Error {
        self.stream.vitals.fail(fault);
        Error::Failed(fault.to_string())
    }

    async fn fetch(&mut self, sequences: Vec<u64>) -> Result<(), Error> {
        let log = self.stream.log.clone();
        let read = move || log.get_all(&sequences);
        self.brought = blocking(read).await.map_err(|fault| self.unreadable(fault))?;
        Ok(())
    }

    /// Waits for its turn, unless somebody who had it found something for us.
    async fn scan(&mut self) -> Result<(), Error> {
        let mut scan = tokio::select! {
            biased;
            () = self.consumer.wake.notified() => return Ok(()),
            scan = self.stream.scan.lock() => scan,
        };
        let scanned = scan.advance(&self.stream.log, &self.consumer).await;
        scanned.map_err(|fault| self.unreadable(fault))
    }

    fn unreadable(&self, fault: Fault) -> Error {
        self.stream.vitals.damaged(&fault);
        fault.into()
    }
}

impl Drop for Hander {
    fn drop(&mut self) {
        self.consumer.sources.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Runs what may wait for the disk where it holds up nobody else.
pub(crate) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Fault> + Send + 'static,
) -> Result<T, Fault> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(stopped) => Err(Fault::at(std::path::Path::new("the store"))(std::io::Error::other(stopped))),
    }
}

/// Empty for a first delivery, so that a ticket costs nothing then.
fn handle(deliveries: u32) -> ByteString {
    if deliveries == 1 { ByteString::new() } else { deliveries.to_string().into() }
}

fn handed(ticket: &Ticket) -> Handed {
    Handed { sequence: ticket.sequence, deliveries: ticket.handle.parse().unwrap_or(1) }
}

/// The settler.
struct Taker {
    stream: Arc<Stream>,
    consumer: Arc<Consumer>,
}

impl Settler for Taker {
    fn settle(&self, batch: Vec<Settling>) -> BoxFuture<'_, Vec<Unsettled>> {
        self.settle_all(batch).boxed()
    }

    fn pack(&self, settling: Settling, room: &mut BytesMut) -> Settling {
        let (Settlement::Done { emit, state }, Some(ticket)) =
            (&settling.settlement, settling.delivery.ticket())
        else {
            return settling;
        };
        if emit.is_empty() && state.is_empty() {
            return settling;
        }
        if room.capacity() < ROOM_BYTES / 8 {
            *room = BytesMut::with_capacity(ROOM_BYTES);
        }
        match self.encode(&settling, ticket.sequence, emit, state, room) {
            Ok(packed) => Settling { settlement: Settlement::Packed(packed), ..settling },
            Err(_) => settling,
        }
    }

    fn extend<'a>(&'a self, tickets: &'a [Ticket]) -> BoxFuture<'a, Result<(), Error>> {
        let now = Instant::now();
        for ticket in tickets {
            self.consumer.extend(handed(ticket), now);
        }
        futures::future::ready(self.stream.vitals.over().map_or(Ok(()), Err)).boxed()
    }

    fn abandon(&self, ticket: Ticket) {
        self.consumer.release(handed(&ticket), Instant::now());
    }

    fn lag(&self) -> BoxFuture<'_, Result<Lag, Error>> {
        futures::future::ready(Ok(self.consumer.lag(&self.stream.log))).boxed()
    }

    fn place(&self, sequence: u64) -> BoxFuture<'_, Result<Place, Error>> {
        futures::future::ready(Ok(self.consumer.place(sequence, &self.stream.log))).boxed()
    }
}

/// How a delivery is given back.
#[derive(Clone, Copy)]
enum Back {
    /// After a failed attempt.
    Retry(Duration),
    /// Without a verdict.
    Release,
}

/// What becomes of a delivery when it is settled.
enum Owed {
    /// Nothing has to be stored.
    Done(u64),
    /// Somebody else has it.
    Nothing,
    /// It was given back, with this verdict.
    Back(Handed, Back),
    /// Its emissions have to be stored with its settlement.
    Emissions(Settled),
    /// Its dead letter has to be stored first.
    Letter(Unit),
}

impl Taker {
    async fn settle_all(&self, batch: Vec<Settling>) -> Vec<Unsettled> {
        let mut unsettled = Vec::new();
        if let Some(over) = self.stream.vitals.over() {
            let error = SettleError::Unavailable(over.to_string());
            return batch.into_iter().map(|settling| Unsettled { settling, error: error.clone() }).collect();
        }
        let mut done = Vec::with_capacity(batch.len());
        let (mut back, mut told) = (Vec::new(), Pack::default());
        let (mut emitting, mut emissions) = (Vec::new(), Vec::new());
        let (mut dying, mut letters) = (Vec::new(), Vec::new());
        for settling in batch {
            match self.begin(&settling) {
                Ok(Owed::Nothing) => finish(settling),
                Ok(Owed::Back(handed, how)) => {
                    self.tell(&settling, 0, &mut told);
                    back.push((handed, how));
                    finish(settling);
                }
                Ok(Owed::Done(sequence)) => {
                    self.tell(&settling, 0, &mut told);
                    done.push(sequence);
                    finish(settling);
                }
                Ok(Owed::Emissions(settled)) => {
                    emitting.push(settling);
                    emissions.push(settled);
                }
                Ok(Owed::Letter(unit)) => {
                    dying.push(settling);
                    letters.push(unit);
                }
                Err(refusal) => unsettled.push(Unsettled { settling, error: refusal.into() }),
            }
        }
        // Told before it is done: what is done has its entry, whatever happens now.
        self.stream.annals.add(&told);
        if !done.is_empty() {
            self.consumer.done(&done);
        }
        self.give_back(&back);
        if !letters.is_empty() {
            let stored = self.stream.dead.queue.submit_all(letters).await;
            told.clear();
            for (settling, stored) in dying.iter().zip(&stored) {
                if let Stored::At(letter) | Stored::Duplicate(letter) = stored {
                    self.tell(settling, *letter, &mut told);
                }
            }
            self.stream.annals.add(&told);
            let dead = conclude(dying, stored.into_iter().map(dead::settled), &mut unsettled);
            self.consumer.done(&dead);
        }
        if !emissions.is_empty() {
            let stored = self.stream.queue.settle_all(self.consumer.clone(), emissions).await;
            // The writer told the consumer when their frame was durable.
            conclude(emitting, stored.into_iter().map(emitted), &mut unsettled);
        }
        unsettled
    }

    /// Adds what is to be kept of a delivery; `letter` is its dead letter's place.
    fn tell(&self, settling: &Settling, letter: u64, told: &mut Pack) {
        let Some(account) = &settling.account else { return };
        let fate = match &settling.settlement {
            Settlement::Done { .. } | Settlement::Packed(_) => {
                Fate::Done { emitted: 0, sequences: Vec::new() }
            }
            Settlement::Retry { after } => Fate::Retry { after_millis: after.as_millis() as u64 },
            Settlement::Dead(_) => Fate::DeadLetter { letter },
            Settlement::Release => Fate::Released,
        };
        let delivery = &settling.delivery;
        told.add(&self.consumer.name, (delivery.event.sequence, delivery.attempt), account, &fate);
    }

    fn give_back(&self, back: &[(Handed, Back)]) {
        let now = Instant::now();
        for (handed, how) in back {
            match how {
                Back::Retry(after) => self.consumer.retry(*handed, *after, now),
                Back::Release => self.consumer.release(*handed, now),
            }
        }
    }

    /// Says what settling a delivery needs.
    fn begin(&self, settling: &Settling) -> Result<Owed, Refusal> {
        // A delivery whose ticket was taken is somebody else's by now.
        let Some(ticket) = settling.delivery.ticket() else { return Ok(Owed::Nothing) };
        let sequence = ticket.sequence;
        match &settling.settlement {
            Settlement::Done { emit, state } if emit.is_empty() && state.is_empty() => {
                Ok(Owed::Done(sequence))
            }
            Settlement::Done { emit, state } => {
                let packed = self.encode(settling, sequence, emit, state, &mut BytesMut::new())?;
                Ok(Owed::Emissions(settled(sequence, packed)))
            }
            Settlement::Packed(packed) => Ok(Owed::Emissions(settled(sequence, packed.clone()))),
            Settlement::Dead(letter) => {
                Ok(Owed::Letter(self.stream.dead.unit(&settling.delivery.event, letter)?))
            }
            Settlement::Retry { after } => Ok(Owed::Back(handed(ticket), Back::Retry(*after))),
            Settlement::Release => Ok(Owed::Back(handed(ticket), Back::Release)),
        }
    }

    /// The records of the emissions and of what changed in the state, and the settlement behind them: they go into one frame.
    fn encode(
        &self,
        Settling { delivery, account, .. }: &Settling,
        sequence: u64,
        emit: &[NewEvent],
        state: &StateChanges,
        room: &mut BytesMut,
    ) -> Result<Packed, Refusal> {
        if emit.len() > MAX_EMISSIONS {
            return Err(Refusal::TooMany { count: emit.len(), limit: MAX_EMISSIONS });
        }
        room.clear();
        for event in emit {
            if event.size() > MAX_EVENT_BYTES {
                return Err(Refusal::TooLarge { size: event.size(), limit: MAX_EVENT_BYTES });
            }
            record::encode_event(event, None, room)?;
        }
        let changes = if state.is_empty() {
            0..0
        } else {
            if self.consumer.table.get().is_none() {
                return Err(Refusal::Broker("the Channel was not prepared with state".to_owned()));
            }
            record::state::encode(&self.consumer.name, sequence, state, room)?..room.len()
        };
        let entry = |account: &Account, out: &mut BytesMut| {
            let fate = Fate::Done { emitted: emit.len() as u32, sequences: Vec::new() };
            codec::encode(&self.consumer.name, (sequence, delivery.attempt), account, &fate, out);
        };
        let entry = record::encode_settled(&self.consumer.name, sequence, room, |out| {
            if let Some(account) = account {
                entry(account, out);
            }
        });
        let limit = self.stream.unit_bytes_max();
        if room.len() > limit {
            return Err(Refusal::TooLarge { size: room.len(), limit });
        }
        let bytes = room.split().freeze();
        let changes = if changes.is_empty() { Bytes::new() } else { bytes.slice(changes) };
        let entry = if entry == bytes.len() { Bytes::new() } else { bytes.slice(entry..) };
        Ok(Packed { bytes, emissions: emit.len() as u32, changes, entry })
    }
}

/// What the writer takes of a packed settlement.
fn settled(sequence: u64, packed: Packed) -> Settled {
    let Packed { bytes, emissions, changes, entry } = packed;
    Settled { sequence, bytes, events: emissions + u32::from(!changes.is_empty()), changes, entry }
}

/// Lets go of what was stored; returns its sequences.
fn conclude(
    settlings: Vec<Settling>,
    results: impl Iterator<Item = Result<(), SettleError>>,
    unsettled: &mut Vec<Unsettled>,
) -> Vec<u64> {
    let mut stored = Vec::with_capacity(settlings.len());
    for (settling, result) in settlings.into_iter().zip(results) {
        match result {
            Ok(()) => {
                stored.extend(settling.delivery.ticket().map(|ticket| ticket.sequence));
                finish(settling);
            }
            Err(error) => unsettled.push(Unsettled { settling, error }),
        }
    }
    stored
}

/// Dropping the delivery must not give it back.
fn finish(mut settling: Settling) {
    settling.delivery.settled();
}

fn emitted(stored: Stored) -> Result<(), SettleError> {
    match stored {
        // A duplicate: an earlier attempt stored its emissions, and the first one wins.
        Stored::At(_) | Stored::Duplicate(_) => Ok(()),
        Stored::Conflict => Err(SettleError::Conflict),
        Stored::Full(limit) => Err(SettleError::Full(limit)),
        Stored::Refused => Err(SettleError::Unavailable("the store takes nothing any more".to_owned())),
        Stored::Unknown => Err(SettleError::Unavailable("the emissions may or may not be stored".to_owned())),
    }
}
