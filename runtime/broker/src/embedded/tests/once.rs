//! Emissions and their settlement are stored exactly once, dead letters are there before they are settled, replays go to one.

use saf_event::Outcome;

use super::*;
use crate::{DeadLetter, DeadLetterFilter, DeadLetters};

fn emit_one(delivery: &Delivery) -> Settlement {
    Settlement::done(vec![emission("out", &format!("of-{}", delivery.event.id))])
}

#[tokio::test]
async fn a_kill_between_the_frame_and_the_snapshot_emits_nothing_twice() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "in", 0..40).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let mut deliveries = take(&mut worker_feed, 30).await;
    let kept = deliveries.split_off(25);
    settle(&worker_feed, deliveries, emit_one).await;
    // The keeper may or may not have saved the consumer by now; both must do.
    let copy = killed(folder.path());
    drop(kept);

    let broker = open(copy.path(), &plan).await;
    let mut worker_feed = feed(&broker, &worker).await;
    for _ in 0..15 {
        let deliveries = take(&mut worker_feed, 1).await;
        settle(&worker_feed, deliveries, emit_one).await;
    }
    assert!(is_idle(&mut worker_feed).await);
    let mut emitted: Vec<_> = ids(&broker).await.into_iter().filter(|id| id.starts_with("of-")).collect();
    emitted.sort_unstable();
    let mut expected: Vec<_> = (0..40).map(|n| format!("of-{n}")).collect();
    expected.sort_unstable();
    assert_eq!(emitted, expected);
}

#[tokio::test]
async fn what_was_replayed_from_the_log_after_a_kill_stays_settled_after_the_next_stop() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "in", 0..5).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let deliveries = take(&mut worker_feed, 1).await;
    settle(&worker_feed, deliveries, emit_one).await;
    let copy = killed(folder.path());
    // Nobody takes anything before the clean stop.
    open(copy.path(), &plan).await.close(HANG).await;
    let broker = open(copy.path(), &plan).await;
    let mut worker_feed = feed(&broker, &worker).await;
    assert_eq!(take(&mut worker_feed, 1).await[0].event.id.as_str(), "1", "0 is settled");
}

#[tokio::test]
async fn the_first_of_two_attempts_wins() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = ChannelPlan { ack_wait: Duration::from_millis(50), ..channel("worker", "in") };
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish(&broker, "in", "1").await;
    let mut worker_feed = feed(&broker, &worker).await;
    let first = take(&mut worker_feed, 1).await;
    let second = take(&mut worker_feed, 1).await;
    assert_eq!((second[0].attempt, second[0].deliveries), (1, 2), "the ack wait burns no attempt");
    let both = first.into_iter().chain(second).collect();
    settle(&worker_feed, both, emit_one).await;
    assert_eq!(ids(&broker).await, ["1", "of-1"]);
}

#[tokio::test]
async fn a_stale_ticket_changes_nothing_of_the_present_delivery() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = ChannelPlan { ack_wait: Duration::from_millis(50), ..channel("worker", "in") };
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish(&broker, "in", "1").await;
    let mut worker_feed = feed(&broker, &worker).await;
    let stale = take(&mut worker_feed, 1).await;
    let present = take(&mut worker_feed, 1).await;
    settle(&worker_feed, stale, |_| Settlement::Retry { after: Duration::from_hours(1) }).await;
    settle(&worker_feed, present, |_| Settlement::Retry { after: Duration::ZERO }).await;
    let again = take(&mut worker_feed, 1).await;
    assert_eq!((again[0].attempt, again[0].deliveries), (2, 3), "one failed attempt, not two");
}

fn letter(delivery: &Delivery) -> Settlement {
    Settlement::Dead(Box::new(DeadLetter {
        channel: ChannelName::parse("worker").expect("valid"),
        digest: "d".into(),
        outcome: Outcome::Reject,
        reason: format!("cannot {}", delivery.event.id),
        attempts: Vec::new(),
    }))
}

