//! What a settlement does, and what it never does twice.

use std::time::{Duration, Instant};

use saf_broker::{ChannelPlan, Refusal, SettleError, Settlement, Shared};
use saf_event::NewEvent;

use super::fixture::Fixture;
use super::scene::{Consumer, channel, emission, ids, listing, plan, publish, stored, text};

/// The least that every broker can wait for.
const SHORT_WAIT: Duration = Duration::from_secs(1);

async fn one_channel(broker: &Shared, plan_of: ChannelPlan) -> Consumer {
    broker.prepare(&plan(std::slice::from_ref(&plan_of))).await.expect("prepared");
    Consumer::open(broker, &plan_of).await
}

fn pairs(all: &[(&str, &str)]) -> Vec<(String, String)> {
    all.iter().map(|&(subject, id)| (subject.to_owned(), id.to_owned())).collect()
}

pub async fn emissions_are_stored_in_order_before_the_settlement<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = one_channel(broker, channel("in", &["in"])).await;
    for (id, emit) in [("1", &[][..]), ("2", &["a"]), ("3", &["b", "c", "d"])] {
        publish(broker, "in", id).await;
        let delivery = consumer.one().await;
        let emit = emit.iter().map(|id| emission("out", id)).collect();
        consumer.done(delivery, emit).await;
    }
    let wanted =
        [("in", "1"), ("in", "2"), ("out", "a"), ("in", "3"), ("out", "b"), ("out", "c"), ("out", "d")];
    assert_eq!(listing(broker).await, pairs(&wanted));
    publish(broker, "in", "last").await;
    assert_eq!(consumer.finish(1).await, ["last"], "nothing comes again");
}

pub async fn a_batch_settles_each_in_its_own_way<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = one_channel(broker, channel("in", &["in"])).await;
    for id in 1..=40 {
        publish(broker, "in", &id.to_string()).await;
    }
    let deliveries = consumer.take(40).await;
    let batch = deliveries.into_iter().enumerate().map(|(index, delivery)| {
        let id = delivery.event.id.clone();
        let emit = |n: usize| (0..n).map(|n| emission("out", &format!("{id}.{n}"))).collect();
        delivery.into(match index % 4 {
            0 => Settlement::done(emit(0)),
            1 => Settlement::done(emit(1)),
            2 => Settlement::done(emit(3)),
            _ => Settlement::Retry { after: Duration::ZERO },
        })
    });
    let unsettled = consumer.settle(batch.collect()).await;
    assert!(unsettled.is_empty(), "{unsettled:?}");
    let mut out: Vec<String> =
        listing(broker).await.into_iter().filter(|(s, _)| s == "out").map(|(_, id)| id).collect();
    out.sort();
    let wanted = (1..=40).filter(|id| id % 4 == 2).map(|id| format!("{id}.0"));
    let mut wanted: Vec<String> = wanted
        .chain((1..=40).filter(|id| id % 4 == 3).flat_map(|id| (0..3).map(move |n| format!("{id}.{n}"))))
        .collect();
    wanted.sort();
    assert_eq!(out, wanted);
    let again = consumer.take(10).await;
    assert!(again.iter().all(|delivery| delivery.attempt == 2));
    let mut again: Vec<u32> = ids(&again).iter().map(|id| id.parse().expect("a number")).collect();
    again.sort_unstable();
    assert_eq!(again, (1..=40).filter(|id| id % 4 == 0).collect::<Vec<_>>());
}

pub async fn emissions_of_a_second_attempt_are_stored_once<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let short = ChannelPlan { ack_wait: SHORT_WAIT, ..channel("in", &["in"]) };
    let mut consumer = one_channel(broker, short).await;
    for (id, emitted) in [("one", 1), ("many", 3)] {
        publish(broker, "in", id).await;
        let first = consumer.one().await;
        let second = consumer.one().await;
        assert_eq!((ids(std::slice::from_ref(&second)), second.deliveries), (vec![id.to_owned()], 2));
        let emit = || (0..emitted).map(|n| emission("out", &format!("{id}.{n}"))).collect();
        consumer.done(first, emit()).await;
        consumer.done(second, emit()).await;
    }
    let wanted = [
        ("in", "one"),
        ("out", "one.0"),
        ("in", "many"),
        ("out", "many.0"),
        ("out", "many.1"),
        ("out", "many.2"),
    ];
    assert_eq!(listing(broker).await, pairs(&wanted));
}

pub async fn a_repeated_set_does_not_keep_a_new_one_out<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let short = ChannelPlan { ack_wait: SHORT_WAIT, ..channel("in", &["in"]) };
    let mut consumer = one_channel(broker, short).await;
    let emit = |id: &str| Settlement::done((0..2).map(|n| emission("out", &format!("{id}.{n}"))).collect());
    publish(broker, "in", "old").await;
    let (first, second) = (consumer.one().await, consumer.one().await);
    consumer.settle_one(first, emit("old")).await;
    publish(broker, "in", "new").await;
    let fresh = consumer.one().await;
    let unsettled = consumer.settle(vec![second.into(emit("old")), fresh.into(emit("new"))]).await;
    assert!(unsettled.is_empty(), "{unsettled:?}");
    let wanted = [
        ("in", "old"),
        ("out", "old.0"),
        ("out", "old.1"),
        ("in", "new"),
        ("out", "new.0"),
        ("out", "new.1"),
    ];
    assert_eq!(listing(broker).await, pairs(&wanted));
}

