//! What became of events: their history, what came of them, and why a Channel did or did not handle one.

use serde_json::{Value, json};

use crate::scene::{HANG, On, Scene, echoing, failing, rejecting, section, taking, until};

/// Nothing of an event that is not there yet.
async fn history(scene: &Scene, sequence: u64) -> Vec<Value> {
    let answer = scene.ask("GET", &format!("/api/v1/events/{sequence}/history"), "").await;
    answer.json()["items"].as_array().cloned().unwrap_or_default()
}

async fn why(scene: &Scene, query: &str) -> Value {
    scene.get(&format!("/api/v1/events/{query}")).await
}

/// Waits for an answer, which follows a moment after what it is about.
async fn answers(scene: &Scene, query: &str, expected: &str) -> Value {
    let mut said = Value::Null;
    let answered = tokio::time::timeout(HANG / 4, async {
        while said["why"]["answer"] != *expected {
            said = why(scene, query).await;
        }
    });
    let answered = answered.await;
    assert!(answered.is_ok(), "{query} is not answered with {expected}: {said}");
    said
}

pub(crate) async fn every_attempt_leaves_a_record(on: On) {
    let retrying = failing("job", "max_attempts = 2\nbackoff = ['10ms']");
    let scene = Scene::start(on, &[("worker", &retrying), ("sink", &taking("job"))]).await;
    scene.publish("job", "backoff").await;
    until("both are through", async || history(&scene, 1).await.len() == 3).await;
    let told = history(&scene, 1).await;
    let of = |channel: &str| told.iter().filter(|told| told["channel"] == channel).collect::<Vec<_>>();
    let (worker, sink) = (of("worker"), of("sink"));
    assert_eq!((worker.len(), sink.len()), (2, 1));
    let shown = |told: &Value| (told["attempt"].clone(), told["outcome"].clone(), told["next"].clone());
    assert_eq!(shown(worker[0]), (json!(1), json!("retry"), json!("retry")));
    assert_eq!(shown(worker[1]), (json!(2), json!("retry"), json!("dead_letter")));
    assert_eq!(shown(sink[0]), (json!(1), json!("done"), json!("done")));
    assert_eq!((&worker[0]["reason"], &worker[1]["dead_letter"]), (&json!("not yet"), &json!("events:1")));
    assert!(worker[0]["retry_at"].as_str() > worker[0]["ended"].as_str(), "{worker:?}");
    for told in &told {
        assert!(
            told["fuel"].as_u64().is_some_and(|fuel| fuel > 0) && told["memory"].as_u64() > Some(0),
            "{told}"
        );
        let digest =
            scene.get(&format!("/api/v1/channels/{}", told["channel"].as_str().expect("text"))).await;
        let digest = digest["component"]["digest"].as_str().expect("a digest").to_owned();
        assert!(told["digest"].as_str().is_some_and(|head| digest.starts_with(head)), "{told}");
    }
}

pub(crate) async fn a_tree_shows_what_came_of_an_event_through_all_channels(on: On) {
    let (first, second) = (echoing("job"), echoing("echo.job"));
    let channels = [("first", &*first), ("second", &second), ("end", &taking("echo.echo.>"))];
    let scene = Scene::start(on, &channels).await;
    scene.publish("job", "1").await;
    until("all of it is handled", async || !history(&scene, 3).await.is_empty()).await;
    let tree = scene.get("/api/v1/events/1/tree").await;
    let child = |node: &Value| node["children"][0].clone();
    let (root, one) = (tree["event"].clone(), child(&tree["event"]));
    let two = child(&one);
    for (node, sequence, channel, emissions) in
        [(&root, 1, "first", json!([2])), (&one, 2, "second", json!([3])), (&two, 3, "end", json!([]))]
    {
        assert_eq!(node["event"]["sequence"], sequence, "{tree}");
        let told = &node["deliveries"][0];
        assert_eq!((&told["channel"], &told["emissions"]), (&json!(channel), &emissions), "{tree}");
    }
    assert_eq!((&tree["events"], &tree["cut"], &tree["ancestors"]), (&json!(3), &Value::Null, &json!([])));

    let middle = scene.get("/api/v1/events/2/tree").await;
    assert_eq!((&middle["ancestors"][0]["sequence"], &middle["events"]), (&json!(1), &json!(2)));
    let cut = scene.get("/api/v1/events/1/tree?limit=2").await;
    assert!(cut["events"] == 2 && cut["cut"].as_str().is_some_and(|cut| cut.contains("limit")), "{cut}");
    assert_eq!(scene.ask("GET", "/api/v1/events/99/tree", "").await.problem().0, "missing");
}

