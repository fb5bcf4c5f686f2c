//! Pulling: a request for as many events as the caller has room for, and a subscription that they come in on.
//!
//! A pull asks for what is wanted beyond what earlier pulls still owe, and is renewed when half of it has come, so a caller whose
//! room only shrinks by what it was handed never has more coming than it has room for. When it stops calling, up to the last
//! `want` may still arrive; what then lay here for a quarter of the ack wait is given back unseen. A pull that the server forgot shows by missing
//! heartbeats and is made anew; so is every pull after a reconnect. The consumer itself is never made anew: that would hand
//! out settled events again.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subject, Subscriber};
use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt};
use saf_event::ByteString;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::codec::{self, Decoded, Stored};
use super::connection::LinkState;
use super::raw::AckSubject;
use super::settler::ChannelSettler;
use super::{Core, poison};
use crate::{Delivery, Error, Settler, Source, Ticket};

/// How long a pull is open on the server.
const PULL_SECONDS: u64 = 30;
/// How often the server shows that it still knows the pull.
const HEARTBEAT_SECONDS: u64 = 5;
/// Silence after which the pull counts as forgotten: two heartbeats, and a second for the way.
const SILENCE_SECONDS: u64 = 2 * HEARTBEAT_SECONDS + 1;
/// Most events that one pull asks for.
const PULL_EVENTS: usize = 1_000;

/// One Channel's source.
pub(super) struct PullSource {
    core: Arc<Core>,
    settler: Arc<ChannelSettler>,
    /// The settler again, as deliveries hold it.
    home: Arc<dyn Settler>,
    link: watch::Receiver<LinkState>,
    inbox: Option<Inbox>,
    /// What the server still owes of all pulls.
    owed: usize,
    /// When silence becomes suspicious.
    silent_at: Instant,
    /// Of an inbox that was given up.
    left_over: VecDeque<Message>,
    last_fill: Instant,
    ack_wait: Duration,
}

struct Inbox {
    messages: Subscriber,
    subject: Subject,
    /// The connection that the pulls were sent on.
    connects: u64,
}

/// What came in.
enum Came {
    Delivery(Message),
    /// The pull lives.
    Heartbeat,
    /// A pull ended with so many undelivered.
    Ended(usize),
    Gone(Error),
}

impl PullSource {
    pub(super) fn new(core: Arc<Core>, settler: Arc<ChannelSettler>, ack_wait: Duration) -> Self {
        Self {
            link: core.consuming.watch(),
            core,
            home: settler.clone(),
            settler,
            inbox: None,
            owed: 0,
            silent_at: Instant::now(),
            left_over: VecDeque::new(),
            last_fill: Instant::now(),
            ack_wait,
        }
    }

    async fn fill_some(&mut self, want: usize, into: &mut Vec<Delivery>) -> Result<(), Error> {
        let before = into.len();
        loop {
            self.connected().await?;
            self.top_up(want.min(PULL_EVENTS)).await?;
            let mut came = 0;
            while into.len() < before + want {
                let Some(message) = self.next_now() else { break };
                came += 1;
                match self.take(message, into).await {
                    // What came before it is handed out first; the next fill meets the error again.
                    Err(_) if into.len() > before => return Ok(()),
                    taken => taken?,
                }
            }
            if into.len() > before {
                return Ok(());
            }
            // What came may have ended the pull: then another is asked for before waiting.
            if came == 0 {
                self.wait().await;
            }
        }
    }

    /// Waits until the consuming connection is up, and makes sure that an inbox is subscribed on it.
    async fn connected(&mut self) -> Result<(), Error> {
        let closed = |_| Error::Unavailable("the connection to NATS is closed".into());
        let state = *self.link.wait_for(|state| state.up).await.map_err(closed)?;
        if self.inbox.as_ref().is_some_and(|inbox| inbox.connects == state.connects) {
            return Ok(());
        }
        self.abandon_inbox();
        let subject = Subject::from(self.core.consuming.client.new_inbox());
        let messages = self.core.consuming.client.subscribe(subject.clone()).await;
        let messages = messages.map_err(|error| Error::Unavailable(error.to_string()))?;
        self.inbox = Some(Inbox { messages, subject, connects: state.connects });
        Ok(())
    }

    /// Asks for what is wanted beyond what is owed, but not for every single one.
    async fn top_up(&mut self, want: usize) -> Result<(), Error> {
        let Some(inbox) = &self.inbox else { return Ok(()) };
        let ready = self.owed + self.left_over.len();
        if ready * 2 > want {
            return Ok(());
        }
        let ask = want - ready;
        let request = json!({
            "batch": ask,
            "expires": Duration::from_secs(PULL_SECONDS).as_nanos() as u64,
            "idle_heartbeat": Duration::from_secs(HEARTBEAT_SECONDS).as_nanos() as u64,
        });
        let (stream, consumer) = (&self.settler.route.stream, &self.settler.channel);
        let api = Subject::from(format!("$JS.API.CONSUMER.MSG.NEXT.{stream}.{consumer}"));
        let sent = self.core.consuming.client.publish_with_reply(
            api,
            inbox.subject.clone(),
            request.to_string().into(),
        );
        sent.await.map_err(|error| Error::Unavailable(error.to_string()))?;
        self.owed += ask;
        self.hear();
        Ok(())
    }

    /// Waits until there may be something to do: a message, another connection, or too long a silence.
    async fn wait(&mut self) {
        let Some(inbox) = &mut self.inbox else { return };
        tokio::select! {
            biased;
            message = inbox.messages.next() => match message {
                Some(message) => self.left_over.push_back(message),
                None => self.abandon_inbox(),
            },
            _ = self.link.changed() => {}
            () = sleep_until(self.silent_at) => {
                tracing::warn!(channel = %self.settler.channel, "no heartbeat from the server: pulling anew");
                self.abandon_inbox();
            }
        }
    }

