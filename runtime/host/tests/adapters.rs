//! Components of other hosts, unmodified: what an event is to them, and what becomes of it. The guests are `foreign-messaging` and
//! `foreign-http`; each does what the event's data says.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]

mod support;

use std::time::Duration;

use saf_event::{Event, Size, Span};
use saf_host::{Access, Call, Contract, Emission, Ended, LoadError, Pool, Setup, Verdict};

use support::{NOT_HUNG, Sandbox, call, component, event, sandbox, start_error};

async fn pool(sandbox: &Sandbox, guest: &str, change: impl FnOnce(&mut Setup)) -> Pool {
    let component = sandbox.guest(guest).await;
    sandbox.pool(&component, |setup| {
        setup.answers_to = Some("answers".into());
        change(setup);
    })
}

async fn call_with(pool: &Pool, event: &Event) -> Call {
    let called = async { pool.acquire().await.expect("starts").call(event, 3).await.0 };
    tokio::time::timeout(NOT_HUNG, called).await.expect("does not hang")
}

fn emitted(verdict: Verdict) -> Vec<(String, String)> {
    let Verdict::Done(emissions) = verdict else { panic!("{verdict:?}") };
    let text = |emission: Emission| (emission.subject, String::from_utf8_lossy(&emission.data).into_owned());
    emissions.into_iter().map(text).collect()
}

fn one(subject: &str, data: &str) -> Vec<(String, String)> {
    vec![(subject.to_owned(), data.to_owned())]
}

#[tokio::test]
async fn what_a_message_handler_publishes_is_emitted_when_it_returns_ok() {
    let sandbox = sandbox();
    let pool = pool(&sandbox, "foreign-messaging", |setup| {
        setup.config_json = r#"{"greeting": "hi", "n": 3}"#.into()
    })
    .await;
    assert_eq!(pool.component().contract(), Contract::Messaging);
    let emissions = emitted(call(&pool, "echo").await.verdict);
    assert_eq!(emissions, one("echo.ride.accepted", "echo"));
    assert_eq!(emitted(call(&pool, "publish a.b").await.verdict), one("a.b", "published"));
    assert_eq!(emitted(call(&pool, "configured greeting").await.verdict), one("configured", "hi"));
    assert_eq!(emitted(call(&pool, "configured n").await.verdict), one("configured", "3"));

    let verdict = call(&pool, "fail").await.verdict;
    assert_eq!(verdict, Verdict::Retry { reason: "told to fail".into(), after: None });
    let verdict = call(&pool, "trap").await.verdict;
    let Verdict::Trap(fault) = &verdict else { panic!("{verdict:?}") };
    assert!(fault.stderr.contains("told to trap") && fault.stderr.contains("src/lib.rs"), "{}", fault.stderr);
    assert_eq!(emitted(call(&pool, "echo").await.verdict).len(), 1, "nothing of the failed calls is left");
}

#[tokio::test]
async fn a_message_handler_reaches_nothing_of_the_broker() {
    let sandbox = sandbox();
    let pool = pool(&sandbox, "foreign-messaging", |_| {}).await;
    for (data, words) in [
        ("publish $JS.ACK.events.test.1.1.1.1.0", "belong to the broker"),
        ("publish $SYS.REQ.SERVER.PING", "belong to the broker"),
        ("publish _INBOX.abc.1", "is an inbox"),
        ("publish a.>", "may not"),
        ("request a.b", "cannot wait for an answer"),
        ("reply", "no reply-to"),
    ] {
        let verdict = call(&pool, data).await.verdict;
        let Verdict::Retry { reason, .. } = &verdict else { panic!("{data}: {verdict:?}") };
        assert!(reason.contains(words), "{data}: {reason}");
    }
}

#[tokio::test]
async fn reply_to_is_the_events_own_header_or_none() {
    let sandbox = sandbox();
    let pool = pool(&sandbox, "foreign-messaging", |_| {}).await;
    for (reply_to, answered) in [
        ("answers.1", true),
        ("$JS.ACK.events.test.1.1.1.1.0", false),
        ("_INBOX.abc.1", false),
        ("a b", false),
    ] {
        let mut event = event("reply");
        event.headers.push("reply-to", reply_to).expect("a header");
        let verdict = call_with(&pool, &event).await.verdict;
        if answered {
            assert_eq!(emitted(verdict), one(reply_to, "answer"));
        } else {
            let expected = Verdict::Retry { reason: "no reply-to".into(), after: None };
            assert_eq!(verdict, expected, "{reply_to}");
        }
    }
}

