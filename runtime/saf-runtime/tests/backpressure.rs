//! Who is slow waits alone: a slow Channel holds up no other, a full stream says 507 and goes on once there is room, and a
//! Channel whose every event fails keeps its backlog, instead of burning it into dead letters, until it can go on.

mod support;

use serde_json::{Value, json};
use support::peer::Peer;
use support::{BOTH, On, Router, Stage, guest_path, until};

#[test]
fn a_slow_channel_slows_only_itself() {
    const SLOW_EVENTS: usize = 10;
    const EVENTS: usize = 1_000;
    for on in BOTH {
        // Each of its events takes the whole time-out.
        let slow = "concurrency = 1\nmax_attempts = 1\nbackoff = []\nlimits.timeout = \"500ms\"\n\
                    limits.fuel = 1_000_000_000_000\nconfig = { mode = \"spin\" }";
        let stage = Stage::new(on).channel("slow", "hostile", &["both"], slow).channel(
            "fast",
            "sink",
            &["both", "fast"],
            "",
        );
        let router = stage.start();
        for n in 0..SLOW_EVENTS {
            assert_eq!(router.post(&json!({"subject": "both", "data": n})).status, 202);
        }
        let batch: Vec<_> = (0..EVENTS).map(|n| json!({"subject": "fast", "data": n})).collect();
        assert_eq!(router.post(&json!(batch)).status, 202);
        router.wait_attempts("fast", "done", SLOW_EVENTS + EVENTS);
        let slow = router.attempts("slow", "timeout");
        assert!(slow < SLOW_EVENTS, "{on:?}: the fast Channel waited for the slow one");
        router.wait_attempts("slow", "timeout", SLOW_EVENTS);
    }
}

const ROOM: usize = 100;

/// Posts until the stream is full; how many were taken.
fn fill(router: &Router, on: On) -> usize {
    for n in 0..=2 * ROOM {
        let reply = router.post(&json!({"subject": "in", "data": n}));
        if reply.status != 202 {
            assert_eq!(reply.status, 507, "{on:?}: {reply:?}");
            let problem = reply.json();
            assert_eq!(
                (&problem["type"], &problem["stored"]),
                (&json!("urn:saf:problem:full"), &Value::Bool(false)),
                "{on:?}"
            );
            return n;
        }
    }
    panic!("{on:?}: never full")
}

#[test]
fn a_full_stream_says_507_and_takes_events_again_once_there_is_room() {
    for on in BOTH {
        // Embedded: what the paused Channel has not handled is not discarded. JetStream: nothing is.
        let discard = match on {
            On::Embedded => "",
            On::JetStream => "discard = \"new\"\n",
        };
        let stage = Stage::new(on)
            .streams(&format!("[streams.events]\nmax_messages = {ROOM}\n{discard}"))
            .channel("sink", "sink", &["in"], "");
        let router = stage.start();
        router.admin("POST", "/api/v1/channels/sink/pause", "");
        until("the pause", || (router.channel("sink")["state"] == "paused").then_some(()));
        assert_eq!(fill(&router, on), ROOM, "{on:?}");
        assert_eq!(router.stored(), ROOM, "{on:?}: nothing refused is stored, nothing stored is gone");

        router.admin("POST", "/api/v1/channels/sink/resume", "");
        router.wait_attempts("sink", "done", ROOM);
        if let Some(nats) = &stage.nats {
            Peer::connect(nats).purge("events");
        }
        until("room", || {
            (router.post(&json!({"subject": "in", "data": "again"})).status == 202).then_some(())
        });
        router.wait_attempts("sink", "done", ROOM + 1);
    }
}

const BACKLOG: usize = 500;
/// Half of it waiting for a retry makes a Channel sick.
const MAX_ACK_PENDING: usize = 20;

fn post_backlog(router: &Router) {
    let batch: Vec<_> = (0..BACKLOG).map(|n| json!({"subject": "in", "data": n})).collect();
    assert_eq!(router.post(&json!(batch)).status, 202);
}

fn sick(router: &Router) -> Value {
    until("sickness", || router.trouble("job").filter(|trouble| trouble["state"] == "sick"))
}

#[test]
fn a_sick_channel_keeps_its_backlog_out_of_the_dead_letters_until_its_guest_is_mended() {
    for on in BOTH {
        let more = format!(
            "max_ack_pending = {MAX_ACK_PENDING}\nmax_attempts = 4\nbackoff = [\"50ms\"]\nack_wait = \"5s\"\n\
             limits.timeout = \"1s\"\nemit.subjects = [\"echo.>\"]\nconfig = {{ mode = \"trap\" }}"
        );
        let mut stage =
            Stage::new(on).channel("job", "hostile", &["in"], &more).channel("other", "sink", &["in"], "");
        let router = stage.start();
        post_backlog(&router);
        let trouble = sick(&router);
        assert!(
            trouble["reason"].as_str().is_some_and(|reason| reason.contains("taking probes only")),
            "{on:?}: {trouble}"
        );
        router.wait_attempts("other", "done", BACKLOG);
        // Several probes later it still has nearly everything.
        let before = router.attempts("job", "trap");
        router.wait_attempts("job", "trap", before + 5);
        let dead = router.dead_letters().len();
        assert!(dead < BACKLOG / 10, "{on:?}: {dead} of {BACKLOG} are dead letters already");
        router.kill();

        let (hostile, echo) = (guest_path("hostile"), guest_path("echo"));
        let channels =
            stage.channels.replacen(&hostile.display().to_string(), &echo.display().to_string(), 1);
        stage.channels = channels;
        let router = stage.start();
        until("the rest", || {
            (router.events("echo.in").len() + router.dead_letters().len() >= BACKLOG).then_some(())
        });
        stage.settled(&router, "job");
        assert_eq!(router.events("echo.in").len() + router.dead_letters().len(), BACKLOG, "{on:?}");
        assert!(router.trouble("job").is_none(), "{on:?}");
    }
}

#[test]
fn a_channel_whose_trouble_passes_recovers_by_itself_and_loses_nothing() {
    // More than half of what may be out fails, twice each; what comes behind is well.
    const STUBBORN: usize = 15;
    const WELL: usize = 100;
    for on in BOTH {
        let more = format!(
            "max_ack_pending = {MAX_ACK_PENDING}\nmax_attempts = 5\nbackoff = [\"100ms\"]\nemit.subjects = [\"hostile.>\"]"
        );
        let stage = Stage::new(on).channel("job", "hostile", &["in"], &more);
        let router = stage.start();
        for n in 0..STUBBORN + WELL {
            let mode = if n < STUBBORN { "retry-then-succeed" } else { "many-emissions 1" };
            assert_eq!(router.post_raw("in", &[], mode).status, 202);
        }
        router.wait_attempts("job", "done", STUBBORN + WELL);
        stage.settled(&router, "job");
        assert_eq!(router.events("hostile.>").len(), STUBBORN + WELL, "{on:?}");
        assert!(router.dead_letters().is_empty(), "{on:?}");
        let state =
            until("health", || Some(router.channel("job")).filter(|channel| channel["state"] == "running"));
        assert_eq!(state["waiting"], 0, "{on:?}: {state}");
        let was_sick = router.log_lines(&["\"state\":\"sick\"", "\"channel\":\"job\""]);
        assert!(!was_sick.is_empty(), "{on:?}: it never was sick: the test tests nothing");
    }
}
