//! `send`: what is stored, and what `--wait` tells of it.

use std::fs;

use serde_json::json;

use crate::said::{ask, ask_with, echo, hostile};
use crate::support::{BOTH, On, until};

#[test]
fn send_wait_shows_what_became_of_an_event() {
    BOTH.into_iter().for_each(shows_what_became_of_an_event);
}

fn shows_what_became_of_an_event(on: On) {
    let stage = echo(on);
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
fn send_until_waits_for_what_comes_of_an_event() {
    BOTH.into_iter().for_each(waits_for_what_comes_of_an_event);
}

fn waits_for_what_comes_of_an_event(on: On) {
    let stage = echo(on);
    let router = stage.start();
    let said = ask(&router, &["send", "hello", "1", "--until", "echo.>"]).ok();
    assert!(said.out.contains("emitted: echo.hello, sequence 2"), "{said:?}");
    // The one before is of another chain.
    let lines = ask(&router, &["send", "hello", "2", "--until", "echo.hello", "--format", "ndjson"])
        .ok()
        .json_lines();
    assert_eq!(
        (&lines[1]["emission"]["root"], &lines[1]["emission"]["data"]),
        (&json!("events:3"), &json!(2))
    );

    let said = ask(&router, &["send", "nobody.listens", "--until", "echo.>", "--timeout", "500ms"]);
    said.fails(1, &["sequence 5 is stored", "nothing on echo.> came of it in time", "--timeout"]);
}

#[test]
fn send_wait_fails_when_a_channel_cannot_handle_the_event() {
    BOTH.into_iter().for_each(fails_when_a_channel_cannot_handle_the_event);
}

fn fails_when_a_channel_cannot_handle_the_event(on: On) {
    let stage = hostile(on);
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
fn send_wait_tells_of_each_channel_and_fails_when_one_of_them_does() {
    BOTH.into_iter().for_each(tells_of_each_channel_and_fails_when_one_of_them_does);
}

fn tells_of_each_channel_and_fails_when_one_of_them_does(on: On) {
    let stage = hostile(on).channel("echo", "echo", &["do"], "emit.subjects = [\"echo.>\"]").channel(
        "elsewhere",
        "sink",
        &["other"],
        "",
    );
    let router = stage.start();
    let said = ask(&router, &["send", "do", "reject", "--wait"]);
    let said = said.fails(1, &["a dead letter of hostile:", "dead-letters list --channel hostile"]);
    for part in ["hostile: attempt 1 reject", "; a dead letter", "echo: attempt 1 done", "emitted: echo.do"] {
        assert!(said.out.contains(part), "lacks {part:?}: {said:?}");
    }
    assert!(!said.out.contains("elsewhere"), "{said:?}");

    // One needs three attempts, the other one: both are waited for.
    let lines = ask(&router, &["send", "do", "retry-then-succeed", "--wait", "--format", "ndjson"]).ok();
    let lines = lines.json_lines();
    let count =
        |what: &str, channel: &str| lines.iter().filter(|line| line[what]["channel"] == channel).count();
    assert_eq!((count("attempt", "hostile"), count("attempt", "echo")), (3, 1), "{lines:?}");
    let mut emitted: Vec<_> = lines.iter().filter_map(|line| line["emission"]["subject"].as_str()).collect();
    emitted.sort_unstable();
    assert_eq!(emitted, ["echo.do", "hostile.succeeded"]);
}

#[test]
fn what_is_sent_is_what_is_stored() {
    let stage = echo(On::Embedded);
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
