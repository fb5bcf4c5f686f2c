//! What is kept of settled deliveries: complete after a clean end, and bounded by what the configuration says.

use std::time::Duration;

use saf_broker::{
    Account, DeadLetter, Entry, Fate, HistoryConfig, HistoryFilter, Place, Plan, Settlement, Shared,
};
use saf_event::{Outcome, unix_millis};

use super::fixture::Fixture;
use super::scene::{Consumer, channel, emission, name, plan, publish, stream};

fn account(outcome: Outcome, reason: Option<&str>) -> Account {
    Account {
        digest: *b"01234567",
        outcome,
        started: unix_millis(),
        queued_millis: 5,
        micros: 1_500,
        fuel: 77,
        memory: 65_536,
        reason: reason.map(Into::into),
    }
}

async fn settle(consumer: &mut Consumer, settlement: Settlement, account: Account) {
    let delivery = consumer.one().await;
    let unsettled = consumer.settle(vec![delivery.told(settlement, Some(account))]).await;
    assert!(unsettled.is_empty(), "{unsettled:?}");
}

async fn of(broker: &Shared, sequence: u64) -> Vec<Entry> {
    broker.history().expect("a history").of(&stream(), sequence, None).await.expect("a page").items
}

async fn list(broker: &Shared, filter: &HistoryFilter, limit: usize) -> Vec<u64> {
    let (mut found, mut after) = (Vec::new(), None);
    loop {
        let page =
            broker.history().expect("a history").list(&stream(), filter, after, limit).await.expect("a page");
        assert!(page.items.len() <= limit);
        found.extend(page.items.iter().map(|entry| entry.sequence));
        match page.next {
            Some(next) => after = Some(next.parse().expect("a number")),
            None => return found,
        }
    }
}

fn letter() -> Settlement {
    Settlement::Dead(Box::new(DeadLetter {
        channel: name("in"),
        digest: "30313233343536370000".into(),
        outcome: Outcome::Reject,
        reason: "no".into(),
        attempts: Vec::new(),
    }))
}

pub async fn what_was_settled_is_told_after_a_restart<F: Fixture>(mut fixture: F) {
    let plan_of = channel("in", &["in"]);
    let prepared = plan(std::slice::from_ref(&plan_of));
    fixture.broker().prepare(&prepared).await.expect("prepared");
    let mut consumer = Consumer::open(fixture.broker(), &plan_of).await;
    for id in ["1", "2", "3", "4"] {
        publish(fixture.broker(), "in", id).await;
    }
    settle(&mut consumer, Settlement::done(Vec::new()), account(Outcome::Done, None)).await;
    let emit = ["a", "b"].map(|id| emission("out", id)).into();
    settle(&mut consumer, Settlement::done(emit), account(Outcome::Done, None)).await;
    let after = Duration::from_mins(50);
    settle(&mut consumer, Settlement::Retry { after }, account(Outcome::Trap, Some("boom"))).await;
    settle(&mut consumer, letter(), account(Outcome::Reject, Some("no"))).await;
    drop(consumer);

    fixture.restart().await;
    fixture.broker().prepare(&prepared).await.expect("prepared");
    let broker = fixture.broker();
    for (sequence, fate, outcome) in [
        (1, Fate::Done { emitted: 0, sequences: Vec::new() }, Outcome::Done),
        (2, Fate::Done { emitted: 2, sequences: vec![5, 6] }, Outcome::Done),
        (3, Fate::Retry { after_millis: 3_000_000 }, Outcome::Trap),
        (4, Fate::DeadLetter { letter: 1 }, Outcome::Reject),
    ] {
        let told = of(broker, sequence).await;
        let [entry] = &told[..] else { panic!("{sequence}: {told:?}") };
        assert_eq!((&entry.fate, entry.account.outcome), (&fate, outcome), "{sequence}");
        assert_eq!((entry.attempt, entry.channel.as_str(), &entry.account.digest), (1, "in", b"01234567"));
        assert_eq!((entry.account.micros, entry.account.fuel, entry.account.memory), (1_500, 77, 65_536));
    }
    assert_eq!(of(broker, 3).await[0].account.reason.as_deref(), Some("boom"));
    let filter = HistoryFilter { outcome: Some(Outcome::Done), ..HistoryFilter::default() };
    assert_eq!(
        (list(broker, &filter, 1).await, list(broker, &HistoryFilter::default(), 3).await),
        (vec![1, 2], vec![1, 2, 3, 4])
    );
    let filter = HistoryFilter { channel: Some(name("other")), ..HistoryFilter::default() };
    assert!(list(broker, &filter, 10).await.is_empty());

    // What a person does to a dead letter is told too.
    broker.dead_letters().expect("dead letters").delete("events:1").await.expect("deleted");
    let fates: Vec<_> = of(broker, 4).await.into_iter().map(|entry| entry.fate).collect();
    assert_eq!(fates, [Fate::DeadLetter { letter: 1 }, Fate::Deleted]);
    assert_eq!(broker.history().expect("a history").dropped(), 0);
}

pub async fn nothing_is_kept_when_the_configuration_says_so<F: Fixture>(fixture: F) {
    let plan_of = channel("in", &["in"]);
    let history = HistoryConfig { enabled: false, ..HistoryConfig::default() };
    let prepared = Plan { history, ..plan(std::slice::from_ref(&plan_of)) };
    fixture.broker().prepare(&prepared).await.expect("prepared");
    assert!(fixture.broker().history().is_none());
    let mut consumer = Consumer::open(fixture.broker(), &plan_of).await;
    publish(fixture.broker(), "in", "1").await;
    settle(&mut consumer, Settlement::done(Vec::new()), account(Outcome::Done, None)).await;
    fixture.broker().prepare(&plan(&[plan_of])).await.expect("prepared");
    assert!(of(fixture.broker(), 1).await.is_empty());
}

pub async fn a_consumer_says_where_it_stands<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let plan_of = saf_broker::ChannelPlan { max_ack_pending: 1, ..channel("in", &["in"]) };
    broker.prepare(&plan(std::slice::from_ref(&plan_of))).await.expect("prepared");
    let mut consumer = Consumer::open(broker, &plan_of).await;
    for id in ["1", "2", "3"] {
        publish(broker, "in", id).await;
    }
    let delivery = consumer.one().await;
    let settler = consumer.feed.settler.clone();
    let place = async |sequence| settler.place(sequence).await.expect("a place");
    assert!(matches!(place(1).await, Place::Out { attempt: 1 } | Place::Open));
    for (sequence, ahead) in [(2, 0), (3, 1)] {
        assert_eq!(place(sequence).await, Place::Waiting { ahead }, "{sequence}");
    }
    consumer.done(delivery, Vec::new()).await;
    super::scene::until("it has passed", async || place(1).await == Place::Passed).await;
}
