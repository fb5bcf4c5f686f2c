//! State, emissions and settlement are one frame: over kills, power failures, retention and rewriting.

use saf_event::Size;

use super::*;
use crate::{SettleError, StateChange, StateChanges, StatePlan};

fn counter() -> ChannelPlan {
    ChannelPlan { state: Some(StatePlan { max_bytes: 1 << 20 }), ..channel("counter", "in") }
}

async fn count_of(feed: &Feed) -> (u64, u64) {
    let value = feed.state.as_ref().expect("the plan has state").get(0, "count").await.expect("reads");
    let count =
        value.value.map_or(0, |value| std::str::from_utf8(&value).expect("text").parse().expect("a number"));
    (count, value.version)
}

/// Counts one event, and emits the new count.
async fn count_one(feed: &mut Feed) {
    let delivery = take(feed, 1).await.remove(0);
    let (count, read) = count_of(feed).await;
    let new = (count + 1).to_string();
    let change = StateChange { key: "count".into(), value: Some(new.clone().into()), read: Some(read) };
    let state = StateChanges { version: delivery.event.sequence + 1_000_000, all: vec![change] };
    let settlement = Settlement::Done { emit: vec![emission("out", &new)], state };
    let unsettled = feed.settler.settle(vec![delivery.into(settlement)]).await;
    assert!(unsettled.is_empty(), "{unsettled:?}");
}

async fn counts(broker: &Embedded) -> Vec<String> {
    ids(broker).await.into_iter().filter(|id| !id.starts_with("in-")).collect()
}

async fn publish_in(broker: &Embedded, ids: std::ops::Range<usize>) {
    for id in ids {
        publish(broker, "in", &format!("in-{id}")).await;
    }
}

#[tokio::test]
async fn killed_after_any_event_every_event_is_counted_once() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let plan = plan(StreamConfig { max_bytes: Size(1 << 20), ..stream_config() }, &[counter()]);
    let broker = open(folder.path(), &plan).await;
    publish_in(&broker, 0..30).await;
    let mut feed_of = feed(&broker, &counter()).await;
    for done in 1..=30 {
        count_one(&mut feed_of).await;
        let copy = killed(folder.path());
        let again = open(copy.path(), &plan).await;
        let mut rest = feed(&again, &counter()).await;
        assert_eq!(count_of(&rest).await.0, done, "killed after {done}");
        for _ in done..30 {
            count_one(&mut rest).await;
        }
        assert!(is_idle(&mut rest).await);
        assert_eq!(counts(&again).await, (1..=30).map(|n| n.to_string()).collect::<Vec<_>>());
    }
}

#[tokio::test]
async fn state_outlives_the_frames_that_changed_it() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let config = StreamConfig { max_messages: Some(20), ..stream_config() };
    let plan = plan(config, &[counter()]);
    let broker = open(folder.path(), &plan).await;
    let mut feed_of = feed(&broker, &counter()).await;
    for n in 0..300 {
        publish_in(&broker, n..n + 1).await;
        count_one(&mut feed_of).await;
    }
    let first = broker.summary(&events()).await.expect("a summary").first;
    assert!(first > 500, "retention has moved on: {first}");
    let copy = killed(folder.path());
    drop(feed_of);
    broker.close(HANG).await;
    for folder in [folder.path(), copy.path()] {
        let broker = open(folder, &plan).await;
        let feed_of = feed(&broker, &counter()).await;
        assert_eq!(count_of(&feed_of).await.0, 300);
    }
}

#[tokio::test]
async fn the_file_is_rewritten_when_it_grows_and_loses_nothing() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let roomy = StreamConfig { max_bytes: Size(1 << 30), max_messages: Some(50), ..stream_config() };
    let plan = plan(roomy, &[counter()]);
    let open = async || {
        let broker = Embedded::open(folder.path()).expect("opens");
        broker.prepare(&plan).await.expect("prepares");
        broker
    };
    let broker = open().await;
    let mut feed_of = feed(&broker, &counter()).await;
    let large = vec![7u8; 256 << 10];
    for n in 0..60u64 {
        publish_in(&broker, n as usize..n as usize + 1).await;
        let delivery = take(&mut feed_of, 1).await.remove(0);
        let change =
            |key: String| StateChange { key: key.into(), value: Some(large.clone().into()), read: None };
        let all = vec![change("same".into()), change(format!("k{}", n % 3))];
        let state = StateChanges { version: n + 1, all };
        let unsettled =
            feed_of.settler.settle(vec![delivery.into(Settlement::Done { emit: vec![], state })]).await;
        assert!(unsettled.is_empty(), "{unsettled:?}");
        broker.stream(&events()).expect("open").save().expect("saves");
    }
    let length = fs::metadata(folder.path().join("streams/events/values.log")).expect("there").len();
    assert!(length < 10 << 20, "{length}");
    let state = feed_of.state.clone().expect("state");
    assert!(state.bytes() < 2 << 20);
    drop((feed_of, state));
    broker.close(HANG).await;
    let broker = open().await;
    let state = feed(&broker, &counter()).await.state.expect("state");
    assert_eq!(state.keys(None, 10).await.expect("keys").keys, ["k0", "k1", "k2", "same"]);
    assert_eq!(state.get(0, "same").await.expect("reads").version, 60);
}

