//! What a receipt means, and when there is none.

use saf_broker::{Discard, PublishError, Refusal, StreamConfig};
use saf_event::{Dedupe, Lineage, NewEvent, Position, StreamName, unix_millis};

use super::fixture::Fixture;
use super::scene::{channel, event, listing, plan, plan_with, publish, stream, text};

pub async fn a_receipt_names_the_events_place<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    for sequence in 1..=3 {
        let receipt = publish(broker, "hello", &sequence.to_string()).await;
        assert_eq!((receipt.sequence, receipt.duplicate), (sequence, false));
    }
}

pub async fn an_event_comes_out_as_it_went_in<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let all = channel("all", &[">"]);
    broker.prepare(&plan(std::slice::from_ref(&all))).await.expect("prepared");
    let before = unix_millis();
    let place = |text| Position::parse(text).expect("a position");
    let mut sent = NewEvent {
        lineage: Some(Lineage { parent: place("events:7"), root: place("events:3"), hops: 2 }),
        data: (0..=255).collect::<Vec<u8>>().into(),
        ..event("größe.ändern", "ünï 1")
    };
    for (name, value) in [("x-a", "1"), ("x-b", "ö"), ("x-a", "2")] {
        sent.headers.push(name, value).expect("a header");
    }
    broker.publish(&stream(), sent.clone()).await.expect("stored");
    let plain = NewEvent { content_type: None, data: bytes::Bytes::new(), ..event("hello", "2") };
    broker.publish(&stream(), plain.clone()).await.expect("stored");

    let mut consumer = super::scene::Consumer::open(broker, &all).await;
    for (sent, sequence) in [(sent, 1), (plain, 2)] {
        let got = consumer.one().await;
        let event = &got.event;
        assert_eq!((event.sequence, got.attempt, got.deliveries), (sequence, 1, 1));
        assert!((before..=unix_millis() + 1_000).contains(&event.time), "{} from {before}", event.time);
        assert_eq!((&event.id, &event.subject), (&sent.id, &sent.subject));
        assert_eq!((&event.content_type, &event.data), (&sent.content_type, &sent.data));
        let values = |headers: &saf_event::Headers, name: &str| -> Vec<String> {
            headers.iter().filter(|(n, _)| n == name).map(|(_, v)| v.to_string()).collect()
        };
        for name in ["x-a", "x-b"] {
            assert_eq!(values(&event.headers, name), values(&sent.headers, name));
        }
        assert_eq!(event.headers.len(), sent.headers.len());
        assert_eq!(event.lineage, sent.lineage);
        consumer.done(got, vec![]).await;
    }
}

pub async fn a_repeated_id_is_a_duplicate_on_its_own_subject_only<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    for (subject, id, sequence, duplicate) in [
        ("a", "1", 1, false),
        ("a", "1", 1, true),
        ("b", "1", 2, false),
        ("a", "2", 3, false),
        ("b", "1", 2, true),
    ] {
        let receipt = publish(broker, subject, id).await;
        assert_eq!((receipt.sequence, receipt.duplicate), (sequence, duplicate), "{subject} {id}");
    }
    assert_eq!(listing(broker).await.len(), 3);
}

pub async fn cloud_events_are_duplicates_by_source_and_id<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    for (source, sequence, duplicate) in [("s1", 1, false), ("s2", 2, false), ("s1", 1, true)] {
        let event = NewEvent { dedupe: Dedupe::Source(text(source)), ..event("a", "1") };
        let receipt = broker.publish(&stream(), event).await.expect("stored");
        assert_eq!((receipt.sequence, receipt.duplicate), (sequence, duplicate), "{source}");
    }
}

pub async fn duplicates_are_known_after_a_restart<F: Fixture>(mut fixture: F) {
    fixture.broker().prepare(&plan(&[])).await.expect("prepared");
    publish(fixture.broker(), "a", "1").await;
    fixture.restart().await;
    fixture.broker().prepare(&plan(&[])).await.expect("prepared");
    assert!(publish(fixture.broker(), "a", "1").await.duplicate);
    assert_eq!(publish(fixture.broker(), "a", "2").await.sequence, 2);
}

pub async fn a_batch_has_one_result_for_each_in_order<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    let large = vec![b'x'; broker.profile().max_event_bytes + 1];
    let large = NewEvent { data: large.into(), ..event("a", "large") };
    let mut events = vec![event("a", "1"), large, event("a", "1")];
    events.extend((2..=300).map(|id| event("a", &id.to_string())));
    let results = broker.publish_all(&stream(), &events).await;
    assert_eq!(results.len(), 302);
    assert_eq!(results[0].as_ref().map(|r| (r.sequence, r.duplicate)), Ok((1, false)));
    assert!(matches!(results[1], Err(PublishError::Refused(Refusal::TooLarge { .. }))), "{:?}", results[1]);
    assert_eq!(results[2].as_ref().map(|r| (r.sequence, r.duplicate)), Ok((1, true)));
    for (result, sequence) in results[3..].iter().zip(2..) {
        assert_eq!(result.as_ref().map(|r| (r.sequence, r.duplicate)), Ok((sequence, false)));
    }
}

pub async fn an_unknown_stream_is_refused<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    let other = StreamName::parse("other").expect("a name");
    let result = broker.publish(&other, event("a", "1")).await;
    assert_eq!(result, Err(PublishError::Refused(Refusal::NoStream("other".into()))));
    let results = broker.publish_all(&other, &[event("a", "1")]).await;
    assert_eq!(results, [Err(PublishError::Refused(Refusal::NoStream("other".into())))]);
}

pub async fn what_is_too_large_is_refused_and_the_largest_is_stored<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    broker.prepare(&plan(&[])).await.expect("prepared");
    let limit = broker.profile().max_event_bytes;
    let empty = NewEvent { data: bytes::Bytes::new(), ..event("a", "1") };
    let room = limit - empty.size();
    let too_large = NewEvent { data: vec![b'x'; room + 1].into(), ..empty.clone() };
    let refused = Refusal::TooLarge { size: limit + 1, limit };
    assert_eq!(broker.publish(&stream(), too_large).await, Err(PublishError::Refused(refused)));
    let largest = NewEvent { data: vec![b'x'; room].into(), ..empty };
    assert_eq!(broker.publish(&stream(), largest).await.map(|r| r.sequence), Ok(1));
}

pub async fn a_full_stream_that_discards_new_says_so<F: Fixture>(fixture: F) {
    let broker = fixture.broker();
    let config = StreamConfig { max_messages: Some(2), discard: Discard::New, ..StreamConfig::default() };
    broker.prepare(&plan_with(config, &[])).await.expect("prepared");
    publish(broker, "a", "1").await;
    publish(broker, "a", "2").await;
    let result = broker.publish(&stream(), event("a", "3")).await;
    assert!(matches!(result, Err(PublishError::Full { .. })), "{result:?}");
    assert_eq!(listing(broker).await.len(), 2);
}
