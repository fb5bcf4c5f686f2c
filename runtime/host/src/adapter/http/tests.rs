//! What a response means, and what a request says; guests are in `tests/adapters.rs`.

use saf_event::{EventId, Headers, Subject};

use super::*;

fn now() -> SystemTime {
    httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").expect("a date")
}

fn collected(status: u16, headers: &[(&'static str, &str)], body: &str, end: End) -> Collected {
    let mut response = http::Response::builder().status(status);
    for (name, value) in headers {
        response = response.header(*name, *value);
    }
    let (head, ()) = response.body(()).expect("a response").into_parts();
    Collected { head: Some(Ok(head)), body: BytesMut::from(body), end }
}

fn replied(status: u16, headers: &[(&'static str, &str)], body: &str) -> Reply {
    reply(collected(status, headers, body, End::Whole), Some("answers"), now()).expect("no trap")
}

const TEXT: (&str, &str) = ("content-type", "text/plain");

#[test]
fn a_body_with_a_content_type_is_one_emission() {
    let Reply::Done(emissions) = replied(200, &[TEXT], "hi") else { panic!("done") };
    let [emission] = &emissions[..] else { panic!("one") };
    assert_eq!((&*emission.subject, &emission.data[..]), ("answers", &b"hi"[..]));
    assert_eq!((emission.content_type.as_deref(), emission.id.as_deref()), (Some("text/plain"), None));
    for (status, headers, body) in [(200, &[][..], "hi"), (200, &[TEXT], ""), (204, &[], "")] {
        assert!(matches!(replied(status, headers, body), Reply::Done(emissions) if emissions.is_empty()));
    }
}

#[test]
fn a_cloudevent_in_the_response_names_its_own_subject() {
    let headers =
        [TEXT, ("ce-specversion", "1.0"), ("ce-type", "ride.done"), ("ce-id", "7"), ("x-other", "no")];
    let Reply::Done(emissions) = replied(200, &headers, "hi") else { panic!("done") };
    assert_eq!((&*emissions[0].subject, emissions[0].id.as_deref()), ("ride.done", Some("7")));
    let mut names: Vec<_> = emissions[0].headers.iter().map(|(name, _)| &**name).collect();
    names.sort_unstable();
    assert_eq!(names, ["ce-id", "ce-specversion", "ce-type"]);

    // Without a version it is no CloudEvent.
    let Reply::Done(emissions) = replied(200, &[TEXT, ("ce-type", "ride.done")], "hi") else {
        panic!("done")
    };
    assert_eq!(emissions[0].subject, "answers");
}

#[test]
fn a_body_without_a_place_to_go_is_said_and_not_lost() {
    let reply = reply(collected(200, &[TEXT], "hi", End::Whole), None, now()).expect("no trap");
    assert!(matches!(reply, Reply::Output { problem } if problem.contains("emit.subjects")));
}

#[test]
fn a_status_decides_what_becomes_of_the_event() {
    for status in [408, 429, 500, 502, 503, 599] {
        for (header, wait) in [
            (None, None),
            (Some("7"), Some(Duration::from_secs(7))),
            (Some("Tue, 24 Nov 2026 12:01:00 GMT"), Some(Duration::from_mins(1))),
            (Some("Tue, 24 Nov 2026 11:00:00 GMT"), Some(Duration::ZERO)),
            (Some("soon"), None),
        ] {
            let headers: Vec<_> = header.map(|value| ("retry-after", value)).into_iter().collect();
            let Reply::Retry { reason, after } = replied(status, &headers, "why") else { panic!("{status}") };
            assert_eq!(after, wait, "{header:?}");
            assert!(reason.contains(&status.to_string()) && reason.ends_with(": why"), "{reason}");
        }
    }
    for status in [301, 400, 404, 409, 422] {
        let Reply::Reject { reason } = replied(status, &[("retry-after", "7")], "") else {
            panic!("{status}")
        };
        assert!(reason.contains(&status.to_string()), "{reason}");
    }
    let long = replied(400, &[], &"ü".repeat(10_000));
    assert!(matches!(long, Reply::Reject { reason } if reason.len() < 2 * EXCERPT_BYTES));
}

#[test]
fn a_response_that_is_missing_or_half_is_a_trap_and_one_too_large_is_output() {
    let message = |collected: Collected| match reply(collected, Some("answers"), now()) {
        Ok(_) => panic!("no trap"),
        Err(error) => error.to_string(),
    };
    assert!(message(Collected::default()).contains("without setting a response"));
    for end in [End::Open, End::Broken] {
        assert!(message(collected(200, &[TEXT], "hi", end)).contains("without finishing"));
    }
    let large = reply(collected(200, &[TEXT], "", End::TooLarge), Some("answers"), now()).expect("no trap");
    assert!(matches!(large, Reply::Output { .. }));
    // A refusal's body is for people; half of one will do.
    for end in [End::Open, End::Broken, End::TooLarge] {
        let refused = reply(collected(500, &[], "why", end), None, now()).expect("no trap");
        assert!(matches!(refused, Reply::Retry { .. }));
    }
    let code = Collected { head: Some(Err(ErrorCode::LoopDetected)), ..Collected::default() };
    assert!(matches!(reply(code, None, now()).expect("no trap"), Reply::Retry { .. }));
}

#[test]
fn a_request_is_a_cloudevent_and_keeps_what_its_sender_said() {
    let mut headers = Headers::new();
    for (name, value) in [("ce-source", "/orders"), ("x-tag", "a"), ("x-tag", "b"), ("content-length", "999")]
    {
        headers.push(name, value).expect("a header");
    }
    let event = Event {
        sequence: 7,
        id: EventId::parse("größe 1").expect("an id"),
        subject: Subject::parse("ride.accepted").expect("a subject"),
        time: 1_796_000_000_000,
        content_type: Some("text/plain".into()),
        headers,
        data: "data".into(),
        lineage: None,
    };
    let request = request("http://saf.internal/x".parse().expect("a URI"), &event, 3).expect("a request");
    let value = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok());
    for (name, expected) in [
        ("ce-specversion", "1.0"),
        ("ce-id", "gr%C3%B6%C3%9Fe%201"),
        ("ce-type", "ride.accepted"),
        ("ce-source", "/orders"),
        ("ce-time", "2026-11-30T00:53:20.000Z"),
        ("content-type", "text/plain"),
        ("content-length", "4"),
        ("saf-subject", "ride.accepted"),
        ("saf-sequence", "7"),
        ("saf-attempt", "3"),
    ] {
        assert_eq!(value(name), Some(expected), "{name}");
    }
    assert_eq!(request.headers().get_all("x-tag").iter().count(), 2);
}
