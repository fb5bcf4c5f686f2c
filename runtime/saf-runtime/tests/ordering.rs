//! `order = "all"`: one event at a time, in the stream's order; one that has to be tried again holds up the rest, whoever kills the
//! router meanwhile.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use serde_json::Value;
use support::{BOTH, Router, Stage, until};

const EVENTS: usize = 60;
/// Each of these fails twice before it succeeds.
const EVERY_STUBBORN: usize = 5;

/// What `hostile` emits for each event, in stream order: the sequence of the parent.
fn parents(router: &Router) -> Vec<u64> {
    let emissions = router.events("hostile.>");
    let parent = |event: &Value| event["parent"].as_str()?.strip_prefix("events:")?.parse().ok();
    emissions.iter().map(|event| parent(event).unwrap_or_else(|| panic!("no parent: {event}"))).collect()
}

#[test]
fn events_are_handled_one_at_a_time_in_order_across_retries_and_a_kill() {
    for on in BOTH {
        let more = "order = \"all\"\nconcurrency = 8\nmax_attempts = 50\nbackoff = [\"20ms\"]\nack_wait = \"3s\"\n\
                    limits.timeout = \"1s\"\nemit.subjects = [\"hostile.>\"]";
        let stage =
            Stage::new(on).channel("strict", "hostile", &["in"], more).channel("loose", "sink", &["in"], "");
        let router = stage.start();
        for n in 0..EVENTS {
            let mode = if n % EVERY_STUBBORN == 0 { "retry-then-succeed" } else { "many-emissions 1" };
            assert_eq!(router.post_raw("in", &[], mode).status, 202);
        }
        until("a third", || (parents(&router).len() >= EVENTS / 3).then_some(()));
        check_one_at_a_time(&router);
        router.kill();

        let router = stage.start();
        until("all of them", || (parents(&router).len() >= EVENTS).then_some(()));
        stage.settled(&router, "strict");
        check_one_at_a_time(&router);
        let parents = parents(&router);
        assert!(
            parents.windows(2).all(|pair| pair[0] < pair[1]),
            "{on:?}: out of order, or twice: {parents:?}"
        );
        let posted: Vec<_> =
            router.events("in").iter().filter_map(|event| event["sequence"].as_u64()).collect();
        assert_eq!(parents, posted, "{on:?}");
        assert!(router.dead_letters().is_empty(), "{on:?}");
    }
}

/// Between two failed attempts of an event no other event failed: the log shows attempts in the order in which they ended.
fn check_one_at_a_time(router: &Router) {
    let failed = router.log_lines(&["\"message\":\"attempt\"", "\"channel\":\"strict\""]);
    let sequences = failed.iter().map(|line| {
        let line: Value = serde_json::from_str(line).expect("JSON lines");
        line["sequence"].as_u64().expect("a sequence")
    });
    let sequences: Vec<_> = sequences.collect();
    assert!(sequences.is_sorted(), "retries of several events at once: {sequences:?}");
    assert!(router.metric("saf_channel_held", &["channel=\"strict\""]) <= 1.0);
}

#[test]
fn an_event_that_becomes_a_dead_letter_lets_the_next_one_go() {
    for on in BOTH {
        let more = "order = \"all\"\nmax_attempts = 2\nbackoff = [\"10ms\"]\nemit.subjects = [\"hostile.>\"]";
        let stage = Stage::new(on).channel("strict", "hostile", &["in"], more);
        let router = stage.start();
        for mode in ["many-emissions 1", "trap", "reject", "many-emissions 1"] {
            assert_eq!(router.post_raw("in", &[], mode).status, 202);
        }
        until("the first and the last", || (parents(&router).len() == 2).then_some(()));
        let posted: Vec<_> =
            router.events("in").iter().filter_map(|event| event["sequence"].as_u64()).collect();
        assert_eq!(parents(&router), [posted[0], posted[3]], "{on:?}");
        let letters =
            until("the letters", || Some(router.dead_letters()).filter(|letters| letters.len() == 2));
        assert_eq!([&letters[0]["outcome"], &letters[1]["outcome"]], ["trap", "reject"], "{on:?}");
    }
}