pub(crate) async fn events_are_listed_by_what_became_of_them(on: On) {
    let scene = Scene::start(on, &[("bad", &rejecting("job.bad", "")), ("good", &taking("job.>"))]).await;
    for n in 0..3 {
        scene.publish("job.bad", &format!("bad {n}")).await;
        scene.publish("job.fine", &format!("fine {n}")).await;
    }
    scene.dead_letters(3).await;
    until("all are handled", async || scene.all("/api/v1/events?channel=good").await.len() == 6).await;
    for (query, count) in [
        ("outcome=reject", 3),
        ("outcome=done", 6),
        ("outcome=trap", 0),
        ("channel=bad", 3),
        ("channel=good&outcome=done&subject=job.fine", 3),
        ("channel=bad&outcome=done", 0),
        ("channel=nobody", 0),
        ("outcome=done&since=2100-01-01T00:00:00Z", 0),
        ("outcome=done&until=2000-01-01T00:00:00Z", 0),
        ("until=2000-01-01T00:00:00Z", 0),
        ("until=2100-01-01T00:00:00Z", 6),
    ] {
        let found = scene.all(&format!("/api/v1/events?{query}")).await;
        assert_eq!(found.len(), count, "{query}: {found:?}");
        for event in found.iter().filter(|_| query.contains("outcome=reject")) {
            assert_eq!(event["deliveries"][0]["channel"], "bad", "{event}");
        }
    }
    let wrong = scene.ask("GET", "/api/v1/events?outcome=sad", "").await.problem();
    assert!(wrong.0 == "invalid-request" && wrong.1.contains("trap"), "{wrong:?}");
}

