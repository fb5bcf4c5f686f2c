//! The broker on NATS JetStream, server 2.12 or newer.
//!
//! ```text
//! publish, emissions, dead letters ---> publishing connection ---> streams      answers: one inbox (publisher)
//! pulls, acks -------------------------> consuming connection ---> consumers    (source, settler)
//! lag, journal, dead letters, switches -> publishing connection -> JSON API     (api)
//! ```
//!
//! `connection` keeps both alive, `codec` and `names` say what things look like on the server, `prepare` makes them ready,
//! `state` keeps Channels' state in buckets,
//! `scribe` keeps what became of deliveries, `history` reads it,
//! `parting` ends pulls and gives back what still comes, `releases` knows what was given back, `poison` removes what no client can
//! read. A receipt means that the server acknowledged; how soon it syncs is its own
//! `sync_interval`. Beyond the stream's duplicate window a set of emissions whose ack was lost may be stored again.

mod answer;
mod api;
mod codec;
mod connection;
mod dead;
mod history;
mod journal;
mod letter;
mod names;
mod parting;
mod poison;
mod prepare;
mod publisher;
mod raw;
mod releases;
mod scribe;
mod settler;
mod source;
mod state;
mod switches;
mod units;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, Weak};
use std::time::Duration;

use futures::future::BoxFuture;
use saf_event::{ByteString, ChannelName, NewEvent, StreamName};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::timeout;

use self::answer::{Answer, RETRY_AFTER_MILLIS};
use self::api::Api;
use self::codec::Head;
use self::connection::{Board, Link, Role};
use self::names::Route;
use self::parting::Partings;
use self::publisher::{Answers, Outgoing, Publisher};
use self::releases::Releases;
use self::scribe::Scribe;
use self::settler::ChannelSettler;
use self::source::PullSource;
use self::switches::Switches;
use self::units::BATCH_MESSAGES;
use crate::{
    Broker, ChannelPlan, Config, DeadLetters, Durability, Error, Feed, Health, History, Journal, Note, Plan,
    Profile, PublishError, Receipt, Refusal, StateReader, Switch,
};

/// What our own headers, the subject and the dedupe key may take of the server's `max_payload`.
const OVERHEAD_BYTES: usize = 8 * 1024;
/// Dropped deliveries that wait to be given back; more are left to their ack wait.
const GIVEN_BACK_DELIVERIES: usize = 4_096;

/// A broker on NATS JetStream.
pub(crate) struct JetStream {
    core: Arc<Core>,
    board: Arc<Board>,
    tasks: Mutex<JoinSet<()>>,
}

/// What everything here shares.
struct Core {
    publishing: Link,
    consuming: Link,
    publisher: Publisher,
    api: Api,
    /// How long an answer is waited for.
    patience: Duration,
    routes: RwLock<BTreeMap<StreamName, Arc<Route>>>,
    feeds: Mutex<Vec<Weak<ChannelSettler>>>,
    given_back: mpsc::Sender<ByteString>,
    partings: Partings,
    releases: Mutex<BTreeMap<ChannelName, Arc<Releases>>>,
    scribe: Scribe,
    /// Deliveries settled since the start: shows `poison` that consuming gets somewhere.
    settled: AtomicU64,
    /// Replicas of the stream with the fewest.
    replicas: AtomicUsize,
    switches: Switches,
    closed: watch::Sender<bool>,
}

impl Core {
    fn route(&self, stream: &StreamName) -> Option<Arc<Route>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).get(stream).cloned()
    }

    fn routes(&self) -> Vec<Arc<Route>> {
        self.routes.read().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    fn add_route(&self, route: Route) {
        let mut routes = self.routes.write().unwrap_or_else(PoisonError::into_inner);
        routes.insert(route.stream.clone(), Arc::new(route));
    }

    fn note_replicas(&self, plan: &Plan) {
        let fewest = plan.streams.iter().map(|stream| stream.config.replicas).min().unwrap_or(1);
        self.replicas.store(fewest, Ordering::Relaxed);
    }

    /// The feeds that are open.
    fn feeds(&self) -> Vec<Arc<ChannelSettler>> {
        let mut feeds = self.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.iter().filter_map(Weak::upgrade).collect()
    }

    /// The largest event, in bytes.
    fn max_event_bytes(&self) -> usize {
        self.publisher.max_bytes().saturating_sub(OVERHEAD_BYTES)
    }

    /// The message for an event, or why it will never be one.
    fn outgoing(&self, route: &Route, event: &NewEvent) -> Result<Outgoing, Refusal> {
        let (size, limit) = (event.size(), self.max_event_bytes());
        if size > limit {
            return Err(Refusal::TooLarge { size, limit });
        }
        let head = Head::of_new(event, codec::dedupe_key(event));
        Ok(Outgoing { subject: route.subject(event.subject.as_str()), head, data: event.data.clone() })
    }
}

