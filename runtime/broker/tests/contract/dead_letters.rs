//! Dead letters: kept with everything that a person needs, and given back to one Channel only.

use saf_broker::{
    Attempt, DeadLetter, DeadLetterFilter, DeadLetters, Error, Settlement, Shared, StoredDeadLetter,
};
use saf_event::{Event, Outcome};

use super::fixture::Fixture;
use super::scene::{Consumer, channel, emission, listing, name, plan, publish, stream};

fn letter(of: &str, outcome: Outcome, reason: &str) -> DeadLetter {
    let attempt = |number| Attempt {
        number,
        outcome,
        at: 1_700_000_000_000 + u64::from(number),
        micros: 42,
        fuel: 1_000,
        memory: 65_536,
        reason: Some("unreachable executed".into()),
        backtrace: Some("0: lib.rs:7".into()),
        stderr: None,
    };
    DeadLetter {
        channel: name(of),
        digest: "ab".repeat(32),
        outcome,
        reason: reason.into(),
        attempts: vec![attempt(1), attempt(2)],
    }
}

fn letters(broker: &Shared) -> &dyn DeadLetters {
    broker.dead_letters().expect("dead letters")
}

async fn list(broker: &Shared, filter: &DeadLetterFilter) -> Vec<StoredDeadLetter> {
    letters(broker).list(filter, None, 100).await.expect("a page").items
}

async fn bury(consumer: &mut Consumer, letter: DeadLetter) -> Event {
    let delivery = consumer.one().await;
    let event = delivery.event.clone();
    consumer.settle_one(delivery, Settlement::Dead(Box::new(letter))).await;
    *event
}

pub async fn a_dead_letter_keeps_event_and_reason_and_takes_the_event_from_its_channel<F: Fixture>(
    fixture: F,
) {
    let broker = fixture.broker();
    let (bad, good) = (channel("bad", &["in"]), channel("good", &["in"]));
    broker.prepare(&plan(&[bad.clone(), good.clone()])).await.expect("prepared");
    publish(broker, "in", "1").await;
    let mut consumer = Consumer::open(broker, &bad).await;
    let letter = letter("bad", Outcome::Trap, "it trapped twice");
    let event = bury(&mut consumer, letter.clone()).await;

    let listed = list(broker, &DeadLetterFilter::default()).await;
    assert_eq!(listed.len(), 1);
    let dead = letters(broker).show(&listed[0].id).await.expect("a dead letter");
    assert_eq!(dead, listed[0]);
    assert_eq!(
        (&dead.stream, &dead.event, &dead.letter, dead.data_omitted),
        (&stream(), &event, &letter, false)
    );
    assert!(dead.time >= event.time);

    publish(broker, "in", "2").await;
    assert_eq!(consumer.finish(1).await, ["2"], "the dead one is not handed out again");
    let mut other = Consumer::open(broker, &good).await;
    assert_eq!(other.finish(2).await, ["1", "2"], "other Channels have their own say");
    assert!(matches!(letters(broker).show("events:999").await, Err(Error::NotFound(_))));
    assert!(matches!(letters(broker).show("nonsense").await, Err(Error::NotFound(_))));
}

