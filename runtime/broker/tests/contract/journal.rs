//! Reading a stream without consuming it.

use futures::StreamExt;
use saf_broker::{Error, From, Summary, Tailed};
use saf_event::{StreamName, unix_millis};
use tokio::time::timeout;

use super::fixture::Fixture;
use super::scene::{PATIENCE, filter, plan, publish, read, stream, until};

pub async fn a_page_is_read_from_a_sequence_or_a_time<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    let summary = broker.journal().expect("a journal").summary(&stream()).await.expect("a summary");
    assert_eq!(summary, Summary { first: 1, last: 0, events: 0, bytes: summary.bytes });
    assert_eq!(read(broker, From::Sequence(1), ">", 10).await, (vec![], None));
    for id in 1..=6 {
        publish(broker, if id % 2 == 0 { "even" } else { "odd.x" }, &id.to_string()).await;
    }
    let between = unix_millis();
    until("the clock goes on", async || unix_millis() > between).await;
    for id in 7..=9 {
        publish(broker, "late", &id.to_string()).await;
    }
    for (from, subjects, limit, wanted, next) in [
        (From::Sequence(1), ">", 100, &["1", "2", "3", "4", "5", "6", "7", "8", "9"][..], None),
        (From::Sequence(0), ">", 2, &["1", "2"], Some(3)),
        (From::Sequence(3), ">", 2, &["3", "4"], Some(5)),
        (From::Sequence(8), ">", 2, &["8", "9"], None),
        (From::Sequence(100), ">", 2, &[], None),
        (From::Sequence(2), "odd.*", 100, &["3", "5"], None),
        (From::Sequence(1), "even", 2, &["2", "4"], Some(6)),
        (From::Sequence(1), "none", 2, &[], None),
        (From::Time(0), ">", 1, &["1"], Some(2)),
        (From::Time(between + 1), ">", 100, &["7", "8", "9"], None),
        (From::Time(unix_millis() + 60_000), ">", 100, &[], None),
    ] {
        let (items, cursor) = read(broker, from, subjects, limit).await;
        let ids: Vec<_> = items.iter().map(|event| event.id.to_string()).collect();
        assert_eq!(ids, wanted, "{from:?} {subjects} {limit}");
        // The cursor names the next sequence to read, or one before it that does not match.
        let cursor: Option<u64> = cursor.map(|cursor| cursor.parse().expect("a sequence"));
        match (cursor, next) {
            (None, None) => {}
            (Some(cursor), Some(next)) => {
                let last = items.last().expect("a full page").sequence;
                assert!((last + 1..=next).contains(&cursor), "{from:?} {subjects}: {cursor}");
            }
            other => panic!("{from:?} {subjects} {limit}: {other:?}"),
        }
    }
    let summary = broker.journal().expect("a journal").summary(&stream()).await.expect("a summary");
    assert_eq!((summary.first, summary.last, summary.events), (1, 9, 9));
    assert!(summary.bytes > 0);
}

pub async fn one_event_is_read_by_its_sequence<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    publish(broker, "a", "1").await;
    let journal = broker.journal().expect("a journal");
    let event = journal.get(&stream(), 1).await.expect("an event");
    assert_eq!(
        (event.sequence, event.id.as_str(), event.subject.as_str(), &event.data[..]),
        (1, "1", "a", &b"1"[..])
    );
    assert_eq!(event.content_type.as_deref(), Some("text/plain"));
    for missing in [0, 2] {
        assert!(matches!(journal.get(&stream(), missing).await, Err(Error::NotFound(_))), "{missing}");
    }
    let other = StreamName::parse("other").expect("a name");
    assert!(matches!(journal.get(&other, 1).await, Err(Error::NotFound(_))));
}

pub async fn a_tail_shows_what_is_stored_from_now_on<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    publish(broker, "a.x", "before").await;
    let mut tail =
        broker.journal().expect("a journal").tail(&stream(), &filter("a.>")).await.expect("a tail");
    for (subject, id) in [("a.x", "1"), ("b", "2"), ("a.y", "3")] {
        publish(broker, subject, id).await;
    }
    for wanted in ["1", "3"] {
        let shown = timeout(PATIENCE, tail.next()).await.expect("in time").expect("the tail goes on");
        let Tailed::Event(event) = shown else { panic!("{shown:?}") };
        assert_eq!(event.id.as_str(), wanted);
    }
    broker.close(std::time::Duration::from_secs(5)).await;
    let end = timeout(PATIENCE, tail.next()).await.expect("a tail ends with its broker");
    assert_eq!(end, None);
}
