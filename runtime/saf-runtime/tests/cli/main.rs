//! The commands as a user types them: the binary, its output and its exit codes, against a real router.
#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod https;
mod said;
mod send;
#[path = "../support/mod.rs"]
mod support;
mod top;

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::Path;

use serde_json::{Value, json};

use said::{Said, alone, ask, at, echo, hostile, tap};
use support::{On, Stage, free_port, until};

#[test]
fn a_slip_is_told_before_anything_is_sent() {
    for (args, part) in [
        (&["frobnicate"][..], "unrecognized subcommand"),
        (&["send"], "<SUBJECT>"),
        (&["send", "a..b"], "empty token"),
        (&["send", "ride.*"], "may not"),
        (&["send", "a", "--header", "x"], "NAME=VALUE"),
        (&["send", "a", "{}", "--file", "f"], "cannot be used with"),
        (&["send", "a", "--file", "/there/is/none"], "cannot read /there/is/none"),
        (&["send", "a", "--timeout", "1s"], "--wait"),
        (&["tap", "--sample", "2"], "from 0 to 1"),
        (&["events", "list", "--since", "yesterday"], "how long ago"),
        (&["events", "--url", "127.0.0.1:1379"], "write one such as http://127.0.0.1:1379"),
        (&["channels", "pause"], "<NAME>"),
        (&["dead-letters", "replay"], "--channel"),
        (&["dead-letters", "replay", "events:1", "--rate", "5"], "cannot be used with"),
        (&["dlq", "delete", "--channel", "printer"], "--count"),
        (&["dlq", "delete", "events:1", "--channel", "printer"], "cannot be used with"),
    ] {
        let said = alone(args).fails(2, &[part]);
        assert!(said.out.is_empty(), "{said:?}");
    }
}

#[test]
fn a_router_that_is_not_there_is_told_with_what_to_do() {
    let url = format!("http://127.0.0.1:{}", free_port());
    for args in [
        &["tap"][..],
        &["top", "--once"],
        &["events"],
        &["events", "data", "1"],
        &["channels"],
        &["channels", "pause", "printer"],
        &["dead-letters"],
        &["dlq", "replay", "events:1"],
    ] {
        let said = alone(&[args, &["--url", &url]].concat());
        said.fails(69, &["cannot reach the router", &url, "saf-runtime --config", "--url or SAF_URL"]);
    }
    alone(&["send", "hello", "--ingest-url", &url]).fails(69, &["--ingest-url or SAF_INGEST_URL"]);
}

#[test]
fn a_configuration_that_cannot_be_used_is_78_and_names_the_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("router.toml");
    let file = file.to_str().expect("text");
    for (text, parts) in [
        ("[http]\nlistenn = \"x\"\n", &["router.toml:2", "did you mean `listen`?"][..]),
        ("[channels.a]\nsubjects = [\"x\"]\n", &["router.toml:1", "`component` is missing"]),
    ] {
        fs::write(file, text).expect("writable");
        alone(&["--config", file]).fails(78, parts);
        alone(&["check", "--config", file]).fails(78, parts);
    }
    alone(&["--config", "/there/is/none.toml"]).fails(78, &["cannot read", "--config"]);
    fs::write(file, "[channels.a]\nsubjects = [\"x\"]\ncomponent = \"none.wasm\"\n").expect("writable");
    alone(&["check", "--config", file]).fails(1, &["cannot be run: a"]);
}

#[test]
fn every_command_has_help_with_examples() {
    for name in ["send", "tap", "top", "events", "channels", "dead-letters"] {
        let said = alone(&[name, "--help"]).ok();
        assert!(said.out.contains("Examples:") && said.out.contains("SAF_URL"), "{said:?}");
    }
    assert!(alone(&["store", "check", "--help"]).ok().out.contains("--cut"));
    assert!(alone(&["completions", "bash"]).ok().out.contains("dead-letters"));
}