#[tokio::test]
async fn a_store_without_state_opens_as_before_and_one_with_state_says_so() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plain = plan(stream_config(), std::slice::from_ref(&worker));
    let format = || fs::read_to_string(folder.path().join("FORMAT")).expect("reads");
    let values = folder.path().join("streams/events/values.log");
    let broker = open(folder.path(), &plain).await;
    publish_in(&broker, 0..5).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let two = take(&mut worker_feed, 2).await;
    settle(&worker_feed, two, done).await;
    drop(worker_feed);
    broker.close(HANG).await;
    assert_eq!((format().as_str(), values.exists()), ("saf store 1\n", false), "older versions read it");
    // As the version before left it: now one of its Channels gets state.
    let with = ChannelPlan { state: counter().state, ..worker.clone() };
    let broker = open(folder.path(), &plan(stream_config(), std::slice::from_ref(&with))).await;
    assert_eq!((format().as_str(), values.exists()), ("saf store 2\n", true));
    let mut worker_feed = feed(&broker, &with).await;
    assert_eq!(take(&mut worker_feed, 1).await[0].event.id.as_str(), "in-2");
}

#[tokio::test]
async fn a_values_log_that_is_missing_or_cut_is_damage_and_a_cut_gives_up_what_it_held() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let plan = plan(StreamConfig { max_messages: Some(10), ..stream_config() }, &[counter()]);
    let broker = open(folder.path(), &plan).await;
    let mut feed_of = feed(&broker, &counter()).await;
    for n in 0..50 {
        publish_in(&broker, n..n + 1).await;
        count_one(&mut feed_of).await;
    }
    drop(feed_of);
    broker.close(HANG).await;
    assert_eq!(super::super::check(folder.path()).expect("checks").streams[0].keys, 1);
    let values = folder.path().join("streams/events/values.log");
    for bytes in [None, Some(10)] {
        let copy = killed(folder.path());
        let values = copy.path().join("streams/events/values.log");
        match bytes {
            None => fs::remove_file(&values).expect("removes"),
            Some(bytes) => {
                fs::OpenOptions::new().write(true).open(&values).and_then(|f| f.set_len(bytes)).expect("cuts")
            }
        }
        let refused =
            Embedded::open_with(copy.path(), Arc::new(Real), TINY).expect("opens").prepare(&plan).await;
        assert!(refused.expect_err("damaged").to_string().contains("values.log"), "{bytes:?}");
        let report = super::super::check(copy.path()).expect("checks");
        assert_eq!(report.findings[0].part, super::super::Part::Values, "{bytes:?}");
        super::super::cut(copy.path(), &report.findings[0]).expect("cuts");
        assert_eq!(super::super::check(copy.path()).expect("checks").findings, []);
        open(copy.path(), &plan).await;
    }
    assert!(values.exists());
}

#[tokio::test]
async fn two_settlements_of_one_frame_that_read_the_same_value_are_not_both_stored() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let plan = plan(stream_config(), &[counter()]);
    let broker = open(folder.path(), &plan).await;
    publish_in(&broker, 0..2).await;
    let mut feed_of = feed(&broker, &counter()).await;
    let both = take(&mut feed_of, 2).await;
    let batch = both.into_iter().zip(1..).map(|(delivery, version)| {
        let change = StateChange { key: "count".into(), value: Some("1".into()), read: Some(0) };
        let state = StateChanges { version, all: vec![change] };
        delivery.into(Settlement::Done { emit: vec![], state })
    });
    let unsettled = feed_of.settler.settle(batch.collect()).await;
    assert_eq!(unsettled.iter().map(|u| &u.error).collect::<Vec<_>>(), [&SettleError::Conflict]);
    assert_eq!(count_of(&feed_of).await, (1, 1));
}
