//! Two routers on one NATS share each Channel's work; when one is killed the other does all of it, and a pause holds for both.

mod support;

use serde_json::json;
use support::load::{Habit, SUBJECT, Storm, check_each_once};
use support::{On, Stage, until};

const EVENTS: usize = 10_000;

fn stage() -> Stage {
    let more = "emit.subjects = [\"echo.>\"]\nack_wait = \"5s\"\nlimits.timeout = \"2s\"";
    Stage::new(On::JetStream).channel("echo", "echo", &[SUBJECT], more)
}

#[test]
fn both_work_and_when_one_is_killed_the_other_does_the_rest() {
    let stage = stage();
    let (one, two) = (stage.start(), stage.start());
    let storm = Storm::start(&one, EVENTS, Habit::Repeat);
    for router in [&one, &two] {
        until("both to work", || (router.attempts("echo", "done") > EVENTS / 100).then_some(()));
    }
    storm.wait_stored(EVENTS / 2);
    one.kill();
    storm.follow(&two);
    let answers = storm.finish();
    check_each_once(&stage, &two, &answers);
}

#[test]
fn a_pause_is_seen_by_both_and_survives_a_restart() {
    let stage = stage();
    let (one, two) = (stage.start(), stage.start());
    one.admin("POST", "/api/v1/channels/echo/pause", "");
    for router in [&one, &two] {
        until("the pause", || (router.channel("echo")["state"] == "paused").then_some(()));
    }
    assert!(one.terminate().success());
    let one = stage.start();
    until("the pause", || (one.channel("echo")["state"] == "paused").then_some(()));
    for n in 0..100 {
        assert_eq!(two.post(&json!({"subject": SUBJECT, "id": n.to_string(), "data": n})).status, 202);
    }
    assert_eq!([&one, &two].map(|router| router.attempts("echo", "done")), [0, 0]);
    two.admin("POST", "/api/v1/channels/echo/resume", "");
    for router in [&one, &two] {
        until("the resumption", || (router.channel("echo")["state"] == "running").then_some(()));
    }
    until("the echoes", || (one.events("echo.in.work").len() == 100).then_some(()));
}
