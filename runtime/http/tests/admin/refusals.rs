//! What cannot be done, and what the client is told.

use crate::scene::{On, Scene, rejecting};

pub(crate) async fn what_cannot_be_used_is_named(on: On) {
    let scene = Scene::start(on, &[("worker", &rejecting("job", ""))]).await;
    for (request, body, status, name, named) in [
        ("GET /api/v1/events?limit=0", "", 400, "invalid-request", "?limit=0: write a number from 1 to 1000"),
        ("GET /api/v1/events?limit=1001", "", 400, "invalid-request", "?limit="),
        ("GET /api/v1/events?limit=ten", "", 400, "invalid-request", "?limit="),
        ("GET /api/v1/events?after=-1", "", 400, "invalid-request", "?after="),
        ("GET /api/v1/events?since=yesterday", "", 400, "invalid-request", "?since=yesterday: write a time"),
        ("GET /api/v1/events?subject=a..b", "", 400, "invalid-request", "?subject="),
        ("GET /api/v1/events?subjekt=a", "", 400, "invalid-request", "stream, subject, since, after, until"),
        ("GET /api/v1/events?limit=1&limit=2", "", 400, "invalid-request", "?limit="),
        ("GET /api/v1/events?stream=EVENTS", "", 400, "invalid-request", "?stream=EVENTS"),
        ("GET /api/v1/events/first", "", 400, "invalid-request", "sequence"),
        ("GET /api/v1/events/%FF/data", "", 400, "invalid-request", "the path cannot be read"),
        ("POST /api/v1/channels/%FF/pause", "", 400, "invalid-request", "the path cannot be read"),
        ("GET /api/v1/dead-letters?outcome=odd", "", 400, "invalid-request", "done, retry, reject"),
        ("GET /api/v1/dead-letters?after=nonsense", "", 400, "invalid-request", "?after=nonsense"),
        ("GET /api/v1/dead-letters?channel=A%20B", "", 400, "invalid-request", "?channel="),
        ("GET /api/v1/channels/worker?x=1", "", 400, "invalid-request", "takes: lag"),
        ("GET /api/v1/tap?sample=2", "", 400, "invalid-request", "?sample=2: write a number from 0 to 1"),
        ("GET /api/v1/tap?sample=NaN", "", 400, "invalid-request", "?sample="),
        ("GET /api/v1/tap?max_rate=0", "", 400, "invalid-request", "?max_rate="),
        ("GET /api/v1/attempts?sequence=x", "", 400, "invalid-request", "?sequence="),
        ("DELETE /api/v1/dead-letters?count=all", "", 400, "invalid-request", "?count="),
        ("POST /api/v1/dead-letters/replay", "{\"rat\": 1}", 400, "malformed-body", "unknown field `rat`"),
        ("POST /api/v1/dead-letters/replay", "{", 400, "malformed-body", "the body"),
        ("POST /api/v1/dead-letters/replay", "{\"rate\": 0}", 400, "invalid-request", "`rate` is 0"),
        ("POST /api/v1/dead-letters/replay", "{\"stop_after\": 0}", 400, "invalid-request", "`stop_after`"),
        ("POST /api/v1/dead-letters/replay", "{\"limit\": 100001}", 400, "invalid-request", "`limit`"),
        ("PUT /api/v1/events", "", 405, "method-not-allowed", "Allow"),
        ("GET /api/v1/channels/worker/pause", "", 405, "method-not-allowed", "Allow"),
        ("GET /api/v1/nothing", "", 404, "not-found", "openapi.json"),
    ] {
        let (method, path) = request.split_once(' ').expect("two words");
        let answer = scene.ask(method, path, body).await;
        let (problem, detail) = answer.problem();
        assert_eq!((answer.status, problem.as_str()), (status, name), "{request} {body}: {detail}");
        assert!(detail.contains(named), "{request} {body}: {detail:?} lacks {named:?}");
    }
    assert_eq!(scene.ask("POST", "/api/v1/dead-letters", "").await.header("allow"), Some("GET,HEAD,DELETE"));
    let large = format!("{{\"filter\":{{\"reason\":\"{}\"}}}}", "x".repeat(100_000));
    assert_eq!(scene.ask("POST", "/api/v1/dead-letters/replay", &large).await.problem().0, "body-too-large");
}

pub(crate) async fn what_is_not_there_is_said(on: On) {
    let mut scene = Scene::start(on, &[("worker", &rejecting("job", ""))]).await;
    for (request, name) in [
        ("GET /api/v1/events?stream=nowhere", "no-stream"),
        ("GET /api/v1/events/99", "missing"),
        ("GET /api/v1/events/99/data", "missing"),
        ("GET /api/v1/channels/nobody", "missing"),
        ("POST /api/v1/channels/nobody/pause", "missing"),
        ("GET /api/v1/dead-letters/events:99", "missing"),
        ("GET /api/v1/dead-letters/nonsense", "missing"),
        ("POST /api/v1/dead-letters/events:99/replay", "missing"),
        ("DELETE /api/v1/dead-letters/nowhere:1", "missing"),
        ("GET /api/v1/attempts?channel=nobody", "missing"),
    ] {
        let (method, path) = request.split_once(' ').expect("two words");
        let answer = scene.ask(method, path, "").await;
        assert_eq!((answer.status, answer.problem().0.as_str()), (404, name), "{request}");
        assert_eq!(answer.header("cache-control"), Some("no-store"), "{request}");
    }
    // A broker that is away is not the same as nothing there.
    if scene.nats.take().is_some() {
        for path in ["/api/v1/events", "/api/v1/streams", "/api/v1/dead-letters", "/api/v1/events/1"] {
            let answer = scene.ask("GET", path, "").await;
            assert_eq!((answer.status, answer.problem().0.as_str()), (503, "unavailable"), "{path}");
            assert_eq!(
                (answer.header("retry-after"), answer.json().get("stored")),
                (Some("1"), None),
                "{path}"
            );
        }
        assert_eq!(scene.ask("POST", "/api/v1/channels/worker/pause", "").await.status, 503);
        assert_eq!(
            scene.get("/api/v1/channels/worker").await["name"],
            "worker",
            "what is known here is still shown"
        );
    }
}
