//! The spans of an event's way: every parent and link, on both brokers.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::receiver::Receiver;
use crate::spans::{CLIENT, CONSUMER, PRODUCER, Span, only};
use crate::support::{BOTH, On, Stage, until};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CURL: &str = "00f067aa0ba902b7";

/// A stage whose routers send everything to a receiver, every 50 ms.
pub(crate) fn traced(on: On, url: &str) -> Stage {
    Stage::new(on).streams(&format!("[telemetry]\nendpoint = {url:?}\n[traces]\ninterval = \"50ms\"\n"))
}

/// From a POST through `one` and `two`: five spans, each with its parent and link.
pub(crate) fn assert_two_channels(spans: &[Span], digests: [&str; 2]) {
    let [publish, one, stored, two, end] =
        ["publish events", "process one", "settle one", "process two", "settle two"]
            .map(|name| only(spans, name));
    for span in [publish, one, stored, two, end] {
        assert_eq!(
            (span.trace.as_str(), span.service.as_str(), span.failed),
            (TRACE, "saf-runtime", false),
            "{span:#?}"
        );
        assert!(span.began <= span.ended, "{span:#?}");
        span.says(&[("messaging.system", "saf"), ("messaging.destination.name", "events")]);
    }
    let chain = [publish, one, stored, two, end].map(|span| span.id.as_str());
    let parents = [publish, one, stored, two, end].map(|span| span.parent.as_str());
    assert_eq!(parents, [CURL, chain[0], chain[1], chain[2], chain[3]]);
    let kinds = [publish, one, stored, two, end].map(|span| span.kind);
    assert_eq!(kinds, [PRODUCER, CONSUMER, PRODUCER, CONSUMER, CLIENT]);
    let links = [publish, one, stored, two, end].map(|span| span.links.clone());
    assert_eq!(links, [vec![], vec![publish.place()], vec![], vec![stored.place()], vec![]]);

    publish.says(&[
        ("messaging.operation.name", "publish"),
        ("messaging.operation.type", "send"),
        ("messaging.message.id", "7"),
        ("messaging.message.body.size", "7"),
        ("saf.subject", "hello"),
        ("saf.sequence", "1"),
    ]);
    one.says(&[
        ("messaging.operation.name", "process"),
        ("messaging.operation.type", "process"),
        ("messaging.destination.subscription.name", "one"),
        ("messaging.message.id", "7"),
        ("saf.channel", "one"),
        ("saf.component.digest", digests[0]),
        ("saf.attempt", "1"),
        ("saf.outcome", "done"),
        ("saf.sequence", "1"),
    ]);
    for used in ["saf.fuel", "saf.memory.peak"] {
        assert!(one.attributes[used].parse::<u64>().expect("a number") > 0, "{used}: {one:#?}");
    }
    stored.says(&[
        ("messaging.operation.type", "settle"),
        ("saf.settlement", "done"),
        ("messaging.batch.message_count", "1"),
        ("saf.channel", "one"),
    ]);
    two.says(&[("saf.channel", "two"), ("saf.component.digest", digests[1]), ("saf.subject", "echo.hello")]);
    end.says(&[("saf.settlement", "done"), ("saf.channel", "two")]);
}

/// Posts as curl would that is part of a trace.
pub(crate) fn post_traced(router: &crate::support::Router) {
    let parent = format!("00-{TRACE}-{CURL}-01");
    let headers = [("content-type", "application/json"), ("traceparent", parent.as_str())];
    let body = r#"{"subject": "hello", "id": "7", "data": "hello"}"#;
    let reply = router.send("POST", &format!("{}/api/event", router.ingest), &headers, body);
    assert_eq!(reply.status, 202, "{reply:?}");
}

