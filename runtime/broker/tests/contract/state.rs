//! What a Channel's state holds, and when. What only one broker promises (exactly once over a crash) is in its own tests.

use std::collections::BTreeSet;
use std::sync::Arc;

use bytes::Bytes;
use saf_broker::{
    ChannelPlan, MAX_STATE_KEY_BYTES, SettleError, Settlement, Shared, StateChange, StateChanges, StatePlan,
    StateReader, StateValue,
};

use super::fixture::Fixture;
use super::scene::{Consumer, channel, emission, listing, plan, publish};

const KEPT: StatePlan = StatePlan { max_bytes: 64 << 20 };

fn counter() -> ChannelPlan {
    ChannelPlan { state: Some(KEPT), ..channel("counter", &["in"]) }
}

async fn open(broker: &Shared) -> Consumer {
    broker.prepare(&plan(&[counter()])).await.expect("prepared");
    Consumer::open(broker, &counter()).await
}

fn state(consumer: &Consumer) -> Arc<dyn StateReader> {
    consumer.feed.state.clone().expect("the plan has state")
}

/// No event's sequence.
const NOBODY: u64 = u64::MAX;

async fn get(consumer: &Consumer, key: &str) -> StateValue {
    state(consumer).get(NOBODY, key).await.expect("reads")
}

async fn text(consumer: &Consumer, key: &str) -> Option<String> {
    get(consumer, key).await.value.map(|value| String::from_utf8(value.to_vec()).expect("text"))
}

fn change(key: &str, value: Option<&str>, read: Option<u64>) -> StateChange {
    StateChange { key: key.into(), value: value.map(|value| Bytes::copy_from_slice(value.as_bytes())), read }
}

fn changes(version: u64, all: Vec<StateChange>) -> StateChanges {
    StateChanges { version, all }
}

fn done(version: u64, all: Vec<StateChange>) -> Settlement {
    Settlement::Done { emit: Vec::new(), state: changes(version, all) }
}

/// Publishes an event and settles it so.
async fn write(broker: &Shared, consumer: &mut Consumer, settlement: Settlement) {
    publish(broker, "in", &format!("{:?}", std::time::Instant::now())).await;
    let delivery = consumer.one().await;
    consumer.settle_one(delivery, settlement).await;
}

pub async fn what_an_event_changed_is_there_once_it_is_settled_and_after_a_restart<F: Fixture>(
    mut fixture: F,
) {
    let mut consumer = open(fixture.broker()).await;
    assert_eq!(get(&consumer, "a").await, StateValue::default());
    publish(fixture.broker(), "in", "1").await;
    let delivery = consumer.one().await;
    let state = changes(7, vec![change("a", Some("1"), Some(0)), change("b", Some(""), None)]);
    consumer.settle_one(delivery, Settlement::Done { emit: vec![emission("out", "e")], state }).await;
    assert_eq!(text(&consumer, "a").await.as_deref(), Some("1"));
    write(fixture.broker(), &mut consumer, done(8, vec![change("a", Some("2"), Some(7))])).await;
    assert_eq!(
        listing(fixture.broker()).await.len(),
        3,
        "two events and an emission, whatever else is stored"
    );
    drop(consumer);
    fixture.restart().await;
    let mut consumer = open(fixture.broker()).await;
    assert_eq!(text(&consumer, "a").await.as_deref(), Some("2"));
    assert_eq!(text(&consumer, "b").await.as_deref(), Some(""));
    publish(fixture.broker(), "in", "last").await;
    assert_eq!(consumer.finish(1).await, ["last"], "what changed something is settled, and comes no more");
}

pub async fn an_event_that_read_what_another_one_changed_since_stores_nothing<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = open(broker).await;
    for id in ["1", "2"] {
        publish(broker, "in", id).await;
    }
    let both = consumer.take(2).await;
    let [first, second] = <[_; 2]>::try_from(both).expect("two");
    let read = get(&consumer, "k").await.version;
    consumer.settle_one(first, done(11, vec![change("k", Some("first"), Some(read))])).await;
    let late = changes(12, vec![change("other", Some("x"), None), change("k", Some("second"), Some(read))]);
    let late = Settlement::Done { emit: vec![emission("out", "late")], state: late };
    let mut unsettled = consumer.settle(vec![second.into(late)]).await;
    let refused = unsettled.pop().expect("it cannot be settled so");
    assert_eq!(refused.error, SettleError::Conflict);
    assert_eq!(text(&consumer, "k").await.as_deref(), Some("first"));
    assert_eq!(text(&consumer, "other").await, None, "all or none");
    assert_eq!(listing(broker).await.len(), 2, "no emission either");
    // Called again, it reads what is there now.
    let read = get(&consumer, "k").await.version;
    let again = done(13, vec![change("k", Some("second"), Some(read))]);
    consumer.settle_one(refused.settling.delivery, again).await;
    assert_eq!(text(&consumer, "k").await.as_deref(), Some("second"));
}

