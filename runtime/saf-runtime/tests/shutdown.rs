//! SIGTERM: what runs may finish, the process ends with 0 within its grace, nothing is lost and nothing is done twice. A second
//! signal ends at once.

mod support;

use std::time::{Duration, Instant};

use serde_json::json;
use support::load::{Habit, SUBJECT, Storm, check_each_once};
use support::{BOTH, On, Stage, signal, until};

const EVENTS: usize = 10_000;
/// The default grace, and what listeners and broker get to close.
const GRACE: Duration = Duration::from_secs(30);

/// What is left to its ack wait never comes within a test.
const NEVER_BY_ITSELF: &str = "ack_wait = \"1h\"";
/// As long as the ack wait, at least.
const LONG_WINDOW: &str = "[streams.events]\nduplicate_window = \"2h\"\n";
/// Events of which one runs, and those behind it are held.
const HELD: usize = 20;
/// How many of them the first process may have called the guest with.
const TRIED: usize = 3;

#[test]
fn a_term_in_the_middle_ends_with_0_and_the_next_start_goes_on() {
    for on in BOTH {
        let more = format!("emit.subjects = [\"echo.>\"]\n{NEVER_BY_ITSELF}");
        let stage = Stage::new(on).streams(LONG_WINDOW).channel("echo", "echo", &[SUBJECT], &more);
        let mut router = stage.start();
        let storm = Storm::start(&router, EVENTS, Habit::Repeat);
        let mut calls = 0;
        for part in 1..=2 {
            storm.wait_stored(EVENTS * part / 3);
            let start = Instant::now();
            calls += router.attempts("echo", "done");
            let status = router.terminate();
            assert!(status.success(), "{on:?}: {status}");
            assert!(start.elapsed() < GRACE, "{on:?}: it took {:?}", start.elapsed());
            router = stage.start();
            storm.follow(&router);
        }
        let answers = storm.finish();
        check_each_once(&stage, &router, &answers);
        calls += router.attempts("echo", "done");
        assert!(calls <= EVENTS, "{on:?}: {calls} calls for {EVENTS} events");
    }
}

#[test]
fn what_is_held_is_given_back_without_burning_an_attempt() {
    for on in BOTH {
        let more = "concurrency = 1\nmax_attempts = 2\nlimits.timeout = \"1s\"\nlimits.fuel = 1_000_000_000_000\nbackoff = []";
        let more = format!("{more}\n{NEVER_BY_ITSELF}\nconfig = {{ mode = \"spin\" }}");
        let mut stage = Stage::new(on).streams(LONG_WINDOW).channel("job", "hostile", &["in"], &more);
        let router = stage.start();
        let batch: Vec<_> = (0..HELD).map(|n| json!({"subject": "in", "data": n})).collect();
        assert_eq!(router.post(&json!(batch)).status, 202);
        router.wait_attempts("job", "timeout", 1);
        assert!(router.terminate().success(), "{on:?}");
        // Now each fails twice, and its dead letter shows which attempt was the first of this process.
        stage.channels = stage.channels.replace("mode = \"spin\"", "mode = \"trap\"");
        let router = stage.start();
        let letters = until("a dead letter of each", || {
            Some(router.dead_letters()).filter(|letters| letters.len() == HELD)
        });
        let untouched = letters.iter().filter(|letter| {
            letter["attempts"]
                .as_array()
                .is_some_and(|attempts| attempts[0]["number"] == 1 && attempts.len() == 2)
        });
        let (untouched, tried) = (untouched.count(), letters.len());
        assert!(
            untouched >= HELD - TRIED,
            "{on:?}: only {untouched} of {tried} began at attempt 1: {letters:?}"
        );
        stage.settled(&router, "job");
    }
}

#[test]
fn a_second_signal_ends_at_once() {
    let more = "max_attempts = 1\nack_wait = \"60s\"\nlimits.timeout = \"15s\"\nlimits.fuel = 1_000_000_000_000\n\
                config = { mode = \"spin\" }";
    let stage = Stage::new(On::Embedded).channel("job", "hostile", &["in"], more);
    let mut router = stage.start();
    assert_eq!(router.post(&json!({"subject": "in"})).status, 202);
    until("the guest to run", || (router.metric("saf_channel_held", &[]) > 0.0).then_some(()));
    let start = Instant::now();
    signal(router.pid(), "TERM");
    until("the first one to be noticed", || router.log_lines(&["a second signal ends at once"]).pop());
    signal(router.pid(), "INT");
    let status = router.wait();
    assert!(start.elapsed() < Duration::from_secs(8), "it waited for the guest: {:?}", start.elapsed());
    assert!(!router.log_lines(&["ended at once"]).is_empty(), "{status}: {}", router.log());
}
