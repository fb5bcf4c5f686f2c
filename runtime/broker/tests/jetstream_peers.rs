//! Other NATS programs on the same streams: what they publish becomes events, what Channels emit reaches them.

#![allow(unreachable_pub, clippy::expect_used)] // a test crate: what is not there fails the test

#[allow(dead_code)]
#[path = "contract/scene.rs"]
mod scene;
mod support;

use std::time::Duration;

use futures::StreamExt;
use saf_broker::{ChannelPlan, DeadLetterFilter, Shared};
use tokio::time::timeout;

use self::scene::{Consumer, PATIENCE, channel, emission, plan, publish, stored};
use self::support::{NatsServer, RawPeer};

async fn open(server: &NatsServer, channels: &[ChannelPlan]) -> Shared {
    let broker = saf_broker::open(&server.config()).await.expect("a broker");
    broker.prepare(&plan(channels)).await.expect("prepared");
    broker
}

#[tokio::test]
async fn a_peers_message_becomes_an_event() {
    let server = NatsServer::start();
    let all = channel("all", &[">"]);
    let broker = open(&server, std::slice::from_ref(&all)).await;
    let mut peer = RawPeer::connect(&server);
    let status = "NATS/1.0 100 Idle Heartbeat\r\nX-Tag: a\r\n\r\n";
    for (subject, headers, id) in [
        ("plain", "", "events:1"),
        (
            "with.id",
            "NATS/1.0\r\nNats-Msg-Id: m1\r\nX-Tag: a\r\nx-tag: b\r\nContent-type: text/plain\r\n\r\n",
            "m1",
        ),
        ("cloud", "NATS/1.0\r\nce-id: c1\r\nNats-Msg-Id: m2\r\n\r\n", "c1"),
        ("forged", "NATS/1.0\r\nSaf-Subject: other\r\nSaf-Sequence: 1\r\nSaf-Attempt: 9\r\n\r\n", "events:4"),
        ("status", status, "events:5"),
    ] {
        peer.publish(format!("events.{subject}").as_bytes(), headers.as_bytes(), b"data");
        let mut consumer = Consumer::open(&broker, &all).await;
        let delivery = consumer.one().await;
        let event = &delivery.event;
        assert_eq!((event.subject.as_str(), event.id.as_str(), &event.data[..]), (subject, id, &b"data"[..]));
        assert_eq!((delivery.attempt, delivery.deliveries), (1, 1));
        assert!(event.lineage.is_none());
        assert!(
            event.headers.iter().all(|(name, _)| !name.starts_with("nats-") && !name.starts_with("saf-"))
        );
        if subject == "with.id" {
            assert_eq!(event.content_type.as_deref(), Some("text/plain"));
            let tags: Vec<_> = event.headers.iter().map(|(name, value)| format!("{name}={value}")).collect();
            assert_eq!(tags, ["x-tag=a", "x-tag=b"]);
        }
        consumer.done(delivery, vec![]).await;
    }
    assert_eq!(stored(&broker).await.len(), 5);
}

#[tokio::test]
async fn a_peers_message_that_can_be_no_event_is_a_dead_letter() {
    let server = NatsServer::start();
    let all = channel("all", &[">"]);
    let broker = open(&server, std::slice::from_ref(&all)).await;
    let mut consumer = Consumer::open(&broker, &all).await;
    let mut peer = RawPeer::connect(&server);
    for subject in [format!("events.{}", "x".repeat(300)), "events.$reserved".to_owned()] {
        peer.publish(subject.as_bytes(), b"NATS/1.0\r\nX-Tag: a\r\n\r\n", b"data");
    }
    publish(&broker, "good", "1").await;
    assert_eq!(consumer.finish(1).await, ["1"]);
    let letters = broker.dead_letters().expect("dead letters");
    let page = letters.list(&DeadLetterFilter::default(), None, 10).await.expect("a page");
    assert_eq!(page.items.len(), 2);
    for dead in page.items {
        assert_eq!(&dead.event.data[..], b"data");
        assert_eq!(dead.event.headers.get("x-tag").map(|v| &**v), Some("a"));
    }
    let lag = consumer.feed.settler.lag().await.expect("a lag");
    assert_eq!((lag.pending, lag.unsettled), (0, 0), "they are settled");
}

#[tokio::test]
async fn a_plain_subscriber_sees_events_and_emissions() {
    let server = NatsServer::start();
    let all = channel("all", &["in"]);
    let broker = open(&server, std::slice::from_ref(&all)).await;
    let client = async_nats::connect(server.url()).await.expect("a client");
    let mut seen = client.subscribe("events.>").await.expect("a subscription");
    // An answer to a request shows that the server has read the subscription before it.
    client.request("$JS.API.INFO", "".into()).await.expect("subscribed");
    publish(&broker, "in", "1").await;
    let mut consumer = Consumer::open(&broker, &all).await;
    let delivery = consumer.one().await;
    let mut first = emission("out.a", "a");
    let place = saf_event::Position { stream: scene::stream(), sequence: 1 };
    first.lineage = Some(saf_event::Lineage { parent: place.clone(), root: place, hops: 1 });
    consumer.done(delivery, vec![first, emission("out.b", "b")]).await;
    for (subject, id) in [("events.in", "1"), ("events.out.a", "a"), ("events.out.b", "b")] {
        let message = timeout(PATIENCE, seen.next()).await.expect("in time").expect("a message");
        assert_eq!(message.subject.as_str(), subject);
        let headers = message.headers.expect("headers");
        let header = |name: &str| headers.get(name).map(|value| value.as_str().to_owned());
        assert_eq!(header("Saf-Id").as_deref(), Some(id));
        assert_eq!(header("Content-Type").as_deref(), Some("text/plain"));
        if id == "a" {
            assert_eq!(header("Saf-Parent").as_deref(), Some("events:1"));
            assert_eq!(header("Saf-Hops").as_deref(), Some("1"));
            assert_eq!(header("Nats-Msg-Id").as_deref(), Some("e/all/1/0"));
        }
    }
    assert!(timeout(Duration::from_millis(1), seen.next()).await.is_err(), "and nothing else");
}
