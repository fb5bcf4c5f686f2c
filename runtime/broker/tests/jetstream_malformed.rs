//! Messages that no NATS client can read, sent by a peer that speaks TCP: the bad one becomes a dead letter, everything else
//! goes on.

#![allow(unreachable_pub, clippy::expect_used)] // a test crate: what is not there fails the test

#[allow(dead_code)]
#[path = "contract/scene.rs"]
mod scene;
mod support;

use std::collections::BTreeSet;
use std::time::Duration;

use saf_broker::{ChannelPlan, DeadLetterFilter, Order, Shared, StoredDeadLetter};

use self::scene::{Consumer, channel, plan, publish, stored, until};
use self::support::{NatsServer, RawPeer};

struct Bad {
    what: &'static str,
    subject: &'static [u8],
    headers: &'static [u8],
}

const MALFORMED: [Bad; 5] = [
    Bad {
        what: "a header value that is not UTF-8",
        subject: b"events.bad",
        headers: b"NATS/1.0\r\nA: \xff\xfe\r\n\r\n",
    },
    Bad {
        what: "a header name with a space",
        subject: b"events.bad",
        headers: b"NATS/1.0\r\nA b: 1\r\n\r\n",
    },
    Bad {
        what: "a header line without a colon",
        subject: b"events.bad",
        headers: b"NATS/1.0\r\nnone\r\n\r\n",
    },
    Bad { what: "a header block that is none", subject: b"events.bad", headers: b"garbage" },
    Bad { what: "a subject that is not UTF-8", subject: b"events.bad.\xff\xfe", headers: b"" },
];

async fn open(server: &NatsServer, channels: &[ChannelPlan]) -> Shared {
    let broker = saf_broker::open(&server.config()).await.expect("a broker");
    broker.prepare(&plan(channels)).await.expect("prepared");
    broker
}

async fn dead(broker: &Shared) -> Vec<StoredDeadLetter> {
    let letters = broker.dead_letters().expect("dead letters");
    letters.list(&DeadLetterFilter::default(), None, 100).await.map(|page| page.items).unwrap_or_default()
}

async fn within(test: impl Future<Output = ()>) {
    tokio::time::timeout(Duration::from_mins(1), Box::pin(test)).await.expect("the test hangs");
}

/// What is not settled when the connection breaks comes again after this.
const ACK_WAIT: Duration = Duration::from_secs(1);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_message_is_removed_and_everything_else_goes_on() {
    for bad in MALFORMED {
        within(async {
            let server = NatsServer::start();
            let all = ChannelPlan { ack_wait: ACK_WAIT, ..channel("all", &[">"]) };
            let bystander = ChannelPlan { ack_wait: ACK_WAIT, ..channel("bystander", &["good"]) };
            let broker = open(&server, &[all.clone(), bystander.clone()]).await;
            let mut consumer = Consumer::open(&broker, &all).await;
            let mut other = Consumer::open(&broker, &bystander).await;
            for id in 1..=20 {
                publish(&broker, "good", &id.to_string()).await;
            }
            RawPeer::connect(&server).publish(bad.subject, bad.headers, b"payload");
            for id in 21..=40 {
                publish(&broker, "good", &id.to_string()).await;
            }
            for consumer in [&mut consumer, &mut other] {
                // What was on its way when the connection broke comes again after the ack wait.
                let mut seen = BTreeSet::new();
                while seen.len() < 40 {
                    seen.extend(consumer.finish(1).await);
                }
                assert_eq!(seen, (1..=40).map(|id| id.to_string()).collect(), "{}", bad.what);
            }
            until("the bad one is a dead letter", async || !dead(&broker).await.is_empty()).await;
            let letters = dead(&broker).await;
            assert_eq!(letters.len(), 1, "{}: only for the Channel that was handed it", bad.what);
            assert_eq!(letters[0].letter.channel.as_str(), "all");
            assert!(letters[0].letter.reason.contains("cannot be an event"), "{}", letters[0].letter.reason);
            assert_eq!(&letters[0].event.data[..], b"payload");
            until("it is gone from the stream", async || {
                let summary = broker.journal().expect("a journal").summary(&scene::stream()).await;
                summary.is_ok_and(|summary| summary.events == 40)
            })
            .await;
            publish(&broker, "good", "after").await;
            assert_eq!(consumer.finish(1).await, ["after"]);
        })
        .await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_malformed_message_does_not_stop_a_channel_in_strict_order() {
    within(async {
        let server = NatsServer::start();
        let strict = ChannelPlan { order: Order::All, ack_wait: ACK_WAIT, ..channel("strict", &[">"]) };
        let broker = open(&server, std::slice::from_ref(&strict)).await;
        publish(&broker, "good", "1").await;
        let mut peer = RawPeer::connect(&server);
        for bad in &MALFORMED {
            peer.publish(bad.subject, bad.headers, b"payload");
        }
        publish(&broker, "good", "2").await;
        let mut consumer = Consumer::open(&broker, &strict).await;
        assert_eq!(consumer.finish(1).await, ["1"]);
        assert_eq!(consumer.finish(1).await, ["2"]);
        assert_eq!(dead(&broker).await.len(), MALFORMED.len());
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_replay_of_a_malformed_message_brings_what_can_be_read() {
    within(async {
        let server = NatsServer::start();
        let all = ChannelPlan { ack_wait: ACK_WAIT, ..channel("all", &[">"]) };
        let broker = open(&server, std::slice::from_ref(&all)).await;
        let mut consumer = Consumer::open(&broker, &all).await;
        let headers = b"NATS/1.0\r\nA b: 1\r\nX-Good: yes\r\nNats-Msg-Id: m1\r\n\r\n";
        RawPeer::connect(&server).publish(b"events.bad", headers, b"payload");
        publish(&broker, "good", "1").await;
        assert_eq!(consumer.finish(1).await, ["1"]);
        until("the bad one is a dead letter", async || !dead(&broker).await.is_empty()).await;
        let id = dead(&broker).await.remove(0).id;
        broker.dead_letters().expect("dead letters").replay(&id).await.expect("replayed");
        let again = consumer.one().await;
        let event = &again.event;
        assert_eq!(
            (event.subject.as_str(), event.id.as_str(), &event.data[..]),
            ("bad", "m1", &b"payload"[..])
        );
        assert_eq!(event.headers.get("x-good").map(|v| &**v), Some("yes"));
        consumer.done(again, vec![]).await;
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn headers_of_sixty_kilobytes_come_through_and_into_a_dead_letter() {
    within(async {
        let server = NatsServer::start();
        let all = channel("all", &[">"]);
        let broker = open(&server, std::slice::from_ref(&all)).await;
        let big = "x".repeat(60 * 1024);
        let headers = format!("NATS/1.0\r\nX-Big: {big}\r\n\r\n");
        RawPeer::connect(&server).publish(b"events.big", headers.as_bytes(), b"payload");
        let mut consumer = Consumer::open(&broker, &all).await;
        let delivery = consumer.one().await;
        let event = delivery.event.clone();
        assert_eq!(event.headers.get("x-big").map(|v| v.len()), Some(big.len()));
        let letter = saf_broker::DeadLetter {
            channel: scene::name("all"),
            digest: "ab".repeat(32),
            outcome: saf_event::Outcome::Reject,
            reason: "too many headers".into(),
            attempts: vec![],
        };
        consumer.settle_one(delivery, saf_broker::Settlement::Dead(Box::new(letter))).await;
        assert_eq!(dead(&broker).await.remove(0).event, *event);
        assert_eq!(stored(&broker).await.len(), 1);
    })
    .await;
}
