//! Settling: what must be stored first is stored first, then the delivery is acked on the consuming connection.
//!
//! A batch is sent whole before any answer is waited for, and each delivery is acked when its own answer comes. One emission
//! is one publish; sets of several are atomic batches on the server, which deliveries of the same call share. Acks are sent
//! by the future that settles, never inside a `select!` branch, where a half-done ack would be lost until the ack wait.
//! Acks are not confirmed: one that is lost brings the event again, and its emissions' keys keep them from being stored
//! twice within the stream's duplicate window.

use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, SystemTime};

use async_nats::{Subject, header};
use bytes::Bytes;
use futures::future::BoxFuture;
use saf_event::{ByteString, ChannelName, Event, NewEvent};
use tokio::time::sleep;

use super::answer::Settled;
use super::api::{ConsumerInfo, Failure};
use super::codec::{self, Head};
use super::connection::backoff;
use super::names::Route;
use super::publisher::{Answers, Outgoing, timeout_if_slow};
use super::releases::Releases;
use super::state::Bucket;
use super::units::{BATCH_MESSAGES, Units, as_batch};
use super::{Core, letter};
use crate::history::codec::Pack;
use crate::{
    ChannelPlan, Error, Fate, Lag, Order, Place, Refusal, SettleError, Settlement, Settler, Settling, Ticket,
    Unsettled,
};

/// How often a batch is sent again that the server was too busy for.
const BUSY_ATTEMPTS: usize = 8;
/// A retry due later than this waits in the stream, where it holds no slot of `max_ack_pending`.
const PARK_SECONDS: u64 = 60;

const ACK: Bytes = Bytes::from_static(b"+ACK");
const NAK: Bytes = Bytes::from_static(b"-NAK");
const IN_PROGRESS: Bytes = Bytes::from_static(b"+WPI");

/// One Channel's settler.
pub(super) struct ChannelSettler {
    core: Arc<Core>,
    pub(super) route: Arc<Route>,
    pub(super) channel: ChannelName,
    pub(super) filters: Vec<String>,
    order: Order,
    pub(super) bucket: Option<Arc<Bucket>>,
    pub(super) releases: Arc<Releases>,
    seen: Mutex<Seen>,
}

/// What the last look at the Channel's lag saw.
#[derive(Clone, Copy, Default)]
struct Seen {
    /// The oldest event that was not settled.
    oldest: Option<u64>,
    /// How many were not settled.
    backlog: u64,
    expired: u64,
    /// The sequences among which retention removed unsettled events.
    gone: Option<(u64, u64)>,
}

/// What a batch came to.
#[derive(Default)]
struct Over {
    unsettled: Vec<Unsettled>,
    told: Pack,
}

/// What settling a delivery takes.
enum Step {
    /// Tell the server now.
    Tell(Bytes),
    /// Store this, then ack.
    Store(Outgoing),
    /// Store these, all or none, then ack.
    StoreTogether(Vec<Outgoing>),
    /// It cannot be done.
    Refuse(SettleError),
}

impl Step {
    fn messages(self) -> Vec<Outgoing> {
        match self {
            Self::Store(message) => vec![message],
            Self::StoreTogether(messages) => messages,
            Self::Tell(_) | Self::Refuse(_) => Vec::new(),
        }
    }
}

impl ChannelSettler {
    pub(super) fn new(
        core: Arc<Core>,
        route: Arc<Route>,
        plan: &ChannelPlan,
        releases: Arc<Releases>,
    ) -> Self {
        let bucket = plan.state.map(|_| Bucket::new(core.clone(), plan.channel.clone(), plan.stream.clone()));
        Self {
            core,
            bucket: bucket.map(Arc::new),
            filters: route.filters(&plan.channel, &plan.subjects),
            route,
            channel: plan.channel.clone(),
            order: plan.order,
            releases,
            seen: Mutex::default(),
        }
    }

    pub(super) fn core(&self) -> &Core {
        &self.core
    }