pub async fn emissions_are_stored_all_or_none<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = one_channel(broker, channel("in", &["in"])).await;
    publish(broker, "in", "1").await;
    let delivery = consumer.one().await;
    let large = vec![b'x'; broker.profile().max_event_bytes * 2];
    let large = NewEvent { data: large.into(), ..emission("out", "large") };
    let emit = vec![emission("out", "a"), large, emission("out", "b")];
    let mut unsettled = consumer.settle(vec![delivery.into(Settlement::done(emit))]).await;
    let refused = unsettled.pop().expect("it cannot be settled so");
    assert!(matches!(refused.error, SettleError::Refused(Refusal::TooLarge { .. })), "{:?}", refused.error);
    assert_eq!(listing(broker).await, pairs(&[("in", "1")]));
    consumer.done(refused.settling.delivery, vec![emission("out", "c")]).await;
    assert_eq!(listing(broker).await, pairs(&[("in", "1"), ("out", "c")]));
}

pub async fn too_many_emissions_are_refused<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = one_channel(broker, channel("in", &["in"])).await;
    publish(broker, "in", "1").await;
    let limit = broker.profile().max_emissions.min(1_000);
    let delivery = consumer.one().await;
    let emit = (0..limit).map(|n| emission("out", &n.to_string())).collect();
    consumer.done(delivery, emit).await;
    let last = stored(broker).await.pop().expect("an event");
    assert_eq!(last.id.as_str(), (limit - 2).to_string(), "the page ends one before the last");

    if limit < broker.profile().max_emissions {
        return;
    }
    publish(broker, "in", "2").await;
    let delivery = consumer.one().await;
    let emit = (0..=limit).map(|n| emission("out", &n.to_string())).collect();
    let unsettled = consumer.settle(vec![delivery.into(Settlement::done(emit))]).await;
    let wanted = SettleError::Refused(Refusal::TooMany { count: limit + 1, limit });
    assert_eq!(unsettled.iter().map(|u| &u.error).collect::<Vec<_>>(), [&wanted]);
}

pub async fn a_retry_comes_back_later_as_another_attempt<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = one_channel(broker, channel("in", &["in"])).await;
    publish(broker, "in", "1").await;
    for attempt in 1..=3 {
        let delivery = consumer.one().await;
        assert_eq!((delivery.attempt, delivery.event.sequence), (attempt, 1));
        let after = Duration::from_millis(300);
        let asked = Instant::now();
        consumer.settle_one(delivery, Settlement::Retry { after }).await;
        if attempt == 1 {
            // Others do not wait for it.
            publish(broker, "in", "2").await;
            assert_eq!(consumer.finish(1).await, ["2"]);
        }
        let delivery = consumer.one().await;
        assert!(asked.elapsed() + Duration::from_millis(50) >= after, "it came too early");
        assert_eq!(delivery.attempt, attempt + 1);
        // Given back, so that the next round counts only its own failure.
        consumer.settle_one(delivery, Settlement::Release).await;
    }
}

pub async fn what_is_given_back_comes_at_once_and_burns_no_attempt<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = one_channel(broker, channel("in", &["in"])).await;
    publish(broker, "in", "1").await;
    let released = consumer.one().await;
    consumer.settle_one(released, Settlement::Release).await;
    let dropped = consumer.one().await;
    assert_eq!((dropped.attempt, dropped.deliveries), (1, 1));
    drop(dropped);
    let abandoned = consumer.one().await;
    assert_eq!((abandoned.attempt, abandoned.deliveries), (1, 1));
    consumer.settle_one(abandoned, Settlement::Retry { after: Duration::ZERO }).await;
    let failed = consumer.one().await;
    assert_eq!((failed.attempt, failed.deliveries), (2, 2));
}

pub async fn a_sign_of_life_keeps_a_delivery<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let short = ChannelPlan { ack_wait: SHORT_WAIT, ..channel("in", &["in"]) };
    let mut consumer = one_channel(broker, short).await;
    publish(broker, "in", "1").await;
    let delivery = consumer.one().await;
    let tickets = [delivery.ticket().expect("not settled").clone()];
    let taken = Instant::now();
    while taken.elapsed() < SHORT_WAIT * 5 / 2 {
        tokio::time::sleep(SHORT_WAIT / 5).await;
        consumer.feed.settler.extend(&tickets).await.expect("extended");
    }
    consumer.done(delivery, vec![]).await;
    publish(broker, "in", "2").await;
    let next = consumer.one().await;
    assert_eq!((next.event.id.as_str(), next.deliveries), ("2", 1), "the first never came again");
}

pub async fn a_delivery_without_a_sign_of_life_comes_again<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let short = ChannelPlan { ack_wait: SHORT_WAIT, ..channel("in", &["in"]) };
    let mut consumer = one_channel(broker, short).await;
    let mut sent = super::scene::event("in", "1");
    sent.headers.push(text("x-tag"), text("kept")).expect("a header");
    broker.publish(&super::scene::stream(), sent).await.expect("stored");
    let first = consumer.one().await;
    let second = consumer.one().await;
    assert_eq!((second.deliveries, &second.event), (2, &first.event));
    consumer.done(second, vec![]).await;
    std::mem::forget(first);
}
