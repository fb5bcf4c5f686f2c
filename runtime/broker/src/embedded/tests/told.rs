//! What is settled has its entry in the history, and what has its entry is settled, wherever the process is killed.

use saf_event::{Outcome, unix_millis};

use super::*;
use crate::{Account, Fate, History, HistoryConfig, HistoryFilter};

fn account() -> Account {
    Account {
        digest: [1; 8],
        outcome: Outcome::Done,
        started: unix_millis(),
        queued_millis: 0,
        micros: 10,
        fuel: 20,
        memory: 30,
        reason: None,
    }
}

/// Every third emits two events, the others nothing.
fn emissions(delivery: &Delivery) -> Vec<NewEvent> {
    let emits = delivery.event.sequence.is_multiple_of(3);
    let names = if emits { &["a", "b"][..] } else { &[] };
    names.iter().map(|name| emission("out", &format!("{name}-of-{}", delivery.event.id))).collect()
}

async fn settle_told(feed: &Feed, deliveries: Vec<Delivery>) {
    let batch = deliveries.into_iter().map(|delivery| {
        let settlement = Settlement::done(emissions(&delivery));
        delivery.told(settlement, Some(account()))
    });
    let unsettled = feed.settler.settle(batch.collect()).await;
    assert!(unsettled.is_empty(), "{unsettled:?}");
}

/// The sequences that the history tells of, in order, with what each emitted.
async fn told(broker: &Embedded) -> Vec<(u64, Vec<u64>)> {
    let page = broker.list(&events(), &HistoryFilter::default(), None, 1_000).await.expect("a page");
    let mut told: Vec<_> = page
        .items
        .into_iter()
        .map(|entry| match entry.fate {
            Fate::Done { sequences, .. } => (entry.sequence, sequences),
            other => panic!("{other:?}"),
        })
        .collect();
    told.sort();
    told
}

#[tokio::test]
async fn an_event_has_an_entry_or_is_handed_out_again_wherever_the_process_is_killed() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "in", 0..60).await;
    let mut worker_feed = feed(&broker, &worker).await;
    for settled in [10, 20, 30, 40] {
        let deliveries = take(&mut worker_feed, 10).await;
        settle_told(&worker_feed, deliveries).await;
        let before = told(&broker).await;
        let copy = killed(folder.path());

        let again = open(copy.path(), &plan).await;
        let after = told(&again).await;
        assert_eq!(after, before, "every entry is there, once");
        let entries: Vec<u64> = after.iter().map(|(sequence, _)| *sequence).collect();
        assert_eq!(entries, (1..=settled).collect::<Vec<_>>());
        for (sequence, emitted) in after {
            for emitted in emitted {
                let id = again.get(&events(), emitted).await.expect("the emission").id;
                assert!(id.as_str().ends_with(&format!("-of-{}", sequence - 1)), "{sequence} emitted {id}");
            }
        }
        let mut feed = feed(&again, &worker).await;
        for expected in settled + 1..=60 {
            let deliveries = take(&mut feed, 1).await;
            assert_eq!(deliveries[0].event.sequence, expected, "what has an entry is settled");
            settle_told(&feed, deliveries).await;
        }
        assert!(is_idle(&mut feed).await);
        assert_eq!(told(&again).await.len(), 60);
    }
}

#[tokio::test]
async fn what_a_kill_kept_from_the_history_comes_back_from_the_log() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "in", 0..3).await;
    // Before the keeper's next round: the mark knows nothing of what is settled now.
    let mut worker_feed = feed(&broker, &worker).await;
    let copy = killed(folder.path());
    let deliveries = take(&mut worker_feed, 3).await;
    settle_told(&worker_feed, deliveries).await;
    let events_now = folder.path().join("streams/events/events");
    copy_folder(&events_now, &copy.path().join("streams/events/events"));

    let again = open(copy.path(), &plan).await;
    assert_eq!(told(&again).await, [(3, vec![4, 5])], "with the frame that holds its settlement");
}

#[tokio::test]
async fn a_store_without_history_opens_and_gets_one() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let with = plan(stream_config(), std::slice::from_ref(&worker));
    let without =
        Plan { history: HistoryConfig { enabled: false, ..HistoryConfig::default() }, ..with.clone() };
    let broker = open(folder.path(), &without).await;
    publish_many(&broker, "in", 0..6).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let deliveries = take(&mut worker_feed, 3).await;
    // As versions before there was a history settled.
    settle(&worker_feed, deliveries, |delivery| Settlement::done(emissions(delivery))).await;
    assert!(!folder.path().join("streams/events/history").exists());
    broker.close(HANG).await;

    let broker = open(folder.path(), &with).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let deliveries = take(&mut worker_feed, 3).await;
    assert_eq!(deliveries[0].event.sequence, 4, "what was settled is known");
    settle_told(&worker_feed, deliveries).await;
    let sequences: Vec<_> = told(&broker).await.into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!(sequences, [4, 5, 6]);
}
