//! Publishing with one subscription for all answers.
//!
//! Every publish names `<inbox>.<token>` as its reply; one task reads the inbox and hands each answer to whoever waits in the
//! slot that the token names. That spares a future, a permit and a timer for each. A token holds
//! the slot's generation too, so a late answer never answers another publish. Answers that do not come are swept up every
//! [`SWEEP_MILLIS`]. Deliberately absent: repeating a publish; the caller has the key to do so.

use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::Poll;
use std::time::{Duration, Instant};

use async_nats::{Message, Subject, client};
use bytes::Bytes;
use futures::{StreamExt, poll};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, timeout};

use super::answer::Answer;
use super::codec::Head;
use super::connection::{Link, LinkState};
use crate::Error;

/// Most publishes that wait for an answer at once; the next one waits for a place.
const IN_FLIGHT_MESSAGES: usize = 16_384;
/// How often overdue answers are looked for.
const SWEEP_MILLIS: u64 = 100;

/// A message on its way out.
pub(super) struct Outgoing {
    pub(super) subject: String,
    pub(super) head: Head,
    pub(super) data: Bytes,
}

/// Answers to a group of publishes, for one waiter.
#[derive(Default)]
pub(super) struct Answers {
    came: Mutex<Vec<(usize, Answer)>>,
    wake: Notify,
}

impl Answers {
    pub(super) fn new(capacity: usize) -> Arc<Self> {
        Arc::new(Self { came: Mutex::new(Vec::with_capacity(capacity)), wake: Notify::new() })
    }

    fn put(&self, index: usize, answer: Answer) {
        lock(&self.came).push((index, answer));
        self.wake.notify_one();
    }

    /// Waits for at least one answer and moves what came into `into`. Cancel-safe; for one waiter.
    pub(super) async fn take(&self, into: &mut Vec<(usize, Answer)>) {
        loop {
            {
                let mut came = lock(&self.came);
                if !came.is_empty() {
                    into.append(&mut came);
                    return;
                }
            }
            self.wake.notified().await;
        }
    }
}

/// Publishes on the publishing connection.
pub(super) struct Publisher {
    link: Link,
    slab: Arc<Slab>,
    /// With its dot.
    inbox: String,
    patience: Duration,
    /// Lives as long as anybody can wait for an answer, even behind a closed connection.
    _sweeping: JoinSet<()>,
}

impl Publisher {
    /// Subscribes the inbox; the future reads it, and ends when the connection is closed.
    pub(super) async fn open(
        link: Link,
        patience: Duration,
    ) -> Result<(Self, impl Future<Output = ()> + use<>), Error> {
        let inbox = format!("{}.", link.client.new_inbox());
        let answers = link.client.subscribe(format!("{inbox}*")).await;
        let mut answers = answers.map_err(|error| Error::Unavailable(error.to_string()))?;
        let slab = Arc::new(Slab::default());
        let prefix_bytes = inbox.len();
        let read = {
            let slab = slab.clone();
            async move {
                while let Some(message) = answers.next().await {
                    slab.answer(prefix_bytes, &message);
                }
            }
        };
        let mut sweeping = JoinSet::new();
        sweeping.spawn(sweep(slab.clone(), patience, link.watch()));
        Ok((Self { link, slab, inbox, patience, _sweeping: sweeping }, read))
    }

    /// The largest message that the server takes, headers included, in bytes.
    pub(super) fn max_bytes(&self) -> usize {
        self.link.client.max_payload()
    }

    pub(super) fn is_up(&self) -> bool {
        self.link.is_up()
    }

    /// Sends one message; its answer will be number `index` in `answers`, whatever happens.
    ///
    /// Dropping the future leaves it unknown whether the message was sent.
    pub(super) async fn send(&self, message: Outgoing, answers: &Arc<Answers>, index: usize) {
        self.send_all(std::iter::once(message), answers, index).await;
    }

    /// Sends messages that the server stores together or not at all, the last of which commits them. Only the first and
    /// the last ask for an answer: the first says at once why the server will not have them.
    pub(super) async fn send_together(&self, messages: Vec<Outgoing>, answers: &Arc<Answers>, index: usize) {
        self.send_all(messages.into_iter(), answers, index).await;
    }

