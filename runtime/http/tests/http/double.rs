//! A broker that does as it is told: answers with an error, or holds a publish until it may go on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use saf_broker::{
    Broker, ChannelPlan, DeadLetters, Durability, Error, Feed, Health, Journal, Note, Plan, Profile,
    PublishError, Receipt, Switch,
};
use saf_event::{ChannelName, NewEvent, StreamName};
use tokio::sync::{Semaphore, mpsc, watch};

pub(crate) type Verdict = Result<Receipt, PublishError>;

pub(crate) struct Double {
    verdict: Verdict,
    /// A publish takes a permit before it ends.
    pub(crate) gate: Arc<Semaphore>,
    begun: mpsc::UnboundedSender<NewEvent>,
    ended: mpsc::UnboundedSender<()>,
    pub(crate) health: watch::Sender<Health>,
}

/// What became of the publishes of a [`Double`].
pub(crate) struct Events {
    pub(crate) begun: mpsc::UnboundedReceiver<NewEvent>,
    pub(crate) ended: mpsc::UnboundedReceiver<()>,
}

impl Double {
    /// One that answers everything with this at once.
    pub(crate) fn answering(verdict: Verdict) -> Arc<Self> {
        let (double, _) = Self::held(verdict);
        double.gate.close();
        double
    }

    /// One that takes everything at once.
    pub(crate) fn taking() -> Arc<Self> {
        Self::answering(Ok(Receipt { sequence: 1, duplicate: false }))
    }

    /// One that answers when its gate has a permit.
    pub(crate) fn held(verdict: Verdict) -> (Arc<Self>, Events) {
        let (begun, begins) = mpsc::unbounded_channel();
        let (ended, ends) = mpsc::unbounded_channel();
        let gate = Arc::new(Semaphore::new(0));
        let double = Self { verdict, gate, begun, ended, health: watch::Sender::new(Health::Up) };
        (Arc::new(double), Events { begun: begins, ended: ends })
    }

    async fn take(&self, event: NewEvent) -> Verdict {
        // Nobody listens when nothing is held.
        let _ = self.begun.send(event);
        if let Ok(permit) = self.gate.acquire().await {
            permit.forget();
        }
        let _ = self.ended.send(());
        self.verdict.clone()
    }
}

impl Broker for Double {
    fn profile(&self) -> Profile {
        Profile { kind: "double", durability: Durability::Synced, max_event_bytes: 1 << 20, max_emissions: 1 }
    }

    fn health(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn prepare<'a>(&'a self, _: &'a Plan) -> BoxFuture<'a, Result<Vec<Note>, Error>> {
        async { Ok(Vec::new()) }.boxed()
    }

    fn publish<'a>(&'a self, _: &'a StreamName, event: NewEvent) -> BoxFuture<'a, Verdict> {
        self.take(event).boxed()
    }

    fn publish_all<'a>(&'a self, _: &'a StreamName, events: &'a [NewEvent]) -> BoxFuture<'a, Vec<Verdict>> {
        futures::future::join_all(events.iter().cloned().map(|event| self.take(event))).boxed()
    }

    fn subscribe<'a>(&'a self, _: &'a ChannelPlan) -> BoxFuture<'a, Result<Feed, Error>> {
        async { Err(Error::Config("a double has no feeds".into())) }.boxed()
    }

    fn journal(&self) -> Option<&dyn Journal> {
        None
    }

    fn dead_letters(&self) -> Option<&dyn DeadLetters> {
        None
    }

    fn switches(&self) -> watch::Receiver<BTreeMap<ChannelName, Switch>> {
        watch::Sender::new(BTreeMap::new()).subscribe()
    }

    fn switch<'a>(&'a self, _: &'a ChannelName, _: Switch) -> BoxFuture<'a, Result<(), Error>> {
        async { Ok(()) }.boxed()
    }

    fn close(&self, _: Duration) -> BoxFuture<'_, ()> {
        async {}.boxed()
    }
}