    async fn settle_batch(&self, batch: Vec<Settling>) -> Vec<Unsettled> {
        let mut over = Over::default();
        let batch = self.store_state(batch, &mut over.unsettled).await;
        let mut units = Units::with_capacity(batch.len());
        for settling in batch {
            match self.step(&settling) {
                Step::Tell(word) => self.tell(settling, word, None, &mut over).await,
                Step::Refuse(error) => over.unsettled.push(Unsettled { settling, error }),
                Step::Store(message) => units.alone(settling, message),
                Step::StoreTogether(messages) => units.together(settling, messages),
            }
        }
        if !units.all.is_empty() {
            self.store(units, &mut over).await;
        }
        self.core.scribe.offer(&self.route.stream, &self.channel, over.told);
        over.unsettled
    }

    /// Stores what the batch changes in the Channel's state; returns what goes on.
    async fn store_state(&self, batch: Vec<Settling>, unsettled: &mut Vec<Unsettled>) -> Vec<Settling> {
        if !batch.iter().any(|settling| settling.settlement.changes_state()) {
            return batch;
        }
        if let Some(bucket) = &self.bucket {
            return bucket.store(batch, unsettled).await;
        }
        let (changing, rest) =
            batch.into_iter().partition::<Vec<_>, _>(|settling| settling.settlement.changes_state());
        let error = SettleError::from(Refusal::Broker("the Channel was not prepared with state".to_owned()));
        unsettled.extend(changing.into_iter().map(|settling| Unsettled { settling, error: error.clone() }));
        rest
    }

    /// Sends everything, then acks as the answers come.
    async fn store(&self, units: Units, over: &mut Over) {
        let answers = Answers::new(units.all.len());
        let mut waiting: Vec<Option<Vec<Settling>>> = Vec::with_capacity(units.all.len());
        for (index, unit) in units.all.into_iter().enumerate() {
            self.core.publisher.send_together(as_batch(unit.messages), &answers, index).await;
            waiting.push(Some(unit.settlings));
        }
        let (mut left, mut attempt) = (waiting.len(), 0);
        let mut came = Vec::with_capacity(left);
        let mut again = Vec::new();
        while left > 0 {
            answers.take(&mut came).await;
            for (index, answer) in came.drain(..) {
                let Some(settlings) = waiting[index].take() else { continue };
                left -= 1;
                match answer.settled() {
                    Settled::Stored(last) => self.tell_all(settlings, Some(last), over).await,
                    // One of the keys is stored already: then an earlier attempt stored its whole set.
                    Settled::Duplicate if settlings.len() == 1 => self.tell_all(settlings, None, over).await,
                    Settled::Duplicate => again.extend(settlings.into_iter().map(|settling| vec![settling])),
                    Settled::Busy if attempt < BUSY_ATTEMPTS => again.push(settlings),
                    Settled::Failed(SettleError::Refused(_)) if settlings.len() > 1 => {
                        again.extend(settlings.into_iter().map(|settling| vec![settling]));
                    }
                    Settled::Busy => self.fail(settlings, &busy(), over).await,
                    Settled::Failed(error) => self.fail(settlings, &error, over).await,
                }
            }
            if left == 0 && !again.is_empty() {
                attempt += 1;
                sleep(backoff(attempt)).await;
                for settlings in again.drain(..) {
                    let messages =
                        settlings.iter().flat_map(|settling| self.step(settling).messages()).collect();
                    self.core.publisher.send_together(as_batch(messages), &answers, waiting.len()).await;
                    waiting.push(Some(settlings));
                    left += 1;
                }
            }
        }
    }

    /// What is stored together stands together, up to `last`.
    async fn tell_all(&self, settlings: Vec<Settling>, last: Option<u64>, over: &mut Over) {
        let stored: u64 =
            settlings.iter().map(|settling| settling.settlement.emissions().max(1) as u64).sum();
        let mut next = last.map(|last| (last + 1).saturating_sub(stored));
        for settling in settlings {
            let first = next;
            next = next.map(|next| next + settling.settlement.emissions().max(1) as u64);
            self.tell(settling, ACK, first, over).await;
        }
    }

    async fn fail(&self, settlings: Vec<Settling>, error: &SettleError, over: &mut Over) {
        for settling in settlings {
            self.give_up(settling, error.clone(), over).await;
        }
    }

