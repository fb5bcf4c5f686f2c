//! State that survives: a counter counts every event once, over kills, restarts, retention and conflicts, and what it emitted says so
//! too. On JetStream as far as its promise goes: exactly with strict order, at least once otherwise.
#![allow(clippy::expect_used, reason = "a test that cannot set its scene has failed")]

mod support;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};
use support::load::{Answer, Habit, SUBJECT, Storm, stored_ids};
use support::{BOTH, On, Router, Stage, until};

const KEYS: usize = 10;
const KILLS: usize = 4;
const COUNTER: &str =
    "emit.subjects = [\"counted.>\"]\ngrants.keyvalue = true\nack_wait = \"5s\"\nlimits.timeout = \"2s\"\n";

fn keyed(n: usize) -> Value {
    json!({ "key": format!("k{}", n % KEYS), "n": n })
}

fn hot(_: usize) -> Value {
    json!({ "key": "hot" })
}

/// The counts that were emitted, by key.
fn counts(router: &Router) -> BTreeMap<String, Vec<u64>> {
    let mut counts: BTreeMap<String, Vec<u64>> = BTreeMap::new();
    for event in router.events(&format!("counted.{SUBJECT}")) {
        let key = event["data"]["key"].as_str().expect("a key").to_owned();
        counts.entry(key).or_default().push(event["data"]["count"].as_u64().expect("a count"));
    }
    counts
}

/// Waits until every stored event is counted; the events stored, by their ids.
#[track_caller]
fn settle(stage: &Stage, router: &Router, answers: &[Answer]) -> BTreeSet<usize> {
    let on = stage.on;
    let stored = stored_ids(router);
    until(&format!("{on:?}: a count of each of {} events", stored.len()), || {
        (router.events(&format!("counted.{SUBJECT}")).len() >= stored.len()).then_some(())
    });
    stage.settled(router, "counter");
    let lost = answers.iter().filter(|answer| answer.is_stored() && !stored.contains_key(&answer.n)).count();
    assert_eq!(lost, 0, "{on:?}: answered 202 and not stored");
    stored.into_keys().collect()
}

/// Every key was counted once for each of its events: its counts are 1, 2, 3, … without a gap and without a repetition.
#[track_caller]
fn check_counts(on: On, router: &Router, events: &BTreeSet<usize>, key: impl Fn(usize) -> String) {
    let mut expected: BTreeMap<String, u64> = BTreeMap::new();
    for n in events {
        *expected.entry(key(*n)).or_default() += 1;
    }
    let counts = counts(router);
    for (key, count) in &expected {
        let mut counted = counts.get(key).cloned().unwrap_or_default();
        counted.sort_unstable();
        let highest = counted.last().copied().unwrap_or_default();
        assert_eq!((counted.len() as u64, highest), (*count, *count), "{on:?}: {key}");
        assert_eq!(counted, (1..=*count).collect::<Vec<_>>(), "{on:?}: {key}");
    }
    assert_eq!(counts.len(), expected.len(), "{on:?}");
}

fn key_of(n: usize) -> String {
    keyed(n)["key"].as_str().expect("a key").to_owned()
}

#[test]
fn killed_again_and_again_an_embedded_counter_counts_every_event_once() {
    let stage = Stage::new(On::Embedded).channel("counter", "counter", &[SUBJECT], COUNTER);
    let events = 12_000;
    let mut router = stage.start();
    let storm = Storm::of(&router, events, Habit::Repeat, keyed);
    for kill in 1..=KILLS {
        storm.wait_stored(events * kill / (KILLS + 1));
        router.kill();
        router = stage.start();
        storm.follow(&router);
    }
    let answers = storm.finish();
    assert!(answers.iter().any(|answer| answer.status == 0), "the kills hit nothing");
    let stored = settle(&stage, &router, &answers);
    check_counts(stage.on, &router, &stored, key_of);
}