impl JetStream {
    /// Connects twice, each within ten seconds; nothing is created before [`Broker::prepare`].
    pub(crate) async fn open(config: &Config) -> Result<Self, Error> {
        let board = Board::new();
        let publishing = Link::open(config, Role::Publishing, &board).await?;
        let consuming = Link::open(config, Role::Consuming, &board).await?;
        let patience = config.publish_timeout.0;
        let (publisher, read) = Publisher::open(publishing.clone(), patience).await?;
        let (given_back, dropped) = mpsc::channel(GIVEN_BACK_DELIVERIES);
        let (partings, parting) = Partings::new();
        let (scribe, told) = Scribe::new();
        let core = Arc::new(Core {
            api: Api::new(publishing.clone()),
            publishing,
            consuming,
            publisher,
            patience,
            routes: RwLock::default(),
            feeds: Mutex::default(),
            given_back,
            partings,
            releases: Mutex::default(),
            scribe,
            settled: AtomicU64::new(0),
            replicas: AtomicUsize::new(1),
            switches: Switches::new(),
            closed: watch::Sender::new(false),
        });
        let mut tasks = JoinSet::new();
        tasks.spawn(read);
        tasks.spawn(settler::give_back(core.consuming.client.clone(), dropped));
        tasks.spawn(parting::see_off(parting));
        tasks.spawn(parting::sweep(core.clone()));
        tasks.spawn(poison::watch(core.clone()));
        tasks.spawn(scribe::write(core.clone(), told));
        tasks.spawn(switches::follow(core.clone()));
        Ok(Self { core, board, tasks: Mutex::new(tasks) })
    }

    async fn publish_one(&self, stream: &StreamName, event: NewEvent) -> Result<Receipt, PublishError> {
        let route = self.core.route(stream).ok_or_else(|| Refusal::NoStream(stream.to_string()))?;
        let message = self.core.outgoing(&route, &event)?;
        if !self.core.publisher.is_up() {
            return Err(PublishError::Unavailable { retry_after: Duration::from_millis(RETRY_AFTER_MILLIS) });
        }
        let answers = Answers::new(1);
        self.core.publisher.send(message, &answers, 0).await;
        let mut came = Vec::with_capacity(1);
        answers.take(&mut came).await;
        let answer = came.pop().map_or(Answer::NotSent, |(_, answer)| answer);
        answer.receipt(self.core.max_event_bytes())
    }

    async fn publish_many(
        &self,
        stream: &StreamName,
        events: &[NewEvent],
    ) -> Vec<Result<Receipt, PublishError>> {
        let Some(route) = self.core.route(stream) else {
            return events.iter().map(|_| Err(Refusal::NoStream(stream.to_string()).into())).collect();
        };
        let answers = Answers::new(events.len());
        let mut results: Vec<Option<Result<Receipt, PublishError>>> = Vec::with_capacity(events.len());
        let mut left = 0;
        for (index, event) in events.iter().enumerate() {
            match self.core.outgoing(&route, event) {
                Ok(message) => {
                    self.core.publisher.send(message, &answers, index).await;
                    left += 1;
                    results.push(None);
                }
                Err(refusal) => results.push(Some(Err(refusal.into()))),
            }
        }
        let limit = self.core.max_event_bytes();
        let mut came = Vec::with_capacity(left);
        while left > 0 {
            answers.take(&mut came).await;
            left -= came.len();
            for (index, answer) in came.drain(..) {
                results[index] = Some(answer.receipt(limit));
            }
        }
        results.into_iter().map(|result| result.unwrap_or_else(|| Answer::NotSent.receipt(limit))).collect()
    }