#[tokio::test]
async fn a_message_handler_that_floods_is_stopped_and_its_limits_are_named() {
    let sandbox = sandbox();
    let few = pool(&sandbox, "foreign-messaging", |setup| setup.limits.emissions = 10).await;
    let small = pool(&sandbox, "foreign-messaging", |setup| setup.limits.output = Size(100)).await;
    for pool in [few, small] {
        let verdict = call(&pool, "flood").await.verdict;
        let Verdict::Output(fault) = &verdict else { panic!("{verdict:?}") };
        assert!(fault.message.contains("limits.emissions"), "{}", fault.message);
    }
}

#[tokio::test]
async fn every_event_has_a_fresh_instance() {
    let sandbox = sandbox();
    let pool = pool(&sandbox, "foreign-messaging", |_| {}).await;
    for _ in 0..3 {
        assert_eq!(emitted(call(&pool, "count").await.verdict), one("count", "1"));
    }
    assert_eq!((pool.started(), pool.ended(Ended::Isolation)), (3, 3));
}

#[tokio::test]
async fn a_request_is_a_post_of_the_data_with_the_event_in_its_headers() {
    let sandbox = sandbox();
    let pool =
        pool(&sandbox, "foreign-http", |setup| setup.config_json = r#"{"path": "/in?team=a"}"#.into()).await;
    assert_eq!(pool.component().contract(), Contract::Http);
    let mut event = event("show");
    event
        .headers
        .push("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")
        .expect("valid");
    event.headers.push("connection", "close").expect("valid");
    let emissions = emitted(call_with(&pool, &event).await.verdict);
    let lines: Vec<&str> = emissions[0].1.lines().collect();
    assert_eq!(lines[1..3], ["/in?team=a", "saf.internal"]);
    assert!(lines[0].ends_with("Post"), "{}", lines[0]);
    for line in [
        "content-type: text/plain",
        "content-length: 4",
        "ce-specversion: 1.0",
        "ce-id: id-1",
        "ce-type: ride.accepted",
        "saf-attempt: 3",
        "x-source: orders",
        "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
    ] {
        assert!(lines.contains(&line), "{line} in {lines:?}");
    }
    assert!(!lines.iter().any(|line| line.starts_with("connection:")), "{lines:?}");
}

#[tokio::test]
async fn an_event_with_all_the_headers_it_may_have_arrives_whole() {
    let sandbox = sandbox();
    let pool = pool(&sandbox, "foreign-http", |_| {}).await;
    let mut event = event("show");
    let (mut sent, value) = (0, "v".repeat(240));
    while event.headers.push(format!("x-{sent}"), value.clone()).is_ok() {
        sent += 1;
    }
    let emissions = emitted(call_with(&pool, &event).await.verdict);
    assert_eq!(emissions[0].1.lines().filter(|line| line.ends_with(&value)).count(), sent);
}

#[tokio::test]
async fn a_response_decides_what_becomes_of_the_event() {
    let sandbox = sandbox();
    let pool = pool(&sandbox, "foreign-http", |setup| {
        setup.limits.timeout = Span(Duration::from_millis(500));
        setup.limits.output = Size(300_000);
    })
    .await;
    assert_eq!(emitted(call(&pool, "echo").await.verdict), one("answers", "echo"));
    let large = format!("echo {}", "x".repeat(200_000));
    assert_eq!(emitted(call(&pool, &large).await.verdict), one("answers", &large));
    assert_eq!(emitted(call(&pool, "cloudevent ride.done").await.verdict), one("ride.done", "an event"));
    assert_eq!(emitted(call(&pool, "status 204").await.verdict), []);

    let again = |verdict: &Verdict| match verdict {
        Verdict::Retry { after, .. } => Some(*after),
        _ => None,
    };
    for (data, after) in [
        ("status 408", None),
        ("status 429 7", Some(Duration::from_secs(7))),
        ("status 503 0", Some(Duration::ZERO)),
        ("status 500", None),
        ("error", None),
    ] {
        let verdict = call(&pool, data).await.verdict;
        assert_eq!(again(&verdict), Some(after), "{data}: {verdict:?}");
    }
    let verdict = call(&pool, "status 404").await.verdict;
    assert!(
        matches!(&verdict, Verdict::Reject { reason } if reason.contains("404") && reason.contains("why"))
    );
    for (data, words) in
        [("silent", "without setting a response"), ("half", "without finishing"), ("trap", "aborted")]
    {
        let verdict = call(&pool, data).await.verdict;
        let Verdict::Trap(fault) = &verdict else { panic!("{data}: {verdict:?}") };
        assert!(fault.message.contains(words), "{data}: {}", fault.message);
    }
    let verdict = call(&pool, "huge 400000").await.verdict;
    assert!(
        matches!(&verdict, Verdict::Output(fault) if fault.message.contains("limits.output")),
        "{verdict:?}"
    );
    let verdict = call(&pool, "spin").await.verdict;
    assert!(matches!(&verdict, Verdict::Timeout(_) | Verdict::Fuel(_)), "{verdict:?}");
}

#[tokio::test]
async fn a_response_without_a_place_to_go_and_a_path_that_is_none_say_so() {
    let sandbox = sandbox();
    let nowhere = pool(&sandbox, "foreign-http", |setup| setup.answers_to = None).await;
    let verdict = call(&nowhere, "echo").await.verdict;
    assert!(
        matches!(&verdict, Verdict::Output(fault) if fault.message.contains("emit.subjects")),
        "{verdict:?}"
    );
    for path in ["events", "http://elsewhere/", "/a b"] {
        let config_json = format!(r#"{{"path": "{path}"}}"#);
        let pool = pool(&sandbox, "foreign-http", |setup| setup.config_json = config_json).await;
        let error = start_error(&pool).await.to_string();
        assert!(error.contains("is no path"), "{path}: {error}");
    }
}

#[tokio::test]
async fn imports_of_other_hosts_components_say_what_works() {
    let sandbox = sandbox();
    for (guest, prefix, access) in [
        ("foreign-messaging", "wasmcloud:messaging/consumer@0.2.", Access::Granted),
        ("foreign-messaging", "wasi:logging/logging", Access::Granted),
        ("foreign-messaging", "wasi:config/runtime@", Access::Granted),
        ("foreign-http", "wasi:http/types@0.2.", Access::Granted),
    ] {
        let component = sandbox.guest(guest).await;
        let import = component.imports().iter().find(|import| import.name.starts_with(prefix));
        assert_eq!(import.map(|import| import.access), Some(access), "{prefix}");
    }
}

/// A handler that returns at once, for any version of the interface.
const HANDLER: &str = r#"(module (memory (export "memory") 1)
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32) (i32.const 1024))
    (func (export "wasmcloud:messaging/handler@VERSION#handle-message")
        (param i32 i32 i32 i32 i32 i32 i32) (result i32) (i32.const 16))
    MORE)"#;

