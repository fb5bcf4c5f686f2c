//! The commands as a user types them: the binary, its output and its exit codes, against a real router on the embedded store.
#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use serde_json::{Value, json};
use support::{On, Router, Stage, free_port, until};

/// What a command said.
#[derive(Debug)]
struct Said {
    code: Option<i32>,
    out: String,
    err: String,
}

impl Said {
    fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "stderr lacks {part:?}: {self:?}");
        }
        self
    }

    /// Each line as JSON.
    #[track_caller]
    fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(parse).collect()
    }

    /// The words of each line of a table, without its head.
    fn rows(&self) -> Vec<Vec<&str>> {
        self.out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
    }
}

fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saf-runtime"));
    for name in ["SAF_URL", "SAF_TOKEN", "SAF_INGEST_URL", "SAF_INGEST_TOKEN", "SAF_CONFIG"] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A command that needs no router.
fn alone(args: &[&str]) -> Said {
    Said::of(&command(args).output().expect("runs"))
}

fn at(router: &Router, args: &[&str]) -> Command {
    let mut command = command(args);
    command.env("SAF_URL", &router.admin).env("SAF_INGEST_URL", &router.ingest);
    command
}

/// A command that asks a router.
fn ask(router: &Router, args: &[&str]) -> Said {
    Said::of(&at(router, args).output().expect("runs"))
}

/// The same, with something on standard input.
fn ask_with(router: &Router, args: &[&str], input: &[u8]) -> Said {
    let mut child = at(router, args).stdin(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(input).expect("reads");
    Said::of(&child.wait_with_output().expect("ends"))
}

/// A tap that is open.
fn tap(router: &Router, args: &[&str]) -> Child {
    let mut child = at(router, args).spawn().expect("starts");
    let mut line = String::new();
    let err = child.stderr.as_mut().expect("piped");
    BufReader::new(err).read_line(&mut line).expect("says something");
    assert!(line.contains("tapping"), "{line}");
    child
}

fn echo() -> Stage {
    Stage::new(On::Embedded).channel("echo", "echo", &["hello"], "emit.subjects = [\"echo.>\"]")
}

/// A Channel that does what the data of its events says.
fn hostile() -> Stage {
    let rest = "backoff = [\"10ms\"]\nmax_attempts = 3\nemit.subjects = [\"hostile.>\"]";
    Stage::new(On::Embedded).channel("hostile", "hostile", &["do"], rest)
}

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
    for name in ["send", "tap", "events", "channels", "dead-letters"] {
        let said = alone(&[name, "--help"]).ok();
        assert!(said.out.contains("Examples:") && said.out.contains("SAF_URL"), "{said:?}");
    }
    assert!(alone(&["store", "check", "--help"]).ok().out.contains("--cut"));
    assert!(alone(&["completions", "bash"]).ok().out.contains("dead-letters"));
}

