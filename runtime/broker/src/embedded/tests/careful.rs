//! After an unclean stop: one at a time, counted before the call, until what was handed out is behind us.

use super::*;

#[tokio::test]
async fn an_event_that_kills_the_process_is_counted_and_alone() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "in", 0..10).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let out = take(&mut worker_feed, 5).await;
    let mut copy = killed(folder.path());
    drop((out, worker_feed, broker));

    let mut deliveries_seen = Vec::new();
    for _ in 0..3 {
        let broker = open(copy.path(), &plan).await;
        let mut worker_feed = feed(&broker, &worker).await;
        let alone = take(&mut worker_feed, 1).await;
        assert_eq!(alone[0].event.sequence, 1);
        deliveries_seen.push(alone[0].deliveries);
        assert!(is_idle(&mut worker_feed).await, "nothing else while it runs");
        // The process dies while the event is in work.
        copy = killed(copy.path());
        drop(alone);
    }
    let counted = deliveries_seen.windows(2).all(|pair| pair[1] == pair[0] + 1);
    assert!(counted, "{deliveries_seen:?}");

    let broker = open(copy.path(), &plan).await;
    let mut worker_feed = feed(&broker, &worker).await;
    for n in 1..=10 {
        let alone = take(&mut worker_feed, 1).await;
        assert_eq!(alone[0].event.sequence, n);
        settle(&worker_feed, alone, done).await;
    }
    publish_many(&broker, "in", 10..20).await;
    let mut together = Vec::new();
    while together.len() < 10 {
        let before = together.len();
        worker_feed.source.fill(10, &mut together).await.expect("fills");
        assert!(together.len() > before);
    }
}

#[tokio::test]
async fn a_clean_stop_is_not_followed_by_care() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "in", 0..10).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let out = take(&mut worker_feed, 5).await;
    settle(&worker_feed, out, |_| Settlement::Retry { after: Duration::ZERO }).await;
    broker.close(HANG).await;
    drop(broker);

    let broker = open(folder.path(), &plan).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let together = take(&mut worker_feed, 10).await;
    assert_eq!(together.iter().filter(|delivery| delivery.attempt == 2).count(), 5, "attempts are kept");
}

#[tokio::test]
async fn a_retry_keeps_its_delay_over_a_restart() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish(&broker, "in", "1").await;
    let mut worker_feed = feed(&broker, &worker).await;
    let out = take(&mut worker_feed, 1).await;
    settle(&worker_feed, out, |_| Settlement::Retry { after: Duration::from_hours(1) }).await;
    broker.close(HANG).await;
    let broker = open(folder.path(), &plan).await;
    let mut worker_feed = feed(&broker, &worker).await;
    assert!(is_idle(&mut worker_feed).await, "not before its time");
}
