//! Reloading: a router that reads its configuration and its components again loses no event, handles none twice, and is never left
//! without a Channel by a bad file. On SIGHUP, and by itself with `[reload] watch`.
#![allow(clippy::expect_used, reason = "a test that cannot set its scene has failed")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::load::{Habit, SUBJECT, Storm, check_each_once, stored_ids};
use support::{BOTH, On, Router, Stage, guest_path, signal, until};

const RELOADS: usize = 100;
/// More than can be posted during the reloads; the storm is stopped before.
const EVENTS: usize = 1_000_000;

/// A router's files, which the test changes.
struct Scene {
    stage: Stage,
}

impl Scene {
    /// With one Channel, `echo`, whose component is a file of the scene.
    fn new(on: On, rest: &str) -> Self {
        let scene = Self { stage: Stage::new(on) };
        scene.put("echo", "echo");
        let channels = scene.channel("echo", "echo", &[SUBJECT], "emit.subjects = [\">\"]");
        Self { stage: Stage { channels, ..scene.stage }.streams(rest) }
    }

    fn file(&self, name: &str) -> PathBuf {
        self.stage.folder.path().join(name)
    }

    /// Puts a guest under a name, at once.
    fn put(&self, name: &str, guest: &str) {
        self.put_bytes(name, &fs::read(guest_path(guest)).expect("a guest"));
    }

    fn put_bytes(&self, name: &str, bytes: &[u8]) {
        replace(&self.file(&format!("{name}.wasm")), bytes);
    }

    fn channel(&self, name: &str, component: &str, subjects: &[&str], rest: &str) -> String {
        let component = self.file(&format!("{component}.wasm"));
        format!(
            "[channels.{name}]\ncomponent = {:?}\nsubjects = {subjects:?}\n{rest}\n",
            component.display().to_string()
        )
    }

    /// Puts a configuration with these Channels in place of the router's.
    fn configure(&mut self, channels: &str) {
        channels.clone_into(&mut self.stage.channels);
        self.write(&self.stage.config());
    }

    fn write(&self, text: &str) {
        replace(&self.file("router.toml"), text.as_bytes());
    }
}

/// Whole or not at all.
fn replace(path: &Path, bytes: &[u8]) {
    let beside = path.with_extension("new");
    fs::write(&beside, bytes).expect("writable");
    fs::rename(&beside, path).expect("renames");
}

/// Another build of the same guest: a custom section more.
fn rebuilt(guest: &str) -> Vec<u8> {
    let mut bytes = fs::read(guest_path(guest)).expect("a guest");
    // Its id, its size, the size of its name, its name, and two bytes.
    bytes.extend(b"\x00\x08\x05build-2");
    bytes
}

/// Sends SIGHUP and waits for what the log says then.
#[track_caller]
fn hang_up(router: &Router, says: &[&str]) {
    let before = router.log_lines(says).len();
    signal(router.pid(), "HUP");
    until(&format!("{says:?}"), || (router.log_lines(says).len() > before).then_some(()));
}

fn post(router: &Router, subject: &str, data: &Value) {
    let reply = router.post(&json!({ "subject": subject, "data": data }));
    assert_eq!(reply.status, 202, "{reply:?}");
}

#[track_caller]
fn wait_events(router: &Router, filter: &str, count: usize) -> Vec<Value> {
    until(&format!("{count} events of {filter}"), || {
        let events = router.events(filter);
        (events.len() >= count).then_some(events)
    })
}

fn refused(router: &Router) -> Value {
    let ready = router.get("/readyz");
    assert_eq!(ready.status, 200, "a refused reload takes nothing out of service: {ready:?}");
    ready.json()["reload"]["refused"].clone()
}

