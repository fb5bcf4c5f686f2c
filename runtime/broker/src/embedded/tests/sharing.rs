//! Many Channels that are behind: they share the reading of the backlog, and each still gets all of its own, in order.

use super::*;

/// Stores `count` events over `subjects` in turn, and opens the store anew: nothing is in memory then.
async fn backlog(folder: &Path, plan: &Plan, subjects: &[String], count: usize) -> Embedded {
    let broker = open(folder, plan).await;
    let batch: Vec<_> = (0..count).map(|n| event(&subjects[n % subjects.len()], &n.to_string())).collect();
    for stored in broker.publish_all(&events(), &batch).await {
        stored.expect("stored");
    }
    broker.close(HANG).await;
    open(folder, plan).await
}

fn numbers(deliveries: &[Delivery]) -> Vec<usize> {
    deliveries.iter().map(|delivery| delivery.event.id.as_str().parse().expect("a number")).collect()
}

#[tokio::test]
async fn a_backlog_is_read_once_however_many_channels_want_a_part_of_it() {
    const CHANNELS: usize = 40;
    const EACH: usize = 100;
    let folder = tempfile::tempdir().expect("a temp folder");
    let subjects: Vec<_> = (0..CHANNELS).map(|n| format!("s.{n}")).collect();
    let channels: Vec<_> =
        subjects.iter().map(|subject| channel(&subject.replace('.', "-"), subject)).collect();
    let plan = plan(stream_config(), &channels);
    let broker = backlog(folder.path(), &plan, &subjects, CHANNELS * EACH).await;
    let pieces = async || broker.stream(&events()).expect("opened").scan.lock().await.pieces;
    let mut for_the_first = 0;
    for (n, channel) in channels.iter().enumerate() {
        let mut feed = feed(&broker, channel).await;
        let deliveries = take(&mut feed, EACH).await;
        assert_eq!(numbers(&deliveries), (0..EACH).map(|k| k * CHANNELS + n).collect::<Vec<_>>());
        settle(&feed, deliveries, done).await;
        assert!(is_idle(&mut feed).await);
        if n == 0 {
            for_the_first = pieces().await;
        }
    }
    assert!(for_the_first > 1, "a backlog of several pieces");
    assert_eq!(pieces().await, for_the_first, "the others rode along");
}

#[tokio::test]
async fn a_channel_that_stands_still_falls_off_and_gets_everything_later() {
    const COUNT: usize = 3_000;
    let folder = tempfile::tempdir().expect("a temp folder");
    let wide = |name: &str| ChannelPlan { max_ack_pending: COUNT, ..channel(name, ">") };
    let (fast, slow) = (wide("fast"), wide("slow"));
    let plan = plan(stream_config(), &[fast.clone(), slow.clone()]);
    let broker = backlog(folder.path(), &plan, &["a".to_owned()], COUNT).await;
    let (mut fast_feed, mut slow_feed) = (feed(&broker, &fast).await, feed(&broker, &slow).await);
    for feed in [&mut fast_feed, &mut slow_feed] {
        let deliveries = take(feed, COUNT).await;
        assert_eq!(numbers(&deliveries), (0..COUNT).collect::<Vec<_>>());
        settle(feed, deliveries, done).await;
    }
    publish(&broker, "a", "7000").await;
    for feed in [&mut fast_feed, &mut slow_feed] {
        assert_eq!(numbers(&take(feed, 1).await), [7_000], "live again");
    }
}

#[tokio::test]
async fn what_was_found_for_old_filters_is_not_handed_out_under_new_ones() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let (all, some) = (channel("all", ">"), channel("some", "a"));
    let before = plan(stream_config(), &[all.clone(), some.clone()]);
    let broker = backlog(folder.path(), &before, &["a".to_owned(), "b".to_owned()], 40).await;
    let mut some_feed = feed(&broker, &some).await;
    assert_eq!(numbers(&take(&mut some_feed, 3).await), [0, 2, 4], "and more was found");
    let after =
        plan(stream_config(), &[all, ChannelPlan { subjects: channel("x", "b").subjects, ..some.clone() }]);
    broker.prepare(&after).await.expect("prepares");
    let mut some_feed = feed(&broker, &some).await;
    let deliveries = take(&mut some_feed, 17).await;
    assert_eq!(numbers(&deliveries)[3..], (0..17).map(|n| 7 + 2 * n).take(14).collect::<Vec<_>>()[..]);
}

#[tokio::test]
async fn what_waits_too_long_to_be_handed_out_is_let_go_and_found_again() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let one = ChannelPlan { max_ack_pending: 1, ..channel("one", ">") };
    let plan = plan(stream_config(), std::slice::from_ref(&one));
    let broker = backlog(folder.path(), &plan, &["a".to_owned()], 10).await;
    let mut one_feed = feed(&broker, &one).await;
    let first = take(&mut one_feed, 1).await;
    let consumer = broker.stream(&events()).expect("opened").roster.find(&one.channel).expect("there");
    assert!(consumer.holds_finds());
    let waits = tokio::time::timeout(Duration::from_secs(3), one_feed.source.fill(1, &mut Vec::new())).await;
    assert!(waits.is_err(), "full");
    assert!(!consumer.holds_finds());
    settle(&one_feed, first, done).await;
    for n in 1..10 {
        let next = take(&mut one_feed, 1).await;
        assert_eq!(numbers(&next), [n]);
        settle(&one_feed, next, done).await;
    }
}