#[test]
fn events_are_listed_over_pages_shown_and_given_back_byte_for_byte() {
    let stage = Stage::new(On::Embedded);
    let router = stage.start();
    for n in 1..=110 {
        router.post(&json!({"subject": if n % 2 == 0 { "even" } else { "odd" }, "data": n}));
    }
    let evil = b"\x1b[2J\r\nred\xc2\x9b31m";
    router.post_raw("evil", &[("content-type", "text/plain")], evil);

    let said = ask(&router, &["events", "list", "--limit", "105"]).ok();
    let rows = said.rows();
    assert_eq!((rows.len(), rows[0][0], rows[104][0]), (105, "1", "105"), "{said:?}");
    assert!(said.err.contains("--after 105"), "{said:?}");
    let rest = ask(&router, &["events", "list", "--after", "105", "--format", "ndjson"]).ok().json_lines();
    assert_eq!((rest.len(), &rest[0]["sequence"], &rest[0]["data"]), (6, &json!(106), &json!(106)));
    let even = ask(&router, &["events", "list", "--subject", "ev*n", "--format", "json"]);
    even.fails(1, &["?subject=ev*n"]);
    let even = ask(&router, &["events", "list", "--subject", "even", "--format", "json"]).ok();
    let even: Vec<Value> = serde_json::from_str(&even.out).expect("one document");
    assert!(even.len() == 55 && even.iter().all(|event| event["subject"] == "even"));
    let nothing = ask(&router, &["events", "list", "--subject", "none", "--since", "1h"]).ok();
    assert!(nothing.out.is_empty() && nothing.err.contains("no events match"), "{nothing:?}");

    for args in [&["events", "list", "--after", "110"][..], &["events", "show", "111"]] {
        let said = ask(&router, args).ok();
        assert!(said.out.contains("\\u{1b}[2J") && said.out.contains("red\\u{9b}31m"), "{said:?}");
        assert!(!said.out.contains(['\u{1b}', '\u{9b}']), "{said:?}");
    }
    let data = at(&router, &["events", "data", "111"]).output().expect("runs");
    assert_eq!(data.stdout, evil);
    ask(&router, &["events", "show", "999"]).fails(1, &["was answered 404"]);
}

#[test]
fn channels_are_listed_inspected_paused_and_resumed() {
    let stage = echo(On::Embedded);
    let router = stage.start();
    ask(&router, &["send", "hello", "--wait"]).ok();
    let said = ask(&router, &["channels"]).ok();
    assert!(said.out.starts_with("CHANNEL"), "{said:?}");
    assert_eq!(said.rows()[0][..7], ["echo", "running", "events", "hello", "1", "0", "0"], "{said:?}");
    let said = ask(&router, &["channels", "inspect", "echo"]).ok();
    for part in
        ["may emit", "echo.>", "memory 64.0 MiB", "timeout 5s", "1 done", "echo.wasm", "p50 ", "of memory"]
    {
        assert!(said.out.contains(part), "lacks {part:?}: {said:?}");
    }
    assert_eq!(
        ask(&router, &["channels", "list", "--format", "ndjson"]).ok().json_lines()[0]["name"],
        "echo"
    );

    let said = ask(&router, &["channels", "pause", "echo"]).ok();
    assert!(said.out.contains("pausing") || said.out.contains("paused"), "{said:?}");
    until("the pause", || (router.channel("echo")["state"] == "paused").then_some(()));
    ask(&router, &["send", "hello", "2"]).ok();
    ask(&router, &["channels", "resume", "echo"]).ok();
    router.wait_attempts("echo", "done", 2);
    ask(&router, &["channels", "pause", "none"]).fails(1, &["no such Channel", "was answered 404"]);
}

#[test]
fn dead_letters_are_shown_with_their_attempts_replayed_and_deleted() {
    let stage = hostile(On::Embedded);
    let router = stage.start();
    ask(&router, &["send", "do", "trap", "--wait"]).fails(1, &["a dead letter of hostile"]);
    let said = ask(&router, &["dlq"]).ok();
    let row = said.rows()[0].iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!(row[2..7], ["hostile", "trap", "3", "do", "1"], "{said:?}");
    let id = &row[0];
    let said = ask(&router, &["dead-letters", "show", id]).ok();
    for part in [
        "attempt 3",
        "as before",
        "hostile was asked to trap",
        "backtrace",
        "of memory",
        "data",
        "dead-letters replay",
    ] {
        assert!(said.out.contains(part), "lacks {part:?}: {said:?}");
    }
    let shown = &ask(&router, &["dlq", "show", id, "--format", "json"]).ok().json_lines()[0];
    assert_eq!(shown["attempts"].as_array().map(Vec::len), Some(3), "{shown}");

    assert!(ask(&router, &["dlq", "replay", id]).ok().out.contains(&format!("replayed {id}")));
    router.wait_attempts("hostile", "trap", 6);
    until("its new dead letter", || (router.dead_letters().len() == 1).then_some(()));
    let filter = ["--channel", "hostile", "--outcome", "trap"];
    let said =
        ask(&router, &[&["dlq", "replay", "--rate", "50", "--stop-after", "9"], &filter[..]].concat()).ok();
    assert!(said.out.contains("replayed 1, failed 0"), "{said:?}");
    router.wait_attempts("hostile", "trap", 9);
    until("its new dead letter", || (router.dead_letters().len() == 1).then_some(()));

    let delete = [&["dlq", "delete"], &filter[..]].concat();
    ask(&router, &[&delete[..], &["--count", "5"]].concat()).fails(1, &["not 5", "none was deleted"]);
    assert_eq!(router.dead_letters().len(), 1);
    assert!(ask(&router, &[&delete[..], &["--count", "1"]].concat()).ok().out.contains("deleted 1"));
    assert!(ask(&router, &["dlq", "list"]).ok().err.contains("no dead letters match"));
    ask(&router, &["dlq", "delete", "events:99"]).fails(1, &["was answered 404"]);
}

