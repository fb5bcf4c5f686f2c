//! Making ready, and making ready again.

use std::time::Duration;

use saf_broker::{ChannelPlan, Note, StreamConfig};
use saf_event::{Size, Span};

use super::fixture::Fixture;
use super::scene::{Consumer, channel, plan, plan_with, publish};

pub async fn preparing_twice_is_quiet<F: Fixture>(mut fixture: F) {
    let all = channel("all", &["a", "b.>"]);
    let plan = plan(std::slice::from_ref(&all));
    let first = fixture.broker().prepare(&plan).await.expect("prepared");
    assert!(first.iter().all(|note| matches!(note, Note::Done(_))), "{first:?}");
    assert_eq!(fixture.broker().prepare(&plan).await, Ok(vec![]));
    publish(fixture.broker(), "a", "1").await;
    let mut consumer = Consumer::open(fixture.broker(), &all).await;
    assert_eq!(consumer.finish(1).await, ["1"]);
    drop(consumer);
    fixture.restart().await;
    assert_eq!(fixture.broker().prepare(&plan).await, Ok(vec![]));
    publish(fixture.broker(), "a", "2").await;
    let mut consumer = Consumer::open(fixture.broker(), &all).await;
    assert_eq!(consumer.finish(1).await, ["2"], "what was settled is not handed out again");
}

pub async fn changed_limits_are_reconciled<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let all = channel("all", &["a"]);
    broker.prepare(&plan(std::slice::from_ref(&all))).await.expect("prepared");
    publish(broker, "a", "1").await;
    publish(broker, "b", "2").await;
    let config = StreamConfig {
        max_age: Span(Duration::from_hours(2)),
        max_bytes: Size::mib(512),
        duplicate_window: Span(Duration::from_mins(1)),
        ..StreamConfig::default()
    };
    let changed =
        ChannelPlan { ack_wait: Duration::from_secs(5), max_ack_pending: 7, ..channel("all", &["a", "c"]) };
    let plan = plan_with(config, std::slice::from_ref(&changed));
    broker.prepare(&plan).await.expect("prepared");
    assert_eq!(broker.prepare(&plan).await, Ok(vec![]), "now it is as it should be");
    publish(broker, "c", "3").await;
    let mut consumer = Consumer::open(broker, &changed).await;
    assert_eq!(consumer.finish(2).await, ["1", "3"]);
}
