//! The operators' listener: health for everybody, the rest for who may.

use crate::double::Double;
use crate::server::{Server, soon};
use saf_broker::Health;

fn get(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\n{headers}\r\n")
}

#[tokio::test]
async fn metrics_are_shown_to_who_may_see_them() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "open sesame").expect("written");
    let open = Server::admin(Double::taking(), "");
    let guarded = Server::admin(Double::taking(), &format!("token = {{ file = {path:?} }}"));
    for (server, headers, status) in [
        (&open, "host: 127.0.0.1\r\n", 200),
        (&open, "host: localhost:1379\r\n", 200),
        (&open, "host: rebound.example\r\n", 403),
        (&open, "host: localhost\r\norigin: http://page.example\r\n", 403),
        (&guarded, "host: router.example\r\n", 401),
        (&guarded, "host: router.example\r\nauthorization: Bearer no\r\n", 401),
        (&guarded, "host: router.example\r\nauthorization: Bearer open sesame\r\n", 200),
    ] {
        assert_eq!(server.send(&get("/metrics", headers)).await.status, status, "{headers}");
        assert_eq!(server.send(&get("/livez", headers)).await.status, 200, "{headers}");
        assert_eq!(server.send(&get("/readyz", headers)).await.status, 200, "{headers}");
    }
    let answer = open.send(&get("/metrics", "host: localhost\r\n")).await;
    assert!(answer.header("content-type").is_some_and(|t| t.starts_with("text/plain")));
    let text = String::from_utf8(answer.body).expect("text");
    assert!(text.contains("saf_http_connections{listener=\"admin\""), "{text}");
}

#[tokio::test]
async fn a_token_guards_every_path_of_the_api() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("token");
    std::fs::write(&path, "open sesame").expect("written");
    let server = Server::admin(Double::taking(), &format!("token = {{ file = {path:?} }}"));
    let ask = async |method: &str, path: &str, authorization: &str| {
        let mut client = server.connect().await;
        let request = format!("{method} {path} HTTP/1.1\r\nhost: router.example\r\n{authorization}\r\n");
        client.write(request.as_bytes()).await;
        if method == "HEAD" { client.head().await } else { client.answer().await }
    };
    let known = "authorization: Bearer open sesame\r\n";
    let document = ask("GET", "/api/v1/openapi.json", known).await.json();
    let paths = document["paths"].as_object().expect("paths");
    assert!(paths.len() > 10, "{paths:?}");
    for (path, methods) in paths {
        let path = path.replace(['{', '}'], "");
        // HEAD is served wherever GET is; the rest must be told nothing either, not even which methods there are.
        let described = methods.as_object().expect("methods").keys().map(String::as_str);
        for method in described.chain(["get", "head", "options", "put"]).map(str::to_uppercase) {
            for authorization in ["", "authorization: Bearer no\r\n"] {
                let answer = ask(&method, &path, authorization).await;
                assert_eq!(answer.status, 401, "{method} {path} {authorization}");
                assert!(answer.header("www-authenticate").is_some(), "{method} {path}");
            }
        }
        let allowed = ask("PUT", &path, known).await;
        assert_eq!((allowed.status, allowed.header("allow").is_some()), (405, true), "{path}");
    }
}

#[tokio::test]
async fn each_path_has_its_methods() {
    let server = Server::admin(Double::taking(), "");
    for (request, status) in [
        ("POST /livez", 405),
        ("POST /metrics", 405),
        ("GET /", 404),
        ("GET /api/event", 404),
        ("POST /api/event", 404),
    ] {
        let answer = server.send(&format!("{request} HTTP/1.1\r\nhost: localhost\r\n\r\n")).await;
        assert_eq!(answer.status, status, "{request}");
        assert!(!answer.problem().is_empty(), "{request}");
    }
}

#[tokio::test]
async fn it_is_not_ready_while_the_broker_is_away_and_it_drains() {
    let double = Double::taking();
    let server = Server::admin(double.clone(), "");
    double.health.send_replace(Health::Failed { reason: "the disk is gone".into() });
    let answer = server.send(&get("/readyz", "host: x\r\n")).await;
    assert_eq!((answer.status, &answer.json()["broker"]["reason"]), (503, &"the disk is gone".into()));
    let idle = server.connect().await;
    let addr = server.running.local_addr();
    soon(server.running.shutdown(std::time::Duration::from_secs(20))).await;
    assert_eq!(idle.end().await, b"");
    assert!(soon(tokio::net::TcpStream::connect(addr)).await.is_err());
}
