//! Consumers at the tail and behind it, tails, and pages.

use futures::StreamExt;

use super::*;
use crate::{From, Lag, Tailed};

#[tokio::test]
async fn a_consumer_that_falls_behind_reads_files_and_catches_up() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let some = channel("some", "b.*");
    let plan = plan(stream_config(), std::slice::from_ref(&some));
    let broker = open(folder.path(), &plan).await;
    for n in 0..300 {
        publish(&broker, if n % 10 == 0 { "b.x" } else { "a.x" }, &n.to_string()).await;
    }
    broker.close(HANG).await;
    // Nothing is in memory now.
    let broker = open(folder.path(), &plan).await;
    let mut some_feed = feed(&broker, &some).await;
    let deliveries = take(&mut some_feed, 25).await;
    assert_eq!(deliveries.last().expect("some").event.id.as_str(), "240");
    settle(&some_feed, deliveries, done).await;
    publish(&broker, "b.y", "new").await;
    let rest = take(&mut some_feed, 6).await;
    let ids: Vec<_> = rest.iter().map(|delivery| delivery.event.id.as_str()).collect();
    assert_eq!(ids, ["250", "260", "270", "280", "290", "new"]);
    settle(&some_feed, rest, done).await;
    assert!(is_idle(&mut some_feed).await);
    publish(&broker, "b.z", "live").await;
    assert_eq!(take(&mut some_feed, 1).await[0].event.id.as_str(), "live");
}

#[tokio::test]
async fn more_than_what_waits_in_memory_for_a_live_consumer_is_not_lost() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let all = ChannelPlan { max_ack_pending: 100_000, ..channel("all", ">") };
    let plan = plan(stream_config(), std::slice::from_ref(&all));
    let broker = open(folder.path(), &plan).await;
    let mut all_feed = feed(&broker, &all).await;
    assert!(is_idle(&mut all_feed).await, "live from here on");
    let count = super::super::consumer::HITS_MAX + 500;
    let batch = |n: usize| (0..500).map(|i| event("a", &(n * 500 + i).to_string())).collect::<Vec<_>>();
    for n in 0..=count / 500 {
        for stored in broker.publish_all(&events(), &batch(n)).await {
            stored.expect("stored");
        }
    }
    let deliveries = take(&mut all_feed, count).await;
    assert!(deliveries.iter().enumerate().all(|(n, delivery)| delivery.event.id.as_str() == n.to_string()));
}

#[tokio::test]
async fn lag_counts_what_matches() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let some = channel("some", "b");
    let plan = plan(stream_config(), std::slice::from_ref(&some));
    let broker = open(folder.path(), &plan).await;
    for (n, subject) in ["a", "b", "a", "b", "b"].into_iter().enumerate() {
        publish(&broker, subject, &n.to_string()).await;
    }
    let mut some_feed = feed(&broker, &some).await;
    let lag = |feed: &Feed| {
        let settler = feed.settler.clone();
        async move { settler.lag().await.expect("answers") }
    };
    assert_eq!(lag(&some_feed).await, Lag { pending: 3, unsettled: 0, floor: 0, expired: 0 });
    let deliveries = take(&mut some_feed, 1).await;
    assert_eq!(lag(&some_feed).await, Lag { pending: 2, unsettled: 1, floor: 1, expired: 0 });
    settle(&some_feed, deliveries, done).await;
    let rest = take(&mut some_feed, 2).await;
    settle(&some_feed, rest, done).await;
    assert!(is_idle(&mut some_feed).await);
    assert_eq!(lag(&some_feed).await, Lag { pending: 0, unsettled: 0, floor: 5, expired: 0 });
}

#[tokio::test]
async fn a_tail_sees_what_comes_and_says_what_it_left_out() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let broker =
        open(folder.path(), &plan(StreamConfig { max_bytes: Size(64 << 20), ..stream_config() }, &[])).await;
    publish(&broker, "a", "before").await;
    let mut tail = broker.tail(&events(), &Filter::parse("a").expect("valid")).await.expect("opens");
    publish(&broker, "b", "other").await;
    publish(&broker, "a", "first").await;
    let Some(Tailed::Event(first)) = tail.next().await else { panic!("an event") };
    assert_eq!(first.id.as_str(), "first");
    // More than the newest frames in memory hold.
    let large = |n: usize| NewEvent { data: vec![0; 3000].into(), ..event("a", &format!("large-{n}")) };
    for n in 0..14 {
        let batch: Vec<_> = (0..500).map(|i| large(n * 500 + i)).collect();
        for stored in broker.publish_all(&events(), &batch).await {
            stored.expect("stored");
        }
    }
    let Some(Tailed::Skipped(skipped)) = tail.next().await else { panic!("a gap") };
    let Some(Tailed::Event(next)) = tail.next().await else { panic!("an event") };
    assert_eq!(next.sequence, first.sequence + skipped + 1);
    broker.close(HANG).await;
    let rest =
        tokio::time::timeout(HANG, tail.collect::<Vec<_>>()).await.expect("ends when the store is closed");
    assert!(rest.len() < 7000);
}

#[tokio::test]
async fn pages_go_from_a_sequence_or_a_time() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let broker = open(folder.path(), &plan(stream_config(), &[])).await;
    publish_many(&broker, "a", 0..100).await;
    let all = Filter::all();
    let page = broker.read(&events(), From::Sequence(98), &all, 2).await.expect("reads");
    let sequences: Vec<_> = page.items.iter().map(|event| event.sequence).collect();
    assert_eq!((sequences, page.next.as_deref()), (vec![98, 99], Some("100")));
    let page = broker.read(&events(), From::Sequence(100), &all, 2).await.expect("reads");
    assert_eq!((page.items.len(), page.next), (1, None));
    let time = page.items[0].time;
    let page = broker.read(&events(), From::Time(time), &all, 1000).await.expect("reads");
    assert!(
        page.items.iter().all(|event| event.time >= time) && page.items.last().expect("one").sequence == 100
    );
    let page = broker.read(&events(), From::Time(time + 60_000), &all, 10).await.expect("reads");
    assert!(page.items.is_empty());
    let summary = broker.summary(&events()).await.expect("answers");
    assert_eq!((summary.first, summary.last, summary.events), (1, 100, 100));
    assert!(broker.get(&events(), 101).await.is_err());
}

#[tokio::test]
async fn a_few_among_many_that_fell_out_of_memory_are_fetched_and_the_consumer_stays_live() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let rare = channel("rare", "rare");
    let config = StreamConfig { max_bytes: Size(256 << 20), ..stream_config() };
    let broker = open(folder.path(), &plan(config, std::slice::from_ref(&rare))).await;
    let mut rare_feed = feed(&broker, &rare).await;
    assert!(is_idle(&mut rare_feed).await, "live from here on");
    let large = |n: usize| NewEvent { data: vec![0; 3000].into(), ..event("often", &format!("large-{n}")) };
    for n in 0..20 {
        publish(&broker, "rare", &n.to_string()).await;
        let batch: Vec<_> = (0..500).map(|i| large(n * 500 + i)).collect();
        for stored in broker.publish_all(&events(), &batch).await {
            stored.expect("stored");
        }
    }
    let consumer = broker.stream(&events()).expect("open").roster.find(&rare.channel).expect("there");
    let deliveries = take(&mut rare_feed, 20).await;
    let ids: Vec<_> = deliveries.iter().map(|delivery| delivery.event.id.to_string()).collect();
    assert_eq!(ids, (0..20).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(consumer.looks_from().map(|(from, _)| from), None, "it never fell behind");
}
