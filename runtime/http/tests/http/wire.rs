//! What a listener promises to whoever connects, before any event is stored: routes, limits of size, time and number, and that
//! a client which hangs up or never reads holds nothing up.

use std::time::Duration;

use crate::client::post;
use crate::double::Double;
use crate::server::{Server, soon};
use saf_broker::Receipt;

const HELLO: &str = r#"{"subject":"hello"}"#;
const STORED: Receipt = Receipt { sequence: 1, duplicate: false };

#[tokio::test]
async fn each_path_has_its_methods() {
    let server = Server::ingest(Double::taking(), "");
    for (request, status, allow) in [
        ("GET /livez", 200, None),
        ("GET /readyz", 200, None),
        ("GET /readyz?verbose", 200, None),
        ("POST /livez", 405, Some("GET, HEAD")),
        ("DELETE /readyz", 405, Some("GET, HEAD")),
        ("GET /api/event", 405, Some("POST")),
        ("OPTIONS /api/event", 405, Some("POST")),
        ("PUT /api/event/hello", 405, Some("POST")),
        ("BREW /api/event", 405, Some("POST")),
        ("GET /", 404, None),
        ("POST /api/events", 404, None),
        ("POST /api/event/a/b", 404, None),
        ("POST /api", 404, None),
    ] {
        let answer = server.send(&format!("{request} HTTP/1.1\r\nhost: test\r\n\r\n")).await;
        assert_eq!((answer.status, answer.header("allow")), (status, allow), "{request}");
        assert_eq!(answer.problem().is_empty(), status == 200, "{request}");
    }
}

#[tokio::test]
async fn a_head_has_no_body_and_the_connection_goes_on() {
    let server = Server::ingest(Double::taking(), "");
    let mut client = server.connect().await;
    for (path, status) in [("/livez", 200), ("/api/event", 405), ("/nowhere", 404)] {
        client.write(format!("HEAD {path} HTTP/1.1\r\nhost: test\r\n\r\n").as_bytes()).await;
        assert_eq!(client.head().await.status, status, "{path}");
    }
    client.write(post("/api/event", &[], HELLO).as_bytes()).await;
    assert_eq!(client.answer().await.status, 202);
}