    /// A retry that the stream will not hold waits on the server's consumer instead.
    async fn give_up(&self, settling: Settling, error: SettleError, over: &mut Over) {
        match (&settling.settlement, &error) {
            (Settlement::Retry { after }, SettleError::Refused(refusal)) => {
                let after = *after;
                tracing::warn!(channel = %self.channel, %refusal, "the stream holds no scheduled retries; the consumer does");
                self.tell(settling, nak(after), None, over).await;
            }
            _ => over.unsettled.push(Unsettled { settling, error }),
        }
    }

    /// What has to happen for a settlement.
    fn step(&self, settling: &Settling) -> Step {
        let event = &settling.delivery.event;
        match &settling.settlement {
            Settlement::Done { emit, .. } if emit.is_empty() => Step::Tell(ACK),
            Settlement::Done { emit, .. } => self.emissions(event, emit),
            Settlement::Packed(_) => {
                Step::Refuse(Refusal::Broker("its emissions were packed by another broker".to_owned()).into())
            }
            Settlement::Retry { after } if self.parks(*after) => Step::Store(self.parked(settling, *after)),
            Settlement::Retry { after } => Step::Tell(nak(*after)),
            Settlement::Dead(dead) => {
                let limit = self.core.publisher.max_bytes();
                Step::Store(letter::encode(&self.route, event, dead, limit))
            }
            Settlement::Release => {
                self.releases.note(event.sequence);
                Step::Tell(NAK)
            }
        }
    }

    fn emissions(&self, parent: &Event, emit: &[NewEvent]) -> Step {
        if emit.len() > BATCH_MESSAGES {
            return Step::Refuse(Refusal::TooMany { count: emit.len(), limit: BATCH_MESSAGES }.into());
        }
        let limit = self.core.max_event_bytes();
        let mut messages = Vec::with_capacity(emit.len());
        for (index, event) in emit.iter().enumerate() {
            let size = event.size();
            if size > limit {
                return Step::Refuse(Refusal::TooLarge { size, limit }.into());
            }
            let head =
                Head::of_new(event, codec::emission_key(self.channel.as_str(), parent.sequence, index));
            let subject = self.route.subject(event.subject.as_str());
            messages.push(Outgoing { subject, head, data: event.data.clone() });
        }
        match messages.len() {
            1 => messages.pop().map_or(Step::Tell(ACK), Step::Store),
            _ => Step::StoreTogether(messages),
        }
    }

    /// In strict order the event itself must stay at the head of the line.
    fn parks(&self, after: Duration) -> bool {
        self.route.schedules && self.order == Order::None && after > Duration::from_secs(PARK_SECONDS)
    }

    /// A retry as a scheduled message: when due, the server stores it under the Channel's private subject.
    fn parked(&self, settling: &Settling, after: Duration) -> Outgoing {
        let (event, delivery) = (&settling.delivery.event, &settling.delivery);
        let due = humantime::format_rfc3339_seconds(SystemTime::now() + after);
        let key = format!("s/{}/{}/{}", self.channel, event.sequence, delivery.deliveries);
        let mut head = Head::of_stored(event, key);
        head.set(header::NATS_SCHEDULE, format!("@at {due}"));
        head.set(header::NATS_SCHEDULE_TARGET, self.route.to(&self.channel));
        head.set(codec::SUBJECT, event.subject.as_str());
        head.set(codec::SEQUENCE, event.sequence.to_string());
        head.set(codec::TIME, event.time.to_string());
        head.set(codec::ATTEMPTS, delivery.attempt.to_string());
        head.set(codec::DELIVERIES, delivery.deliveries.to_string());
        Outgoing { subject: self.route.at(&self.channel, event.sequence), head, data: event.data.clone() }
    }

    /// Says a word about a delivery to the server and lets go of it; on failure it joins the unsettled ones. `first` is the place of
    /// the first message that it stored.
    async fn tell(&self, mut settling: Settling, word: Bytes, first: Option<u64>, over: &mut Over) {
        let Some(ticket) = settling.delivery.ticket().cloned() else { return };
        let last_word = word == ACK;
        match self.say(&ticket, word).await {
            Ok(()) => {
                settling.delivery.settled();
                self.note(&settling, first, over);
                if last_word {
                    self.releases.forget(ticket.sequence);
                }
                self.core.settled.fetch_add(1, Ordering::Relaxed);
            }
            Err(error) => {
                over.unsettled.push(Unsettled { settling, error: SettleError::Unavailable(error) });
            }
        }
    }