#[test]
fn a_hundred_reloads_under_load_lose_no_event_handle_none_twice_and_count_each_once() {
    for on in BOTH {
        let mut scene = Scene::new(on, "");
        // Counts what `echo` emits: every event once more.
        scene.put("counter", "counter");
        let echoed = format!("echo.{SUBJECT}");
        let counter = scene.channel(
            "counter",
            "counter",
            &[echoed.as_str()],
            "emit.subjects = [\"counted.>\"]\ngrants.keyvalue = true",
        );
        scene.stage.channels += &counter;
        let builds =
            ["echo", "counter"].map(|guest| [fs::read(guest_path(guest)).expect("a guest"), rebuilt(guest)]);
        let router = scene.stage.start();
        let storm = Storm::start(&router, EVENTS, Habit::Repeat);
        for reload in 1..=RELOADS {
            let before = storm.stored();
            for (guest, builds) in ["echo", "counter"].into_iter().zip(&builds) {
                scene.put_bytes(guest, &builds[reload % 2]);
            }
            hang_up(&router, &["\"replaced\"", "\"channel\":\"echo\""]);
            storm.wait_stored(before + 1);
        }
        storm.stop();
        let answers = storm.finish();
        assert!(answers.len() > RELOADS && answers.iter().all(support::load::Answer::is_stored), "{on:?}");
        check_each_once(&scene.stage, &router, &answers);
        let handled = stored_ids(&router).len();
        assert_eq!(router.attempts("echo", "done"), handled, "{on:?}: an attempt each");
        assert_eq!(router.channel("echo")["released"], 0, "{on:?}: none was given back");
        let counted = wait_events(&router, &format!("counted.echo.{SUBJECT}"), handled);
        let mut counts: Vec<_> = counted.iter().map(|event| event["data"]["count"].as_u64()).collect();
        counts.sort_unstable();
        assert!(
            counts.into_iter().eq((1..=handled as u64).map(Some)),
            "{on:?}: counted once each, 1 to {handled}"
        );
    }
}

#[test]
fn consumers_that_change_under_load_lose_no_event_and_handle_none_twice() {
    for on in BOTH {
        let mut scene = Scene::new(on, "");
        let router = scene.stage.start();
        let storm = Storm::start(&router, EVENTS, Habit::Repeat);
        for concurrency in [1, 8, 2] {
            let before = storm.stored();
            storm.wait_stored(before + 500);
            let rest = format!(
                "emit.subjects = [\">\"]\nconcurrency = {concurrency}\nmax_ack_pending = {}",
                200 * concurrency
            );
            scene.configure(&scene.channel("echo", "echo", &[SUBJECT], &rest));
            hang_up(&router, &["\"restarted\"", "\"channel\":\"echo\""]);
            assert_eq!(router.channel("echo")["concurrency"], concurrency);
        }
        storm.stop();
        let answers = storm.finish();
        check_each_once(&scene.stage, &router, &answers);
        if let Some(nats) = &scene.stage.nats {
            let info = support::peer::Peer::connect(nats).consumer("events", "echo");
            assert_eq!(info.config.max_ack_pending, 400);
        }
    }
}

#[test]
fn a_bad_file_changes_nothing_and_is_named() {
    for on in BOTH {
        let mut scene = Scene::new(on, "");
        let good = scene.stage.channels.clone();
        let router = scene.stage.start();
        let works = |n: usize| {
            post(&router, SUBJECT, &json!({ "n": n }));
            wait_events(&router, &format!("echo.{SUBJECT}"), n);
        };
        works(1);

        scene.write("[channels.echo]\ncomponent = 5\n");
        hang_up(&router, &["nothing is changed", "router.toml:2"]);
        let reason = refused(&router)["configuration"].to_string();
        assert!(reason.contains("router.toml:2"), "{reason}");
        works(2);

        scene.write(&scene.stage.config());
        scene.put_bytes("echo", b"no component");
        hang_up(&router, &["refused", "\"channel\":\"echo\"", "echo.wasm"]);
        assert!(refused(&router)["channels"]["echo"].is_string());
        works(3);

        // It loads, and its init refuses the configuration.
        scene.put("echo", "fail");
        scene.configure(&format!("{good}config = {{ init = \"fail\" }}\n"));
        hang_up(&router, &["refused", "\"channel\":\"echo\""]);
        works(4);

        // A new Channel without a component is refused; the others go on, and change.
        scene.put("echo", "enrich");
        scene.configure(&format!("{good}{}", scene.channel("new", "none", &["new"], "")));
        hang_up(&router, &["refused", "\"channel\":\"new\"", "none.wasm"]);
        post(&router, SUBJECT, &json!({ "n": 5 }));
        wait_events(&router, &format!("enriched.{SUBJECT}"), 1);
        assert_eq!(refused(&router)["channels"].as_object().map(serde_json::Map::len), Some(1));

        scene.configure(&good);
        hang_up(&router, &["\"reloaded\""]);
        assert_eq!(refused(&router), Value::Null);
    }
}