#[test]
fn one_trace_goes_from_a_post_through_two_channels() {
    for on in BOTH {
        let receiver = Receiver::start();
        let stage = traced(on, &receiver.url)
            .channel("one", "echo", &["hello"], "emit.subjects = [\"echo.>\"]")
            .channel("two", "printer", &["echo.>"], "");
        let router = stage.start();
        post_traced(&router);
        let spans = receiver.wait_spans(5);
        let said = router.log_lines(&["\"target\":\"guest\"", TRACE, &only(&spans, "process two").id]);
        assert_eq!(said.len(), 1, "a guest's line names trace and span:\n{}", router.log());
        let digest =
            |name| router.channel(name)["component"]["digest"].as_str().expect("a digest").to_owned();
        assert_two_channels(&spans, [&digest("one"), &digest("two")]);
        // What is stored is what was sent: the emission's place is the settlement's.
        let stored = only(&spans, "settle one");
        let emission = router.events("echo.>").pop().expect("stored");
        let expected = format!("00-{TRACE}-{}-01", stored.id);
        assert!(emission["headers"].to_string().contains(&expected), "{emission}");
        assert!(router.terminate().success(), "{on:?}");
    }
}

#[test]
fn guests_see_the_place_of_their_attempt_and_the_stored_event_keeps_its_own() {
    let receiver = Receiver::start();
    // It answers with what it was asked, headers among it.
    let stage = traced(On::Embedded, &receiver.url).channel(
        "http",
        "foreign-http",
        &["in"],
        "emit.subjects = [\"out\"]",
    );
    let router = stage.start();
    let parent = format!("00-{TRACE}-{CURL}-01");
    router.post_raw("in", &[("content-type", "text/plain"), ("traceparent", &parent)], "show");
    let spans = receiver.wait_spans(3);
    let (publish, process) = (only(&spans, "publish events"), only(&spans, "process http"));
    let answer = router.events("out").pop().expect("emitted");
    let seen = STANDARD.decode(answer["data_base64"].as_str().expect("bytes")).expect("base64");
    let seen = String::from_utf8(seen).expect("text");
    assert!(seen.contains(&format!("traceparent: 00-{TRACE}-{}-01", process.id)), "{seen}");
    let event = router.events("in").pop().expect("stored");
    assert!(event["headers"].to_string().contains(&publish.id), "{event}");
}

#[test]
fn attempts_after_the_first_and_replays_begin_a_trace_that_is_linked() {
    for on in BOTH {
        let receiver = Receiver::start();
        let stage = traced(on, &receiver.url).channel(
            "fail",
            "fail",
            &["in"],
            "max_attempts = 2\nbackoff = [\"10ms\"]",
        );
        let router = stage.start();
        router.post_raw("in", &[], "backoff");
        until("a dead letter", || router.dead_letters().pop());
        // A publish, two attempts, two settlements.
        let spans = receiver.wait_spans(5);
        let publish = only(&spans, "publish events");
        let attempt = |n: &str| {
            let mut of =
                spans.iter().filter(|span| span.attributes.get("saf.attempt").is_some_and(|a| a == n));
            of.next().unwrap_or_else(|| panic!("{on:?}: attempt {n} of {spans:#?}"))
        };
        let (first, second) = (attempt("1"), attempt("2"));
        assert_eq!(
            (&first.trace, &first.parent, first.failed),
            (&publish.trace, &publish.id, true),
            "{on:?}"
        );
        assert_eq!((second.parent.as_str(), &second.links), ("", &vec![publish.place()]), "{on:?}");
        assert_ne!(second.trace, publish.trace);
        let settlements: Vec<_> = spans.iter().filter(|span| span.name == "settle fail").collect();
        let of = |attempt: &Span| settlements.iter().find(|span| span.parent == attempt.id).expect("settled");
        of(first).says(&[("saf.settlement", "retry")]);
        of(second).says(&[("saf.settlement", "dead_letter")]);
        let line = router.log_lines(&["\"attempt\":2", &second.trace, &second.id]);
        assert_eq!(line.len(), 1, "{on:?}: the log names trace and span:\n{}", router.log());

        let letter = router.dead_letters().pop().expect("there");
        let id = letter["id"].as_str().expect("an id");
        router.admin("POST", &format!("/api/v1/dead-letters/{id}/replay"), "");
        let spans = receiver.wait_spans(7);
        let replayed: Vec<_> = spans[5..].iter().filter(|span| span.kind == CONSUMER).collect();
        let replay = replayed.first().unwrap_or_else(|| panic!("{on:?}: {spans:#?}"));
        replay.says(&[("saf.attempt", "1")]);
        assert_eq!((replay.parent.as_str(), &replay.links), ("", &vec![publish.place()]), "{on:?}");
        assert!(![&publish.trace, &second.trace].contains(&&replay.trace), "{on:?}");
    }
}