#[tokio::test]
async fn a_dead_letter_is_stored_once_listed_replayed_to_its_channel_and_gone() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let (worker, other) = (channel("worker", "in"), channel("other", ">"));
    let plan = plan(stream_config(), &[worker.clone(), other.clone()]);
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "in", 0..3).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let deliveries = take(&mut worker_feed, 3).await;
    let copy = killed(folder.path());
    settle(&worker_feed, deliveries, letter).await;
    drop(copy);

    let filter = DeadLetterFilter::default();
    let page = broker.list(&filter, None, 2).await.expect("lists");
    assert_eq!(
        page.items.iter().map(|l| l.letter.reason.as_str()).collect::<Vec<_>>(),
        ["cannot 0", "cannot 1"]
    );
    let rest = broker.list(&filter, page.next.as_deref(), 2).await.expect("lists");
    assert_eq!((rest.items.len(), rest.next), (1, None));
    let id = page.items[0].id.clone();
    assert_eq!(broker.show(&id).await.expect("there").event.data, "data of 0");

    let mut other_feed = feed(&broker, &other).await;
    let seen = take(&mut other_feed, 3).await;
    settle(&other_feed, seen, done).await;
    broker.replay(&id).await.expect("replays");
    let again = take(&mut worker_feed, 1).await;
    assert_eq!((again[0].event.id.as_str(), again[0].attempt), ("0", 1));
    assert_eq!(again[0].event.subject.as_str(), "in");
    assert!(is_idle(&mut other_feed).await, "the replay is for the worker only");
    assert!(broker.replay(&id).await.is_err(), "gone");
    broker.delete(&page.items[1].id).await.expect("deletes");
    settle(&worker_feed, again, done).await;
    broker.close(HANG).await;

    let broker = open(folder.path(), &plan).await;
    let left = broker.list(&filter, None, 10).await.expect("lists").items;
    assert_eq!(left.iter().map(|l| l.letter.reason.as_str()).collect::<Vec<_>>(), ["cannot 2"]);
    assert!(is_idle(&mut feed(&broker, &worker).await).await);
}

#[tokio::test]
async fn letters_in_sealed_segments_are_listed_too() {
    const LETTERS: usize = 60;
    /// Several segments of them.
    const REASON_BYTES: usize = 300;
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish_many(&broker, "in", 0..LETTERS).await;
    let mut worker_feed = feed(&broker, &worker).await;
    for _ in 0..LETTERS {
        let deliveries = take(&mut worker_feed, 1).await;
        let long = |delivery: &Delivery| match letter(delivery) {
            Settlement::Dead(mut letter) => {
                letter.reason = "x".repeat(REASON_BYTES);
                Settlement::Dead(letter)
            }
            other => other,
        };
        settle(&worker_feed, deliveries, long).await;
    }
    let segments = std::fs::read_dir(folder.path().join("streams/events/dead")).expect("a folder");
    let sealed = segments
        .filter(|file| file.as_ref().is_ok_and(|file| file.path().extension().is_some_and(|e| e == "idx")));
    assert!(sealed.count() > 0, "the letters fit into one segment: the test tests nothing");
    let page = broker.list(&DeadLetterFilter::default(), None, LETTERS).await.expect("lists");
    assert_eq!(page.items.len(), LETTERS);
}

#[tokio::test]
async fn a_letter_that_was_stored_before_a_kill_is_not_stored_again() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish(&broker, "in", "1").await;
    let mut worker_feed = feed(&broker, &worker).await;
    let state = folder.path().join("streams/events/state.log");
    let deliveries = take(&mut worker_feed, 1).await;
    let before = fs::read(&state).expect("reads");
    settle(&worker_feed, deliveries, letter).await;
    let copy = killed(folder.path());
    // As if the settlement had not been saved yet.
    fs::write(copy.path().join("streams/events/state.log"), before).expect("writes");

    let broker = open(copy.path(), &plan).await;
    let mut worker_feed = feed(&broker, &worker).await;
    let again = take(&mut worker_feed, 1).await;
    settle(&worker_feed, again, letter).await;
    assert_eq!(broker.list(&DeadLetterFilter::default(), None, 10).await.expect("lists").items.len(), 1);
}

#[tokio::test]
async fn a_replay_whose_deletion_a_kill_prevented_is_deleted_on_opening() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "in");
    let plan = plan(stream_config(), std::slice::from_ref(&worker));
    let broker = open(folder.path(), &plan).await;
    publish(&broker, "in", "1").await;
    let mut worker_feed = feed(&broker, &worker).await;
    let deliveries = take(&mut worker_feed, 1).await;
    settle(&worker_feed, deliveries, letter).await;
    let id = broker.list(&DeadLetterFilter::default(), None, 1).await.expect("lists").items[0].id.clone();
    // The events as they were after the replay, and all the rest as before it.
    let copy = killed(folder.path());
    broker.replay(&id).await.expect("replays");
    let log = |root: &Path| root.join("streams/events/events");
    copy_folder(&log(folder.path()), &log(copy.path()));
    drop(broker);

    let broker = open(copy.path(), &plan).await;
    assert!(broker.show(&id).await.is_err(), "deleted");
    let mut worker_feed = feed(&broker, &worker).await;
    assert_eq!(take(&mut worker_feed, 1).await[0].event.id.as_str(), "1");
}