    /// Adds what is to be kept of a delivery.
    fn note(&self, settling: &Settling, first: Option<u64>, over: &mut Over) {
        let Some(account) = settling.account.as_ref().filter(|_| self.core.scribe.is_enabled()) else {
            return;
        };
        let fate = match &settling.settlement {
            done @ (Settlement::Done { .. } | Settlement::Packed(_)) => {
                let emitted = done.emissions() as u32;
                let sequences = first.map(|first| (first..first + u64::from(emitted)).collect());
                Fate::Done { emitted, sequences: sequences.unwrap_or_default() }
            }
            Settlement::Retry { after } => Fate::Retry { after_millis: after.as_millis() as u64 },
            Settlement::Dead(_) => Fate::DeadLetter { letter: first.unwrap_or(0) },
            Settlement::Release => Fate::Released,
        };
        let (event, attempt) = (&settling.delivery.event, settling.delivery.attempt);
        over.told.add(&self.channel, (event.sequence, attempt), account, &fate);
    }

    /// Acks a delivery that became something else than an event.
    pub(super) async fn acknowledge(&self, ticket: &Ticket) {
        if let Err(error) = self.say(ticket, ACK).await {
            tracing::debug!(error, "an ack was not sent; the event comes again");
        }
    }

    /// Gives a delivery back that nobody saw.
    pub(super) async fn give_back(&self, ticket: &Ticket) {
        self.releases.note(ticket.sequence);
        if let Err(error) = self.say(ticket, NAK).await {
            tracing::debug!(error, "a delivery was not given back; its ack wait does that");
        }
    }

    async fn say(&self, ticket: &Ticket, word: Bytes) -> Result<(), String> {
        let subject =
            Subject::try_from(ticket.handle.clone().into_bytes()).map_err(|error| error.to_string())?;
        let sent = self.core.consuming.client.publish(subject, word);
        // A connection that is down takes words until its queue is full, and then nobody knows for how long not.
        let patience = if self.core.consuming.is_up() { self.core.patience } else { Duration::ZERO };
        match timeout_if_slow(patience, sent).await {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => Err(error.to_string()),
            None => Err("the consuming connection to NATS is down".into()),
        }
    }

    async fn look(&self) -> Result<Lag, Error> {
        let (stream, channel) = (self.route.stream.as_str(), self.channel.as_str());
        let about = |failure: Failure| failure.about(&format!("the lag of channel {channel}"));
        let info = self.core.api.consumer(stream, channel).await.map_err(about)?;
        let info = info.ok_or_else(|| Error::NotFound(format!("consumer {channel} on stream {stream}")))?;
        let state = self.core.api.stream(stream).await.map_err(about)?;
        let state = state.ok_or_else(|| Error::NotFound(format!("stream {stream}")))?.state;
        let floor = info.ack_floor.stream_seq;
        let backlog = info.num_pending + info.num_ack_pending;
        let oldest = if backlog == 0 { None } else { self.oldest_after(floor).await.map_err(about)? };

        let mut seen = lock(&self.seen);
        if let Some(before) = seen.oldest.filter(|&before| before > floor && before < state.first_seq) {
            seen.expired += (state.first_seq - before).min(seen.backlog);
            let low = seen.gone.map_or(before, |(low, _)| low.min(before));
            seen.gone = Some((low, state.first_seq - 1));
        }
        (seen.oldest, seen.backlog) = (oldest, backlog);
        Ok(Lag { pending: info.num_pending, unsettled: info.num_ack_pending, floor, expired: seen.expired })
    }