fn handler_wit(version: &str, more: &str) -> String {
    format!(
        "package test:made;
         world made {{ export wasmcloud:messaging/handler@{version}; {more} }}
         package wasmcloud:messaging@{version} {{
            interface types {{ record broker-message {{ subject: string, body: list<u8>, reply-to: option<string> }} }}
            interface handler {{ use types.{{broker-message}}; handle-message: func(msg: broker-message) -> result<_, string>; }}
         }}"
    )
}

#[tokio::test]
async fn a_contract_is_found_by_its_track_and_what_needs_wasi_0_3_is_refused_by_name() {
    let sandbox = sandbox();
    for version in ["0.2.0", "0.2.1"] {
        let module = HANDLER.replace("VERSION", version).replace("MORE", r#"(func (export "extra"))"#);
        let bytes = component(&module, &handler_wit(version, "export extra: func();"));
        let loaded = sandbox.host.load_bytes(bytes.into()).await.expect(version);
        assert_eq!(loaded.contract(), Contract::Messaging);
        assert_eq!(loaded.ignored_exports(), ["extra"]);
        assert_eq!(emitted(call(&sandbox.pool(&loaded, |_| {}), "").await.verdict), []);
    }
    let module = HANDLER.replace("VERSION", "0.3.0").replace("MORE", "");
    let bytes = component(&module, &handler_wit("0.3.0", ""));
    let error = sandbox.host.load_bytes(bytes.into()).await.expect_err("refused");
    let LoadError::Newer(names) = &error else { panic!("{error}") };
    assert_eq!(names[..], ["wasmcloud:messaging/handler@0.3.0"]);
    assert!(error.to_string().contains("build it for WASI 0.2"), "{error}");
}