#[test]
fn the_sender_decides_and_the_ratio_where_nobody_did() {
    let receiver = Receiver::start();
    let stage =
        traced(On::Embedded, &receiver.url).streams("ratio = 0.0\n").channel("sink", "sink", &["in"], "");
    let router = stage.start();
    let header = |flags: &str| format!("00-{TRACE}-{CURL}-{flags}");
    let post = |traceparent: Option<String>| {
        let traceparent = traceparent.as_deref().map(|value| ("traceparent", value));
        let headers: Vec<_> = [("content-type", "text/plain")].into_iter().chain(traceparent).collect();
        assert_eq!(router.post_raw("in", &headers, "x").status, 202);
    };
    post(None);
    post(Some(header("00")));
    post(Some(header("01")));
    // A batch: each event has a place of its own.
    let parent = header("01");
    let headers = [("content-type", "application/json"), ("traceparent", parent.as_str())];
    let batch = r#"[{"subject": "in", "id": "a"}, {"subjct": "wrong"}, {"subject": "in", "id": "b"}]"#;
    let reply = router.send("POST", &format!("{}/api/event", router.ingest), &headers, batch);
    assert_eq!(reply.status, 207);
    router.wait_attempts("sink", "done", 5);
    // Of three events a publish, an attempt and a settlement each.
    let spans = receiver.wait_spans(9);
    assert_eq!(spans.len(), 9, "{spans:#?}");
    assert!(spans.iter().all(|span| span.trace == TRACE));
    let ids: Vec<_> = spans
        .iter()
        .filter(|span| span.kind == PRODUCER)
        .map(|span| &span.attributes["messaging.message.id"])
        .collect();
    assert!(ids.contains(&&"a".to_owned()) && ids.contains(&&"b".to_owned()), "{ids:?}");
}

#[test]
fn endpoint_name_and_headers_come_from_the_file_or_from_standard_variables() {
    let receiver = Receiver::start();
    let stage = Stage::new(On::Embedded)
        .env("OTEL_EXPORTER_OTLP_ENDPOINT", &receiver.url)
        .env("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=rides")
        .env("OTEL_SERVICE_NAME", "rides")
        .streams("[traces]\ninterval = \"50ms\"\n")
        .channel("sink", "sink", &["in"], "");
    let router = stage.start();
    router.post_raw("in", &[], "x");
    let spans = receiver.wait_spans(3);
    assert!(spans.iter().all(|span| span.service == "rides"), "{spans:#?}");
    assert!(receiver.heads().iter().all(|head| head.contains("x-tenant: rides")), "{:?}", receiver.heads());
    drop(router);

    let receiver = Receiver::start();
    let text = format!(
        "[telemetry]\nendpoint = {:?}\nservice_name = \"file\"\nheaders.authorization = {{ env = \"OTLP_TOKEN\" }}\n[traces]\ninterval = \
         \"50ms\"\n",
        receiver.url
    );
    let stage = Stage::new(On::Embedded).env("OTLP_TOKEN", "Bearer x").streams(&text);
    let router = stage.start();
    router.post_raw("in", &[], "x");
    let spans = receiver.wait_spans(1);
    assert_eq!(spans[0].service, "file");
    assert!(
        receiver.heads().iter().all(|head| head.contains("authorization: bearer x")),
        "{:?}",
        receiver.heads()
    );
}

#[test]
fn the_end_sends_what_is_left() {
    let receiver = Receiver::start();
    let text = format!("[telemetry]\nendpoint = {:?}\n[traces]\ninterval = \"1h\"\n", receiver.url);
    let stage = Stage::new(On::Embedded).streams(&text).channel("sink", "sink", &["in"], "");
    let router = stage.start();
    router.post_raw("in", &[], "x");
    router.wait_attempts("sink", "done", 1);
    assert_eq!(receiver.spans(), []);
    assert!(router.terminate().success());
    assert_eq!(receiver.spans().len(), 3);
    assert!(!receiver.metrics().is_empty(), "metrics too");
}