#[test]
fn killed_again_and_again_a_jetstream_counter_in_strict_order_counts_every_event_once() {
    let strict = format!("{COUNTER}order = \"all\"\n");
    let stage = Stage::new(On::JetStream).channel("counter", "counter", &[SUBJECT], &strict);
    let events = 3_000;
    let mut router = stage.start();
    let storm = Storm::of(&router, events, Habit::Repeat, keyed);
    for kill in 1..=KILLS {
        // Strict order is slower than posting: kill it in the middle of its work, not behind it.
        let done = events * kill / (KILLS + 2);
        until("counts", || (router.events(&format!("counted.{SUBJECT}")).len() >= done).then_some(()));
        router.kill();
        router = stage.start();
        storm.follow(&router);
    }
    let answers = storm.finish();
    let stored = settle(&stage, &router, &answers);
    check_counts(stage.on, &router, &stored, key_of);
}

#[test]
fn one_hot_key_is_counted_once_for_each_event_by_many_workers() {
    for on in BOTH {
        let busy = format!("{COUNTER}concurrency = 8\n");
        let stage = Stage::new(on).channel("counter", "counter", &[SUBJECT], &busy);
        let router = stage.start();
        let answers = Storm::of(&router, 10_000, Habit::Repeat, hot).finish();
        let stored = settle(&stage, &router, &answers);
        check_counts(on, &router, &stored, |_| "hot".to_owned());
        let conflicts = router.metric("saf_channel_conflicts", &["channel=\"counter\""]);
        println!(
            "{on:?}: {conflicts} calls were repeated for {} events on one key by 8 workers",
            stored.len()
        );
        assert_eq!(router.channel("counter")["dead_letters"], 0, "{on:?}: no attempt was burnt");
        assert_eq!(router.attempts("counter", "retry"), 0, "{on:?}");
    }
}

#[test]
fn state_survives_the_frames_that_it_was_written_in_and_clean_stops_too() {
    for on in BOTH {
        let small = "[streams.events]\nmax_messages = 500\n";
        let stage = Stage::new(on).streams(small).channel("counter", "counter", &[SUBJECT], COUNTER);
        for round in 1..=3u64 {
            let router = stage.start();
            for _ in 0..1000 {
                let reply = router.post(&json!({ "subject": SUBJECT, "data": { "key": "k" } }));
                assert_eq!(reply.status, 202, "{reply:?}");
            }
            router.wait_attempts("counter", "done", 1000);
            stage.settled(&router, "counter");
            let counted = counts(&router).remove("k").expect("counted");
            assert_eq!(counted.iter().max(), Some(&(1000 * round)), "{on:?}");
            assert!(router.terminate().success());
        }
    }
}

/// A guest that does what its events say.
fn forgetful(on: On, rest: &str) -> (Stage, Router) {
    let rest = format!(
        "grants.keyvalue = true\nemit.subjects = [\"seen\"]\nmax_attempts = 2\nbackoff = [\"10ms\"]\norder = \"all\"\n{rest}"
    );
    let stage = Stage::new(on).channel("forgetful", "forgetful", &["do"], &rest);
    let router = stage.start();
    (stage, router)
}

/// Asks the guest, and waits for what it saw; `nth` counts answers from 1.
fn ask(router: &Router, what: &str, nth: usize) -> String {
    assert_eq!(router.post_raw("do", &[], what).status, 202);
    let seen = until(what, || router.events("seen").get(nth - 1).cloned());
    seen["data"].as_str().expect("a text").to_owned()
}

#[test]
fn what_a_guest_wrote_before_it_failed_is_not_kept() {
    for on in BOTH {
        let (_stage, router) = forgetful(on, "limits.timeout = \"500ms\"\n");
        assert_eq!(ask(&router, "set k kept", 1), "set");
        for end in ["trap", "retry", "reject", "spin"] {
            assert_eq!(router.post_raw("do", &[], format!("set k {end} {end}")).status, 202);
        }
        assert_eq!(ask(&router, "get k", 2), "kept", "{on:?}");
        assert_eq!(router.dead_letters().len(), 4, "{on:?}");
        assert_eq!(ask(&router, "delete k", 3), "deleted");
        assert_eq!(ask(&router, "get k", 4), "none", "{on:?}");
        assert_eq!(ask(&router, "keys", 5), "0", "{on:?}");
    }
}

