//! SIGKILL loses nothing: every event that was answered 202 is handled, and what its Channel emitted is stored once; on
//! JetStream within the stream's duplicate window, beyond which a set of emissions whose ack was lost comes again.

mod support;

use std::thread::sleep;
use std::time::Duration;

use serde_json::json;
use support::load::{Habit, SUBJECT, Storm, check_each_once};
use support::{BOTH, On, Stage, until};

const EVENTS: usize = 20_000;
const KILLS: usize = 3;
/// What a killed router held on JetStream comes back after this.
const ECHO: &str = "emit.subjects = [\"echo.>\"]\nack_wait = \"5s\"\nlimits.timeout = \"2s\"";

#[test]
fn killed_three_times_at_full_speed_every_event_is_handled_and_emitted_once() {
    for on in BOTH {
        let stage = Stage::new(on).channel("echo", "echo", &[SUBJECT], ECHO);
        let mut router = stage.start();
        let storm = Storm::start(&router, EVENTS, Habit::Repeat);
        for kill in 1..=KILLS {
            storm.wait_stored(EVENTS * kill / (KILLS + 1));
            router.kill();
            router = stage.start();
            storm.follow(&router);
        }
        let answers = storm.finish();
        let broken = answers.iter().filter(|answer| answer.status == 0).count();
        assert!(broken > 0, "{on:?}: no request was cut off: the kills hit nothing");
        check_each_once(&stage, &router, &answers);
    }
}

/// Longer than the duplicate window of the stream below.
const OUTAGE: Duration = Duration::from_secs(4);

/// The server takes everything from `half` but acks: a router that is killed between storing an emission and its ack.
const USERS: &str = r#"authorization { users = [
    { user: whole, password: whole }
    { user: half, password: half, permissions: { publish: { allow: ">", deny: "$JS.ACK.>" } } }
] }"#;

#[test]
fn beyond_the_duplicate_window_an_emission_whose_ack_was_lost_is_stored_twice() {
    // Within the window the second one is recognised; both must be so, or the test tests something else.
    for (window, copies) in [("2m", 1), ("2s", 2)] {
        let channel =
            "emit.subjects = [\"echo.>\"]\nack_wait = \"2s\"\nlimits.timeout = \"1s\"\nmax_attempts = 1";
        let mut stage = Stage::new(On::JetStream)
            .streams(&format!("[streams.events]\nduplicate_window = \"{window}\"\n"))
            .channel("echo", "echo", &["in"], channel);
        let nats = stage.nats.as_mut().expect("a server");
        nats.reconfigure(USERS);
        nats.user = Some("half");
        let router = stage.start();
        assert_eq!(router.post(&json!({"subject": "in", "data": 1})).status, 202);
        until("the emission", || (router.events("echo.in").len() == 1).then_some(()));
        router.kill();
        sleep(OUTAGE);
        stage.nats.as_mut().expect("a server").user = Some("whole");
        let router = stage.start();
        router.wait_attempts("echo", "done", 1);
        stage.settled(&router, "echo");
        let emitted = router.events("echo.in");
        assert_eq!(emitted.len(), copies, "window {window}: {emitted:?}");
        // Readers can tell: the id is the same.
        assert!(emitted.iter().all(|event| event["id"] == emitted[0]["id"]), "{emitted:?}");
    }
}
