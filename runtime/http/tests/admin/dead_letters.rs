//! Dead letters, one by one.

use serde_json::{Value, json};

use crate::scene::{On, Scene, rejecting, section, taking, until};

pub(crate) async fn dead_letters_are_listed_by_filter_and_page(on: On) {
    let trapping = rejecting("b", "").replace("'reject'", "'trap'") + "\n";
    let trapping = format!("max_attempts = 1\n{trapping}");
    let scene = Scene::start(on, &[("one", &rejecting("a", "")), ("two", &trapping)]).await;
    for n in 0..3 {
        scene.publish("a", &n.to_string()).await;
    }
    scene.publish("b", "{\"a\": 1}").await;
    let all = scene.dead_letters(4).await;
    let ids: std::collections::BTreeSet<_> =
        all.iter().map(|dead| dead["id"].as_str().expect("an id")).collect();
    assert_eq!(ids.len(), 4, "each is shown once: {all:?}");
    let reason =
        all.iter().find(|dead| dead["channel"] == "one").expect("there")["reason"].as_str().expect("text");
    for (query, count) in [
        ("channel=one".to_owned(), 3),
        ("channel=two".to_owned(), 1),
        ("channel=nobody".to_owned(), 0),
        ("outcome=trap".to_owned(), 1),
        ("outcome=reject&channel=one&stream=events".to_owned(), 3),
        ("outcome=reject&channel=two".to_owned(), 0),
        ("stream=other".to_owned(), 0),
        (format!("reason={reason}"), 3),
        ("since=2000-01-01T00:00:00Z".to_owned(), 4),
        ("until=2000-01-01T00:00:00Z".to_owned(), 0),
    ] {
        let found = scene.all(&format!("/api/v1/dead-letters?{query}")).await;
        assert_eq!(found.len(), count, "{query}");
    }
    let trapped = &scene.all("/api/v1/dead-letters?channel=two").await[0];
    let shown = scene.get(&format!("/api/v1/dead-letters/{}", trapped["id"].as_str().expect("an id"))).await;
    assert_eq!(shown, *trapped);
    assert_eq!(
        (&shown["outcome"], &shown["stream"], &shown["data_omitted"]),
        (&json!("trap"), &json!("events"), &json!(false))
    );
    assert_eq!((&shown["event"]["subject"], &shown["event"]["sequence"]), (&json!("b"), &json!(4)));
    let attempt = &shown["attempts"][0];
    assert_eq!((&attempt["number"], &attempt["outcome"]), (&json!(1), &json!("trap")));
    assert!(
        attempt["at"].as_str().is_some_and(|at| at.ends_with('Z')) && attempt["fuel"].is_u64(),
        "{attempt}"
    );
}

fn counts(channel: &Value) -> (u64, u64) {
    let attempts = channel["attempts"].as_object().expect("counts");
    (attempts["done"].as_u64().expect("a number"), attempts.values().filter_map(Value::as_u64).sum())
}

pub(crate) async fn a_replay_goes_to_its_channel_only_and_is_handled(on: On) {
    let broken = rejecting("job", "");
    let scene = Scene::start(on, &[("worker", &broken), ("other", &taking("job"))]).await;
    scene.publish("job", "1").await;
    let dead = scene.dead_letters(1).await;
    until("the other has handled it", async || counts(&scene.get("/api/v1/channels/other").await) == (1, 1))
        .await;

    // Somebody mends the Channel.
    let mended = section(&broken.replace("'reject'", "'ok'"));
    scene.channel("worker").replace(mended, scene.component("hostile").await).await.expect("it starts");
    let path = format!("/api/v1/dead-letters/{}/replay", dead[0]["id"].as_str().expect("an id"));
    assert_eq!(scene.ask("POST", &path, "").await.status, 204);
    until("it is handled", async || counts(&scene.get("/api/v1/channels/worker").await) == (1, 2)).await;
    assert_eq!(scene.all("/api/v1/dead-letters").await, Vec::<Value>::new());

    // What is posted behind it has passed the other Channel by the time that this is handled: the replay did not reach it.
    scene.publish("job", "2").await;
    until("the next is handled", async || counts(&scene.get("/api/v1/channels/other").await).0 >= 2).await;
    assert_eq!(counts(&scene.get("/api/v1/channels/other").await), (2, 2));
    assert_eq!(scene.ask("POST", &path, "").await.problem().0, "missing", "once is enough");
}

pub(crate) async fn a_deleted_dead_letter_is_gone(on: On) {
    let scene = Scene::start(on, &[("worker", &rejecting("job", ""))]).await;
    scene.publish("job", "1").await;
    scene.publish("job", "2").await;
    let dead = scene.dead_letters(2).await;
    let path = format!("/api/v1/dead-letters/{}", dead[0]["id"].as_str().expect("an id"));
    let answer = scene.ask("DELETE", &path, "").await;
    assert_eq!((answer.status, answer.body.len()), (204, 0));
    for (method, path) in
        [("GET", path.clone()), ("DELETE", path.clone()), ("POST", format!("{path}/replay"))]
    {
        assert_eq!(scene.ask(method, &path, "").await.problem().0, "missing", "{method}");
    }
    assert_eq!(scene.all("/api/v1/dead-letters").await, dead[1..]);
}
