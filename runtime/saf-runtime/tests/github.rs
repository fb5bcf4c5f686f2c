//! GitHub's own example webhooks, posted as GitHub would: each is stored byte for byte, and `github-events` makes a summary of each.
//!
//! The examples are a file that `cargo xtask test` fetches (`SAF_WEBHOOK_EXAMPLES`); where there is no npm it is not set, and
//! the tool says that this test had nothing to do.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;
use support::{BOTH, On, Router, Stage, in_every_language, until};

struct Webhook {
    name: String,
    /// As it stands in the file, with its white space.
    body: Box<RawValue>,
}

fn webhooks() -> Option<Vec<Webhook>> {
    let path = std::env::var_os("SAF_WEBHOOK_EXAMPLES")?;
    let text = std::fs::read_to_string(path).expect("readable");
    let events: Vec<BTreeMap<String, Box<RawValue>>> = serde_json::from_str(&text).expect("a list of events");
    let examples = |event: &BTreeMap<String, Box<RawValue>>| {
        let name: String = serde_json::from_str(event["name"].get()).expect("a name");
        let bodies: Vec<Box<RawValue>> = serde_json::from_str(event["examples"].get()).expect("examples");
        bodies.into_iter().map(move |body| Webhook { name: name.clone(), body }).collect::<Vec<_>>()
    };
    Some(events.iter().flat_map(examples).collect())
}

#[test]
fn every_example_is_stored_byte_for_byte_and_summarised_once() {
    let Some(webhooks) = webhooks() else {
        eprintln!(
            "SAF_WEBHOOK_EXAMPLES is not set: nothing was tested; run `cargo xtask test` with npm installed"
        );
        return;
    };
    assert!(webhooks.len() > 300, "{} examples", webhooks.len());
    for on in BOTH {
        let stage = Stage::new(on).channel(
            "github",
            "github-events",
            &["github.*"],
            "emit.subjects = [\"github.*.*.summary\", \"github.*.summary\"]",
        );
        let router = stage.start();
        let sequences: Vec<u64> =
            webhooks.iter().enumerate().map(|(n, webhook)| post(&router, n, webhook)).collect();
        for (webhook, sequence) in webhooks.iter().zip(&sequences) {
            let stored = router.admin("GET", &format!("/api/v1/events/{sequence}/data"), "");
            assert!(
                stored.body == webhook.body.get(),
                "{on:?}: {} at {sequence} is not what was posted",
                webhook.name
            );
        }
        let summaries =
            until("the summaries", || Some(summaries(&router)).filter(|list| list.len() >= webhooks.len()));
        check_summaries(on, &webhooks, &sequences, &summaries);
        assert!(router.dead_letters().is_empty(), "{on:?}");
        assert_eq!(router.stored(), 2 * webhooks.len(), "{on:?}: nothing else was stored");
    }
}

#[test]
fn every_language_says_the_same_of_every_example() {
    let Some(webhooks) = webhooks() else { return };
    let languages = in_every_language("github-events");
    let mut stage = Stage::new(On::Embedded);
    for (language, component) in &languages {
        let rest = "emit.subjects = [\"github.*.*.summary\", \"github.*.summary\"]";
        stage = stage.component(language, component, &["github.*"], rest);
    }
    let router = stage.start();
    for (n, webhook) in webhooks.iter().enumerate() {
        post(&router, n, webhook);
    }
    let expected = webhooks.len() * languages.len();
    let summaries = until("all summaries", || Some(summaries(&router)).filter(|all| all.len() >= expected));
    assert!(router.dead_letters().is_empty());

    // A derived id is `<stream>:<sequence>:<channel>:<number>`.
    let mut said: BTreeMap<&str, BTreeMap<&str, (&Value, &Value)>> = BTreeMap::new();
    for summary in &summaries {
        let language = summary["id"].as_str().and_then(|id| id.split(':').nth(2)).expect("a derived id");
        let parent = summary["parent"].as_str().expect("a position");
        said.entry(language).or_default().insert(parent, (&summary["subject"], &summary["data"]));
    }
    for (language, _) in &languages {
        assert_eq!(said[&**language].len(), webhooks.len(), "{language}");
        for (parent, summary) in &said["rust"] {
            assert_eq!(said[&**language][parent], *summary, "{language} of {parent}");
        }
    }
}

fn post(router: &Router, n: usize, webhook: &Webhook) -> u64 {
    let delivery = n.to_string();
    let headers = [
        ("content-type", "application/json"),
        ("x-github-event", &*webhook.name),
        ("idempotency-key", &*delivery),
    ];
    let reply = router.post_raw(&format!("github.{}", webhook.name), &headers, webhook.body.get());
    assert_eq!(reply.status, 202, "{}: {reply:?}", webhook.name);
    reply.json()["sequence"].as_u64().expect("a sequence")
}

fn summaries(router: &Router) -> Vec<Value> {
    let mut all = router.events("github.*.summary");
    all.extend(router.events("github.*.*.summary"));
    all
}

/// One for each, made of it and nothing else.
fn check_summaries(on: On, webhooks: &[Webhook], sequences: &[u64], summaries: &[Value]) {
    assert_eq!(summaries.len(), webhooks.len(), "{on:?}");
    let by_parent: BTreeMap<&str, &Value> =
        summaries.iter().map(|summary| (summary["parent"].as_str().expect("a position"), summary)).collect();
    assert_eq!(by_parent.len(), webhooks.len(), "{on:?}: two summaries of one webhook");
    for (webhook, sequence) in webhooks.iter().zip(sequences) {
        let summary = by_parent[&*format!("events:{sequence}")];
        let body: Value = serde_json::from_str(webhook.body.get()).expect("JSON");
        assert_eq!(summary["data"]["event"], *webhook.name, "{on:?}");
        for (key, expected) in [
            ("action", &body["action"]),
            ("repository", &body["repository"]["full_name"]),
            ("sender", &body["sender"]["login"]),
        ] {
            assert_eq!(&summary["data"][key], expected, "{on:?}: {key} of {summary}");
        }
    }
}
