//! The broker goes away for a while and comes back: posts are refused at once with a time to come back, `/readyz` says why, and
//! then everything goes on by itself. What was answered "not stored" is not stored.

mod support;

use std::thread::sleep;
use std::time::Duration;

use serde_json::Value;
use support::load::{Answer, Habit, SUBJECT, Storm, check_each_once};
use support::{On, Stage, until};

const OUTAGE: Duration = Duration::from_secs(10);
/// Events answered before the server is stopped, and after it is back.
const EVENTS: usize = 500;
/// A refusal takes microseconds; this leaves room for a machine that has other things to do.
const AT_ONCE: Duration = Duration::from_secs(2);

#[test]
fn ten_seconds_without_nats_lose_nothing_and_need_nobody() {
    let channel = "emit.subjects = [\"echo.>\"]\nack_wait = \"5s\"\nlimits.timeout = \"2s\"";
    let mut stage = Stage::new(On::JetStream).channel("echo", "echo", &[SUBJECT], channel);
    let router = stage.start();
    assert_eq!(router.get("/readyz").status, 200);
    let storm = Storm::start(&router, usize::MAX, Habit::GoOn);
    storm.wait_stored(EVENTS);

    stage.nats.as_mut().expect("a server").stop();
    let ready =
        until("/readyz to notice", || Some(router.get("/readyz")).filter(|reply| reply.status == 503)).json();
    assert_eq!(
        (&ready["ready"], &ready["broker"]["up"]),
        (&Value::Bool(false), &Value::Bool(false)),
        "{ready}"
    );
    assert!(ready["broker"]["reason"].as_str().is_some_and(|reason| reason.contains("NATS")), "{ready}");
    assert_eq!(router.get("/livez").status, 200, "a restart would not help");
    sleep(OUTAGE);
    stage.nats.as_mut().expect("a server").start_again();

    let before = storm.stored();
    storm.wait_stored(before + EVENTS);
    until("/readyz", || (router.get("/readyz").status == 200).then_some(()));
    storm.stop();
    let answers = storm.finish();
    check_refusals(&answers);
    check_each_once(&stage, &router, &answers);
}

fn check_refusals(answers: &[Answer]) {
    let refused: Vec<_> = answers.iter().filter(|answer| answer.stored == Value::Bool(false)).collect();
    assert!(refused.len() > 100, "only {} refusals in {OUTAGE:?}", refused.len());
    for answer in &refused {
        assert_eq!(answer.status, 503, "{answer:?}");
        let seconds = answer.retry_after.as_deref().and_then(|text| text.parse::<u64>().ok());
        assert!(seconds.is_some_and(|seconds| seconds > 0), "{answer:?}");
        assert!(answer.took < AT_ONCE, "{answer:?}");
    }
    let unknown = |answer: &&Answer| !answer.is_stored() && answer.stored != Value::Bool(false);
    let unknown: Vec<_> = answers.iter().filter(unknown).collect();
    assert!(unknown.iter().all(|answer| answer.status == 503 && answer.stored == "unknown"), "{unknown:?}");
}