#[test]
fn channels_come_go_and_subscribe_to_something_else() {
    for on in BOTH {
        let mut scene = Scene::new(on, "");
        let echo = scene.stage.channels.clone();
        let router = scene.stage.start();
        post(&router, "other", &json!({ "n": 1 }));

        scene.put("enrich", "enrich");
        let enrich = scene.channel("enrich", "enrich", &["other"], "emit.subjects = [\"enriched.>\"]");
        scene.configure(&format!("{echo}{enrich}"));
        hang_up(&router, &["\"started\"", "\"channel\":\"enrich\""]);
        wait_events(&router, "enriched.other", 1);
        assert_eq!(router.channel("enrich")["state"], "running");

        scene.configure(&enrich);
        hang_up(&router, &["\"stopped:", "\"channel\":\"echo\""]);
        let names: Vec<_> = router.all("/api/v1/channels").iter().map(|c| c["name"].clone()).collect();
        assert_eq!(names, ["enrich"], "{on:?}");
        post(&router, SUBJECT, &json!({ "n": 2 }));

        // Its place was kept: what came meanwhile is handled when it is back.
        scene.configure(&format!("{echo}{enrich}"));
        hang_up(&router, &["\"started\"", "\"channel\":\"echo\""]);
        wait_events(&router, &format!("echo.{SUBJECT}"), 1);

        let moved = scene.channel("enrich", "enrich", &["third"], "emit.subjects = [\"enriched.>\"]");
        scene.configure(&format!("{echo}{moved}"));
        hang_up(&router, &["\"restarted\"", "\"channel\":\"enrich\""]);
        post(&router, "other", &json!({ "n": 3 }));
        post(&router, "third", &json!({ "n": 4 }));
        wait_events(&router, "enriched.third", 1);
        assert_eq!(router.events("enriched.other").len(), 1, "{on:?}");
        assert!(router.terminate().success());
    }
}

#[test]
fn a_router_that_watches_reloads_by_itself() {
    let mut scene = Scene::new(On::Embedded, "[reload]\nwatch = true\n");
    let router = scene.stage.start();
    scene.put("echo", "enrich");
    until("the new component", || (!router.log_lines(&["\"replaced\""]).is_empty()).then_some(()));
    post(&router, SUBJECT, &json!({ "n": 1 }));
    wait_events(&router, &format!("enriched.{SUBJECT}"), 1);
    // A component that is named from now on is watched from now on.
    scene.put("second", "enrich");
    let second = scene.channel("second", "second", &["second"], "emit.subjects = [\">\"]");
    scene.configure(&format!("{}{second}", scene.stage.channels));
    until("the new Channel", || (!router.log_lines(&["\"started\""]).is_empty()).then_some(()));
    scene.put("second", "echo");
    until("its component", || {
        let lines = router.log_lines(&["\"replaced\"", "\"channel\":\"second\""]);
        (!lines.is_empty()).then_some(())
    });
    post(&router, "second", &json!({ "n": 2 }));
    wait_events(&router, "echo.second", 1);
}

#[test]
fn what_needs_a_restart_is_named_and_the_rest_takes_effect() {
    let scene = Scene::new(On::Embedded, "");
    let router = scene.stage.start();
    let text = scene.stage.config().replace("forward_headers = [\"x-*\"]", "forward_headers = []");
    scene.put("echo", "enrich");
    scene.write(&text);
    hang_up(&router, &["\"reloaded\""]);
    let named = router.log_lines(&["next start of the router", "\"section\":\"[http]\""]);
    assert_eq!(named.len(), 1, "{}", router.log());
    post(&router, SUBJECT, &json!({ "n": 1 }));
    wait_events(&router, &format!("enriched.{SUBJECT}"), 1);
}

#[test]
fn a_channel_that_cannot_start_runs_with_its_next_version() {
    let mut scene = Scene::new(On::Embedded, "");
    scene.put("echo", "fail");
    let bad =
        scene.channel("echo", "echo", &[SUBJECT], "emit.subjects = [\">\"]\nconfig = { init = \"fail\" }");
    let good = std::mem::replace(&mut scene.stage.channels, bad);
    let router = scene.stage.start();
    post(&router, SUBJECT, &json!({ "n": 1 }));
    until("the fault", || router.trouble("echo").filter(|trouble| trouble["state"] == "faulted"));
    scene.put("echo", "echo");
    scene.configure(&good);
    hang_up(&router, &["\"replaced\"", "\"channel\":\"echo\""]);
    // The event has waited, and no attempt was burnt.
    wait_events(&router, &format!("echo.{SUBJECT}"), 1);
    assert_eq!(router.channel("echo")["attempts"]["done"], 1);
    assert_eq!(router.trouble("echo"), None);
}
