//! wasi:http from inside a guest, against a real server: what leaves, what comes back, and what stops it. The guest is `webhook-out`.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]

mod support;

use std::time::Duration;

use bytes::Bytes;
use saf_event::{Size, Span};
use saf_host::{Case, HttpAnswer, HttpFailure, HttpScript, Limits, Pool, Verdict, run_case};

use support::server::{Reply, Server};
use support::{NOT_HUNG, Sandbox, call, event, sandbox};

async fn webhook(sandbox: &Sandbox, server: &Server, grant: &str, change: impl FnOnce(&mut Limits)) -> Pool {
    let component = sandbox.guest("webhook-out").await;
    sandbox.pool(&component, |setup| {
        setup.grants.http = vec![grant.parse().expect("an origin")];
        setup.config_json = format!(r#"{{"url": "{}/hook?team=a"}}"#, server.origin());
        change(&mut setup.limits);
    })
}

#[tokio::test]
async fn an_answer_decides_what_becomes_of_the_event() {
    let sandbox = sandbox();
    let retry = |after: Option<u64>| Some(after.map(Duration::from_secs));
    for (status, headers, expected) in [
        ("200 OK", "", None),
        ("204 No Content", "", None),
        ("429 Too Many Requests", "Retry-After: 7\r\n", Some(retry(Some(7)))),
        ("503 Service Unavailable", "retry-after: 120\r\n", Some(retry(Some(120)))),
        ("503 Service Unavailable", "", Some(retry(None))),
        ("500 Internal Server Error", "", Some(retry(None))),
        ("404 Not Found", "", Some(None)),
        ("301 Moved Permanently", "Location: http://169.254.169.254/\r\n", Some(None)),
    ] {
        let server = Server::start(Reply::status(status, headers, "why")).await;
        let pool = webhook(&sandbox, &server, &server.origin(), |_| {}).await;
        let verdict = call(&pool, "data").await.verdict;
        match (expected, &verdict) {
            (None, Verdict::Done(emissions)) => assert!(emissions.is_empty()),
            (Some(Some(after)), Verdict::Retry { reason, after: asked }) => {
                assert_eq!(after, *asked, "{status}");
                assert!(reason.contains(&status[..3]) && reason.contains("why"), "{reason}");
            }
            (Some(None), Verdict::Reject { reason }) => assert!(reason.contains(&status[..3]), "{reason}"),
            (_, verdict) => panic!("{status}: {verdict:?}"),
        }
        assert_eq!(server.seen().len(), 1, "{status}: no request follows a redirect");
    }
}

#[tokio::test]
async fn the_endpoint_sees_a_cloudevent_and_one_connection_serves_many_events() {
    let sandbox = sandbox();
    let server = Server::start(Reply::status("200 OK", "", "thanks")).await;
    let pool = webhook(&sandbox, &server, &server.origin(), |_| {}).await;
    let large = "x".repeat(200_000);
    for data in ["first", &large, ""] {
        let verdict = call(&pool, data).await.verdict;
        assert!(matches!(verdict, Verdict::Done(_)), "{verdict:?}");
    }
    let seen = server.seen();
    assert_eq!(seen[0].line, "POST /hook?team=a");
    for (name, value) in [
        ("host", &*server.address.to_string()),
        ("content-type", "text/plain"),
        ("content-length", "5"),
        ("ce-specversion", "1.0"),
        ("ce-type", "ride.accepted"),
        ("ce-id", "id-1"),
    ] {
        assert_eq!(seen[0].header(name), Some(value), "{name}");
    }
    let bodies: Vec<usize> = seen.iter().map(|seen| seen.body.len()).collect();
    assert_eq!(bodies, [5, 200_000, 0]);
    assert_eq!(server.connections(), 1);
}

#[tokio::test]
async fn what_is_not_granted_never_leaves() {
    let sandbox = sandbox();
    let server = Server::start(Reply::status("200 OK", "", "")).await;
    for grant in ["http://127.0.0.1:1", "https://127.0.0.1", "http://localhost:80"] {
        let pool = webhook(&sandbox, &server, grant, |_| {}).await;
        let verdict = call(&pool, "data").await.verdict;
        let Verdict::Retry { reason, .. } = &verdict else { panic!("{verdict:?}") };
        assert!(reason.contains("grants.http"), "{reason}");
    }
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn the_deadline_covers_a_server_that_hangs_and_closes_its_connection() {
    let sandbox = sandbox();
    let server = Server::start(Reply::Silence).await;
    let timeout = Span(Duration::from_millis(300));
    let pool = webhook(&sandbox, &server, &server.origin(), |limits| limits.timeout = timeout).await;
    let verdict = call(&pool, "data").await.verdict;
    assert!(matches!(verdict, Verdict::Timeout(_)), "{verdict:?}");
    tokio::time::timeout(NOT_HUNG, server.left()).await.expect("the request went with its instance");
}

#[tokio::test]
async fn a_server_that_hangs_up_is_another_attempt_and_one_that_never_ends_is_left() {
    let sandbox = sandbox();
    let server = Server::start(Reply::Hangup).await;
    let pool = webhook(&sandbox, &server, &server.origin(), |_| {}).await;
    let verdict = call(&pool, "data").await.verdict;
    assert!(matches!(&verdict, Verdict::Retry { .. }), "{verdict:?}");

    let server = Server::start(Reply::Endless).await;
    let pool = webhook(&sandbox, &server, &server.origin(), |_| {}).await;
    let verdict = call(&pool, "data").await.verdict;
    assert!(matches!(&verdict, Verdict::Done(_)), "{verdict:?}");
    tokio::time::timeout(NOT_HUNG, server.left()).await.expect("the connection was closed");
}

#[tokio::test]
async fn an_event_sends_no_more_than_its_bytes() {
    let sandbox = sandbox();
    let server = Server::start(Reply::status("200 OK", "", "")).await;
    let pool = webhook(&sandbox, &server, &server.origin(), |limits| limits.http_bytes = Size(50_000)).await;
    let verdict = call(&pool, &"x".repeat(100_000)).await.verdict;
    assert!(matches!(&verdict, Verdict::Retry { .. }), "{verdict:?}");
    assert!(server.seen().is_empty(), "no whole request arrived");
    let verdict = call(&pool, "small").await.verdict;
    assert!(matches!(&verdict, Verdict::Done(_)), "the next event has its own: {verdict:?}");

    let none = webhook(&sandbox, &server, &server.origin(), |limits| limits.http_calls = 0).await;
    let verdict = call(&none, "data").await.verdict;
    assert!(matches!(&verdict, Verdict::Retry { .. }), "{verdict:?}");
}

#[tokio::test]
async fn a_case_reaches_nothing_and_says_so() {
    let sandbox = sandbox();
    let server = Server::start(Reply::status("200 OK", "", "")).await;
    let component = sandbox.guest("webhook-out").await;
    let config_json = format!(r#"{{"url": "{}"}}"#, server.origin());
    let case = Case { event: event("data"), attempt: 1, config_json, limits: Limits::default(), http: None };
    let report = run_case(&sandbox.host, &component, &case).await;
    assert!(matches!(report.call.expect("starts").verdict, Verdict::Retry { .. }));
    assert!(report.log.iter().any(|line| line.text.contains("a request was denied")), "{:?}", report.log);
    assert_eq!(server.connections(), 0);
}

#[tokio::test]
async fn a_case_with_answers_gets_them_in_order_and_keeps_what_was_asked() {
    let sandbox = sandbox();
    let component = sandbox.guest("webhook-out").await;
    let run = async |url: &str, grant: Option<&str>, answers: Vec<HttpAnswer>| {
        let granted = grant.map(|grant| vec![grant.parse().expect("an origin")]);
        let config_json = format!(r#"{{"url": "{url}"}}"#);
        let http = Some(HttpScript { granted, answers });
        let case = Case { event: event("data"), attempt: 1, config_json, limits: Limits::default(), http };
        run_case(&sandbox.host, &component, &case).await
    };
    let answer = |status, headers: &[(&str, &str)]| {
        let headers: Vec<_> =
            headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        HttpAnswer::response(status, &headers, Bytes::from_static(b"why")).expect("a response")
    };
    // Nobody has this name: it is not looked up.
    let url = "https://hooks.invalid/in?team=a";

    let report = run(url, Some("https://hooks.invalid"), vec![answer(204, &[])]).await;
    assert!(matches!(report.call.expect("starts").verdict, Verdict::Done(_)));
    let [request] = &report.requests[..] else { panic!("{:?}", report.requests) };
    assert_eq!((&*request.method, &*request.url, &*request.body), ("POST", url, &b"data"[..]));
    assert!(request.headers.contains(&("ce-type".to_owned(), "ride.accepted".to_owned())), "{request:?}");

    let report = run(url, None, vec![answer(429, &[("retry-after", "7")])]).await;
    let verdict = report.call.expect("starts").verdict;
    assert!(
        matches!(&verdict, Verdict::Retry { after, reason } if *after == Some(Duration::from_secs(7)) && reason.contains("why")),
        "{verdict:?}"
    );

    for (grant, answers, asked, words) in [
        (Some("https://other.invalid"), vec![answer(204, &[])], 0, "grants.http"),
        (None, vec![], 1, "grants.http"),
        (None, vec![HttpAnswer::failure(HttpFailure::Refused)], 1, "ConnectionRefused"),
    ] {
        let report = run(url, grant, answers).await;
        let verdict = report.call.expect("starts").verdict;
        assert!(matches!(&verdict, Verdict::Retry { reason, .. } if reason.contains(words)), "{verdict:?}");
        assert_eq!(report.requests.len(), asked, "{words}");
    }
}
