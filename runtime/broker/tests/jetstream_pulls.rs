//! What an open pull still brings when nobody asks any more: it is given back at once and costs no attempt, neither in this process
//! nor in the next one. The ack wait is an hour here, so that whatever is left to it never comes.

#![allow(unreachable_pub, clippy::expect_used)] // a test crate: what is not there fails the test

#[allow(dead_code)]
#[path = "contract/scene.rs"]
mod scene;
mod support;

use std::time::Duration;

use futures::FutureExt;
use saf_broker::{ChannelPlan, Delivery, Settlement, Shared};
use tokio::time::timeout;

use self::scene::{Consumer, PATIENCE, channel, ids, plan, publish, until};
use self::support::NatsServer;

const GRACE: Duration = Duration::from_secs(5);

fn patient() -> ChannelPlan {
    ChannelPlan { ack_wait: Duration::from_hours(1), ..channel("all", &[">"]) }
}

async fn open(server: &NatsServer) -> Shared {
    let broker = saf_broker::open(&server.config()).await.expect("a broker");
    broker.prepare(&plan(&[patient()])).await.expect("prepared");
    broker
}

/// A consumer whose pull for many more events is open: one of a hundred came.
async fn pulling(broker: &Shared) -> Consumer {
    let mut consumer = Consumer::open(broker, &patient()).await;
    publish(broker, "a", "1").await;
    let mut got = Vec::new();
    let filled = timeout(PATIENCE, consumer.feed.source.fill(100, &mut got)).await.expect("in time");
    filled.expect("a delivery");
    consumer.done(got.remove(0), vec![]).await;
    consumer
}

async fn publish_many(broker: &Shared, from: u32, to: u32) {
    for id in from..=to {
        publish(broker, "a", &id.to_string()).await;
    }
}

/// These deliveries are of these events, each at its first attempt.
fn first_attempts(deliveries: &[Delivery], from: u32, to: u32) {
    let mut seen: Vec<u32> = ids(deliveries).iter().map(|id| id.parse().expect("a number")).collect();
    seen.sort_unstable();
    assert_eq!(seen, (from..=to).collect::<Vec<_>>());
    for delivery in deliveries {
        let (id, attempt, deliveries) = (&delivery.event.id, delivery.attempt, delivery.deliveries);
        assert_eq!(attempt, 1, "event {id} was handed out {deliveries} times");
    }
}

/// A consumer is handed these events, each at its first attempt, and settles them.
async fn finish(consumer: &mut Consumer, from: u32, to: u32) {
    let all = consumer.take((to - from + 1) as usize).await;
    first_attempts(&all, from, to);
    let done = all.into_iter().map(|delivery| delivery.into(Settlement::done(vec![]))).collect();
    assert!(consumer.settle(done).await.is_empty());
}

#[tokio::test]
async fn what_came_in_unseen_is_given_back_when_the_source_is_dropped() {
    let server = NatsServer::start();
    let broker = open(&server).await;
    let first = pulling(&broker).await;
    publish_many(&broker, 2, 10).await;
    until("they have come in", async || {
        first.feed.settler.lag().await.is_ok_and(|lag| (lag.pending, lag.unsettled) == (0, 9))
    })
    .await;
    drop(first);
    finish(&mut Consumer::open(&broker, &patient()).await, 2, 10).await;
}

#[tokio::test]
async fn what_is_on_its_way_when_a_source_is_dropped_is_given_back() {
    let server = NatsServer::start();
    let broker = open(&server).await;
    let mut id = 1;
    for _ in 0..20 {
        let mut consumer = Consumer::open(&broker, &patient()).await;
        let mut got = Vec::new();
        // The pull is sent, and nothing has come: then what comes is on its way while the source goes.
        assert!(consumer.feed.source.fill(100, &mut got).now_or_never().is_none());
        let publishing = publish_many(&broker, id, id + 49);
        let dropping = async {
            tokio::task::yield_now().await;
            drop(consumer);
        };
        futures::join!(publishing, dropping);
        finish(&mut Consumer::open(&broker, &patient()).await, id, id + 49).await;
        id += 50;
    }
}

#[tokio::test]
async fn a_fill_that_is_dropped_ends_the_pull() {
    let server = NatsServer::start();
    let broker = open(&server).await;
    let mut paused = pulling(&broker).await;
    let mut got = Vec::new();
    assert!(paused.feed.source.fill(100, &mut got).now_or_never().is_none(), "nothing to take");
    publish_many(&broker, 2, 10).await;
    let mut other = Consumer::open(&broker, &patient()).await;
    finish(&mut other, 2, 10).await;
    assert!(got.is_empty());
    publish_many(&broker, 11, 11).await;
    drop(other);
    finish(&mut paused, 11, 11).await;
}

#[tokio::test]
async fn after_a_close_the_next_process_begins_at_the_first_attempt() {
    let server = NatsServer::start();
    for round in 0..3 {
        let broker = open(&server).await;
        let mut consumer = Consumer::open(&broker, &patient()).await;
        if round == 0 {
            publish_many(&broker, 1, 20).await;
        }
        // All are held and go back, without a verdict.
        let held = consumer.take(20).await;
        first_attempts(&held, 1, 20);
        assert!(held.iter().all(|delivery| delivery.deliveries == 1), "round {round}");
        drop(held);
        drop(consumer);
        broker.close(GRACE).await;
    }
    let broker = open(&server).await;
    let mut consumer = Consumer::open(&broker, &patient()).await;
    let failed = consumer.one().await;
    let sequence = failed.event.sequence;
    consumer.settle_one(failed, Settlement::Retry { after: Duration::ZERO }).await;
    let all = consumer.take(20).await;
    for delivery in &all {
        let attempt = if delivery.event.sequence == sequence { 2 } else { 1 };
        assert_eq!(delivery.attempt, attempt, "a verdict counts, event {}", delivery.event.sequence);
    }
}

#[tokio::test]
async fn a_user_that_may_not_publish_to_its_inbox_gives_back_all_the_same() {
    let server = NatsServer::with(
        "authorization { users: [ { user: me, password: pw, permissions: { publish: { deny: \"_INBOX.>\" } } } ] }",
    );
    let secret = server.file("password");
    std::fs::write(&secret, "pw").expect("a secret");
    let password = Some(saf_event::Secret::File(secret));
    let config = saf_broker::Config { user: Some("me".into()), password, ..server.config() };
    let broker = saf_broker::open(&config).await.expect("a broker");
    broker.prepare(&plan(&[patient()])).await.expect("prepared");
    let first = pulling(&broker).await;
    publish_many(&broker, 2, 10).await;
    until("they have come in", async || {
        first.feed.settler.lag().await.is_ok_and(|lag| (lag.pending, lag.unsettled) == (0, 9))
    })
    .await;
    drop(first);
    let mut second = Consumer::open(&broker, &patient()).await;
    finish(&mut second, 2, 10).await;
    drop(second);
    timeout(PATIENCE, broker.close(GRACE)).await.expect("it does not hang");
}