    fn next_now(&mut self) -> Option<Message> {
        if let Some(message) = self.left_over.pop_front() {
            return Some(message);
        }
        self.inbox.as_mut()?.messages.next().now_or_never().flatten()
    }

    fn hear(&mut self) {
        self.silent_at = Instant::now() + Duration::from_secs(SILENCE_SECONDS);
    }

    async fn take(&mut self, message: Message, into: &mut Vec<Delivery>) -> Result<(), Error> {
        self.hear();
        match self.read(message) {
            Came::Delivery(message) => {
                self.owed = self.owed.saturating_sub(1);
                self.deliver(message, into).await;
            }
            Came::Heartbeat => {}
            Came::Ended(undelivered) => self.owed = self.owed.saturating_sub(undelivered),
            Came::Gone(error) => {
                self.owed = 0;
                return Err(error);
            }
        }
        Ok(())
    }

    /// Whatever a peer wrote into its status line, what has an ack subject is a delivery.
    fn read(&self, message: Message) -> Came {
        if message.reply.as_ref().is_some_and(|reply| reply.starts_with("$JS.ACK.")) {
            return Came::Delivery(message);
        }
        let (stream, channel) = (&self.settler.route.stream, &self.settler.channel);
        let description = message.description.as_deref().unwrap_or_default();
        match message.status {
            Some(StatusCode::IDLE_HEARTBEAT) => Came::Heartbeat,
            Some(StatusCode::NO_RESPONDERS) => Came::Gone(Error::Unavailable(format!(
                "no consumer {channel} on stream {stream} answers; it was deleted, or JetStream is not ready"
            ))),
            Some(_) if description.eq_ignore_ascii_case("Consumer Deleted") => {
                Came::Gone(Error::NotFound(format!(
                    "consumer {channel} on stream {stream}: it was deleted; a restart makes a new one, which hands out events again"
                )))
            }
            status => {
                let undelivered = message.headers.as_ref().and_then(|h| h.get("Nats-Pending-Messages"));
                match undelivered.and_then(|count| count.as_str().parse().ok()) {
                    Some(undelivered) => Came::Ended(undelivered),
                    None => Came::Gone(Error::Unavailable(format!(
                        "the server refused a pull for channel {channel}: {description} ({status:?})"
                    ))),
                }
            }
        }
    }

    async fn deliver(&self, message: Message, into: &mut Vec<Delivery>) {
        let Some(reply) = message.reply else { return };
        let Some(ack) = AckSubject::parse(&reply) else {
            tracing::error!(%reply, "an ack subject that cannot be read: is the server newer than this program knows?");
            return;
        };
        let handle = ByteString::from(reply.into_string());
        let stored = Stored {
            subject: ByteString::from(message.subject.into_string()),
            sequence: ack.sequence,
            time: ack.time,
            pairs: codec::pairs(message.headers.as_ref()),
            data: message.payload,
        };
        match codec::decode(&self.settler.route, stored) {
            Ok(decoded) => into.push(self.delivery(decoded, ack, handle)),
            Err(reason) => {
                let ticket = Ticket { sequence: ack.sequence, handle };
                poison::bury_delivered(&self.core, &self.settler, ticket, &reason).await;
            }
        }
    }

    /// A delivery that was lost on its way counts as an attempt, since the server does not tell; what this process gave back
    /// does not.
    fn delivery(&self, decoded: Decoded, ack: AckSubject, handle: ByteString) -> Delivery {
        let Decoded { event, attempts, deliveries } = decoded;
        // Nearly every event comes for the first time, and then there is nothing to look up.
        let releases = if ack.delivered > 1 { self.settler.releases(event.sequence) } else { 0 };
        let attempt = attempts + ack.delivered.saturating_sub(releases).max(1);
        let ticket = Ticket { sequence: event.sequence, handle };
        Delivery::new(event, attempt, deliveries + ack.delivered, ticket, self.home.clone())
    }

    /// Gives up the inbox, with all pulls that answer to it; what already came is kept.
    fn abandon_inbox(&mut self) {
        if let Some(mut inbox) = self.inbox.take() {
            while let Some(Some(message)) = inbox.messages.next().now_or_never() {
                self.left_over.push_back(message);
            }
        }
        self.owed = 0;
    }

    /// Gives back what came and was not asked for in time.
    fn give_back_stale(&mut self) {
        while let Some(message) = self.next_now() {
            if let Came::Delivery(message) = self.read(message) {
                self.owed = self.owed.saturating_sub(1);
                if let Some((ack, reply)) =
                    message.reply.and_then(|reply| Some((AckSubject::parse(&reply)?, reply)))
                {
                    let handle = ByteString::from(reply.into_string());
                    self.settler.abandon(Ticket { sequence: ack.sequence, handle });
                }
            }
        }
    }
}

impl Source for PullSource {
    fn fill<'a>(&'a mut self, want: usize, into: &'a mut Vec<Delivery>) -> BoxFuture<'a, Result<(), Error>> {
        if self.last_fill.elapsed() > self.ack_wait / 4 {
            self.give_back_stale();
        }
        Box::pin(async move {
            let filling = Filling(self);
            filling.0.fill_some(want.max(1), into).await
        })
    }
}

/// Notes when a fill ended, dropped or not.
struct Filling<'a>(&'a mut PullSource);

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.last_fill = Instant::now();
    }
}

impl Drop for PullSource {
    fn drop(&mut self) {
        self.give_back_stale();
    }
}
