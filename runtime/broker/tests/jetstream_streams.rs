//! What only JetStream does: streams of others, limits that the server enforces, retries that wait in the stream, and the
//! places where its promises end.

#![allow(unreachable_pub, clippy::expect_used)] // a test crate: what is not there fails the test

#[allow(dead_code)]
#[path = "contract/scene.rs"]
mod scene;
mod support;

use std::time::Duration;

use async_nats::{HeaderMap, jetstream};
use futures::StreamExt;
use saf_broker::{
    ChannelPlan, DeadLetter, DeadLetterFilter, Discard, Error, From, Note, Plan, Settlement, Shared, Start,
    Storage, StreamConfig, Switch, Tailed,
};
use saf_event::{Outcome, Span};
use tokio::time::timeout;

use self::scene::{
    Consumer, PATIENCE, channel, emission, event, listing, name, plan, plan_with, publish, stream, until,
};
use self::support::NatsServer;

async fn open(server: &NatsServer, plan: &Plan) -> Shared {
    let broker = saf_broker::open(&server.config()).await.expect("a broker");
    broker.prepare(plan).await.expect("prepared");
    broker
}

#[tokio::test]
async fn what_retention_removes_unsettled_is_counted() {
    let server = NatsServer::start();
    let config = StreamConfig { max_messages: Some(5), ..StreamConfig::default() };
    let (slow, rare) = (channel("slow", &[">"]), channel("rare", &["rare"]));
    let broker = open(&server, &plan_with(config, &[slow.clone(), rare.clone()])).await;
    let (slow, mut rare) = (Consumer::open(&broker, &slow).await, Consumer::open(&broker, &rare).await);
    publish(&broker, "rare", "1").await;
    assert_eq!(rare.finish(1).await, ["1"]);
    for id in 2..=5 {
        publish(&broker, "a", &id.to_string()).await;
    }
    for consumer in [&slow, &rare] {
        assert_eq!(consumer.feed.settler.lag().await.expect("a lag").expired, 0);
    }
    for id in 6..=8 {
        publish(&broker, "a", &id.to_string()).await;
    }
    let lag = slow.feed.settler.lag().await.expect("a lag");
    assert_eq!((lag.expired, lag.pending), (3, 5));
    assert_eq!(slow.feed.settler.lag().await.expect("a lag").expired, 3, "counted once");
    assert_eq!(rare.feed.settler.lag().await.expect("a lag").expired, 0, "it lost nothing");
}

