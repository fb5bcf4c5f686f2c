//! The first five minutes: the seed's own calls work as typed, a sandboxed Channel handles the event, and its emission is stored.

mod support;

use serde_json::json;
use support::{BOTH, Stage, until};

#[test]
fn an_event_goes_all_the_way() {
    for on in BOTH {
        let stage = Stage::new(on).channel("printer", "printer", &["hello", "echo.>"], "").channel(
            "echo",
            "echo",
            &["hello"],
            "emit.subjects = [\"echo.>\"]",
        );
        let router = stage.start();

        // curl -X POST -d '{ "subject": "hello" }' -H 'Content-Type: application/json' http://127.0.0.1:1378/api/event
        let json = [("content-type", "application/json")];
        let url = format!("{}/api/event", router.ingest);
        let reply = router.send("POST", &url, &json, r#"{ "subject": "hello" }"#);
        assert_eq!((reply.status, reply.json()["sequence"].as_u64()), (202, Some(1)), "{on:?}: {reply:?}");

        // The same id twice: stored once, and Channels see it once.
        let named = r#"{ "subject": "hello", "data": "Hello World", "id": "1" }"#;
        let replies = [(); 2].map(|()| router.send("POST", &url, &json, named).json());
        assert_eq!([&replies[0]["duplicate"], &replies[1]["duplicate"]], [false, true], "{on:?}");
        assert_eq!(replies[0]["sequence"], replies[1]["sequence"], "{on:?}");

        let emitted =
            until("two emissions", || Some(router.events("echo.hello")).filter(|events| events.len() == 2));
        assert_eq!(emitted[1]["data"], "Hello World", "{on:?}");
        assert_eq!(emitted[1]["hops"], 1, "{on:?}");
        let printed = until("four lines", || {
            Some(router.log_lines(&["\"target\":\"guest\"", "printer"])).filter(|lines| lines.len() == 4)
        });
        assert!(printed.iter().any(|line| line.contains("Hello World")), "{on:?}: {printed:?}");
        assert!(router.terminate().success(), "{on:?}");
    }
}

#[test]
fn a_trace_goes_from_the_request_through_the_event_into_the_emission() {
    for on in BOTH {
        let stage = Stage::new(on).channel("echo", "echo", &["hello"], "emit.subjects = [\"echo.>\"]");
        let router = stage.start();
        let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
        let parent = format!("00-{trace}-00f067aa0ba902b7-01");
        router.post_raw("hello", &[("traceparent", &parent), ("content-type", "text/plain")], "hi");
        until("the emission", || router.events("echo.hello").pop());
        for event in router.events(">") {
            let headers = event["headers"].to_string();
            // No span is recorded here: what comes later is still the child of the sender's.
            assert!(headers.contains(trace) && headers.contains(&parent), "{on:?}: {headers}");
        }
    }
}

#[test]
fn several_channels_on_one_subject_each_get_every_event() {
    for on in BOTH {
        let stage = Stage::new(on)
            .channel("one", "echo", &["in.*"], "emit.subjects = [\"echo.>\"]")
            .channel("two", "sink", &["in.>"], "order = \"all\"")
            .channel("three", "sink", &["in.a", "in.b"], "");
        let router = stage.start();
        for n in 0..50 {
            assert_eq!(
                router.post(&json!({"subject": if n % 2 == 0 { "in.a" } else { "in.b" }, "data": n})).status,
                202
            );
        }
        for name in ["one", "two", "three"] {
            let labels = [format!("channel=\"{name}\""), "outcome=\"done\"".to_owned()];
            let labels: Vec<_> = labels.iter().map(String::as_str).collect();
            until(name, || (router.metric("saf_channel_attempts_total", &labels) >= 50.0).then_some(()));
        }
        assert_eq!(router.events("echo.>").len(), 50, "{on:?}");
    }
}