    async fn send_all(
        &self,
        messages: impl ExactSizeIterator<Item = Outgoing>,
        answers: &Arc<Answers>,
        index: usize,
    ) {
        if !self.is_up() {
            return answers.put(index, Answer::NotSent);
        }
        let Some(token) = timeout_if_slow(self.patience, self.slab.insert(answers, index)).await else {
            return answers.put(index, Answer::NotSent);
        };
        let reply = Subject::from(format!("{}{token}", self.inbox));
        let last = messages.len() - 1;
        let mut sent = 0;
        for (at, Outgoing { subject, head, data }) in messages.enumerate() {
            let size = head.bytes + data.len();
            let subject = Subject::from(subject);
            let publish = async {
                if at == 0 || at == last {
                    self.link
                        .client
                        .publish_with_reply_and_headers(subject, reply.clone(), head.map, data)
                        .await
                } else {
                    self.link.client.publish_with_headers(subject, head.map, data).await
                }
            };
            // Nothing is sent while the command queue is full, so running out of patience here is certain.
            let failed = match timeout_if_slow(self.patience, publish).await {
                Some(Ok(())) => {
                    sent += 1;
                    continue;
                }
                Some(Err(error)) if error.kind() == client::PublishErrorKind::MaxPayloadExceeded => {
                    Answer::TooLarge { size, limit: self.max_bytes() }
                }
                Some(Err(_)) | None => Answer::NotSent,
            };
            tracing::debug!(sent, of = last + 1, ?failed, "a publish was not sent");
            if self.slab.take(token).is_some() {
                answers.put(index, failed);
            }
            return;
        }
    }
}

/// The future's output, or `None` after `patience`. The timer is made only when the first poll does not finish.
pub(super) async fn timeout_if_slow<F: Future>(patience: Duration, future: F) -> Option<F::Output> {
    let mut future = pin!(future);
    if let Poll::Ready(output) = poll!(&mut future) {
        return Some(output);
    }
    timeout(patience, future).await.ok()
}

/// Gives up what waited too long, and all of it when the connection is lost: an answer to it cannot come any more.
async fn sweep(slab: Arc<Slab>, patience: Duration, mut link: watch::Receiver<LinkState>) {
    let mut tick = interval(Duration::from_millis(SWEEP_MILLIS));
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut was_up = link.borrow().up;
    loop {
        let patience = tokio::select! {
            _ = tick.tick() => patience,
            Ok(()) = link.changed() => {
                let up = link.borrow_and_update().up;
                // Up after up: that it was down in between was not seen.
                let lost = !up || was_up;
                was_up = up;
                if lost { Duration::ZERO } else { continue }
            }
        };
        slab.expire(Instant::now(), patience);
    }
}

/// Who waits for which answer.
#[derive(Default)]
struct Slab {
    slots: Mutex<Slots>,
    room: Notify,
}

#[derive(Default)]
struct Slots {
    all: Vec<Slot>,
    /// Indices into `all` of slots in which nobody waits.
    free: Vec<u32>,
}

#[derive(Default)]
struct Slot {
    generation: u32,
    waiting: Option<Waiting>,
}

struct Waiting {
    answers: Arc<Answers>,
    index: usize,
    since: Instant,
}

/// A slot and its generation, as one number.
#[derive(Clone, Copy)]
struct Token(u64);

impl Token {
    fn new(slot: u32, generation: u32) -> Self {
        Self(u64::from(generation) << 32 | u64::from(slot))
    }

    fn parse(text: &str) -> Option<Self> {
        text.parse().ok().map(Self)
    }