#[test]
fn send_wait_shows_what_became_of_an_event() {
    let stage = echo();
    let router = stage.start();
    let said = ask(&router, &["send", "hello", r#"{"name": "world"}"#, "--wait"]).ok();
    for part in ["stored: hello, sequence 1, id ", "echo: attempt 1 done", "emitted: echo.hello, sequence 2"]
    {
        assert!(said.out.contains(part), "lacks {part:?}: {said:?}");
    }
    assert!(said.out.contains(r#"{"name": "world"}"#), "byte for byte: {said:?}");

    let lines = ask(&router, &["send", "hello", "1", "--wait", "--format", "ndjson"]).ok().json_lines();
    assert_eq!(lines[0]["receipt"]["sequence"], 3);
    assert_eq!(
        (&lines[1]["attempt"]["channel"], &lines[1]["attempt"]["next"]),
        (&json!("echo"), &json!("done"))
    );
    assert_eq!(
        (&lines[2]["emission"]["parent"], &lines[2]["emission"]["data"]),
        (&json!("events:3"), &json!(1))
    );

    let said = ask(&router, &["send", "nobody.listens", "--wait"]).ok();
    assert!(said.err.contains("no Channel of stream events subscribes to nobody.listens"), "{said:?}");
}

#[test]
fn send_wait_fails_when_a_channel_cannot_handle_the_event() {
    let stage = hostile();
    let router = stage.start();
    let said = ask(&router, &["send", "do", "retry-then-succeed", "--wait"]).ok();
    let attempts = said.out.lines().filter(|line| line.starts_with("hostile: attempt")).count();
    assert!(
        attempts == 3 && said.out.contains("again in") && said.out.contains("hostile.succeeded"),
        "{said:?}"
    );

    let said = ask(&router, &["send", "do", "reject", "--wait"]);
    let said = said.fails(1, &["a dead letter of hostile", "dead-letters list --channel hostile"]);
    assert!(said.out.contains("asked to reject"), "{said:?}");

    ask(&router, &["channels", "pause", "hostile"]).ok();
    until("the pause", || (router.channel("hostile")["state"] == "paused").then_some(()));
    let said = ask(&router, &["send", "do", "ok", "--wait", "--timeout", "500ms"]);
    said.fails(1, &["hostile is paused", "not settled in time", "no attempt yet", "--timeout"]);
}

#[test]
fn what_is_sent_is_what_is_stored() {
    let stage = echo();
    let router = stage.start();
    let file = stage.folder.path().join("data.bin");
    fs::write(&file, b"\x1b\xff").expect("writable");
    let file = file.to_str().expect("text");
    ask(&router, &["send", "a", "--header", "x-a=1", "--header", "x-a=2", "--id", "7"]).ok();
    ask(&router, &["send", "a", "not json"]).ok();
    ask(&router, &["send", "a", "--file", file, "--content-type", "image/x"]).ok();
    ask_with(&router, &["send", "a", "--file", "-"], b"{\"n\": 1.0}\n").ok();
    ask(
        &router,
        &["send", "a", "{}", "--raw", "--header", "x-b=3", "--content-type", "text/csv", "--id", "8"],
    )
    .ok();
    let said = ask(&router, &["send", "a", "--id", "7", "--header", "x-a=1", "--header", "x-a=2"]).ok();
    assert!(said.out.contains("stored before: a, sequence 1"), "{said:?}");

    let events = router.events("a");
    let seen = |n: usize| {
        let event = &events[n];
        let headers = event["headers"].as_array().expect("a list").iter();
        // The router's own.
        let headers: Vec<_> = headers.filter(|header| header[0] != "traceparent").collect();
        json!([event["content_type"], headers, event.get("data").or(event.get("data_base64"))])
    };
    assert_eq!(seen(0), json!([null, [["x-a", "1"], ["x-a", "2"]], ""]));
    assert_eq!(seen(1), json!(["text/plain; charset=utf-8", [], "bm90IGpzb24="]));
    assert_eq!(seen(2), json!(["image/x", [], "G/8="]));
    assert_eq!(seen(3), json!(["application/json", [], {"n": 1.0}]));
    assert_eq!(seen(4), json!(["text/csv", [["x-b", "3"]], "e30="]));
    assert_eq!((&events[0]["id"], &events[4]["id"], events.len()), (&json!("7"), &json!("8"), 5));

    let refused = ask(&router, &["send", "a", "--header", "Nats-Msg-Id=1"]);
    refused.fails(1, &["Invalid event", "reserved", "was answered 400"]);
    ask(&router, &["send", "a", "--stream", "none"]).fails(1, &["No such stream"]);
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
    let stage = echo();
    let router = stage.start();
    ask(&router, &["send", "hello", "--wait"]).ok();
    let said = ask(&router, &["channels"]).ok();
    assert!(said.out.starts_with("CHANNEL"), "{said:?}");
    assert_eq!(said.rows()[0][..7], ["echo", "running", "events", "hello", "1", "0", "0"], "{said:?}");
    let said = ask(&router, &["channels", "inspect", "echo"]).ok();
    for part in ["may emit", "echo.>", "memory 64.0 MiB", "timeout 5s", "1 done", "echo.wasm"] {
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
    let stage = hostile();
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