#[tokio::test]
async fn pipelined_posts_are_answered_in_order() {
    let server = Server::ingest(Double::taking(), "");
    let mut client = server.connect().await;
    let requests: String =
        (0..100).map(|n| post("/api/event", &[], &format!(r#"{{"subject":"s{n}"}}"#))).collect();
    client.write(requests.as_bytes()).await;
    for n in 0..100 {
        assert_eq!(client.answer().await.json()["subject"], format!("s{n}"));
    }
}

#[tokio::test]
async fn a_body_may_come_in_chunks_and_pieces() {
    let (double, mut events) = Double::held(Ok(STORED));
    double.gate.close();
    let server = Server::ingest(double, "");
    let mut client = server.connect().await;
    client.write(b"POST /api/event/hello HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n").await;
    for piece in ["5\r\nhello\r\n", "1\r\n ", "\r\n5\r", "\nworld\r\n", "0\r\n\r\n"] {
        client.write(piece.as_bytes()).await;
    }
    assert_eq!(client.answer().await.status, 202);
    let event = events.begun.recv().await.expect("an event");
    assert_eq!(&event.data[..], b"hello world");
}

#[tokio::test]
async fn continue_is_said_only_for_a_body_that_is_wanted() {
    let server = Server::ingest(Double::taking(), "max_body = 100");
    for (length, status) in [(HELLO.len(), 100), (101, 413)] {
        let mut client = server.connect().await;
        let head = format!(
            "POST /api/event HTTP/1.1\r\nhost: t\r\nexpect: 100-continue\r\ncontent-length: {length}\r\n\r\n"
        );
        client.write(head.as_bytes()).await;
        assert_eq!(client.answer().await.status, status);
        if status == 100 {
            client.write(HELLO.as_bytes()).await;
            assert_eq!(client.answer().await.status, 202);
        }
    }
}

#[tokio::test]
async fn a_body_is_limited_whether_it_says_its_length_or_not() {
    let server = Server::ingest(Double::taking(), "max_body = 100");
    let fits = "x".repeat(100);
    let exceeds = "x".repeat(101);
    assert_eq!(server.post("/api/event/a", &[], &fits).await.status, 202);
    assert_eq!(server.post("/api/event/a", &[], &exceeds).await.problem(), "body-too-large");
    for (body, status) in [(fits, 202), (exceeds, 413)] {
        let head = "POST /api/event/a HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\n";
        let answer = server.send(&format!("{head}{:x}\r\n{body}\r\n0\r\n\r\n", body.len())).await;
        assert_eq!(answer.status, status);
    }
}

#[tokio::test]
async fn a_slow_head_is_cut_off() {
    let server = Server::ingest(Double::taking(), "header_timeout = '200ms'");
    for begun in ["", "POST /api/event HT", "POST /api/event HTTP/1.1\r\nhost: test\r\nx: "] {
        let mut client = server.connect().await;
        client.write(begun.as_bytes()).await;
        assert_eq!(client.end().await, b"", "{begun}");
    }
}

#[tokio::test]
async fn a_slow_body_is_answered_408() {
    let server = Server::ingest(Double::taking(), "body_timeout = '200ms'");
    let mut client = server.connect().await;
    client.write(b"POST /api/event HTTP/1.1\r\nhost: test\r\ncontent-length: 20\r\n\r\n{\"subject\"").await;
    assert_eq!(client.answer().await.problem(), "body-timeout");
    assert_eq!(client.end().await, b"");
}

#[tokio::test]
async fn a_client_that_never_reads_is_cut_off() {
    let server = Server::ingest(Double::taking(), "body_timeout = '500ms'");
    let mut client = server.connect().await;
    let batch = post("/api/event", &[], &format!("[{}]", [HELLO; 100].join(",")));
    client.write_until_closed(batch.as_bytes()).await;
}

#[tokio::test]
async fn heads_are_limited_and_garbage_is_answered_400() {
    let server = Server::ingest(Double::taking(), "");
    let large = format!("POST /api/event HTTP/1.1\r\nhost: test\r\nx: {}\r\n\r\n", "y".repeat(200_000));
    let many = format!("POST /api/event HTTP/1.1\r\nhost: test\r\n{}\r\n", "x: y\r\n".repeat(200));
    for (request, status) in [
        (large.as_str(), 431),
        (&many, 431),
        ("nonsense\r\n\r\n", 400),
        ("POST /api/event HTTP/9.9\r\n\r\n", 400),
        ("POST /api/event HTTP/1.1\r\nhost: test\r\ncontent-length: x\r\n\r\n", 400),
        ("POST /api/event HTTP/1.1\r\nhost: test\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n", 400),
        ("\0\0\0\0\r\n\r\n", 400),
    ] {
        let mut client = server.connect().await;
        client.write(request.as_bytes()).await;
        let answer = client.answer_or_end().await;
        assert!(answer.as_ref().is_none_or(|a| a.status == status), "{request:.60} {answer:?}");
    }
    assert_eq!(server.post("/api/event", &[], HELLO).await.status, 202);
}

#[tokio::test]
async fn a_connection_too_many_is_told_so() {
    let server = Server::ingest(Double::taking(), "max_connections = 1");
    let mut first = server.connect().await;
    first.write(post("/api/event", &[], HELLO).as_bytes()).await;
    assert_eq!(first.answer().await.status, 202);

    let mut second = server.connect().await;
    second.write(post("/api/event", &[], HELLO).as_bytes()).await;
    let answer = second.answer().await;
    assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("overloaded", Some("1")));
    assert_eq!(answer.json()["stored"], false);
    assert_eq!(second.end().await, b"");
    assert!(
        server.metrics().contains("saf_http_connections_refused_total{listener=\"ingest\""),
        "{}",
        server.metrics()
    );

    drop(first);
    // The server may notice a moment later.
    soon(Box::pin(async { while server.post("/api/event", &[], HELLO).await.status != 202 {} })).await;
}

#[tokio::test]
async fn bodies_held_at_once_are_limited_over_all_connections() {
    let (double, mut events) = Double::held(Ok(STORED));
    let gate = double.gate.clone();
    let server = Server::ingest(double, "max_body = 1000\nmax_in_flight = 1000");
    let body = "x".repeat(600);
    let mut first = server.connect().await;
    first.write(post("/api/event/a", &[], &body).as_bytes()).await;
    soon(events.begun.recv()).await.expect("the first is with the broker");
    let answer = server.post("/api/event/a", &[], &body).await;
    assert_eq!((answer.problem().as_str(), answer.header("retry-after")), ("overloaded", Some("1")));
    gate.add_permits(2);
    assert_eq!(first.answer().await.status, 202);
    assert_eq!(server.post("/api/event/a", &[], &body).await.status, 202);
}

#[tokio::test]
async fn a_client_that_hangs_up_does_not_cancel_its_publish() {
    let batch = format!("[{HELLO},{HELLO},{HELLO}]");
    for (body, count) in [(HELLO, 1), (batch.as_str(), 3)] {
        let (double, mut events) = Double::held(Ok(STORED));
        let gate = double.gate.clone();
        let server = Server::ingest(double, "");
        let mut client = server.connect().await;
        client.write(post("/api/event", &[], body).as_bytes()).await;
        for _ in 0..count {
            soon(events.begun.recv()).await.expect("it is with the broker");
        }
        drop(client);
        // The connection is gone for the server too, so what goes on goes on without it.
        soon(async {
            while server
                .metrics()
                .contains("saf_http_connections{listener=\"ingest\",otel_scope_name=\"saf\"} 1")
            {
                tokio::task::yield_now().await;
            }
        })
        .await;
        gate.add_permits(count);
        for _ in 0..count {
            soon(events.ended.recv()).await.expect("it went on");
        }
        soon(server.running.shutdown(Duration::from_secs(20))).await;
    }
}

#[tokio::test]
async fn draining_finishes_requests_closes_idle_connections_and_accepts_none() {
    let (double, mut events) = Double::held(Ok(STORED));
    let gate = double.gate.clone();
    let server = Server::ingest(double, "threads = 2");
    let addr = server.running.local_addr();
    let idle = server.connect().await;
    let mut busy = server.connect().await;
    busy.write(post("/api/event", &[], HELLO).as_bytes()).await;
    soon(events.begun.recv()).await.expect("it is with the broker");

    let shutdown = tokio::spawn(server.running.shutdown(Duration::from_secs(20)));
    assert_eq!(idle.end().await, b"");
    // The other thread may stop a moment later.
    soon(async { while tokio::net::TcpStream::connect(addr).await.is_ok() {} }).await;
    gate.add_permits(1);
    let answer = busy.answer().await;
    assert_eq!((answer.status, answer.header("connection")), (202, Some("close")));
    assert_eq!(busy.end().await, b"");
    soon(shutdown).await.expect("it drained");
}

#[tokio::test]
async fn draining_ends_with_its_grace() {
    let (double, mut events) = Double::held(Ok(STORED));
    let server = Server::ingest(double, "");
    let mut stuck = server.connect().await;
    stuck.write(post("/api/event", &[], HELLO).as_bytes()).await;
    soon(events.begun.recv()).await.expect("it is with the broker");
    soon(server.running.shutdown(Duration::from_millis(50))).await;
    assert_eq!(stuck.end().await, b"");
}

#[tokio::test]
async fn a_listener_that_nobody_stops_does_not_end() {
    let mut server = Server::ingest(Double::taking(), "threads = 2");
    let stopped = tokio::time::timeout(Duration::from_millis(50), server.running.ended()).await;
    assert!(stopped.is_err());
    assert_eq!(server.post("/api/event", &[], HELLO).await.status, 202);
}

#[tokio::test]
async fn every_thread_serves() {
    let server = Server::ingest(Double::taking(), "threads = 3");
    for _ in 0..32 {
        assert_eq!(server.post("/api/event", &[], HELLO).await.status, 202);
    }
}