/// Sixteen situations, and what is said of each.
pub(crate) async fn why_is_answered_in_every_situation(on: On) {
    let spin = failing("spin", "order = 'all'\n[limits]\nfuel = 1_000_000_000_000\ntimeout = '14s'");
    let faulted = format!("{}\n[config]\ninit = 'fail'", failing("fault", ""));
    let sick = failing("sick", "max_ack_pending = 10\nbackoff = ['1h']");
    let scene = Scene::start(
        on,
        &[
            ("done", &taking("a")),
            ("late", &(taking("a") + "\nstart = 9")),
            ("paused", &taking("p")),
            ("retry", &failing("r", "backoff = ['1h']")),
            ("spin", &spin),
            ("faulted", &faulted),
            ("sick", &sick),
            ("worker", &rejecting("w", "")),
            ("elsewhere", &(taking("x") + "\nstream = 'other'")),
        ],
    )
    .await;
    scene.publish("a", "1").await;
    for name in ["paused", "elsewhere"] {
        scene.ask("POST", &format!("/api/v1/channels/{name}/pause"), "").await;
        until("it is paused", async || {
            scene.get(&format!("/api/v1/channels/{name}")).await["state"] == "paused"
        })
        .await;
    }
    // A retry that waits in the stream takes a place there on JetStream, so the places are read, not counted.
    let p = scene.publish("p", "2").await;
    let r = scene.publish("r", "backoff").await;
    let (spinning, next) = (scene.publish("spin", "spin").await, scene.publish("spin", "spin too").await);
    let f = scene.publish("fault", "6").await;
    let (w1, w2) = (scene.publish("w", "w1").await, scene.publish("w", "w2").await);
    let w3 = scene.publish("w", "w3").await;
    let dead = scene.dead_letters(3).await;
    let id = |sequence: u64| {
        let letter = dead.iter().find(|dead| dead["event"]["sequence"] == sequence).expect("there");
        letter["id"].as_str().expect("an id").to_owned()
    };
    let mended = section(&rejecting("w", "").replace("'reject'", "'ok'"));
    scene.channel("worker").replace(mended, scene.component("hostile").await).await.expect("it starts");
    assert_eq!(scene.ask("DELETE", &format!("/api/v1/dead-letters/{}", id(w2)), "").await.status, 204);
    assert_eq!(scene.ask("POST", &format!("/api/v1/dead-letters/{}/replay", id(w3)), "").await.status, 204);
    let mut last = 0;
    for n in 1..=60 {
        last = scene.publish_as("sick", &format!("sick {n}"), "backoff").await;
    }
    until("it is sick", async || scene.get("/api/v1/channels/sick").await["state"] == "sick").await;
    expire_what_elsewhere_waits_for(&scene).await;

    for (query, answer, part) in [
        ("1/why?channel=done", "handled", "by attempt 1"),
        (&*format!("{p}/why?channel=done"), "subject_differs", "its subject p matches none of a"),
        ("1/why?channel=late", "before_start", "began behind it"),
        ("9999/why?channel=done", "no_event", "the newest has sequence"),
        ("1/why?channel=nobody", "no_channel", "no such Channel"),
        ("1/why?channel=elsewhere", "other_stream", "reads stream other"),
        (&format!("{p}/why?channel=paused"), "paused", "paused since"),
        (&format!("{r}/why?channel=retry"), "retry", "attempt 2 of 5"),
        (&format!("{spinning}/why?channel=spin"), "handling", "attempt 1"),
        (&format!("{next}/why?channel=spin"), "waiting", "it waits"),
        (&format!("{f}/why?channel=faulted"), "faulted", "the configuration says: fail"),
        (&format!("{last}/why?channel=sick"), "sick", "takes probes only"),
        (&format!("{w1}/why?channel=worker"), "dead_letter", "hostile was asked to reject"),
        (&format!("{w2}/why?channel=worker"), "dead_letter_deleted", "somebody deleted it"),
        (&format!("{w3}/why?channel=worker"), "handled_by_replay", "a replay of its dead letter"),
    ] {
        let said = answers(&scene, query, answer).await;
        assert!(said["sentence"].as_str().is_some_and(|text| text.contains(part)), "{query}: {said}");
        assert_eq!(said["handled"], json!(answer.starts_with("handled")), "{query}");
    }
    let gone = why(&scene, "1/why?channel=elsewhere&stream=other").await["why"]["answer"].clone();
    // A pull that was open when the Channel was paused may have brought it: then the server passes it by itself, and nobody can tell.
    let known = gone == "expired" || (matches!(on, On::JetStream) && gone == "removed");
    assert!(known, "what retention removed is answered with {gone}");
    let replay = &why(&scene, &format!("{w3}/why?channel=worker")).await["why"]["replay"];
    let tree = scene.get(&format!("/api/v1/events/{w3}/tree")).await;
    assert_eq!(
        tree["event"]["children"][0]["event"]["sequence"], *replay,
        "a replay is what came of it: {tree}"
    );
    let wrong = scene.ask("GET", "/api/v1/events/1/why", "").await.problem();
    assert!(wrong.1.contains("?channel= is missing"), "{wrong:?}");
}

/// A paused Channel holds nothing back: what it waits for goes when the stream is full.
async fn expire_what_elsewhere_waits_for(scene: &Scene) {
    let other = |n: u64| scene.store("other", crate::scene::event("x", &n.to_string(), None, b""));
    for n in 1..=3 {
        other(n).await;
    }
    scene.get("/api/v1/channels/elsewhere?lag=now").await;
    let mut plan = scene.plan.clone();
    for stream in plan.streams.iter_mut().filter(|stream| stream.name.as_str() == "other") {
        stream.config.max_messages = Some(1);
    }
    scene.broker.prepare(&plan).await.expect("prepared");
    other(4).await;
    scene.get("/api/v1/channels/elsewhere?lag=now").await;
}
