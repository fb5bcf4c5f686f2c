//! Clients that post numbered events as fast as they are answered, remember every answer, and follow a router that is started
//! again on another port. What a client does after a refusal is its [`Habit`].

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, PoisonError, RwLock};
use std::thread::{self, JoinHandle, sleep};
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use super::{Router, Stage, send, until};

/// The subject that a storm posts to; `echo` answers on `echo.in.work`.
pub const SUBJECT: &str = "in.work";
const CLIENTS: usize = 16;
/// How long a client waits before it tries again, or after a refusal.
const PAUSE: Duration = Duration::from_millis(10);
/// A client gives up on an answer after this long.
const ANSWER_SECONDS: u64 = 60;

/// What a client does with an event that was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Habit {
    /// Posts it again, with its id, until it is.
    Repeat,
    /// Goes on to the next.
    GoOn,
}

/// One answer; `status` 0 stands for a connection that broke.
#[derive(Clone, Debug)]
pub struct Answer {
    pub n: usize,
    pub status: u16,
    /// What the problem document says about whether the event is stored.
    pub stored: Value,
    pub retry_after: Option<String>,
    pub took: Duration,
}

impl Answer {
    pub fn is_stored(&self) -> bool {
        self.status == 202
    }
}

/// Posting clients; dropped, they stop.
pub struct Storm {
    shared: Arc<Shared>,
    clients: Vec<JoinHandle<Vec<Answer>>>,
}

struct Shared {
    door: RwLock<String>,
    count: usize,
    next: AtomicUsize,
    stored: AtomicUsize,
    stop: AtomicBool,
    habit: Habit,
    data: fn(usize) -> Value,
}

impl Storm {
    /// Starts posting `count` events; the data of each is its number.
    pub fn start(router: &Router, count: usize, habit: Habit) -> Self {
        Self::of(router, count, habit, Value::from)
    }

    /// The same with other data.
    pub fn of(router: &Router, count: usize, habit: Habit, data: fn(usize) -> Value) -> Self {
        let shared = Arc::new(Shared {
            door: RwLock::new(router.ingest.clone()),
            count,
            next: AtomicUsize::new(0),
            stored: AtomicUsize::new(0),
            stop: AtomicBool::new(false),
            habit,
            data,
        });
        let client = |_| {
            let shared = shared.clone();
            thread::spawn(move || shared.post_all())
        };
        Self { clients: (0..CLIENTS).map(client).collect(), shared }
    }

    /// The router is somewhere else now.
    pub fn follow(&self, router: &Router) {
        router.ingest.clone_into(&mut self.shared.door.write().unwrap_or_else(PoisonError::into_inner));
    }

    /// Waits until so many were answered 202.
    pub fn wait_stored(&self, count: usize) {
        until("answers", || (self.shared.stored.load(Ordering::Relaxed) >= count).then_some(()));
    }

    pub fn stored(&self) -> usize {
        self.shared.stored.load(Ordering::Relaxed)
    }

    /// No more new events.
    pub fn stop(&self) {
        self.shared.stop.store(true, Ordering::Relaxed);
    }

    /// Every answer, once every event was posted (or the storm was stopped).
    pub fn finish(mut self) -> Vec<Answer> {
        self.clients.drain(..).flat_map(|client| client.join().expect("a client")).collect()
    }
}

impl Drop for Storm {
    fn drop(&mut self) {
        self.stop();
    }
}

impl Shared {
    fn post_all(&self) -> Vec<Answer> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_secs(ANSWER_SECONDS)))
            .build()
            .into();
        let mut answers = Vec::new();
        while !self.stop.load(Ordering::Relaxed) {
            let n = self.next.fetch_add(1, Ordering::Relaxed);
            if n >= self.count {
                break;
            }
            loop {
                let answer = self.post(&agent, n);
                let stored = answer.is_stored();
                answers.push(answer);
                if stored {
                    self.stored.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                sleep(PAUSE);
                if self.habit == Habit::GoOn || self.stop.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
        answers
    }

    fn post(&self, agent: &ureq::Agent, n: usize) -> Answer {
        let url = format!("{}/api/event", self.door.read().unwrap_or_else(PoisonError::into_inner));
        let body = json!({ "subject": SUBJECT, "id": n.to_string(), "data": (self.data)(n) }).to_string();
        let start = Instant::now();
        let reply = send(agent, "POST", &url, &[("content-type", "application/json")], body.as_bytes());
        let took = start.elapsed();
        match reply {
            Ok(reply) => {
                let stored =
                    if reply.status == 202 { Value::Bool(true) } else { reply.json()["stored"].clone() };
                Answer { n, status: reply.status, stored, retry_after: reply.retry_after, took }
            }
            Err(_) => Answer { n, status: 0, stored: Value::Null, retry_after: None, took },
        }
    }
}

/// How often each id is stored on the storm's subject.
pub fn stored_ids(router: &Router) -> BTreeMap<usize, usize> {
    count(
        router
            .events(SUBJECT)
            .iter()
            .map(|event| event["id"].as_str().expect("an id").parse().expect("a number")),
    )
}

/// How often `echo` emitted the data of each event.
pub fn echoed(router: &Router) -> BTreeMap<usize, usize> {
    let emissions = router.events(&format!("echo.{SUBJECT}"));
    count(emissions.iter().map(|event| event["data"].as_u64().expect("a number") as usize))
}

fn count(numbers: impl Iterator<Item = usize>) -> BTreeMap<usize, usize> {
    let mut counts = BTreeMap::new();
    numbers.for_each(|n| *counts.entry(n).or_default() += 1);
    counts
}

/// Waits until the Channel `echo` has done everything, and checks that every event that was answered 202 is stored once and was
/// echoed once, and that nothing is stored that was answered "not stored".
pub fn check_each_once(stage: &Stage, router: &Router, answers: &[Answer]) {
    let on = stage.on;
    let taken: BTreeSet<usize> =
        answers.iter().filter(|answer| answer.is_stored()).map(|answer| answer.n).collect();
    let stored = stored_ids(router);
    let expected = 2 * stored.len();
    until(&format!("an echo of each of {} events", stored.len()), || {
        (router.stored() >= expected).then_some(())
    });
    stage.settled(router, "echo");
    let (stored, echoed) = (stored_ids(router), echoed(router));
    let lost: Vec<_> = taken.iter().filter(|n| !stored.contains_key(n)).collect();
    assert!(lost.is_empty(), "{on:?}: {} events were answered 202 and are not stored: {lost:?}", lost.len());
    let unhandled: Vec<_> = stored.keys().filter(|n| !echoed.contains_key(n)).collect();
    assert!(
        unhandled.is_empty(),
        "{on:?}: {} events are stored and were not handled: {unhandled:?}",
        unhandled.len()
    );
    for (what, counts) in [("stored", &stored), ("echoed", &echoed)] {
        let twice: Vec<_> = counts.iter().filter(|(_, times)| **times > 1).collect();
        assert!(twice.is_empty(), "{on:?}: {} events were {what} more than once: {twice:?}", twice.len());
    }
    // A connection that broke, or "unknown", may have been stored; "stored": false may not.
    let refused = |answer: &&Answer| answer.stored == Value::Bool(false) && !taken.contains(&answer.n);
    let kept: Vec<_> =
        answers.iter().filter(refused).filter(|answer| stored.contains_key(&answer.n)).collect();
    assert!(kept.is_empty(), "{on:?}: {} events were answered \"not stored\" and are: {kept:?}", kept.len());
}