#[test]
fn a_tap_shows_what_is_stored_from_now_on_and_ends_with_its_reader() {
    let stage = Stage::new(On::Embedded);
    let router = stage.start();
    router.post(&json!({"subject": "ride.before"}));
    let tapping = tap(&router, &["tap", "ride.>", "--limit", "2", "--format", "ndjson"]);
    for subject in ["ride.a", "other", "ride.b"] {
        router.post(&json!({"subject": subject, "data": {"a": 1}}));
    }
    let said = Said::of(&tapping.wait_with_output().expect("ends")).ok();
    let subjects: Vec<_> = said.json_lines().iter().map(|event| event["subject"].clone()).collect();
    assert_eq!(subjects, ["ride.a", "ride.b"]);

    let mut tapping = tap(&router, &["tap"]);
    router.post(&json!({"subject": "one", "data": "\u{1b}"}));
    let mut line = String::new();
    BufReader::new(tapping.stdout.take().expect("piped")).read_line(&mut line).expect("a line");
    assert!(line.contains("one") && !line.contains('\u{1b}'), "{line}");
    let ended = until("the tap to notice that its reader left", || {
        router.post(&json!({"subject": "more"}));
        tapping.try_wait().expect("waits")
    });
    assert!(ended.success(), "{ended}");

    let tapping = tap(&router, &["tap"]);
    assert!(router.terminate().success());
    Said::of(&tapping.wait_with_output().expect("ends")).fails(69, &["it is stopping"]);
}

#[test]
fn a_token_is_taken_from_the_environment_and_missed_by_name() {
    let stage =
        Stage::new(On::Embedded).env("SAF__ADMIN__TOKEN__ENV", "ADMIN_SECRET").env("ADMIN_SECRET", "s3cret");
    let router = stage.start();
    ask(&router, &["channels"]).fails(1, &["set SAF_TOKEN", "401"]);
    let said = Said::of(&at(&router, &["channels"]).env("SAF_TOKEN", "s3cret").output().expect("runs")).ok();
    assert!(said.err.contains("has no Channels"), "{said:?}");
    let help =
        Said::of(&at(&router, &["channels", "--help"]).env("SAF_TOKEN", "s3cret").output().expect("runs"));
    assert!(!help.ok().out.contains("s3cret"));
}

#[test]
fn a_damaged_store_is_found_and_cut_only_when_asked() {
    let stage = Stage::new(On::Embedded);
    let store = stage.folder.path().join("store");
    let path = store.to_str().expect("text");
    alone(&["store", "check", "--path", path]).fails(78, &["holds no store"]);
    let router = stage.start();
    for n in 0..3 {
        router.post_raw("a", &[], format!("payload-{n}"));
    }
    alone(&["store", "check", "--path", path]).fails(78, &["is in use by process"]);
    assert!(router.terminate().success());
    let said = alone(&["store", "check", "--path", path]).ok();
    assert!(
        said.out.contains("stream events: 3 events") && said.out.contains("nothing is damaged"),
        "{said:?}"
    );

    flip(&store, b"payload-1");
    let said = alone(&["store", "check", "--path", path]).fails(1, &["--cut", "keep a copy"]);
    assert!(said.out.contains("after sequence 1") && said.out.contains("gives up 2 events"), "{said:?}");
    let said = alone(&["store", "check", "--path", path, "--cut"]).ok();
    assert!(said.out.contains("kept: ") && said.out.contains("stream events: 1 events"), "{said:?}");
    alone(&["store", "check", "--path", path]).ok();
    let router = stage.start();
    assert_eq!(router.stored(), 1);
}

/// Changes one byte of the store, where a text stands.
fn flip(folder: &Path, text: &[u8]) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            flip(&path, text);
            continue;
        }
        let mut bytes = fs::read(&path).expect("readable");
        if let Some(at) = bytes.windows(text.len()).position(|window| window == text) {
            bytes[at] ^= 1;
            fs::write(&path, bytes).expect("writable");
        }
    }
}
