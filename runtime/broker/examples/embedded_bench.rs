//! How fast the embedded store is on this disk: producers that wait for their receipt, one Channel that drains without emissions,
//! and many Channels that each want a subject of their own.
//!
//! `cargo run --release -p saf-broker --no-default-features --example embedded_bench -- <folder> [channels]`

#![allow(clippy::expect_used, reason = "a benchmark may stop where it stands")]

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use saf_broker::embedded::Embedded;
use saf_broker::{
    Broker, ChannelPlan, Feed, Order, Plan, Settlement, Start, StateChange, StateChanges, StatePlan,
    StreamConfig, StreamPlan,
};
use saf_event::{ChannelName, Dedupe, EventId, Filter, Headers, NewEvent, StreamName, Subject};

const PAYLOAD_BYTES: usize = 256;
const SECONDS: u64 = 3;
const HOP: usize = 64;

fn stream() -> StreamName {
    StreamName::parse("events").expect("valid")
}

fn channel(name: &str, filter: Filter) -> ChannelPlan {
    ChannelPlan {
        channel: ChannelName::parse(name).expect("valid"),
        stream: stream(),
        subjects: vec![filter],
        start: Start::All,
        ack_wait: Duration::from_secs(30),
        max_ack_pending: 1000,
        order: Order::None,
        retain: false,
        state: None,
    }
}

async fn prepare(broker: &Embedded, channels: &[ChannelPlan]) {
    let streams = vec![StreamPlan { name: stream(), config: StreamConfig::default() }];
    broker
        .prepare(&Plan { streams, channels: channels.to_vec(), ..Plan::default() })
        .await
        .expect("prepares");
}

/// Publishes over `subjects` in turn; how many events were stored.
async fn produce(broker: &Arc<Embedded>, producers: usize, subjects: Arc<[Subject]>) -> u64 {
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let work = (0..producers).map(|producer| {
        let (broker, stream, subjects) = (broker.clone(), stream(), subjects.clone());
        tokio::spawn(async move {
            let data = bytes::Bytes::from(vec![7; PAYLOAD_BYTES]);
            let mut count = 0;
            while Instant::now() < until {
                let event = NewEvent {
                    id: EventId::generate(),
                    subject: subjects[(producer + count * producers) % subjects.len()].clone(),
                    content_type: None,
                    headers: Headers::new(),
                    data: data.clone(),
                    lineage: None,
                    dedupe: Dedupe::SubjectAndId,
                };
                broker.publish(&stream, event).await.expect("stored");
                count += 1;
            }
            count as u64
        })
    });
    futures::future::join_all(work).await.into_iter().map(|count| count.expect("no panic")).sum()
}

/// Takes and settles without emissions until it has had so many, or until the broker closes.
async fn drain(feed: Feed, total: u64) {
    drain_with(feed, total, |_| Settlement::done(Vec::new())).await;
}

async fn drain_with(mut feed: Feed, total: u64, settlement: impl Fn(u64) -> Settlement) {
    let (mut count, mut deliveries) = (0, Vec::new());
    while count < total && feed.source.fill(HOP, &mut deliveries).await.is_ok() {
        count += deliveries.len() as u64;
        let batch = deliveries.drain(..).map(|delivery| {
            let settlement = settlement(delivery.event.sequence);
            delivery.into(settlement)
        });
        feed.settler.settle(batch.collect()).await;
    }
}

/// An event that adds one to one of a thousand counters.
fn count(sequence: u64) -> Settlement {
    let change = StateChange {
        key: format!("key-{}", sequence % 1000).into(),
        value: Some(sequence.to_string().into()),
        read: None,
    };
    Settlement::Done { emit: Vec::new(), state: StateChanges { version: sequence, all: vec![change] } }
}

/// An event that emits as much.
fn emit(sequence: u64) -> Settlement {
    Settlement::done(vec![NewEvent {
        id: EventId::generate(),
        subject: Subject::parse("emitted").expect("valid"),
        content_type: None,
        headers: Headers::new(),
        data: sequence.to_string().into(),
        lineage: None,
        dedupe: Dedupe::Settlement,
    }])
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let mut arguments = std::env::args().skip(1);
    let folder = PathBuf::from(arguments.next().unwrap_or_else(|| "bench-data".to_owned()));
    let many: usize = arguments.next().map_or(1000, |text| text.parse().expect("a number of channels"));
    let broker = Arc::new(Embedded::open(&folder).expect("opens"));
    let all = channel("drain", Filter::all());
    prepare(&broker, std::slice::from_ref(&all)).await;

    let subjects: Arc<[Subject]> = Arc::new([Subject::parse("bench.event").expect("valid")]);
    let mut total = 0;
    for producers in [1, 64, 256] {
        let count = produce(&broker, producers, subjects.clone()).await;
        println!("{producers} producers: {} events/s", count / SECONDS);
        total += count;
    }
    let start = Instant::now();
    drain(broker.subscribe(&all).await.expect("prepared"), total).await;
    println!("drain of {total}: {:.0} events/s", total as f64 / start.elapsed().as_secs_f64());
    let some = total.min(200_000);
    for (name, settlement) in [("counting", count as fn(u64) -> Settlement), ("emitting", emit)] {
        let state = Some(StatePlan { max_bytes: 64 << 20 });
        let reader = ChannelPlan { state, ..channel(name, Filter::parse("bench.event").expect("valid")) };
        prepare(&broker, &[all.clone(), reader.clone()]).await;
        let start = Instant::now();
        drain_with(broker.subscribe(&reader).await.expect("prepared"), some, settlement).await;
        println!("{name}, one each, {some}: {:.0} events/s", some as f64 / start.elapsed().as_secs_f64());
    }

    let own = |n: usize| format!("own.{n}");
    let channels: Vec<_> = (0..many)
        .map(|n| ChannelPlan {
            start: Start::New,
            ..channel(&format!("many-{n}"), Filter::parse(own(n)).expect("valid"))
        })
        .collect();
    prepare(&broker, &channels).await;
    for channel in &channels {
        tokio::spawn(drain(broker.subscribe(channel).await.expect("prepared"), u64::MAX));
    }
    let subjects: Arc<[Subject]> = (0..many).map(|n| Subject::parse(own(n)).expect("valid")).collect();
    let count = produce(&broker, 256, subjects).await;
    println!("256 producers, {many} channels with a subject each: {} events/s", count / SECONDS);
    broker.close(Duration::from_secs(10)).await;
}