#[test]
fn a_guest_that_takes_too_much_is_told_so_and_the_router_goes_on() {
    for on in BOTH {
        let (_stage, router) = forgetful(on, "limits.state_bytes = \"64KiB\"\n");
        assert_eq!(ask(&router, "fill 500", 1), "500");
        assert_eq!(ask(&router, "keys", 2), "500", "{on:?}");
        let refused = ask(&router, "fill 1000000", 3);
        assert!(refused.contains("limits.state_bytes"), "{on:?}: {refused}");
        assert!(ask(&router, "hold", 4).contains("too many handles"), "{on:?}");
        let key = "k".repeat(256);
        assert_eq!(router.post_raw("do", &[], format!("set {key} 1")).status, 202);
        let letter = until("the refusal", || router.dead_letters().pop());
        assert!(letter["reason"].as_str().expect("a reason").contains("at most 255 bytes"), "{letter}");
        assert_eq!(ask(&router, "set a.b/c\u{202e}> ok", 5), "set");
        assert_eq!(ask(&router, "get a.b/c\u{202e}>", 6), "ok", "{on:?}");
    }
}

#[test]
fn a_state_that_is_full_is_a_clear_failure_and_no_end() {
    let (_stage, router) = forgetful(On::Embedded, "limits.state_max = \"64KiB\"\n");
    let refused = (1..=10).map(|n| ask(&router, &format!("set k{n} {}", "x".repeat(10_000)), n));
    assert_eq!(refused.take(6).filter(|seen| seen == "set").count(), 6);
    assert_eq!(router.post_raw("do", &[], format!("set more {}", "x".repeat(10_000))).status, 202);
    let letter = until("the refusal", || router.dead_letters().pop());
    assert!(letter["reason"].as_str().expect("a reason").contains("limits.state_max"), "{letter}");
    assert_eq!(ask(&router, "delete k1", 7), "deleted");
    assert_eq!(ask(&router, &format!("set more {}", "x".repeat(9_000)), 8), "set");
}

#[test]
fn a_component_that_needs_state_does_not_start_without_the_grant_and_says_which_line_is_missing() {
    let stage = Stage::new(On::Embedded).channel("counter", "counter", &[SUBJECT], "");
    let (status, log) = stage.start_that_fails();
    assert!(!status.success());
    assert!(log.contains("grants.keyvalue = true"), "{log}");
}

/// The server takes everything from `half` but acks: a router that is killed between storing state and its ack.
const USERS: &str = r#"authorization { users = [
    { user: whole, password: whole }
    { user: half, password: half, permissions: { publish: { allow: ">", deny: "$JS.ACK.>" } } }
] }"#;

#[test]
fn on_jetstream_an_event_whose_ack_is_lost_counts_twice_unless_order_is_strict() {
    for (order, exact) in [("all", true), ("none", false)] {
        let rest = "emit.subjects = [\"counted.>\"]\ngrants.keyvalue = true\nack_wait = \"2s\"\nlimits.timeout = \"1s\"\n";
        let rest = format!("{rest}order = {order:?}\n");
        let mut stage = Stage::new(On::JetStream).channel("counter", "counter", &[SUBJECT], &rest);
        let nats = stage.nats.as_mut().expect("a server");
        nats.reconfigure(USERS);
        nats.user = Some("half");
        let router = stage.start();
        let post = |router: &Router| {
            assert_eq!(router.post(&json!({ "subject": SUBJECT, "data": { "key": "k" } })).status, 202);
        };
        post(&router);
        post(&router);
        let first = if exact { 1 } else { 2 };
        until("counts", || (router.events(&format!("counted.{SUBJECT}")).len() == first).then_some(()));
        router.kill();
        stage.nats.as_mut().expect("a server").user = Some("whole");
        let router = stage.start();
        // Both come again; in strict order the second for the first time.
        router.wait_attempts("counter", "done", 2);
        stage.settled(&router, "counter");
        post(&router);
        router.wait_attempts("counter", "done", 3);
        stage.settled(&router, "counter");
        let highest =
            counts(&router).remove("k").and_then(|counts| counts.into_iter().max()).expect("counted");
        assert_eq!(highest == 3, exact, "order {order}: the third event was counted as number {highest}");
    }
}