#[tokio::test]
async fn a_long_retry_waits_in_the_stream_and_keeps_its_place() {
    let server = NatsServer::start();
    let (all, other) = (channel("all", &[">"]), channel("other", &[">"]));
    let broker = open(&server, &plan(&[all.clone(), other.clone()])).await;
    let mut consumer = Consumer::open(&broker, &all).await;
    let stored = publish(&broker, "ride.a", "1").await.sequence;
    let delivery = consumer.one().await;
    let time = delivery.event.time;
    consumer.settle_one(delivery, Settlement::Retry { after: Duration::from_hours(1) }).await;
    until("it holds no slot", async || {
        consumer.feed.settler.lag().await.is_ok_and(|lag| (lag.pending, lag.unsettled) == (0, 0))
    })
    .await;

    let client = jetstream::new(async_nats::connect(server.url()).await.expect("a client"));
    let raw = client.get_stream("events").await.expect("the stream");
    let parked = raw.get_raw_message(stored + 1).await.expect("the retry");
    assert_eq!(parked.subject.as_str(), "_saf.events.at.all.1");
    let header =
        |name: &str| parked.headers.get(name).map(|value| value.as_str().to_owned()).unwrap_or_default();
    assert!(header("Nats-Schedule").starts_with("@at 20"), "{}", header("Nats-Schedule"));

    // The server does this when it is due.
    let target = header("Nats-Schedule-Target");
    let mut headers = HeaderMap::new();
    for (name, values) in parked.headers.iter() {
        let text: &str = name.as_ref();
        if !text.starts_with("Nats-") {
            headers.insert(name.clone(), values[0].clone());
        }
    }
    let ack = client.publish_with_headers(target, headers, parked.payload.clone()).await.expect("sent");
    let due = ack.await.expect("stored").sequence;
    let again = consumer.one().await;
    assert_eq!(
        (again.event.sequence, again.event.time, again.attempt, again.deliveries),
        (stored, time, 2, 2)
    );
    assert_eq!((again.event.subject.as_str(), again.event.id.as_str()), ("ride.a", "1"));
    assert_eq!(again.event.content_type.as_deref(), Some("text/plain"));
    consumer.settle_one(again, Settlement::Retry { after: Duration::ZERO }).await;
    let third = consumer.one().await;
    assert_eq!((third.attempt, third.deliveries), (3, 3));
    consumer.done(third, vec![emission("out", "x")]).await;
    let shown = broker.journal().expect("a journal").get(&stream(), due).await.expect("it is in the stream");
    assert_eq!((shown.sequence, shown.subject.as_str()), (due, "ride.a"));
    let mut other = Consumer::open(&broker, &other).await;
    assert_eq!(other.finish(2).await, ["1", "x"], "the other Channel sees no retry");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_busy_with_batches_is_waited_for() {
    const OPEN_BATCHES: usize = 50;
    let server = NatsServer::start();
    let all = channel("in", &["in"]);
    let broker = open(&server, &plan(std::slice::from_ref(&all))).await;
    let client = async_nats::connect(server.url()).await.expect("a client");
    let batch = async |id: usize, sequence: usize, commit: bool| {
        let mut headers = HeaderMap::new();
        headers.insert("Nats-Batch-Id", format!("batch-{id}"));
        headers.insert("Nats-Batch-Sequence", sequence.to_string());
        if commit {
            headers.insert("Nats-Batch-Commit", "1");
        }
        client.request_with_headers("events.theirs", headers, "x".into()).await.expect("an answer")
    };
    for id in 0..OPEN_BATCHES {
        let answer = batch(id, 1, false).await;
        assert!(answer.payload.is_empty(), "{:?}", answer.payload);
    }
    let refused = batch(OPEN_BATCHES, 1, false).await;
    assert!(
        String::from_utf8_lossy(&refused.payload).contains("10210"),
        "the server is busy: {:?}",
        refused.payload
    );

    publish(&broker, "in", "1").await;
    let mut consumer = Consumer::open(&broker, &all).await;
    let delivery = consumer.one().await;
    let settlement = Settlement::done(vec![emission("out", "a"), emission("out", "b")]);
    let settle = consumer.settle(vec![delivery.into(settlement)]);
    let make_room = async {
        for id in 0..OPEN_BATCHES {
            batch(id, 2, true).await;
        }
    };
    let (unsettled, ()) = futures::join!(settle, make_room);
    assert!(unsettled.is_empty(), "{unsettled:?}");
    assert_eq!(listing(&broker).await.iter().filter(|(subject, _)| subject == "out").count(), 2);
}

#[tokio::test]
async fn beyond_the_duplicate_window_an_event_is_stored_again() {
    let server = NatsServer::start();
    let window = Span(Duration::from_millis(500));
    let broker =
        open(&server, &plan_with(StreamConfig { duplicate_window: window, ..StreamConfig::default() }, &[]))
            .await;
    assert!(!publish(&broker, "a", "1").await.duplicate);
    assert!(publish(&broker, "a", "1").await.duplicate);
    until("the window is over", async || !publish(&broker, "a", "1").await.duplicate).await;
    assert_eq!(listing(&broker).await.len(), 2);
}

#[tokio::test]
async fn a_stream_of_others_is_used_as_it_is() {
    let server = NatsServer::start();
    let theirs = StreamConfig { prefix: Some(String::new()), manage: false, ..StreamConfig::default() };
    let orders = channel("orders", &["orders.*"]);
    let plan = plan_with(theirs, std::slice::from_ref(&orders));
    let broker = saf_broker::open(&server.config()).await.expect("a broker");
    let Err(Error::Config(text)) = broker.prepare(&plan).await else { panic!("there is no such stream yet") };
    assert!(text.contains("events") && text.contains("manage"), "{text}");

    let client = jetstream::new(async_nats::connect(server.url()).await.expect("a client"));
    let config = jetstream::stream::Config {
        name: "events".into(),
        subjects: vec!["orders.>".into()],
        ..Default::default()
    };
    client.create_stream(config).await.expect("their stream");
    let before = client.get_stream("events").await.expect("their stream").cached_info().config.clone();
    let notes = broker.prepare(&plan).await.expect("prepared");
    assert!(
        notes.iter().any(|note| matches!(note, Note::Differs(text) if text.contains("allow_atomic"))),
        "{notes:?}"
    );
    let after = client.get_stream("events").await.expect("their stream").cached_info().config.clone();
    assert_eq!(before, after);

    publish(&broker, "orders.new", "1").await;
    let mut consumer = Consumer::open(&broker, &orders).await;
    let delivery = consumer.one().await;
    assert_eq!(delivery.event.subject.as_str(), "orders.new");
    let letter = DeadLetter {
        channel: name("orders"),
        digest: String::new(),
        outcome: Outcome::Reject,
        reason: "no".into(),
        attempts: vec![],
    };
    consumer.settle_one(delivery, Settlement::Dead(Box::new(letter))).await;
    let letters = broker.dead_letters().expect("dead letters");
    let id = letters.list(&DeadLetterFilter::default(), None, 1).await.expect("a page").items.remove(0).id;
    assert!(matches!(letters.replay(&id).await, Err(Error::Config(text)) if text.contains("not managed")));
}

#[tokio::test]
async fn what_cannot_be_changed_is_reported_and_left() {
    let server = NatsServer::start();
    let first = channel("first", &["a"]);
    let broker = open(&server, &plan(std::slice::from_ref(&first))).await;
    publish(&broker, "a", "1").await;
    let mut consumer = Consumer::open(&broker, &first).await;
    assert_eq!(consumer.finish(1).await, ["1"]);

    let config = StreamConfig { storage: Storage::Memory, ..StreamConfig::default() };
    let changed = ChannelPlan { start: Start::New, retain: true, ..first.clone() };
    let notes = broker.prepare(&plan_with(config, std::slice::from_ref(&changed))).await.expect("prepared");
    let differs =
        |word: &str| notes.iter().any(|note| matches!(note, Note::Differs(text) if text.contains(word)));
    assert!(differs("storage") && differs("start"), "{notes:?}");
    assert!(differs("retain = true does nothing") && differs("discard = \"old\""), "{notes:?}");
    publish(&broker, "a", "2").await;
    assert_eq!(consumer.finish(1).await, ["2"], "the consumer is the same one");

    let everything = StreamConfig { prefix: Some(String::new()), ..StreamConfig::default() };
    let Err(Error::Config(text)) = broker.prepare(&plan_with(everything, &[])).await else {
        panic!("it must not work")
    };
    assert!(text.contains("prefix"), "{text}");
}

#[tokio::test]
async fn a_stream_that_holds_retries_cannot_discard_new_events_and_says_so() {
    let server = NatsServer::start();
    let broker = open(&server, &plan(&[])).await;
    let full = StreamConfig { discard: Discard::New, max_messages: Some(9), ..StreamConfig::default() };
    let notes = broker.prepare(&plan_with(full.clone(), &[])).await.expect("prepared");
    let differs = |text: &str| text.contains("discard") && text.contains("retries");
    assert!(notes.iter().any(|note| matches!(note, Note::Differs(text) if differs(text))), "{notes:?}");
    assert!(
        notes.iter().any(|note| matches!(note, Note::Done(text) if text.contains("max_msgs = 9"))),
        "{notes:?}"
    );
    assert!(broker.publish(&stream(), event("a", "1")).await.is_ok());

    let other = NatsServer::start();
    let broker = open(&other, &plan_with(full, &[])).await;
    let back = plan_with(StreamConfig { max_messages: Some(9), ..StreamConfig::default() }, &[]);
    broker.prepare(&back).await.expect("prepared");
    assert_eq!(broker.prepare(&back).await, Ok(vec![]), "the other way works");
}

#[tokio::test]
async fn a_stream_that_is_larger_than_the_server_may_store_is_refused_with_what_to_do() {
    let server = NatsServer::with_room("1GB");
    let broker = saf_broker::open(&server.config()).await.expect("a broker");
    let error = broker.prepare(&plan(&[channel("all", &[">"])])).await.expect_err("10 GiB do not fit");
    let Error::Config(reason) = error else { panic!("{error}") };
    for part in ["NATS has no room for stream events", "max_bytes", "max_file_store"] {
        assert!(reason.contains(part), "no {part:?} in {reason}");
    }
}

#[tokio::test]
async fn a_deleted_consumer_is_an_error_and_is_not_made_anew() {
    let server = NatsServer::start();
    let all = channel("all", &[">"]);
    let broker = open(&server, &plan(std::slice::from_ref(&all))).await;
    let mut consumer = Consumer::open(&broker, &all).await;
    publish(&broker, "a", "1").await;
    assert_eq!(consumer.finish(1).await, ["1"]);
    let client = jetstream::new(async_nats::connect(server.url()).await.expect("a client"));
    let raw = client.get_stream("events").await.expect("the stream");
    let (mut got, delete) = (Vec::new(), raw.delete_consumer("all"));
    let fill = timeout(PATIENCE, consumer.feed.source.fill(1, &mut got));
    let (filled, deleted) = futures::join!(fill, delete);
    deleted.expect("deleted");
    let error = filled.expect("in time").expect_err("there is no consumer");
    assert!(matches!(&error, Error::NotFound(_) | Error::Unavailable(_)), "{error:?}");
    assert!(raw.consumer_info("all").await.is_err(), "nobody made it anew");
    assert!(matches!(broker.subscribe(&all).await, Err(Error::NotFound(_))));
}

#[tokio::test]
async fn another_replica_sees_a_switch() {
    let server = NatsServer::start();
    let plan = plan(&[channel("a", &["a"])]);
    let (ours, theirs) = (open(&server, &plan).await, open(&server, &plan).await);
    for to in [Switch::Paused, Switch::Running] {
        ours.switch(&name("a"), to).await.expect("switched");
        let switches = theirs.switches();
        until("the other one sees it", async || {
            switches.borrow().get(&name("a")).copied().unwrap_or_default() == to
        })
        .await;
    }
}

#[tokio::test]
async fn a_page_that_read_too_much_in_vain_says_where_to_go_on() {
    const OTHERS: usize = 12_000;
    let server = NatsServer::start();
    let broker = open(&server, &plan(&[])).await;
    publish(&broker, "a", "first").await;
    // As replays of another subject are stored; the journal shows them under that one.
    let client = jetstream::new(async_nats::connect(server.url()).await.expect("a client"));
    let replay = async |n: usize| {
        let headers = HeaderMap::from_iter([
            ("Saf-Id".parse().expect("a name"), n.to_string().into()),
            ("Saf-Subject".parse().expect("a name"), "other".into()),
        ]);
        let sent = client.publish_with_headers("_saf.events.to.all", headers, "x".into()).await;
        sent.expect("sent").await.expect("stored");
    };
    futures::stream::iter(0..OTHERS).for_each_concurrent(500, replay).await;
    publish(&broker, "a", "last").await;
    let (mut found, mut pages, mut from) = (Vec::new(), 0, 1);
    loop {
        let (items, next) = scene::read(&broker, From::Sequence(from), "a", 10).await;
        found.extend(items.iter().map(|event| event.id.to_string()));
        pages += 1;
        let Some(next) = next else { break };
        let next = next.parse().expect("a sequence");
        assert!(next > from, "it goes on");
        from = next;
    }
    assert_eq!(found, ["first", "last"]);
    assert!(pages > 1, "a page is bounded");
    assert_eq!(scene::read(&broker, From::Sequence(1), "other", 3).await.0.len(), 3);
}

#[tokio::test]
async fn a_tail_that_is_too_slow_says_how_much_it_left_out() {
    const STORED: u64 = 2_500;
    let server = NatsServer::start();
    let broker = open(&server, &plan(&[])).await;
    let journal = broker.journal().expect("a journal");
    let mut tail = journal.tail(&stream(), &scene::filter(">")).await.expect("a tail");
    let events: Vec<_> = (0..STORED).map(|id| event("a", &id.to_string())).collect();
    assert!(broker.publish_all(&stream(), &events).await.iter().all(Result::is_ok));
    let (mut skipped, mut shown) = (0, 0);
    while skipped + shown < STORED {
        match timeout(PATIENCE, tail.next()).await.expect("in time").expect("the tail goes on") {
            Tailed::Skipped(count) => skipped += count,
            Tailed::Event(event) => {
                shown += 1;
                assert_eq!(event.sequence, skipped + shown, "what is not shown was counted");
            }
        }
    }
    assert!(skipped > 0 && shown > 0, "{skipped} {shown}");
}
