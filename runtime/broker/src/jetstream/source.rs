//! Pulling: a request for as many events as the caller has room for, and a subscription that they come in on.
//!
//! A pull asks for what is wanted beyond what earlier pulls still owe, and is renewed when half of it has come, so a caller whose
//! room only shrinks by what it was handed never has more coming than it has room for. When it stops calling, up to the last
//! `want` may still arrive; when it does not come back for a second, or drops the source, the pulls are ended and all that is
//! given back unseen (see `parting`). A pull that the server forgot shows by missing
//! heartbeats and is made anew; so is every pull after a reconnect. The consumer itself is never made anew: that would hand
//! out settled events again.

use std::sync::Arc;
use std::time::Duration;

use async_nats::{Message, StatusCode, Subject};
use futures::future::BoxFuture;
use saf_event::ByteString;
use serde_json::json;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::codec::{self, Decoded, Stored};
use super::connection::LinkState;
use super::parting::{Inbox, Pulls, Resting};
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
    /// Those that the running fill works on; between fills they rest.
    pulls: Pulls,
    resting: Arc<Resting>,
    /// When silence becomes suspicious.
    silent_at: Instant,
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
        let resting = Arc::new(Resting::new(settler.clone(), ack_wait));
        core.partings.watch(&resting);
        Self {
            link: core.consuming.watch(),
            core,
            home: settler.clone(),
            settler,
            pulls: Pulls::default(),
            resting,
            silent_at: Instant::now(),
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
        if self.pulls.inbox.as_ref().is_some_and(|inbox| inbox.connects == state.connects) {
            return Ok(());
        }
        self.abandon_inbox();
        let subject = Subject::from(self.core.consuming.client.new_inbox());
        let messages = self.core.consuming.client.subscribe(subject.clone()).await;
        let messages = messages.map_err(|error| Error::Unavailable(error.to_string()))?;
        self.pulls.inbox = Some(Inbox::new(messages, subject, state.connects));
        Ok(())
    }

    /// Asks for what is wanted beyond what is owed, but not for every single one.
    async fn top_up(&mut self, want: usize) -> Result<(), Error> {
        let Some(inbox) = &self.pulls.inbox else { return Ok(()) };
        let ready = self.pulls.owed + self.pulls.left_over.len();
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
        self.pulls.owed += ask;
        self.hear();
        Ok(())
    }

    /// Waits until there may be something to do: a message, another connection, or too long a silence.
    async fn wait(&mut self) {
        let Some(inbox) = &mut self.pulls.inbox else { return };
        tokio::select! {
            biased;
            message = inbox.next() => match message {
                Some(message) => self.pulls.left_over.push_back(message),
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
        if let Some(message) = self.pulls.left_over.pop_front() {
            return Some(message);
        }
        self.pulls.inbox.as_mut()?.now()
    }

    fn hear(&mut self) {
        self.silent_at = Instant::now() + Duration::from_secs(SILENCE_SECONDS);
    }

    async fn take(&mut self, message: Message, into: &mut Vec<Delivery>) -> Result<(), Error> {
        self.hear();
        match self.read(message) {
            Came::Delivery(message) => {
                self.pulls.owed = self.pulls.owed.saturating_sub(1);
                self.deliver(message, into).await;
            }
            Came::Heartbeat => {}
            Came::Ended(undelivered) => self.pulls.owed = self.pulls.owed.saturating_sub(undelivered),
            Came::Gone(error) => {
                self.pulls.owed = 0;
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

    /// A delivery that was lost on its way counts as an attempt, since the server does not tell; what was given back does not.
    fn delivery(&self, decoded: Decoded, ack: AckSubject, handle: ByteString) -> Delivery {
        let Decoded { event, attempts, deliveries } = decoded;
        // Nearly every event comes for the first time, and then there is nothing to look up.
        let releases = if ack.delivered > 1 { self.settler.releases.of(event.sequence) } else { 0 };
        let kept = ack.delivered.saturating_sub(releases).max(1);
        let ticket = Ticket { sequence: event.sequence, handle };
        Delivery::new(event, attempts + kept, deliveries + kept, ticket, self.home.clone())
    }

    /// Gives up the inbox, with all pulls that answer to it. What already came is kept, what still comes is given back.
    fn abandon_inbox(&mut self) {
        let mut old = std::mem::take(&mut self.pulls);
        self.pulls.left_over = std::mem::take(&mut old.left_over);
        while let Some(message) = old.inbox.as_mut().and_then(Inbox::now) {
            old.owed = old.owed.saturating_sub(1);
            self.pulls.left_over.push_back(message);
        }
        self.core.partings.begin(self.settler.clone(), old);
    }
}

impl Source for PullSource {
    fn fill<'a>(&'a mut self, want: usize, into: &'a mut Vec<Delivery>) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(async move {
            let filling = Filling::new(self);
            filling.0.fill_some(want.max(1), into).await
        })
    }
}

/// Has the pulls while it runs, and leaves them to rest when it ends, dropped or not.
struct Filling<'a>(&'a mut PullSource);

impl<'a> Filling<'a> {
    fn new(source: &'a mut PullSource) -> Self {
        source.pulls = source.resting.take();
        Self(source)
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        let pulls = std::mem::take(&mut self.0.pulls);
        self.0.resting.put(pulls);
    }
}

impl Drop for PullSource {
    fn drop(&mut self) {
        self.core.partings.begin(self.settler.clone(), self.resting.take());
    }
}