    /// Between the floor and what was delivered last, the server does not say which events are settled.
    async fn locate(&self, sequence: u64) -> Result<Place, Error> {
        let (stream, channel) = (self.route.stream.as_str(), self.channel.as_str());
        let about = |failure: Failure| failure.about(&format!("the place of channel {channel}"));
        let Some(info) = self.core.api.consumer(stream, channel).await.map_err(about)? else {
            return Ok(Place::Unknown);
        };
        let first = self.core.api.stream(stream).await.map_err(about)?.map_or(0, |info| info.state.first_seq);
        if sequence > info.ack_floor.stream_seq && sequence < first {
            return Ok(Place::Expired);
        }
        if sequence > info.delivered.stream_seq {
            let ahead = (sequence - info.delivered.stream_seq).saturating_sub(1).min(info.num_pending);
            return Ok(Place::Waiting { ahead });
        }
        if sequence > info.ack_floor.stream_seq {
            return Ok(Place::Open);
        }
        if self.began_behind(sequence, &info).await.map_err(about)? {
            return Ok(Place::BeforeStart);
        }
        let gone = lock(&self.seen).gone;
        let is_gone = gone.is_some_and(|(low, high)| (low..=high).contains(&sequence));
        Ok(if is_gone { Place::Expired } else { Place::Passed })
    }

    /// Whether the consumer was made to begin behind an event.
    async fn began_behind(&self, sequence: u64, info: &ConsumerInfo) -> Result<bool, Failure> {
        let text = |key: &str| info.config.get(key).and_then(|value| value.as_str()).unwrap_or_default();
        let began = match text("deliver_policy") {
            "by_start_sequence" => {
                let first = info.config.get("opt_start_seq").and_then(serde_json::Value::as_u64).unwrap_or(0);
                return Ok(sequence < first);
            }
            "by_start_time" => text("opt_start_time"),
            "new" => &info.created,
            _ => return Ok(false),
        };
        let began = humantime::parse_rfc3339_weak(began).ok();
        let message = self.core.api.message(self.route.stream.as_str(), sequence).await?;
        let stored = message.map(|message| std::time::UNIX_EPOCH + Duration::from_millis(message.time));
        Ok(began.zip(stored).is_some_and(|(began, stored)| stored < began))
    }

    /// The oldest event behind the floor that the Channel means.
    async fn oldest_after(&self, floor: u64) -> Result<Option<u64>, Failure> {
        let mut oldest: Option<u64> = None;
        for filter in &self.filters {
            let found = self.core.api.message_from(self.route.stream.as_str(), floor + 1, filter).await?;
            let found = found.map(|message| message.sequence);
            oldest = oldest.into_iter().chain(found).min();
        }
        Ok(oldest)
    }
}

impl Settler for ChannelSettler {
    fn settle(&self, batch: Vec<Settling>) -> BoxFuture<'_, Vec<Unsettled>> {
        Box::pin(self.settle_batch(batch))
    }

    fn extend<'a>(&'a self, tickets: &'a [Ticket]) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            for ticket in tickets {
                self.say(ticket, IN_PROGRESS).await.map_err(Error::Unavailable)?;
            }
            Ok(())
        })
    }

    fn abandon(&self, ticket: Ticket) {
        self.releases.note(ticket.sequence);
        // A full queue means that the connection is down; the ack wait does the rest.
        let _ = self.core.given_back.try_send(ticket.handle);
    }

    fn lag(&self) -> BoxFuture<'_, Result<Lag, Error>> {
        Box::pin(self.look())
    }

    fn place(&self, sequence: u64) -> BoxFuture<'_, Result<Place, Error>> {
        Box::pin(self.locate(sequence))
    }
}

/// Tells the server about deliveries that were dropped; ends when the broker is gone.
pub(super) async fn give_back(
    client: async_nats::Client,
    mut dropped: tokio::sync::mpsc::Receiver<ByteString>,
) {
    while let Some(handle) = dropped.recv().await {
        let Ok(subject) = Subject::try_from(handle.into_bytes()) else { continue };
        if let Err(error) = client.publish(subject, NAK).await {
            tracing::debug!(%error, "a delivery was not given back; its ack wait does that");
        }
    }
}

fn busy() -> SettleError {
    SettleError::Unavailable("too many batches are under way on the server".into())
}

fn nak(after: Duration) -> Bytes {
    if after.is_zero() {
        return NAK;
    }
    format!("-NAK {{\"delay\": {}}}", after.as_nanos()).into()
}

/// Nothing here panics while it holds a lock, so a poisoned one is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
