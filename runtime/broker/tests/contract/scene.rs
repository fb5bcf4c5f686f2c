//! The small nouns that promises are written in.

use std::time::Duration;

use bytes::Bytes;
use saf_broker::{
    ChannelPlan, Delivery, Feed, From, Order, Plan, Receipt, Settlement, Settling, Shared, Start,
    StreamConfig, StreamPlan, Unsettled,
};
use saf_event::{
    ByteString, ChannelName, Dedupe, Event, EventId, Filter, Headers, NewEvent, StreamName, Subject,
};
use tokio::time::timeout;

/// Longest wait for something that should happen at once.
pub const PATIENCE: Duration = Duration::from_secs(20);

pub fn stream() -> StreamName {
    StreamName::parse("events").expect("a name")
}

pub fn name(text: &str) -> ChannelName {
    ChannelName::parse(text).expect("a name")
}

pub fn filter(text: &str) -> Filter {
    Filter::parse(text).expect("a filter")
}

/// A plan with one stream and these Channels.
pub fn plan(channels: &[ChannelPlan]) -> Plan {
    plan_with(StreamConfig::default(), channels)
}

pub fn plan_with(config: StreamConfig, channels: &[ChannelPlan]) -> Plan {
    let streams = vec![StreamPlan { name: stream(), config }];
    Plan { streams, channels: channels.to_vec(), ..Plan::default() }
}

/// A Channel on the stream.
pub fn channel(channel: &str, subjects: &[&str]) -> ChannelPlan {
    ChannelPlan {
        channel: name(channel),
        stream: stream(),
        subjects: subjects.iter().map(|text| filter(text)).collect(),
        start: Start::All,
        ack_wait: Duration::from_secs(30),
        max_ack_pending: 1_000,
        order: Order::None,
        retain: false,
        state: None,
    }
}

/// An event whose data is its id.
pub fn event(subject: &str, id: &str) -> NewEvent {
    NewEvent {
        id: EventId::parse(id.to_owned()).expect("an id"),
        subject: Subject::parse(subject.to_owned()).expect("a subject"),
        content_type: Some("text/plain".into()),
        headers: Headers::new(),
        data: Bytes::copy_from_slice(id.as_bytes()),
        lineage: None,
        dedupe: Dedupe::SubjectAndId,
    }
}

/// What a guest emits.
pub fn emission(subject: &str, id: &str) -> NewEvent {
    NewEvent { dedupe: Dedupe::Settlement, ..event(subject, id) }
}

pub async fn publish(broker: &Shared, subject: &str, id: &str) -> Receipt {
    broker.publish(&stream(), event(subject, id)).await.expect("stored")
}

/// One Channel's consumer.
pub struct Consumer {
    pub feed: Feed,
}

impl Consumer {
    pub async fn open(broker: &Shared, channel: &ChannelPlan) -> Self {
        Self { feed: broker.subscribe(channel).await.expect("a feed") }
    }

    /// The next delivery.
    pub async fn one(&mut self) -> Delivery {
        let mut one = Vec::with_capacity(1);
        let filled = timeout(PATIENCE, self.feed.source.fill(1, &mut one)).await.expect("a delivery in time");
        filled.expect("a delivery");
        assert_eq!(one.len(), 1, "at most what was wanted");
        one.remove(0)
    }

    /// The next deliveries.
    pub async fn take(&mut self, count: usize) -> Vec<Delivery> {
        let mut all = Vec::with_capacity(count);
        while all.len() < count {
            let want = count - all.len();
            let filled = timeout(PATIENCE, self.feed.source.fill(want, &mut all)).await;
            filled.unwrap_or_else(|_| panic!("only {:?} of {count} in time", ids(&all))).expect("deliveries");
            assert!(all.len() <= count, "at most what was wanted");
        }
        all
    }

    pub async fn settle(&self, batch: Vec<Settling>) -> Vec<Unsettled> {
        timeout(PATIENCE, self.feed.settler.settle(batch)).await.expect("settled in time")
    }

    /// Settles one delivery, which must work.
    pub async fn settle_one(&self, delivery: Delivery, settlement: Settlement) {
        let unsettled = self.settle(vec![delivery.into(settlement)]).await;
        assert!(unsettled.is_empty(), "{unsettled:?}");
    }

    pub async fn done(&self, delivery: Delivery, emit: Vec<NewEvent>) {
        self.settle_one(delivery, Settlement::done(emit)).await;
    }

    /// Takes and settles as many, without emissions.
    pub async fn finish(&mut self, count: usize) -> Vec<String> {
        let all = self.take(count).await;
        let ids = ids(&all);
        let batch = all.into_iter().map(|d| d.into(Settlement::done(Vec::new()))).collect();
        let unsettled = self.settle(batch).await;
        assert!(unsettled.is_empty(), "{unsettled:?}");
        ids
    }
}

pub fn ids(deliveries: &[Delivery]) -> Vec<String> {
    deliveries.iter().map(|delivery| delivery.event.id.to_string()).collect()
}

/// The whole stream, as the journal shows it.
pub async fn stored(broker: &Shared) -> Vec<Event> {
    read(broker, From::Sequence(1), ">", 1_000).await.0
}

/// Subjects and ids of the whole stream.
pub async fn listing(broker: &Shared) -> Vec<(String, String)> {
    stored(broker).await.into_iter().map(|event| (event.subject.to_string(), event.id.to_string())).collect()
}

pub async fn read(broker: &Shared, from: From, subjects: &str, limit: usize) -> (Vec<Event>, Option<String>) {
    let journal = broker.journal().expect("a journal");
    let page = timeout(PATIENCE, journal.read(&stream(), from, &filter(subjects), limit))
        .await
        .expect("a page in time");
    let page = page.expect("a page");
    (page.items, page.next)
}

/// Asks again until the answer is yes.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    let looked = timeout(PATIENCE, async {
        while !holds().await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    });
    looked.await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

pub fn text(text: &str) -> ByteString {
    ByteString::from(text)
}
