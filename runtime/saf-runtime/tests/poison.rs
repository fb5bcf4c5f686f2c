//! Events that a Channel cannot handle end as dead letters with everything that one needs to mend it, and are handled when they
//! are replayed after that; no other Channel sees anything of it.

mod support;

use serde_json::json;
use support::{BOTH, Stage, guest_path, until};

const EVENTS: usize = 200;
const ATTEMPTS: usize = 3;

#[test]
fn two_hundred_poisonous_events_become_dead_letters_and_are_handled_once_the_guest_is_mended() {
    for on in BOTH {
        let more = format!(
            "max_attempts = {ATTEMPTS}\nbackoff = [\"10ms\"]\nemit.subjects = [\"echo.>\"]\nconfig = {{ mode = \"trap\" }}"
        );
        let mut stage = Stage::new(on).channel("job", "hostile", &["job"], &more).channel(
            "watcher",
            "sink",
            &["job", "echo.>"],
            "",
        );
        let router = stage.start();
        for n in 0..EVENTS {
            let event =
                json!({"subject": "job", "id": n.to_string(), "data": n, "headers": {"x-n": n.to_string()}});
            assert_eq!(router.post(&event).status, 202);
        }
        let letters = until("the dead letters", || {
            Some(router.dead_letters()).filter(|letters| letters.len() >= EVENTS)
        });
        let digest = router.channel("job")["component"]["digest"].clone();
        assert_eq!(digest.as_str().map(str::len), Some(64), "{on:?}: a SHA-256 in hexadecimal");
        let mut numbers = Vec::new();
        for letter in &letters {
            let attempts = letter["attempts"].as_array().expect("attempts");
            assert_eq!(attempts.len(), ATTEMPTS, "{on:?}: {letter}");
            for (n, attempt) in attempts.iter().enumerate() {
                assert_eq!(
                    (&attempt["number"], &attempt["outcome"]),
                    (&json!(n + 1), &json!("trap")),
                    "{on:?}: {letter}"
                );
            }
            let last = attempts.last().expect("three");
            let text = |key: &str| last[key].as_str().unwrap_or_default().to_owned();
            // `mode.rs:67`: JetStream has 4 KiB for all attempts, and leaves other frames out first.
            let backtrace = text("backtrace");
            let line = backtrace
                .split_once("mode.rs:")
                .map(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()));
            assert_eq!(line, Some(true), "{on:?}: file and line in the backtrace: {letter}");
            assert!(text("stderr").contains("hostile was asked to trap"), "{on:?}: {letter}");
            assert_eq!((&letter["channel"], &letter["digest"]), (&json!("job"), &digest), "{on:?}");
            let event = &letter["event"];
            assert!(
                event["headers"].as_array().is_some_and(|h| h.contains(&json!(["x-n", event["id"]]))),
                "{on:?}: {event}"
            );
            numbers.push(event["data"].as_u64().expect("a number"));
        }
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..EVENTS as u64), "{on:?}: each event has one dead letter");
        router.wait_attempts("watcher", "done", EVENTS);
        assert!(router.terminate().success());

        // The same Channel with a component that does not trap.
        let (hostile, echo) = (guest_path("hostile"), guest_path("echo"));
        stage.channels = stage.channels.replace(&hostile.display().to_string(), &echo.display().to_string());
        let router = stage.start();
        let replay = json!({"filter": {"channel": "job"}, "rate": 10_000, "stop_after": 10});
        let replayed = router.admin("POST", "/api/v1/dead-letters/replay", &replay.to_string()).json();
        assert_eq!(
            (&replayed["replayed"], &replayed["failed"]),
            (&json!(EVENTS), &json!(0)),
            "{on:?}: {replayed}"
        );
        let echoed =
            until("the echoes", || Some(router.events("echo.job")).filter(|events| events.len() >= EVENTS));
        let mut numbers: Vec<_> =
            echoed.iter().map(|event| event["data"].as_u64().expect("a number")).collect();
        numbers.sort_unstable();
        assert!(numbers.into_iter().eq(0..EVENTS as u64), "{on:?}: each is handled once");
        assert!(router.dead_letters().is_empty(), "{on:?}");
        // The watcher saw each event once, before, and each echo; a replay republished nothing to it.
        router.wait_attempts("watcher", "done", EVENTS);
        stage.settled(&router, "watcher");
        assert_eq!(router.attempts("watcher", "done"), EVENTS, "{on:?}");
    }
}
