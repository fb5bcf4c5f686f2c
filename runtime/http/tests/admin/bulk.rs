//! Many dead letters at once.

use serde_json::{Value, json};

use crate::scene::{On, Scene, rejecting, section, until};

const REPLAY: &str = "/api/v1/dead-letters/replay";

async fn with_dead_letters(on: On, count: usize) -> (Scene, Vec<Value>) {
    let scene = Scene::start(on, &[("worker", &rejecting("job", ""))]).await;
    for n in 0..count {
        scene.publish("job", &n.to_string()).await;
    }
    let dead = scene.dead_letters(count).await;
    (scene, dead)
}

fn ids(dead: &[Value]) -> Vec<&str> {
    dead.iter().map(|dead| dead["id"].as_str().expect("an id")).collect()
}

pub(crate) async fn a_replay_of_many_takes_those_of_the_start_only(on: On) {
    let (scene, before) = with_dead_letters(on, 4).await;
    // The Channel is not mended: each replay makes a new dead letter, which must not be replayed again.
    let body = json!({ "filter": { "channel": "worker" }, "rate": 10_000, "stop_after": 100 }).to_string();
    let answer = scene.ask("POST", REPLAY, &body).await;
    assert_eq!(answer.json(), json!({ "replayed": 4, "failed": 0, "first_failure": null, "stopped": null }));
    let after = scene.dead_letters(4).await;
    assert!(ids(&after).iter().all(|id| !ids(&before).contains(id)), "{after:?}");

    // Mended, with a limit: the oldest go first.
    let mended = section(&rejecting("job", "").replace("'reject'", "'ok'"));
    scene.channel("worker").replace(mended, scene.component("hostile").await).await.expect("it starts");
    let answer = scene.ask("POST", REPLAY, &json!({ "limit": 3 }).to_string()).await;
    assert_eq!((&answer.json()["replayed"], &answer.json()["stopped"]), (&json!(3), &Value::Null));
    let left = scene.dead_letters(1).await;
    assert_eq!(left, after[3..]);
    // Without a body: all, with the defaults; and what matches no filter stays.
    assert_eq!(
        scene.ask("POST", REPLAY, &json!({ "filter": { "outcome": "trap" } }).to_string()).await.json()["replayed"],
        0
    );
    assert_eq!(scene.ask("POST", REPLAY, "").await.json()["replayed"], 1);
    scene.dead_letters(0).await;
}

pub(crate) async fn a_replay_stops_when_its_channel_fails_again(on: On) {
    let (scene, before) = with_dead_letters(on, 60).await;
    let body = json!({ "rate": 20, "stop_after": 2 }).to_string();
    let answer = scene.ask("POST", REPLAY, &body).await.json();
    assert!(
        answer["stopped"].as_str().is_some_and(|text| text.contains("new dead letters of worker")),
        "{answer}"
    );
    let replayed = answer["replayed"].as_u64().expect("a number") as usize;
    assert!((2..60).contains(&replayed), "{answer}");
    let left = scene.dead_letters(60).await;
    let kept = ids(&left).iter().filter(|id| ids(&before).contains(id)).count();
    assert_eq!(kept, 60 - replayed);
}

pub(crate) async fn a_replay_ends_when_its_client_hangs_up(on: On) {
    let (scene, before) = with_dead_letters(on, 30).await;
    let mut client = scene.connect().await;
    client.request("POST", REPLAY, &json!({ "rate": 20, "stop_after": 1000 }).to_string()).await;
    let begun = || scene.channel("worker").counters().outcome(saf_event::Outcome::Reject) > 30;
    until("it has begun", async || begun()).await;
    drop(client);
    // At 20 a second the 30 take more than a second: when half a second brings no attempt, nobody replays any more.
    let attempts = || scene.channel("worker").counters().outcome(saf_event::Outcome::Reject);
    until("it has ended", async || {
        let seen = attempts();
        tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        attempts() == seen
    })
    .await;
    let left = scene.dead_letters(30).await;
    assert!(ids(&left).iter().any(|id| ids(&before).contains(id)), "it went on to its end");
}

pub(crate) async fn a_deletion_of_another_number_changes_nothing(on: On) {
    let (scene, before) = with_dead_letters(on, 5).await;
    let path = "/api/v1/dead-letters?channel=worker";
    for (count, name) in [("", "invalid-request"), ("&count=4", "conflict"), ("&count=6", "conflict")] {
        let answer = scene.ask("DELETE", &format!("{path}{count}"), "").await;
        assert_eq!(answer.problem().0, name, "{count}");
        let expected = if name == "conflict" { json!(5) } else { Value::Null };
        assert_eq!(answer.json()["count"], expected, "{answer:?}");
        assert_eq!(scene.all("/api/v1/dead-letters").await, before, "{count}");
    }
    assert_eq!(
        scene.ask("DELETE", "/api/v1/dead-letters?channel=nobody&count=0", "").await.json(),
        json!({ "deleted": 0 })
    );
    assert_eq!(scene.ask("DELETE", &format!("{path}&count=5"), "").await.json(), json!({ "deleted": 5 }));
    scene.dead_letters(0).await;
}