pub async fn a_replay_reaches_its_channel_only<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let (bad, good) = (channel("bad", &[">"]), channel("good", &[">"]));
    broker.prepare(&plan(&[bad.clone(), good.clone()])).await.expect("prepared");
    publish(broker, "in", "1").await;
    let (mut consumer, mut other) = (Consumer::open(broker, &bad).await, Consumer::open(broker, &good).await);
    let event = bury(&mut consumer, letter("bad", Outcome::Reject, "no")).await;
    assert_eq!(other.finish(1).await, ["1"]);

    let id = list(broker, &DeadLetterFilter::default()).await.remove(0).id;
    letters(broker).replay(&id).await.expect("replayed");
    assert!(
        matches!(letters(broker).replay(&id).await, Err(Error::NotFound(_))),
        "a dead letter is replayed once"
    );
    assert_eq!(list(broker, &DeadLetterFilter::default()).await, []);

    let again = consumer.one().await;
    assert_eq!((again.attempt, again.deliveries), (1, 1), "a fresh start");
    assert_eq!((&again.event.id, &again.event.subject), (&event.id, &event.subject));
    assert_eq!((&again.event.data, &again.event.content_type), (&event.data, &event.content_type));
    let sequence = again.event.sequence;
    consumer.done(again, vec![emission("out", "a")]).await;
    let in_journal =
        broker.journal().expect("a journal").get(&stream(), sequence).await.expect("it is in the stream");
    assert_eq!(in_journal.subject.as_str(), "in", "shown under its own subject");
    publish(broker, "in", "2").await;
    assert_eq!(other.finish(2).await, ["a", "2"], "the other Channel never sees the replay");
    assert_eq!(listing(broker).await.iter().filter(|(_, id)| id == "a").count(), 1);
}

pub async fn a_deleted_dead_letter_is_gone<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let bad = channel("bad", &[">"]);
    broker.prepare(&plan(std::slice::from_ref(&bad))).await.expect("prepared");
    publish(broker, "in", "1").await;
    let mut consumer = Consumer::open(broker, &bad).await;
    bury(&mut consumer, letter("bad", Outcome::Reject, "no")).await;
    let id = list(broker, &DeadLetterFilter::default()).await.remove(0).id;
    letters(broker).delete(&id).await.expect("deleted");
    assert!(matches!(letters(broker).delete(&id).await, Err(Error::NotFound(_))));
    assert!(matches!(letters(broker).show(&id).await, Err(Error::NotFound(_))));
    assert_eq!(list(broker, &DeadLetterFilter::default()).await, []);
}

pub async fn dead_letters_are_listed_by_filter_and_page<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let (a, b) = (channel("a", &["in"]), channel("b", &["in"]));
    broker.prepare(&plan(&[a.clone(), b.clone()])).await.expect("prepared");
    for id in 1..=5 {
        publish(broker, "in", &id.to_string()).await;
    }
    let (mut first, mut second) = (Consumer::open(broker, &a).await, Consumer::open(broker, &b).await);
    for outcome in [Outcome::Trap, Outcome::Fuel, Outcome::Trap, Outcome::Retry, Outcome::Trap] {
        bury(&mut first, letter("a", outcome, "of a")).await;
        bury(&mut second, letter("b", outcome, "of b")).await;
    }
    let all = list(broker, &DeadLetterFilter::default()).await;
    let since = all[4].time;
    let by = DeadLetterFilter::default;
    for (filter, wanted) in [
        (by(), 10),
        (DeadLetterFilter { stream: Some(stream()), ..by() }, 10),
        (DeadLetterFilter { channel: Some(name("a")), ..by() }, 5),
        (DeadLetterFilter { channel: Some(name("c")), ..by() }, 0),
        (DeadLetterFilter { channel: Some(name("a")), outcome: Some(Outcome::Trap), ..by() }, 3),
        (DeadLetterFilter { reason: Some("of b".into()), ..by() }, 5),
        (
            DeadLetterFilter { since: Some(since), ..by() },
            all.iter().filter(|dead| dead.time >= since).count(),
        ),
        (
            DeadLetterFilter { until: Some(since), ..by() },
            all.iter().filter(|dead| dead.time < since).count(),
        ),
    ] {
        assert_eq!(list(broker, &filter).await.len(), wanted, "{filter:?}");
    }
    let mut paged = Vec::new();
    let mut after: Option<String> = None;
    loop {
        let page = letters(broker).list(&by(), after.as_deref(), 3).await.expect("a page");
        assert!(page.items.len() <= 3);
        paged.extend(page.items);
        after = page.next;
        if after.is_none() {
            break;
        }
    }
    assert_eq!(paged, all, "pages together are the whole, in order");
}
