//! Who is handed what, from where on, and in which order.

use std::time::Duration;

use saf_broker::{ChannelPlan, Lag, Order, Settlement, Start};
use saf_event::unix_millis;

use super::fixture::Fixture;
use super::scene::{Consumer, PATIENCE, channel, ids, plan, publish, until};

pub async fn every_channel_gets_what_it_subscribed_to<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let channels =
        [channel("all", &[">"]), channel("rides", &["ride.*"]), channel("two", &["hello", "ride.a.>"])];
    broker.prepare(&plan(&channels)).await.expect("prepared");
    for (subject, id) in [("hello", "1"), ("ride.a", "2"), ("ride.a.b", "3"), ("other", "4"), ("ride.b", "5")]
    {
        publish(broker, subject, id).await;
    }
    for (channel, wanted) in channels.iter().zip([&["1", "2", "3", "4", "5"][..], &["2", "5"], &["1", "3"]]) {
        let mut consumer = Consumer::open(broker, channel).await;
        assert_eq!(consumer.finish(wanted.len()).await, wanted, "{}", channel.channel);
        let lag = consumer.feed.settler.lag().await.expect("a lag");
        assert_eq!(lag.pending, 0, "{}", channel.channel);
    }
}

pub async fn two_feeds_of_one_channel_share_its_events<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let all = channel("all", &[">"]);
    broker.prepare(&plan(std::slice::from_ref(&all))).await.expect("prepared");
    let (mut first, mut second) = (Consumer::open(broker, &all).await, Consumer::open(broker, &all).await);
    for id in 1..=20 {
        publish(broker, "a", &id.to_string()).await;
    }
    let (ours, theirs) = (first.take(10).await, second.take(10).await);
    let mut together: Vec<u32> =
        ids(&ours).iter().chain(&ids(&theirs)).map(|id| id.parse().expect("a number")).collect();
    together.sort_unstable();
    assert_eq!(together, (1..=20).collect::<Vec<_>>());
}

pub async fn no_more_is_handed_out_than_wanted<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let all = channel("all", &[">"]);
    broker.prepare(&plan(std::slice::from_ref(&all))).await.expect("prepared");
    for id in 1..=10 {
        publish(broker, "a", &id.to_string()).await;
    }
    let mut consumer = Consumer::open(broker, &all).await;
    let mut got = Vec::new();
    for want in [1, 3, 2, 4] {
        got.extend(consumer.take(want).await);
    }
    assert_eq!(ids(&got), (1..=10).map(|id| id.to_string()).collect::<Vec<_>>());
}

pub async fn a_channel_starts_where_it_says<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    publish(broker, "a", "1").await;
    publish(broker, "a", "2").await;
    let after_two = unix_millis();
    until("the clock goes on", async || unix_millis() > after_two).await;
    publish(broker, "a", "3").await;
    let cases = [
        ("all", Start::All, &["1", "2", "3", "4"][..]),
        ("new", Start::New, &["4"]),
        ("sequence", Start::Sequence(2), &["2", "3", "4"]),
        ("time", Start::Time(after_two + 1), &["3", "4"]),
    ];
    let channels: Vec<_> =
        cases.iter().map(|&(name, start, _)| ChannelPlan { start, ..channel(name, &[">"]) }).collect();
    broker.prepare(&plan(&channels)).await.expect("prepared");
    publish(broker, "a", "4").await;
    for (channel, (name, _, wanted)) in channels.iter().zip(cases) {
        let mut consumer = Consumer::open(broker, channel).await;
        assert_eq!(consumer.finish(wanted.len()).await, wanted, "{name}");
    }
}

pub async fn strict_order_hands_out_one_at_a_time<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let strict = ChannelPlan { order: Order::All, ..channel("strict", &[">"]) };
    broker.prepare(&plan(std::slice::from_ref(&strict))).await.expect("prepared");
    for id in 1..=4 {
        publish(broker, "a", &id.to_string()).await;
    }
    let mut consumer = Consumer::open(broker, &strict).await;
    let mut seen = Vec::new();
    while seen.len() < 6 {
        let mut got = Vec::new();
        let filled =
            tokio::time::timeout(PATIENCE, consumer.feed.source.fill(10, &mut got)).await.expect("in time");
        filled.expect("a delivery");
        assert_eq!(got.len(), 1, "one at a time");
        let delivery = got.remove(0);
        let again = delivery.event.id.as_str() == "2" && delivery.attempt < 3;
        seen.push(format!("{}/{}", delivery.event.id, delivery.attempt));
        let settlement =
            if again { Settlement::Retry { after: Duration::ZERO } } else { Settlement::done(vec![]) };
        consumer.settle_one(delivery, settlement).await;
    }
    assert_eq!(seen, ["1/1", "2/1", "2/2", "2/3", "3/1", "4/1"]);
}

pub async fn a_restart_hands_out_what_was_not_settled<F: Fixture>(mut fixture: F) {
    let all = ChannelPlan { ack_wait: Duration::from_secs(1), ..channel("all", &[">"]) };
    fixture.broker().prepare(&plan(std::slice::from_ref(&all))).await.expect("prepared");
    for id in 1..=4 {
        publish(fixture.broker(), "a", &id.to_string()).await;
    }
    let mut consumer = Consumer::open(fixture.broker(), &all).await;
    let mut held = consumer.take(3).await;
    let second = held.remove(1);
    consumer.done(second, vec![]).await;
    let settled = consumer.feed.settler.lag().await.expect("a lag");
    assert_eq!(settled.pending, 1);
    // As in a crash: what is held never comes to a verdict.
    held.into_iter().for_each(std::mem::forget);
    drop(consumer);
    fixture.restart().await;
    fixture.broker().prepare(&plan(std::slice::from_ref(&all))).await.expect("prepared");
    let mut consumer = Consumer::open(fixture.broker(), &all).await;
    let mut again = consumer.finish(3).await;
    again.sort();
    assert_eq!(again, ["1", "3", "4"]);
}

pub async fn a_dropped_fill_loses_nothing<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let all = channel("all", &[">"]);
    broker.prepare(&plan(std::slice::from_ref(&all))).await.expect("prepared");
    let mut consumer = Consumer::open(broker, &all).await;
    let mut got = Vec::new();
    for id in 1..=50 {
        // A fill that is dropped while it waits, or in the midst of what just came.
        let _ =
            tokio::time::timeout(Duration::from_millis(id % 3), consumer.feed.source.fill(4, &mut got)).await;
        publish(broker, "a", &id.to_string()).await;
    }
    got.extend(consumer.take(50 - got.len()).await);
    let mut seen: Vec<u32> = ids(&got).iter().map(|id| id.parse().expect("a number")).collect();
    seen.sort_unstable();
    assert_eq!(seen, (1..=50).collect::<Vec<_>>());
    assert!(got.iter().all(|delivery| delivery.attempt == 1), "no attempt is burnt");
}

pub async fn lag_counts_what_is_left<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let all = channel("all", &[">"]);
    broker.prepare(&plan(std::slice::from_ref(&all))).await.expect("prepared");
    for id in 1..=5 {
        publish(broker, "a", &id.to_string()).await;
    }
    let mut consumer = Consumer::open(broker, &all).await;
    assert_eq!(consumer.finish(2).await, ["1", "2"]);
    let held = consumer.take(2).await;
    let wanted = Lag { pending: 1, unsettled: 2, floor: 2, expired: 0 };
    until("the lag is right", async || consumer.feed.settler.lag().await == Ok(wanted)).await;
    drop(held);
}
