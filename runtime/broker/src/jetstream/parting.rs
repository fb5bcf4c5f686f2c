//! The end of pulls, when their source is dropped or nobody asks it for a second: what the server still sends is given back, not
//! left to its ack wait.
//!
//! A pull is open for half a minute, and no word ends it: only when nobody listens on its inbox any more does the server forget
//! it. What it sent by then is on its way and would count as delivered, so the inbox may not simply be dropped. Instead
//! the subscription is told to end after as many messages as can still come, and the difference is sent by ourselves: then
//! the server and async-nats end it at the very same message, and nothing is lost between them. Only then is what came given
//! back; before that, the server would hand it to the same pull again.
//!
//! What the server is about to send at that very moment it takes back by itself, because nobody listens, and counts it all the
//! same (2.15, `didNotDeliver`): hence the wait for a quiet moment. Deliberately absent: the same for a consumer whose leader is
//! another server of a cluster; what is between the two servers at that moment is lost until its ack wait.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use async_nats::{Message, Subject, Subscriber};
use bytes::Bytes;
use futures::{FutureExt, StreamExt, stream};
use saf_event::ByteString;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc};
use tokio::time::{Instant, interval, timeout};

use super::Core;
use super::connection::Link;
use super::raw::AckSubject;
use super::settler::ChannelSettler;
use crate::Ticket;

/// Most inboxes that part at once, waiting ones included; more are dropped, and their ack wait does the rest.
const PARTING_INBOXES: usize = 4_096;
/// How many of them are talked to the server about at once.
const PARTING_AT_ONCE: usize = 64;
/// How long one may take: a few round trips, unless the server does not answer.
const PARTING_SECONDS: u64 = 2;
/// Longest time that pulls stay open between two fills; a quarter of the ack wait when that is shorter.
const REST_MILLIS: u64 = 1_000;
/// How often such pulls are looked for.
const SWEEP_MILLIS: u64 = 250;
/// How long nothing may have come before a pull is ended.
const QUIET_MILLIS: u64 = 20;
/// How long such a moment is waited for.
const UNQUIET_MILLIS: u64 = 250;
/// Heartbeats and ends of pulls, which may come besides what is owed, in messages.
const SPARE_MESSAGES: usize = 16;

/// A subscription that pulls answer to.
pub(super) struct Inbox {
    messages: Subscriber,
    pub(super) subject: Subject,
    /// The connection that the pulls were sent on.
    pub(super) connects: u64,
    /// How many messages were taken out.
    taken: usize,
}

impl Inbox {
    pub(super) fn new(messages: Subscriber, subject: Subject, connects: u64) -> Self {
        Self { messages, subject, connects, taken: 0 }
    }

    /// The next message; `None` when the connection is closed. Cancel-safe.
    pub(super) async fn next(&mut self) -> Option<Message> {
        let message = self.messages.next().await;
        self.taken += usize::from(message.is_some());
        message
    }

    /// The next message if it is here.
    pub(super) fn now(&mut self) -> Option<Message> {
        self.next().now_or_never().flatten()
    }
}

/// The open pulls of one source.
#[derive(Default)]
pub(super) struct Pulls {
    /// What they answer to.
    pub(super) inbox: Option<Inbox>,
    /// What the server may still send of all of them.
    pub(super) owed: usize,
    /// What came and was not handed out yet.
    pub(super) left_over: VecDeque<Message>,
}

impl Pulls {
    fn is_over(&self) -> bool {
        self.owed == 0 && self.left_over.is_empty()
    }
}

/// A source's pulls while no fill works on them.
pub(super) struct Resting {
    settler: Arc<ChannelSettler>,
    /// How long they may rest.
    patience: Duration,
    pulls: Mutex<Option<(Pulls, Instant)>>,
}

impl Resting {
    pub(super) fn new(settler: Arc<ChannelSettler>, ack_wait: Duration) -> Self {
        let patience = Duration::from_millis(REST_MILLIS).min(ack_wait / 4);
        Self { settler, patience, pulls: Mutex::default() }
    }

    /// Takes them, for a fill; none at first, and when they were ended.
    pub(super) fn take(&self) -> Pulls {
        lock(&self.pulls).take().map(|(pulls, _)| pulls).unwrap_or_default()
    }

    pub(super) fn put(&self, pulls: Pulls) {
        *lock(&self.pulls) = Some((pulls, Instant::now()));
    }

    fn take_stale(&self) -> Option<Pulls> {
        let stale =
            |(pulls, since): &mut (Pulls, Instant)| !pulls.is_over() && since.elapsed() > self.patience;
        lock(&self.pulls).take_if(stale).map(|(pulls, _)| pulls)
    }
}

/// Pulls that are ended.
pub(super) struct Parting {
    settler: Arc<ChannelSettler>,
    pulls: Pulls,
}

/// Partings under way, to be seen off by [`see_off`].
pub(super) struct Partings {
    queue: mpsc::Sender<(Parting, OwnedSemaphorePermit)>,
    room: Arc<Semaphore>,
    sources: Mutex<Vec<Weak<Resting>>>,
}

