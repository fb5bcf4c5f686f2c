//! wasi:sockets from inside a guest, against a real server. The guest is `tcp-out`, which knows nothing but Rust's `std::net`.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]

mod support;

use std::cell::Cell;
use std::time::Duration;

use saf_event::Span;
use saf_host::{Access, Grants, Pool, Verdict};
use tokio::io::{AsyncBufReadExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};

use support::{NOT_HUNG, Sandbox, call, sandbox};

async fn pool(sandbox: &Sandbox, address: &str, grants: &[&str]) -> Pool {
    let component = sandbox.guest("tcp-out").await;
    sandbox.pool(&component, |setup| {
        setup.grants.tcp = grants.iter().map(|text| text.parse().expect("an endpoint")).collect();
        setup.config_json = format!(r#"{{"address": "{address}"}}"#);
        setup.limits.timeout = Span(Duration::from_secs(5));
    })
}

async fn accept(listener: &TcpListener) -> Lines<BufReader<TcpStream>> {
    let accepted = tokio::time::timeout(NOT_HUNG, listener.accept()).await.expect("in time");
    BufReader::new(accepted.expect("a connection").0).lines()
}

async fn line(lines: &mut Lines<BufReader<TcpStream>>) -> String {
    let line = tokio::time::timeout(NOT_HUNG, lines.next_line()).await.expect("in time");
    line.expect("readable").expect("a line")
}

async fn done(pool: &Pool, data: &str) {
    let verdict = call(pool, data).await.verdict;
    assert!(matches!(verdict, Verdict::Done(_)), "{data}: {verdict:?}");
}

#[tokio::test]
async fn a_granted_address_is_connected_to_and_the_connection_stays() {
    let sandbox = sandbox();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let pool = pool(&sandbox, &address, &[&address]).await;
    done(&pool, "one").await;
    let mut first = accept(&listener).await;
    assert_eq!(line(&mut first).await, "one");
    let large = "x".repeat(100_000);
    done(&pool, &large).await;
    assert_eq!(line(&mut first).await, large);
    drop(first);

    // A guest that finds its connection closed makes another one; how many lines it loses before it does is the system's.
    let accepted = Cell::new(false);
    let calls = async {
        while !accepted.get() {
            call(&pool, "two").await;
            tokio::task::yield_now().await;
        }
    };
    let accepting = async {
        let lines = accept(&listener).await;
        accepted.set(true);
        lines
    };
    let ((), mut second) = tokio::join!(calls, accepting);
    done(&pool, "two").await;
    assert_eq!(line(&mut second).await, "two");
}

#[tokio::test]
async fn a_granted_name_is_looked_up_and_only_that() {
    let sandbox = sandbox();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound");
    let named = format!("localhost:{}", address.port());
    done(&pool(&sandbox, &named, &[&named]).await, "hello").await;
    assert_eq!(line(&mut accept(&listener).await).await, "hello");

    for (address, grants) in [
        (address.to_string(), vec![]),
        (named.clone(), vec![]),
        // The name is not looked up, so the address that it would lead to is not known.
        (address.to_string(), vec![named.as_str()]),
        (address.to_string(), vec!["127.0.0.1:1", "localhost:1"]),
        (named.clone(), vec!["127.0.0.1:1"]),
        (format!("other.localhost:{}", address.port()), vec![named.as_str()]),
    ] {
        let verdict = call(&pool(&sandbox, &address, &grants).await, "never").await.verdict;
        assert!(matches!(verdict, Verdict::Retry { .. }), "{address} with {grants:?}: {verdict:?}");
    }
    let nobody = tokio::time::timeout(Duration::from_millis(50), listener.accept()).await;
    assert!(nobody.is_err(), "somebody connected");
}

#[tokio::test]
async fn the_deadline_covers_a_server_that_does_not_read() {
    let sandbox = sandbox();
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let address = listener.local_addr().expect("bound").to_string();
    let component = sandbox.guest("tcp-out").await;
    let pool = sandbox.pool(&component, |setup| {
        setup.grants.tcp = vec![address.parse().expect("an endpoint")];
        setup.config_json = format!(r#"{{"address": "{address}"}}"#);
        setup.limits.timeout = Span(Duration::from_millis(500));
    });
    let verdict = call(&pool, &"x".repeat(16 << 20)).await.verdict;
    assert!(matches!(verdict, Verdict::Timeout(_)), "{verdict:?}");
}

#[tokio::test]
async fn a_grant_shows_in_what_the_imports_get() {
    let sandbox = sandbox();
    let component = sandbox.guest("tcp-out").await;
    let grants = Grants { tcp: vec!["10.0.0.7:514".parse().expect("an endpoint")], ..Grants::default() };
    let access = |grants: &Grants, name: &str| {
        let imports = component.imports_under(grants);
        imports.iter().find(|import| import.name.starts_with(name)).map(|import| import.access)
    };
    for name in ["wasi:sockets/tcp@", "wasi:sockets/ip-name-lookup@", "wasi:sockets/tcp-create-socket@"] {
        assert_eq!(access(&Grants::default(), name), Some(Access::Stubbed), "{name}");
        assert_eq!(access(&grants, name), Some(Access::Granted), "{name}");
    }
}
