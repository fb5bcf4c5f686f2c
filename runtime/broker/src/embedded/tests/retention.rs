//! Retention: exact floors, files given back, `retain`, and what expires is counted.

use super::*;
use crate::{Discard, PublishError};

async fn bounds(broker: &Embedded) -> (u64, u64) {
    let summary = broker.summary(&events()).await.expect("answers");
    (summary.first, summary.last)
}

fn segments(folder: &Path) -> usize {
    super::super::log::segment_paths(&folder.join("streams/events/events")).expect("reads").len()
}

#[tokio::test]
async fn count_is_kept_to_the_event_and_files_are_given_back() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let config = StreamConfig { max_messages: Some(50), ..stream_config() };
    let broker = open(folder.path(), &plan(config.clone(), &[])).await;
    for n in 0..400 {
        publish(&broker, "a", &n.to_string()).await;
        assert_eq!(bounds(&broker).await, ((n as u64 + 1).saturating_sub(49).max(1), n as u64 + 1));
    }
    assert!(
        segments(folder.path()) <= 4,
        "{} segments of 4 KiB for 50 small events",
        segments(folder.path())
    );
    assert_eq!(ids(&broker).await.len(), 50);
    broker.close(HANG).await;
    let broker = open(folder.path(), &plan(config, &[])).await;
    assert_eq!(bounds(&broker).await, (351, 400), "the floor stays where it was");
}

#[tokio::test]
async fn bytes_are_kept_to_the_frame() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let config = StreamConfig { max_bytes: Size(20_000), ..stream_config() };
    let broker = open(folder.path(), &plan(config, &[])).await;
    for n in 0..500 {
        publish(&broker, "a", &n.to_string()).await;
        let summary = broker.summary(&events()).await.expect("answers");
        assert!(summary.bytes <= 20_000, "{summary:?}");
        assert!(n < 300 || summary.bytes > 19_800, "not more than a frame too few: {summary:?}");
    }
    assert_eq!(ids(&broker).await.last().map(String::as_str), Some("499"));
}

#[tokio::test]
async fn what_is_too_old_goes_whatever_retains_it_and_is_counted() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let keen = ChannelPlan { retain: true, ..channel("keen", "a") };
    let config = StreamConfig { max_age: Span(Duration::from_millis(1)), ..stream_config() };
    let broker = open(folder.path(), &plan(config, std::slice::from_ref(&keen))).await;
    publish_many(&broker, "a", 0..20).await;
    let keen_feed = feed(&broker, &keen).await;
    let all_gone = async {
        while bounds(&broker).await.0 <= 20 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, all_gone).await.expect("the keeper looks after age");
    let lag = keen_feed.settler.lag().await.expect("answers");
    assert_eq!((lag.expired, lag.pending, lag.floor), (20, 0, 20));
}

#[tokio::test]
async fn retain_holds_bytes_and_count_until_it_is_settled() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let keen = ChannelPlan { retain: true, ..channel("keen", "a") };
    let config = StreamConfig { max_messages: Some(10), ..stream_config() };
    let broker = open(folder.path(), &plan(config, std::slice::from_ref(&keen))).await;
    publish_many(&broker, "a", 0..10).await;
    let refused = broker.publish(&events(), event("a", "too many")).await;
    let Err(PublishError::Full { limit }) = refused else { panic!("{refused:?}") };
    assert!(limit.contains("max_messages (10)") && limit.contains("channel keen"), "{limit}");
    let mut keen_feed = feed(&broker, &keen).await;
    let deliveries = take(&mut keen_feed, 3).await;
    settle(&keen_feed, deliveries, done).await;
    publish_many(&broker, "a", 10..13).await;
    assert!(broker.publish(&events(), event("a", "again too many")).await.is_err());
    assert_eq!(bounds(&broker).await, (4, 13));
}

#[tokio::test]
async fn a_full_stream_that_discards_the_new_says_so_and_takes_again_when_limits_rise() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let config = StreamConfig { discard: Discard::New, max_bytes: Size(1000), ..stream_config() };
    let broker = open(folder.path(), &plan(config.clone(), &[])).await;
    let mut stored = 0;
    let refused = loop {
        match broker.publish(&events(), event("a", &stored.to_string())).await {
            Ok(_) => stored += 1,
            Err(error) => break error,
        }
    };
    assert!((3..20).contains(&stored), "{stored}");
    assert!(matches!(&refused, PublishError::Full { limit } if limit.contains("discard")), "{refused}");
    let notes = broker
        .prepare(&plan(StreamConfig { max_bytes: Size(1 << 20), ..config }, &[]))
        .await
        .expect("prepares");
    assert_eq!(notes.len(), 1, "{notes:?}");
    let takes_again = async {
        while broker.publish(&events(), event("a", "more")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, takes_again).await.expect("takes again");
}