/// What [`see_off`] works on.
pub(super) type Waiting = mpsc::Receiver<(Parting, OwnedSemaphorePermit)>;

impl Partings {
    pub(super) fn new() -> (Self, Waiting) {
        let (queue, waiting) = mpsc::channel(PARTING_INBOXES);
        (Self { queue, room: Arc::new(Semaphore::new(PARTING_INBOXES)), sources: Mutex::default() }, waiting)
    }

    /// Looks after a source's pulls when no fill does.
    pub(super) fn watch(&self, resting: &Arc<Resting>) {
        let mut sources = lock(&self.sources);
        sources.retain(|source| source.strong_count() > 0);
        sources.push(Arc::downgrade(resting));
    }

    /// Ends pulls; does not wait.
    pub(super) fn begin(&self, settler: Arc<ChannelSettler>, pulls: Pulls) {
        if pulls.inbox.is_none() && pulls.left_over.is_empty() {
            return;
        }
        let channel = settler.channel.clone();
        let begin = |permit| self.queue.try_send((Parting { settler, pulls }, permit)).is_ok();
        if !self.room.clone().try_acquire_owned().is_ok_and(begin) {
            tracing::debug!(%channel, "too many pulls end at once: what comes in on this one waits for its ack wait");
        }
    }

    fn end_stale(&self) {
        let sources: Vec<_> = lock(&self.sources).iter().filter_map(Weak::upgrade).collect();
        for source in sources {
            if let Some(pulls) = source.take_stale() {
                self.begin(source.settler.clone(), pulls);
            }
        }
    }

    /// Waits until every one that was begun is over.
    pub(super) async fn over(&self) {
        // Never closed.
        let _ = self.room.acquire_many(PARTING_INBOXES as u32).await;
    }
}

/// Ends the pulls of sources that nobody asks any more: paused Channels. Ends with the broker.
pub(super) async fn sweep(core: Arc<Core>) {
    let mut tick = interval(Duration::from_millis(SWEEP_MILLIS));
    loop {
        tick.tick().await;
        core.partings.end_stale();
    }
}

/// Sees partings off; ends when the broker is gone.
pub(super) async fn see_off(mut waiting: Waiting) {
    let partings = stream::poll_fn(|cx| waiting.poll_recv(cx));
    partings.for_each_concurrent(PARTING_AT_ONCE, async |(parting, _permit)| parting.finish().await).await;
}

impl Parting {
    async fn finish(self) {
        let Self { settler, pulls: Pulls { inbox, owed, left_over } } = self;
        let mut came = Vec::from(left_over);
        if let Some(inbox) = inbox {
            let ended = inbox.end(&settler.core().consuming, owed, &mut came);
            if timeout(Duration::from_secs(PARTING_SECONDS), ended).await.is_err() {
                let channel = &settler.channel;
                tracing::debug!(%channel, "a pull did not end in time: what still comes waits for its ack wait");
            }
        }
        for message in came {
            give_back(&settler, message).await;
        }
    }
}

impl Inbox {
    /// Ends the subscription, on the server at the very message at which it ends here, and takes what comes until then.
    async fn end(mut self, consuming: &Link, owed: usize, came: &mut Vec<Message>) {
        // The server counts messages from the last connect on, async-nats from the first: they would not end together.
        if self.connects != consuming.state().connects {
            came.extend(std::iter::from_fn(|| self.now()));
            return;
        }
        let rest = owed + SPARE_MESSAGES;
        if self.messages.unsubscribe_after((self.taken + rest) as u64).await.is_err() {
            return;
        }
        let quiet = self.until_quiet(owed, came);
        let _ = timeout(Duration::from_millis(UNQUIET_MILLIS), quiet).await;
        // One first: where our user may not publish to its own inbox, one refusal is enough.
        let mut fillers = Some(rest - 1);
        self.fill(consuming, 1).await;
        while let Some(message) = self.next().await {
            let is_filler = message.reply.is_none() && message.status.is_none();
            if let Some(count) = fillers.take_if(|_| is_filler) {
                self.fill(consuming, count).await;
            }
            came.push(message);
        }
    }

    async fn until_quiet(&mut self, owed: usize, came: &mut Vec<Message>) {
        for _ in 0..owed {
            match timeout(Duration::from_millis(QUIET_MILLIS), self.next()).await {
                Ok(Some(message)) => came.push(message),
                Ok(None) | Err(_) => return,
            }
        }
    }

    async fn fill(&self, consuming: &Link, count: usize) {
        for _ in 0..count {
            // One that is not sent shows by the time limit.
            let _ = consuming.client.publish(self.subject.clone(), Bytes::new()).await;
        }
    }
}

/// Gives a message back if it is a delivery.
async fn give_back(settler: &ChannelSettler, message: Message) {
    let Some(reply) = message.reply else { return };
    if let Some(ack) = AckSubject::parse(&reply) {
        let handle = ByteString::from(reply.into_string());
        settler.give_back(&Ticket { sequence: ack.sequence, handle }).await;
    }
}

/// Nothing here panics while it holds a lock, so a poisoned one is whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
