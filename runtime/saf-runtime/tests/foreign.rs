//! Components of other hosts as Channels of a whole router, in every language in which they were built: an event comes in by HTTP, what the
//! component publishes or answers is stored, and what it fails at is repeated and ends as a dead letter with its own words. The guests do what
//! the event's data says: `guests/foreign/README.md`.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};
use support::{BOTH, Router, Stage, in_every_language, until};

const MAX_ATTEMPTS: usize = 3;
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";

/// What becomes of an event, in every language.
#[derive(Clone, Copy)]
enum End {
    /// One emission with this subject, whose data holds each of these.
    Emits(&'static str, &'static [&'static str]),
    /// Nothing is left of it.
    Done,
    /// A dead letter after so many attempts, with this outcome and these words in reason or stderr.
    Dead(usize, &'static str, &'static str),
    /// The same, but what an uncaught exception is differs: JavaScript's becomes the error that `handle-message` may return.
    Throws(&'static str),
}

use End::{Dead, Done, Emits, Throws};

const MESSAGES: &[(&str, End)] = &[
    ("echo", Emits("echo.in", &["echo"])),
    ("publish published", Emits("published", &["published"])),
    ("configured greeting", Emits("configured", &["hi"])),
    // An instance for each event.
    ("count", Emits("count", &["1"])),
    ("count", Emits("count", &["1"])),
    ("fail", Dead(MAX_ATTEMPTS, "retry", "told to fail")),
    ("trap", Throws("told to trap")),
    ("flood", Dead(MAX_ATTEMPTS, "output", "limits.emissions")),
    ("publish elsewhere", Dead(MAX_ATTEMPTS, "output", "elsewhere is not allowed")),
    ("publish $JS.ACK.events.rust.1.1.1.1.0", Dead(MAX_ATTEMPTS, "retry", "belong to the broker")),
    ("request a.b", Dead(MAX_ATTEMPTS, "retry", "cannot wait for an answer")),
    // Its delivery has a NATS subject to reply to, on JetStream; the event has none.
    ("reply", Dead(MAX_ATTEMPTS, "retry", "no reply-to")),
];

const REQUESTS: &[(&str, End)] = &[
    ("echo hello", Emits("answers", &["echo hello"])),
    ("show", Emits("answers", &["Post\n/orders?team=a\nsaf.internal\n", "ce-type: in", "saf-attempt: 1"])),
    ("cloudevent answers", Emits("answers", &["an event"])),
    ("cloudevent elsewhere", Dead(MAX_ATTEMPTS, "output", "elsewhere is not allowed")),
    ("status 204", Done),
    ("status 429 0", Dead(MAX_ATTEMPTS, "retry", "answered 429 Too Many Requests: why")),
    ("status 503", Dead(MAX_ATTEMPTS, "retry", "answered 503")),
    ("status 404", Dead(1, "reject", "answered 404 Not Found: why")),
    ("error", Dead(MAX_ATTEMPTS, "retry", "an error in the response's place")),
    ("silent", Dead(MAX_ATTEMPTS, "trap", "without setting a response")),
    ("trap", Dead(MAX_ATTEMPTS, "trap", "told to trap")),
];

#[test]
fn messages_are_handled_the_same_in_every_language() {
    let rest = "emit.subjects = [\"echo.*\", \"published\", \"configured\", \"count\", \"answers.*\"]\n\
                config = { greeting = \"hi\" }";
    run("foreign-messaging", rest, MESSAGES);
}

#[test]
fn requests_are_handled_the_same_in_every_language() {
    run("foreign-http", "emit.subjects = [\"answers\"]\nconfig = { path = \"/orders?team=a\" }", REQUESTS);
}

#[test]
fn an_answer_goes_where_the_sender_wants_it() {
    for on in BOTH {
        let channel = "max_attempts = 1\nemit.subjects = [\"answers.*\"]";
        let stage = Stage::new(on).channel("foreign", "foreign-messaging", &["in"], channel);
        let router = stage.start();
        let asks = |reply_to: &str| {
            let headers = json!({"reply-to": reply_to});
            let data = STANDARD.encode("reply");
            router.post(&json!({"subject": "in", "data_base64": data, "headers": headers})).status
        };
        assert_eq!(asks("answers.one"), 202, "{on:?}");
        until("the answer", || router.events("answers.one").pop());
        // Whoever posts an event cannot lead a guest to the broker's own subjects either.
        for reply_to in ["$JS.ACK.events.foreign.1.1.1.1.0", "_INBOX.abc.1"] {
            assert_eq!(asks(reply_to), 202, "{on:?}");
        }
        let letters =
            until("dead letters", || Some(router.dead_letters()).filter(|letters| letters.len() == 2));
        for letter in letters {
            assert!(letter["reason"].as_str().is_some_and(|text| text.contains("no reply-to")), "{letter}");
        }
    }
}

/// Every case through a Channel for each language.
fn run(guest: &str, rest: &str, cases: &[(&str, End)]) {
    let languages = in_every_language(guest);
    eprintln!("{guest} in {:?}", languages.iter().map(|(language, _)| language).collect::<Vec<_>>());
    for on in BOTH {
        let more =
            format!("max_attempts = {MAX_ATTEMPTS}\nbackoff = [\"10ms\"]\nlimits.emissions = 10\n{rest}");
        let stage = languages.iter().fold(Stage::new(on), |stage, (language, component)| {
            stage.component(language, component, &["in"], &more)
        });
        let router = stage.start();
        let sequences: Vec<u64> = cases.iter().map(|(data, _)| post(&router, data)).collect();
        for (language, _) in &languages {
            let label = format!("channel=\"{language}\"");
            until(&format!("{on:?}: every event through {language}"), || {
                let ended = router.metric("saf_channel_attempts_total", &[&label]) as usize;
                (ended >= attempts(language, cases)).then_some(())
            });
            stage.settled(&router, language);
        }
        let (events, letters) = (router.events(">"), router.dead_letters());
        for ((data, end), sequence) in cases.iter().zip(sequences) {
            for (language, _) in &languages {
                let what = format!("{on:?}: {data:?} in {language}");
                check(&what, (language, languages.len()), *end, sequence, &events, &letters);
            }
        }
    }
}

fn post(router: &Router, data: &str) -> u64 {
    let parent = format!("00-{TRACE}-00f067aa0ba902b7-01");
    let reply =
        router.post_raw("in", &[("content-type", "text/plain"), ("traceparent", &parent)], data.as_bytes());
    assert_eq!(reply.status, 202, "{reply:?}");
    reply.json()["sequence"].as_u64().expect("a sequence")
}

/// How many attempts all the cases take together.
fn attempts(language: &str, cases: &[(&str, End)]) -> usize {
    let of = |end: &End| match dead(language, *end) {
        Some((attempts, ..)) => attempts,
        None => 1,
    };
    cases.iter().map(|(_, end)| of(end)).sum()
}

/// Attempts, outcome and words of the dead letter, when there must be one.
fn dead(language: &str, end: End) -> Option<(usize, &'static str, &'static str)> {
    match end {
        Emits(..) | Done => None,
        Dead(attempts, outcome, words) => Some((attempts, outcome, words)),
        Throws(words) if language == "js" => Some((MAX_ATTEMPTS, "retry", words)),
        Throws(words) => Some((MAX_ATTEMPTS, "trap", words)),
    }
}

fn check(
    what: &str,
    (language, languages): (&str, usize),
    end: End,
    sequence: u64,
    events: &[Value],
    letters: &[Value],
) {
    let place = format!("events:{sequence}");
    // Every Channel has the same rights and emits the same: one each.
    let emitted: Vec<_> = events.iter().filter(|event| event["parent"] == *place).collect();
    let letter = letters
        .iter()
        .find(|letter| letter["channel"] == *language && letter["event"]["sequence"] == sequence);
    match (end, dead(language, end), letter) {
        (Emits(subject, parts), None, None) => {
            assert_eq!(emitted.len(), languages, "{what}: {emitted:?}");
            for event in emitted {
                assert_eq!(event["subject"], subject, "{what}");
                assert_eq!(event["hops"], 1, "{what}");
                assert!(event["headers"].to_string().contains(TRACE), "{what}: {event}");
                let data = text(event);
                for part in parts {
                    assert!(data.contains(part), "{what}: {part:?} in {data:?}");
                }
            }
        }
        (Done, None, None) => assert!(emitted.is_empty(), "{what}: {emitted:?}"),
        (_, Some((attempts, outcome, words)), Some(letter)) => {
            assert!(emitted.is_empty(), "{what}: a failed attempt leaks {emitted:?}");
            let tried = letter["attempts"].as_array().expect("attempts");
            assert_eq!((tried.len(), &letter["outcome"]), (attempts, &json!(outcome)), "{what}: {letter}");
            let said = letter["reason"].to_string() + &tried.last().expect("one")["stderr"].to_string();
            assert!(said.contains(words), "{what}: {words:?} in {said}");
        }
        (_, _, letter) => panic!("{what}: {letter:?}"),
    }
}

fn text(event: &Value) -> String {
    let bytes = STANDARD.decode(event["data_base64"].as_str().unwrap_or_default()).expect("base64");
    String::from_utf8(bytes).expect("text")
}
