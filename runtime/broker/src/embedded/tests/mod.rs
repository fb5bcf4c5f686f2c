//! Tests of the store as a whole, on real files, with segments of a few KiB. What every broker promises is in the contract
//! suite; here is what only this one can get wrong: recovery, retention, failing disks.

#![allow(clippy::expect_used, reason = "a test says what it expects")]

mod careful;
mod damage;
mod faults;
mod group;
mod lossy;
mod model;
mod once;
mod readers;
mod remember;
mod retention;
mod sharing;
mod stress;
mod told;

use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use saf_event::{ChannelName, Dedupe, EventId, Filter, Headers, NewEvent, Size, Span, StreamName, Subject};
use tempfile::TempDir;

use super::file::{Disk, Real};
use super::{Embedded, Tuning};
use crate::{
    Broker, ChannelPlan, Delivery, Feed, Journal, Order, Plan, Receipt, Settlement, Start, StreamConfig,
    StreamPlan,
};

/// Long enough for the slowest machine; only a hang takes so long.
const HANG: Duration = Duration::from_secs(30);

/// How long a source that should wait is watched.
const PATIENCE: Duration = Duration::from_millis(150);

const TINY: Tuning = Tuning {
    segment_bytes_min: 4 << 10,
    segment_bytes_max: 4 << 10,
    dead_segment_bytes_max: 4 << 10,
    keys_max: 1 << 12,
};

fn events() -> StreamName {
    StreamName::parse("events").expect("valid")
}

fn stream_config() -> StreamConfig {
    StreamConfig {
        max_bytes: Size(1 << 20),
        max_age: Span(Duration::from_hours(1)),
        ..StreamConfig::default()
    }
}

fn channel(name: &str, filter: &str) -> ChannelPlan {
    ChannelPlan {
        channel: ChannelName::parse(name).expect("valid"),
        stream: events(),
        subjects: vec![Filter::parse(filter.to_owned()).expect("valid")],
        start: Start::All,
        ack_wait: Duration::from_mins(1),
        max_ack_pending: 100,
        order: Order::None,
        retain: false,
        state: None,
    }
}

fn plan(config: StreamConfig, channels: &[ChannelPlan]) -> Plan {
    let streams = vec![StreamPlan { name: events(), config }];
    Plan { streams, channels: channels.to_vec(), ..Plan::default() }
}

fn event(subject: &str, id: &str) -> NewEvent {
    NewEvent {
        id: EventId::parse(id.to_owned()).expect("valid"),
        subject: Subject::parse(subject.to_owned()).expect("valid"),
        content_type: None,
        headers: Headers::new(),
        data: format!("data of {id}").into(),
        lineage: None,
        dedupe: Dedupe::SubjectAndId,
    }
}

fn emission(subject: &str, id: &str) -> NewEvent {
    NewEvent { dedupe: Dedupe::Settlement, ..event(subject, id) }
}

/// A broker with tiny segments on a folder.
async fn open(folder: &Path, plan: &Plan) -> Embedded {
    open_on(folder, plan, Arc::new(Real)).await
}

async fn open_on(folder: &Path, plan: &Plan, disk: Arc<dyn Disk>) -> Embedded {
    let broker = Embedded::open_with(folder, disk, TINY).expect("opens");
    broker.prepare(plan).await.expect("prepares");
    broker
}

async fn publish(broker: &Embedded, subject: &str, id: &str) -> Receipt {
    broker.publish(&events(), event(subject, id)).await.expect("stored")
}

async fn publish_many(broker: &Embedded, subject: &str, ids: std::ops::Range<usize>) {
    for id in ids {
        publish(broker, subject, &id.to_string()).await;
    }
}

async fn feed(broker: &Embedded, channel: &ChannelPlan) -> Feed {
    broker.subscribe(channel).await.expect("prepared before")
}

/// Waits for `count` deliveries.
async fn take(feed: &mut Feed, count: usize) -> Vec<Delivery> {
    let mut deliveries = Vec::new();
    while deliveries.len() < count {
        let want = count - deliveries.len();
        let filled = tokio::time::timeout(HANG, feed.source.fill(want, &mut deliveries)).await;
        filled.unwrap_or_else(|_| panic!("hangs after {} of {count}", deliveries.len())).expect("fills");
    }
    deliveries
}

async fn settle(feed: &Feed, deliveries: Vec<Delivery>, how: impl Fn(&Delivery) -> Settlement) {
    let batch = deliveries.into_iter().map(|delivery| {
        let settlement = how(&delivery);
        delivery.into(settlement)
    });
    let unsettled = feed.settler.settle(batch.collect()).await;
    assert!(unsettled.is_empty(), "{unsettled:?}");
}

fn done(_: &Delivery) -> Settlement {
    Settlement::done(Vec::new())
}

/// Whether a source has nothing to hand out: it waits. Too short a patience could only let a failure pass, never make one.
async fn is_idle(feed: &mut Feed) -> bool {
    let mut deliveries = Vec::new();
    let filled = tokio::time::timeout(PATIENCE, feed.source.fill(100, &mut deliveries)).await;
    filled.is_err() && deliveries.is_empty()
}

async fn ids(broker: &Embedded) -> Vec<String> {
    let mut ids = Vec::new();
    let mut from = crate::From::Sequence(1);
    loop {
        let page = broker.read(&events(), from, &Filter::all(), 1000).await.expect("reads");
        ids.extend(page.items.iter().map(|event| event.id.to_string()));
        let Some(next) = page.next else { return ids };
        from = crate::From::Sequence(next.parse().expect("a sequence"));
    }
}

/// The files as another process would find them if this one were killed now.
fn killed(folder: &Path) -> TempDir {
    let copy = tempfile::tempdir().expect("a temp folder");
    copy_folder(folder, copy.path());
    copy
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("makes a folder");
    for entry in fs::read_dir(from).expect("reads a folder") {
        let path = entry.expect("an entry").path();
        let target = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy_folder(&path, &target);
        } else if let Err(error) = fs::copy(&path, &target) {
            // Spares come and go meanwhile.
            assert_eq!(error.kind(), std::io::ErrorKind::NotFound, "{}", path.display());
        }
    }
}

#[tokio::test]
async fn an_event_goes_in_and_comes_out() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let printer = channel("printer", "ride.>");
    let plan = plan(stream_config(), std::slice::from_ref(&printer));
    let broker = open(folder.path(), &plan).await;
    assert_eq!(publish(&broker, "ride.accepted", "1").await, Receipt { sequence: 1, duplicate: false });
    assert_eq!(publish(&broker, "ride.accepted", "1").await, Receipt { sequence: 1, duplicate: true });
    assert_eq!(publish(&broker, "order.new", "1").await, Receipt { sequence: 2, duplicate: false });
    let mut printer_feed = feed(&broker, &printer).await;
    let deliveries = take(&mut printer_feed, 1).await;
    assert_eq!(deliveries[0].event.data, "data of 1");
    assert_eq!((deliveries[0].attempt, deliveries[0].deliveries), (1, 1));
    settle(&printer_feed, deliveries, |_| Settlement::done(vec![emission("printed", "p")])).await;
    assert!(is_idle(&mut printer_feed).await);
    assert_eq!(ids(&broker).await, ["1", "1", "p"]);
    broker.close(HANG).await;

    let broker = open(folder.path(), &plan).await;
    assert!(publish(&broker, "ride.accepted", "1").await.duplicate, "known after a restart");
    let mut printer_feed = feed(&broker, &printer).await;
    assert!(is_idle(&mut printer_feed).await, "settled before the restart");
}