    fn slot(self) -> usize {
        self.0 as u32 as usize
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

impl std::fmt::Display for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl Slab {
    /// Waits for a free slot. Cancel-safe.
    async fn insert(&self, answers: &Arc<Answers>, index: usize) -> Token {
        loop {
            let room = self.room.notified();
            if let Some(token) = self.try_insert(answers, index) {
                return token;
            }
            room.await;
        }
    }

    fn try_insert(&self, answers: &Arc<Answers>, index: usize) -> Option<Token> {
        let mut slots = lock(&self.slots);
        let slot = match slots.free.pop() {
            Some(slot) => slot,
            None if slots.all.len() < IN_FLIGHT_MESSAGES => {
                slots.all.push(Slot::default());
                slots.all.len() as u32 - 1
            }
            None => return None,
        };
        let place = &mut slots.all[slot as usize];
        place.waiting = Some(Waiting { answers: answers.clone(), index, since: Instant::now() });
        Some(Token::new(slot, place.generation))
    }

    /// Takes the waiter out; `None` when the slot has gone on to another publish.
    fn take(&self, token: Token) -> Option<Waiting> {
        let mut slots = lock(&self.slots);
        let place = slots.all.get_mut(token.slot()).filter(|place| place.generation == token.generation())?;
        let waiting = place.waiting.take()?;
        place.generation = place.generation.wrapping_add(1);
        slots.free.push(token.slot() as u32);
        drop(slots);
        self.room.notify_one();
        Some(waiting)
    }

    fn answer(&self, prefix_bytes: usize, message: &Message) {
        let Some(answer) = Answer::read(message) else { return };
        let token = message.subject.as_str().get(prefix_bytes..).and_then(Token::parse);
        if let Some(waiting) = token.and_then(|token| self.take(token)) {
            waiting.answers.put(waiting.index, answer);
        }
    }

    fn expire(&self, now: Instant, patience: Duration) {
        let overdue: Vec<(Token, Duration)> = {
            let slots = lock(&self.slots);
            if slots.free.len() == slots.all.len() {
                return;
            }
            let late = |(slot, place): (usize, &Slot)| {
                let waited = now.saturating_duration_since(place.waiting.as_ref()?.since);
                (waited >= patience).then_some((Token::new(slot as u32, place.generation), waited))
            };
            slots.all.iter().enumerate().filter_map(late).collect()
        };
        for (token, waited) in overdue {
            if let Some(waiting) = self.take(token) {
                waiting.answers.put(waiting.index, Answer::Overdue(waited));
            }
        }
    }
}

/// Nothing here panics while it holds a lock, so a poisoned one is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Receipt;

    fn ack(token: Token, sequence: u64) -> Message {
        Message {
            subject: format!("inbox.{token}").into(),
            reply: None,
            payload: format!("{{\"stream\":\"events\",\"seq\":{sequence}}}").into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        }
    }

    async fn next(answers: &Answers) -> (usize, Answer) {
        let mut came = Vec::new();
        answers.take(&mut came).await;
        assert_eq!(came.len(), 1);
        came.remove(0)
    }

    #[tokio::test]
    async fn a_late_answer_never_answers_another_publish() {
        let slab = Slab::default();
        let (first, second) = (Answers::new(1), Answers::new(1));
        let late = slab.insert(&first, 0).await;
        slab.expire(Instant::now() + Duration::from_secs(5), Duration::from_secs(5));
        assert!(matches!(next(&first).await, (0, Answer::Overdue(_))));

        let fresh = slab.insert(&second, 3).await;
        assert_eq!(late.slot(), fresh.slot());
        slab.answer(6, &ack(late, 1));
        slab.answer(6, &ack(fresh, 2));
        slab.answer(6, &ack(fresh, 9));
        let receipt = Receipt { sequence: 2, duplicate: false };
        assert_eq!(next(&second).await, (3, Answer::Stored(receipt)));
    }

    #[tokio::test]
    async fn a_full_slab_makes_the_next_publish_wait() {
        let slab = Arc::new(Slab::default());
        let answers = Answers::new(1);
        let mut tokens = Vec::new();
        for index in 0..IN_FLIGHT_MESSAGES {
            tokens.push(slab.insert(&answers, index).await);
        }
        let mut waiting = pin!(slab.insert(&answers, 0));
        assert!(poll!(&mut waiting).is_pending());
        slab.answer(6, &ack(tokens[5], 1));
        let token = timeout(Duration::from_secs(5), waiting).await.expect("a slot became free");
        assert_eq!(token.slot(), 5);
    }
}