    async fn open_feed(&self, plan: &ChannelPlan) -> Result<Feed, Error> {
        let missing = || Error::NotFound(format!("stream {}: prepare it first", plan.stream));
        let route = self.core.route(&plan.stream).ok_or_else(missing)?;
        let consumer = self.core.api.consumer(plan.stream.as_str(), plan.channel.as_str()).await;
        let consumer = consumer.map_err(|failure| failure.about("a consumer"))?;
        let Some(info) = consumer else {
            return Err(Error::NotFound(format!(
                "consumer {} on stream {}: prepare it first",
                plan.channel, plan.stream
            )));
        };
        let releases = self.core.releases(&plan.stream, &plan.channel, &info).await;
        let settler = Arc::new(ChannelSettler::new(self.core.clone(), route, plan, releases));
        let mut feeds = self.core.feeds.lock().unwrap_or_else(PoisonError::into_inner);
        feeds.retain(|feed| feed.strong_count() > 0);
        feeds.push(Arc::downgrade(&settler));
        drop(feeds);
        let source = PullSource::new(self.core.clone(), settler.clone(), plan.ack_wait);
        let state = settler.bucket.clone().map(|bucket| -> Arc<dyn StateReader> { bucket });
        Ok(Feed { source: Box::new(source), settler, state })
    }

    async fn shut(&self, grace: Duration) {
        self.core.closed.send_replace(true);
        // What was dropped just now, and what still comes in on ended pulls, is given back; then it is known what was.
        let given_back = async {
            self.core.partings.over().await;
            let _ = self.core.given_back.reserve_many(GIVEN_BACK_DELIVERIES).await;
            self.core.store_releases().await;
        };
        if self.core.consuming.is_up() && timeout(grace / 2, given_back).await.is_err() {
            tracing::warn!(
                "not everything was given back within the grace period: the rest waits for its ack wait"
            );
        }
        if self.core.publishing.is_up() && timeout(grace / 4, self.core.scribe.flush()).await.is_err() {
            tracing::warn!("the end of the history was not stored within the grace period");
        }
        for link in [&self.core.consuming, &self.core.publishing] {
            // A connection that is down has nothing that could still be sent.
            if link.is_up() && timeout(grace / 4, link.client.flush()).await.is_err() {
                tracing::warn!("NATS did not take everything within the grace period");
            }
            let _ = link.client.drain().await;
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
    }
}

impl Broker for JetStream {
    fn profile(&self) -> Profile {
        Profile {
            kind: "jetstream",
            durability: Durability::Acknowledged { replicas: self.core.replicas.load(Ordering::Relaxed) },
            max_event_bytes: self.core.max_event_bytes(),
            max_emissions: BATCH_MESSAGES,
        }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.board.watch()
    }

    fn prepare<'a>(&'a self, plan: &'a Plan) -> BoxFuture<'a, Result<Vec<Note>, Error>> {
        Box::pin(self.make_ready(plan))
    }

    fn publish<'a>(
        &'a self,
        stream: &'a StreamName,
        event: NewEvent,
    ) -> BoxFuture<'a, Result<Receipt, PublishError>> {
        Box::pin(self.publish_one(stream, event))
    }

    fn publish_all<'a>(
        &'a self,
        stream: &'a StreamName,
        events: &'a [NewEvent],
    ) -> BoxFuture<'a, Vec<Result<Receipt, PublishError>>> {
        Box::pin(self.publish_many(stream, events))
    }

    fn subscribe<'a>(&'a self, channel: &'a ChannelPlan) -> BoxFuture<'a, Result<Feed, Error>> {
        Box::pin(self.open_feed(channel))
    }

    fn journal(&self) -> Option<&dyn Journal> {
        Some(self)
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        Some(self)
    }

    fn history(&self) -> Option<&dyn History> {
        self.core.scribe.is_enabled().then_some(self as &dyn History)
    }

    fn switches(&self) -> watch::Receiver<BTreeMap<ChannelName, Switch>> {
        self.core.switches.watch()
    }

    fn switch<'a>(&'a self, channel: &'a ChannelName, to: Switch) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.core.set_switch(channel, to))
    }

    fn close(&self, grace: Duration) -> BoxFuture<'_, ()> {
        Box::pin(self.shut(grace))
    }
}