pub async fn settlements_of_one_batch_build_on_each_other<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = open(broker).await;
    for id in 1..=50 {
        publish(broker, "in", &id.to_string()).await;
    }
    let deliveries = consumer.take(50).await;
    let batch = deliveries.into_iter().zip(1u64..).map(|(delivery, n)| {
        let count = n.to_string();
        let all = vec![change("count", Some(&count), Some(n - 1)), change(&format!("k{n}"), Some("1"), None)];
        let emit = vec![emission("out", &format!("e{n}"))];
        delivery.into(Settlement::Done { emit, state: changes(n, all) })
    });
    let unsettled = consumer.settle(batch.collect()).await;
    assert!(unsettled.is_empty(), "{unsettled:?}");
    assert_eq!(text(&consumer, "count").await.as_deref(), Some("50"));
    assert_eq!(text(&consumer, "k50").await.as_deref(), Some("1"));
    assert_eq!(listing(broker).await.len(), 100);
}

pub async fn a_key_that_is_deleted_is_gone_and_may_come_again<F: Fixture>(mut fixture: F) {
    let mut consumer = open(fixture.broker()).await;
    write(
        fixture.broker(),
        &mut consumer,
        done(1, vec![change("k", Some("1"), None), change("l", Some("1"), None)]),
    )
    .await;
    write(fixture.broker(), &mut consumer, done(2, vec![change("k", None, Some(1))])).await;
    assert_eq!(get(&consumer, "k").await, StateValue::default());
    drop(consumer);
    fixture.restart().await;
    let mut consumer = open(fixture.broker()).await;
    assert_eq!(get(&consumer, "k").await, StateValue::default());
    assert_eq!(state(&consumer).keys(None, 10).await.expect("keys").keys, ["l"]);
    write(fixture.broker(), &mut consumer, done(3, vec![change("k", Some("3"), Some(0))])).await;
    assert_eq!(text(&consumer, "k").await.as_deref(), Some("3"));
}

pub async fn keys_are_listed_once_each_page_by_page<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = open(broker).await;
    for round in 0..2u64 {
        let all = (0..250).map(|n| change(&format!("key {n}"), Some("v"), None)).collect();
        write(broker, &mut consumer, done(round + 1, all)).await;
    }
    let (mut seen, mut cursor, mut pages) = (BTreeSet::new(), None, 0);
    loop {
        let page = state(&consumer).keys(cursor.as_deref(), 50).await.expect("keys");
        assert!(page.keys.len() <= 50);
        for key in page.keys {
            assert!(seen.insert(key.to_string()), "{key} came twice");
        }
        (cursor, pages) = (page.next, pages + 1);
        if cursor.is_none() {
            break;
        }
    }
    assert_eq!((seen.len(), pages >= 5), (250, true));
}

pub async fn any_text_is_a_key_up_to_its_length<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let mut consumer = open(broker).await;
    let longest = "ö".repeat(127);
    let keys = ["a.b", ">", "*", " ", "\0", "\r\n", "a/b", "\u{202e}x", &longest];
    let all = keys.iter().map(|key| change(key, Some(key), None)).collect();
    write(broker, &mut consumer, done(1, all)).await;
    for key in keys {
        assert_eq!(text(&consumer, key).await.as_deref(), Some(key));
    }
    for key in ["", &"k".repeat(MAX_STATE_KEY_BYTES + 1)] {
        publish(broker, "in", &format!("id-{}", key.len())).await;
        let delivery = consumer.one().await;
        let unsettled =
            consumer.settle(vec![delivery.into(done(2, vec![change(key, Some("1"), None)]))]).await;
        let refused = unsettled.first().map(|unsettled| &unsettled.error);
        assert!(matches!(refused, Some(SettleError::Refused(_))), "{refused:?}");
        let left = unsettled.into_iter().map(|unsettled| unsettled.settling.delivery);
        for delivery in left {
            consumer.done(delivery, Vec::new()).await;
        }
    }
}

pub async fn state_is_each_channels_own_and_needs_a_plan<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let other = ChannelPlan { state: Some(KEPT), ..channel("other", &["in"]) };
    let none = channel("none", &["in"]);
    broker.prepare(&plan(&[counter(), other.clone(), none.clone()])).await.expect("prepared");
    assert_eq!(broker.prepare(&plan(&[counter(), other.clone(), none.clone()])).await, Ok(vec![]), "quiet");
    let (mut first, second) =
        (Consumer::open(broker, &counter()).await, Consumer::open(broker, &other).await);
    write(broker, &mut first, done(1, vec![change("k", Some("1"), None)])).await;
    assert_eq!(get(&second, "k").await, StateValue::default());
    let mut none = Consumer::open(broker, &none).await;
    assert!(none.feed.state.is_none());
    let delivery = none.one().await;
    let unsettled = none.settle(vec![delivery.into(done(1, vec![change("k", Some("1"), None)]))]).await;
    assert!(matches!(unsettled[0].error, SettleError::Refused(_)), "{unsettled:?}");
}
