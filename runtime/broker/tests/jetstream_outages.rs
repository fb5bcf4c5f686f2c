//! The server away: what is answered, what is stored all the same, and that everything comes back by itself.

#![allow(unreachable_pub, clippy::expect_used)] // a test crate: what is not there fails the test

#[allow(dead_code)]
#[path = "contract/scene.rs"]
mod scene;
mod support;

use std::time::{Duration, Instant};

use saf_broker::{ChannelPlan, Config, Error, Health, PublishError, SettleError, Settlement, Shared};

use self::scene::{Consumer, PATIENCE, channel, emission, event, listing, plan, publish, stream, until};
use self::support::NatsServer;

async fn open(server: &NatsServer, channels: &[ChannelPlan]) -> Shared {
    let broker = saf_broker::open(&server.config()).await.expect("a broker");
    broker.prepare(&plan(channels)).await.expect("prepared");
    broker
}

async fn down(broker: &Shared) {
    let mut health = broker.health();
    let down = health.wait_for(|health| matches!(health, Health::Down { .. }));
    let health = tokio::time::timeout(PATIENCE, down).await.expect("in time").expect("watched").clone();
    assert!(matches!(&health, Health::Down { reason } if reason.contains("NATS")), "{health:?}");
}

/// Each connection notices by itself; while the one that publishes has not, what it sends may be stored.
async fn publishing_down(broker: &Shared) {
    let mut health = broker.health();
    let down =
        health.wait_for(|health| matches!(health, Health::Down { reason } if reason.contains("publishing")));
    tokio::time::timeout(PATIENCE, down).await.expect("in time").expect("watched");
}

async fn up(broker: &Shared) {
    let mut health = broker.health();
    let up = health.wait_for(|health| *health == Health::Up);
    tokio::time::timeout(PATIENCE, up).await.expect("in time").expect("watched");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_publish_while_the_server_is_away_is_answered_at_once_and_never_stored() {
    let mut server = NatsServer::start();
    let broker = open(&server, &[]).await;
    publish(&broker, "a", "before").await;
    server.kill();
    publishing_down(&broker).await;
    let asked = Instant::now();
    let mut results = vec![broker.publish(&stream(), event("a", "away")).await];
    let batch: Vec<_> = (0..100).map(|n| event("a", &format!("away{n}"))).collect();
    results.extend(broker.publish_all(&stream(), &batch).await);
    assert!(asked.elapsed() < Duration::from_secs(2), "at once");
    for result in results {
        assert!(matches!(result, Err(PublishError::Unavailable { .. })), "{result:?}");
    }
    server.run();
    up(&broker).await;
    until("publishing works again", async || broker.publish(&stream(), event("a", "after")).await.is_ok())
        .await;
    let ids: Vec<_> = listing(&broker).await.into_iter().map(|(_, id)| id).collect();
    assert_eq!(ids, ["before", "after"], "nothing was sent later");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn consuming_goes_on_when_the_server_comes_back() {
    let mut server = NatsServer::start();
    let all = ChannelPlan { ack_wait: Duration::from_secs(1), ..channel("in", &["in"]) };
    let broker = open(&server, std::slice::from_ref(&all)).await;
    let mut consumer = Consumer::open(&broker, &all).await;
    publish(&broker, "in", "1").await;
    assert_eq!(consumer.finish(1).await, ["1"]);
    publish(&broker, "in", "2").await;
    let held = consumer.one().await;
    server.stop();
    down(&broker).await;
    let settlement = Settlement::done(vec![emission("out", "a")]);
    let mut unsettled = consumer.settle(vec![held.into(settlement)]).await;
    let unsettled = unsettled.pop().expect("it cannot be stored");
    assert!(matches!(unsettled.error, SettleError::Unavailable(_)), "{:?}", unsettled.error);
    server.run();
    up(&broker).await;
    let sequence = unsettled.settling.delivery.event.sequence;
    until("the settlement can be repeated", async || {
        broker.publish(&stream(), event("in", "3")).await.is_ok()
    })
    .await;
    let again = consumer.settle(vec![unsettled.settling]).await;
    assert!(again.is_empty(), "{again:?}");
    let next = consumer.one().await;
    // Handed out again if the ack wait ended meanwhile; then its emissions are still stored once.
    if next.event.sequence == sequence {
        consumer.done(next, vec![emission("out", "a")]).await;
        assert_eq!(consumer.finish(1).await, ["3"]);
    } else {
        assert_eq!(next.event.id.as_str(), "3");
    }
    let emitted = listing(&broker).await.into_iter().filter(|(subject, _)| subject == "out").count();
    assert_eq!(emitted, 1);
}

#[tokio::test]
async fn an_address_without_a_server_says_what_to_check() {
    let config = Config { url: Some("nats://127.0.0.1:1".into()), ..NatsServer::start().config() };
    let opened = tokio::time::timeout(Duration::from_secs(30), saf_broker::open(&config)).await;
    let Err(Error::Unavailable(text)) = opened.expect("in time") else { panic!("nobody listens there") };
    assert!(text.contains("127.0.0.1:1") && text.contains("broker.url"), "{text}");
}
