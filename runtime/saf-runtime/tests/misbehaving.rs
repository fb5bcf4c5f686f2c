//! What a user sees of each way in which a guest misbehaves: the outcome and the reason in the dead letter, where it was, and that
//! nobody else noticed.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::fmt::Write as _;

use serde_json::{Value, json};
use support::{BOTH, On, Router, Stage, until};

/// What becomes of the event.
enum End {
    /// A dead letter after so many attempts.
    Dead { attempts: usize, outcome: &'static str },
    /// Handled, after so many attempts that asked for another.
    Done { retries: usize },
}

struct Case {
    mode: &'static str,
    /// More of the Channel's section.
    rest: &'static str,
    end: End,
    /// In the dead letter's reason.
    reason: &'static str,
    /// In the last attempt's backtrace or stderr.
    place: Option<&'static str>,
}

const MAX_ATTEMPTS: usize = 2;
/// Fuel for longer than there is time.
const ENDLESS: &str = "limits.timeout = \"200ms\"\nlimits.fuel = 1_000_000_000_000";

fn dead(mode: &'static str, rest: &'static str, outcome: &'static str, reason: &'static str) -> Case {
    Case { mode, rest, end: End::Dead { attempts: MAX_ATTEMPTS, outcome }, reason, place: None }
}

fn cases() -> Vec<Case> {
    let at_once = End::Dead { attempts: 1, outcome: "reject" };
    vec![
        Case { place: Some("mode.rs:"), ..dead("trap", "", "trap", "the guest aborted") },
        Case {
            place: Some("lib.rs:"),
            ..dead("spin", "limits.fuel = 1_000_000", "fuel", "limits.fuel is 1000000")
        },
        dead("cache-miss", ENDLESS, "timeout", "limits.timeout is 200ms"),
        dead("memory-bomb", "limits.memory = \"16MiB\"", "memory", "limits.memory is 16"),
        dead("recursion", "", "trap", "stack overflow"),
        dead("huge-output", "", "output", "limits.output"),
        dead("many-emissions", "", "output", "emissions"),
        dead("emit-outside", "", "output", "forbidden.subject is not allowed"),
        Case { end: at_once, ..dead("reject", "", "reject", "hostile was asked to reject") },
        Case { end: End::Done { retries: 2 }, ..dead("retry-then-succeed", "max_attempts = 5", "", "") },
        Case { end: End::Done { retries: 0 }, ..dead("log-flood", "limits.log = \"4KiB\"", "", "") },
    ]
}

fn channel(stage: Stage, case: &Case) -> Stage {
    let attempts = if case.rest.contains("max_attempts") {
        String::new()
    } else {
        format!("max_attempts = {MAX_ATTEMPTS}\n")
    };
    let rest = format!(
        "{attempts}backoff = [\"10ms\"]\nemit.subjects = [\"hostile.>\"]\n{}\n\
         config = {{ mode = \"{}\" }}",
        case.rest, case.mode
    );
    stage.channel(case.mode, "hostile", &["try"], &rest)
}

#[test]
fn each_way_to_misbehave_ends_as_documented_and_harms_nobody_else() {
    for on in BOTH {
        let stage =
            cases().iter().fold(Stage::new(on).channel("good", "sink", &["try", "other"], ""), channel);
        let router = stage.start();
        assert_eq!(router.post(&json!({"subject": "try", "id": "1", "data": {"k": "v"}})).status, 202);
        let expected = cases().iter().filter(|case| matches!(case.end, End::Dead { .. })).count();
        let letters = until("the dead letters", || {
            Some(router.dead_letters()).filter(|letters| letters.len() >= expected)
        });
        let mut wrong = String::new();
        for case in cases() {
            if let Err(what) = check(&router, &case, &letters) {
                writeln!(wrong, "{on:?}, {}: {what}", case.mode).expect("a string");
            }
        }
        assert!(wrong.is_empty(), "{wrong}");
        assert_eq!(letters.len(), expected, "{on:?}");
        assert_eq!(router.events("hostile.>").len(), 1, "{on:?}: a failed attempt leaks nothing");
        assert!(router.events("forbidden.>").is_empty(), "{on:?}");
        assert_eq!(router.post(&json!({"subject": "other"})).status, 202);
        router.wait_attempts("good", "done", 2);
    }
}

fn check(router: &Router, case: &Case, letters: &[Value]) -> Result<(), String> {
    let letter = letters.iter().find(|letter| letter["channel"] == case.mode);
    let (attempts, outcome) = match (&case.end, letter) {
        (End::Dead { attempts, outcome }, Some(_)) => (*attempts, *outcome),
        (End::Dead { .. }, None) => return Err("no dead letter".to_owned()),
        (End::Done { .. }, Some(letter)) => return Err(format!("a dead letter: {letter}")),
        (End::Done { retries }, None) => {
            router.wait_attempts(case.mode, "done", 1);
            let seen = router.attempts(case.mode, "retry");
            return if seen == *retries { Ok(()) } else { Err(format!("{seen} retries")) };
        }
    };
    let letter = letter.expect("there is one");
    let last = letter["attempts"].as_array().and_then(|attempts| attempts.last()).ok_or("no attempts")?;
    let numbers: Vec<_> = letter["attempts"]
        .as_array()
        .into_iter()
        .flatten()
        .map(|attempt| attempt["number"].as_u64())
        .collect();
    let event = &letter["event"];
    let as_posted = event["id"] == "1" && event["subject"] == "try" && event["data"] == json!({"k": "v"});
    // JetStream may have room for the innermost frames only; a Rust guest says its place on stderr too.
    let text = |key: &str| last[key].as_str().unwrap_or_default().to_owned();
    let place = case.place.is_none_or(|place| (text("backtrace") + &text("stderr")).contains(place));
    let checks = [
        ("outcome", letter["outcome"] == outcome && last["outcome"] == outcome),
        ("reason", letter["reason"].as_str().is_some_and(|reason| reason.contains(case.reason))),
        ("attempts", numbers == (1..=attempts as u64).map(Some).collect::<Vec<_>>()),
        ("event", as_posted),
        ("place", place),
        ("counted", router.attempts(case.mode, outcome) == attempts),
    ];
    let wrong: Vec<_> = checks.iter().filter(|(_, right)| !right).map(|(what, _)| *what).collect();
    if wrong.is_empty() { Ok(()) } else { Err(format!("wrong {wrong:?}: {letter}")) }
}

#[test]
fn a_flood_of_logs_is_cut_and_counted() {
    let rest = "limits.log = \"4KiB\"\nconfig = { mode = \"log-flood\" }";
    let stage = Stage::new(On::Embedded).channel("flood", "hostile", &["try"], rest);
    let router = stage.start();
    assert_eq!(router.post(&json!({"subject": "try"})).status, 202);
    let cut = until("the note", || router.log_lines(&["flood", "bytes of log dropped"]).pop());
    assert!(cut.contains("limits.log is 4096 bytes"), "{cut}");
    let lines = router.log_lines(&["\"channel\":\"flood\"", "\"stream\":\"stdout\""]).len();
    assert!((30..60).contains(&lines), "{lines} lines of 110 bytes in 4 KiB");
}

#[test]
fn a_guest_that_cannot_start_makes_its_channel_faulted_and_costs_no_attempt() {
    for on in BOTH {
        let mut stage = Stage::new(on)
            .channel("fails", "hostile", &["try"], "config = { init = \"fail\" }")
            .channel("spins", "hostile", &["try"], &format!("{ENDLESS}\nconfig = {{ init = \"spin\" }}"))
            .channel("good", "sink", &["try"], "");
        let router = stage.start();
        for n in 0..10 {
            assert_eq!(router.post(&json!({"subject": "try", "data": n})).status, 202);
        }
        for (name, reason) in
            [("fails", "the configuration says: fail"), ("spins", "limits.timeout is 200ms")]
        {
            let trouble =
                until(name, || router.trouble(name).filter(|trouble| trouble["state"] == "faulted"));
            assert!(
                trouble["reason"].as_str().is_some_and(|text| text.contains(reason)),
                "{on:?}: {trouble}"
            );
        }
        router.wait_attempts("good", "done", 10);
        let ready = router.get("/readyz");
        assert_eq!((ready.status, &ready.json()["degraded"]), (200, &Value::Bool(true)), "{on:?}");
        for name in ["fails", "spins"] {
            let attempts = router.metric("saf_channel_attempts_total", &[&format!("channel=\"{name}\"")]);
            assert!(attempts == 0.0, "{on:?}: {name} had {attempts} attempts");
        }
        assert!(router.dead_letters().is_empty(), "{on:?}");
        router.kill();

        // The events waited: with a guest that starts, all of them are handled.
        stage.channels = stage
            .channels
            .replace("init = \"fail\"", "mode = \"ok\"")
            .replace("init = \"spin\"", "mode = \"ok\"");
        let router = stage.start();
        router.wait_attempts("fails", "done", 10);
        router.wait_attempts("spins", "done", 10);
    }
}