#[tokio::test]
async fn a_channel_that_is_not_configured_any_more_holds_nothing_and_keeps_its_place() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let keen = ChannelPlan { retain: true, ..channel("keen", "a") };
    let config = StreamConfig { max_messages: Some(10), ..stream_config() };
    let with = plan(config.clone(), std::slice::from_ref(&keen));
    let broker = open(folder.path(), &with).await;
    publish_many(&broker, "a", 0..5).await;
    let mut keen_feed = feed(&broker, &keen).await;
    let deliveries = take(&mut keen_feed, 2).await;
    settle(&keen_feed, deliveries, done).await;
    let notes = broker.prepare(&plan(config, &[])).await.expect("prepares");
    assert!(format!("{notes:?}").contains("not configured"), "{notes:?}");
    publish_many(&broker, "a", 5..14).await;
    broker.prepare(&with).await.expect("prepares");
    let rest = take(&mut keen_feed, 10).await;
    assert_eq!(rest[0].event.sequence, 5, "3 and 4 went");
    assert_eq!(keen_feed.settler.lag().await.expect("answers").expired, 2);
}

#[tokio::test]
async fn a_channel_without_a_source_holds_back_only_what_it_wants() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let keen = ChannelPlan { retain: true, ..channel("keen", "wanted") };
    let config = StreamConfig { max_messages: Some(10), ..stream_config() };
    let plan = plan(config, std::slice::from_ref(&keen));
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "other", 0..10).await;
    broker.close(HANG).await;
    drop(broker);
    // Nobody subscribes, as when a Channel is paused.
    let broker = open(folder.path(), &plan).await;
    let looks_ahead = async {
        while broker.publish(&events(), event("other", "eleventh")).await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, looks_ahead).await.expect("the keeper looks ahead");
    publish(&broker, "wanted", "precious").await;
    publish_many(&broker, "other", 20..29).await;
    let refused = broker.publish(&events(), event("other", "too many")).await.expect_err("full");
    assert!(refused.to_string().contains("event 12"), "{refused}");
    let mut keen_feed = feed(&broker, &keen).await;
    assert_eq!(take(&mut keen_feed, 1).await[0].event.id.as_str(), "precious");
}

#[tokio::test]
async fn given_up_files_that_a_power_failure_brings_back_are_removed() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let config =
        StreamConfig { max_messages: Some(50), duplicate_window: Span(Duration::ZERO), ..stream_config() };
    let broker = open(folder.path(), &plan(config.clone(), &[])).await;
    publish_many(&broker, "a", 0..20).await;
    let first = folder.path().join("streams/events/events/00000000000000000001.seg");
    let old = fs::read(&first).expect("reads");
    publish_many(&broker, "a", 20..400).await;
    broker.close(HANG).await;
    drop(broker);
    assert!(!first.exists(), "given up");
    fs::write(&first, old).expect("writes");
    let broker = open(folder.path(), &plan(config, &[])).await;
    assert_eq!((bounds(&broker).await, first.exists()), ((351, 400), false));
}

#[tokio::test]
async fn lower_limits_take_effect_without_a_publish_and_spare_what_is_retained() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let keen = ChannelPlan { retain: true, ..channel("keen", "a") };
    let low = StreamConfig { max_messages: Some(10), ..stream_config() };
    let broker = open(folder.path(), &plan(stream_config(), std::slice::from_ref(&keen))).await;
    publish_many(&broker, "a", 0..50).await;
    let mut keen_feed = feed(&broker, &keen).await;
    let deliveries = take(&mut keen_feed, 20).await;
    settle(&keen_feed, deliveries, done).await;
    broker.close(HANG).await;
    drop((keen_feed, broker));
    let broker = open(folder.path(), &plan(low, std::slice::from_ref(&keen))).await;
    let mut keen_feed = feed(&broker, &keen).await;
    let deliveries = take(&mut keen_feed, 30).await;
    assert_eq!(deliveries[0].event.sequence, 21, "nothing that was unsettled went");
    settle(&keen_feed, deliveries, done).await;
    let trimmed = async {
        while bounds(&broker).await.0 != 41 {
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(HANG, trimmed).await.expect("the keeper looks after the limits");
}

#[tokio::test]
async fn a_missing_oldest_segment_is_damage() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let no_channels = plan(stream_config(), &[]);
    let broker = open(folder.path(), &no_channels).await;
    publish_many(&broker, "a", 0..200).await;
    broker.close(HANG).await;
    drop(broker);
    fs::remove_file(folder.path().join("streams/events/events/00000000000000000001.seg")).expect("removes");
    let broker = Embedded::open_with(folder.path(), Arc::new(Real), TINY).expect("opens");
    let refused = broker.prepare(&no_channels).await.expect_err("refused").to_string();
    assert!(refused.contains("the segment with sequence 1 is missing"), "{refused}");
}
