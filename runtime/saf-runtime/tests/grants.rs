//! What a Channel is granted, seen from outside of the whole router: requests and connections arrive at real servers, an endpoint's
//! wish to be asked later is respected, and what was not granted ends as a dead letter that names the line which would grant it.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{BOTH, PATIENCE, Router, Stage, until};

const MAX_ATTEMPTS: usize = 2;
/// Shorter than any wait that an endpoint asks for.
const SHORT: &str = "max_attempts = 2\nbackoff = [\"10ms\"]";

/// A request, as it came.
struct Request {
    at: Instant,
    /// Request line and headers, in lower case.
    head: String,
    body: String,
}

/// An HTTP server that gives each of its answers once, the last one for ever.
struct Endpoint {
    address: SocketAddr,
    requests: Receiver<Request>,
}

impl Endpoint {
    fn start(answers: &'static [&'static str]) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        let (sender, requests) = channel();
        // It ends with the test: nobody listens to it then.
        thread::spawn(move || serve(&listener, answers, &sender));
        Self { address, requests }
    }

    fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    #[track_caller]
    fn next(&self) -> Request {
        self.requests.recv_timeout(PATIENCE).expect("a request")
    }

    #[track_caller]
    fn was_not_asked(&self) {
        assert!(self.requests.try_recv().is_err(), "a request came");
    }
}

/// One request a connection, so that no answer depends on how connections are shared.
fn serve(listener: &TcpListener, answers: &[&str], requests: &Sender<Request>) {
    let mut answers = answers.iter();
    let mut answer = answers.next().expect("an answer");
    for stream in listener.incoming().map_while(Result::ok) {
        let Some(request) = read(&stream) else { continue };
        let (status, rest) = answer.split_once('|').unwrap_or((answer, ""));
        let sent =
            write!(&stream, "HTTP/1.1 {status}\r\nconnection: close\r\n{rest}content-length: 3\r\n\r\nwhy");
        answer = answers.next().unwrap_or(answer);
        if sent.is_err() || requests.send(request).is_err() {
            return;
        }
    }
}

fn read(stream: &TcpStream) -> Option<Request> {
    let at = Instant::now();
    let mut lines = BufReader::new(stream);
    let (mut head, mut length) = (String::new(), 0);
    loop {
        let mut line = String::new();
        lines.read_line(&mut line).ok().filter(|read| *read > 0)?;
        let line = line.trim_end().to_lowercase();
        if line.is_empty() {
            break;
        }
        if let Some(value) = line.strip_prefix("content-length: ") {
            length = value.parse().ok()?;
        }
        head += &line;
        head += "\n";
    }
    let mut body = vec![0; length];
    lines.read_exact(&mut body).ok()?;
    Some(Request { at, head, body: String::from_utf8_lossy(&body).into_owned() })
}

fn webhook(endpoint: &Endpoint, grants: &str) -> String {
    format!("{SHORT}\ngrants.http = {grants}\nconfig = {{ url = \"{}/hook\" }}", endpoint.origin())
}

fn dead_letter_of(router: &Router, channel: &str) -> Value {
    until(&format!("a dead letter of {channel}"), || {
        router.dead_letters().into_iter().find(|letter| letter["channel"] == channel)
    })
}

#[track_caller]
fn says(letter: &Value, outcome: &str, attempts: usize, reason: &str) {
    assert_eq!(letter["outcome"], outcome, "{letter}");
    assert_eq!(letter["attempts"].as_array().map(Vec::len), Some(attempts), "{letter}");
    assert!(letter["reason"].as_str().is_some_and(|text| text.contains(reason)), "{reason:?} in {letter}");
}

#[test]
fn an_endpoint_that_asks_to_be_asked_later_is() {
    for on in BOTH {
        let endpoint = Endpoint::start(&["429 Too Many Requests|retry-after: 1\r\n", "200 OK"]);
        let grant = format!("[{:?}]", endpoint.origin());
        let stage = Stage::new(on).channel("hook", "webhook-out", &["ride.*"], &webhook(&endpoint, &grant));
        let router = stage.start();
        let event = json!({"subject": "ride.accepted", "id": "7", "data": {"driver": 7}});
        assert_eq!(router.post(&event).status, 202);

        let (first, second) = (endpoint.next(), endpoint.next());
        let waited = second.at - first.at;
        assert!(waited >= Duration::from_secs(1), "{on:?}: asked again after {waited:?}");
        for request in [&first, &second] {
            assert_eq!(request.body, r#"{"driver":7}"#, "{on:?}");
            for part in ["post /hook", "ce-id: 7", "ce-type: ride.accepted", "content-type: application/json"]
            {
                assert!(request.head.contains(part), "{on:?}: {part} in {}", request.head);
            }
        }
        router.wait_attempts("hook", "done", 1);
        assert_eq!(router.attempts("hook", "retry"), 1, "{on:?}");
        assert!(router.dead_letters().is_empty(), "{on:?}");
    }
}

#[test]
fn what_is_not_granted_is_not_asked_and_the_dead_letter_and_the_log_say_what_would_grant_it() {
    for on in BOTH {
        let (granted, refusing, never) =
            (Endpoint::start(&["200 OK"]), Endpoint::start(&["404 Not Found"]), Endpoint::start(&["200 OK"]));
        let one = format!("[{:?}]", granted.origin());
        let other = format!("[{:?}]", refusing.origin());
        let stage = Stage::new(on)
            .channel("granted", "webhook-out", &["a"], &webhook(&granted, &one))
            .channel("gone", "webhook-out", &["a"], &webhook(&refusing, &other))
            // The same component as its neighbour, whose grant is not its own.
            .channel("none", "webhook-out", &["a"], &webhook(&never, "[]"))
            .channel("other", "webhook-out", &["a"], &webhook(&never, &one));
        let router = stage.start();
        assert_eq!(router.post(&json!({"subject": "a", "data": "x"})).status, 202);

        granted.next();
        router.wait_attempts("granted", "done", 1);
        says(&dead_letter_of(&router, "gone"), "reject", 1, "answered 404: why");
        for channel in ["none", "other"] {
            says(&dead_letter_of(&router, channel), "retry", MAX_ATTEMPTS, "grants.http");
            let line = format!("{} is not in grants.http", never.origin());
            assert!(!router.log_lines(&[channel, &line]).is_empty(), "{on:?}: {line}");
        }
        never.was_not_asked();
        refusing.next();
        refusing.was_not_asked();
    }
}

#[test]
fn a_tcp_server_that_is_away_gets_its_lines_when_it_is_there() {
    for on in BOTH {
        // Bound and closed: nobody else gets this port while the test runs, as far as one can tell.
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = listener.local_addr().expect("bound");
        drop(listener);
        let rest = |grants: &str| {
            format!(
                "max_attempts = 1000\nbackoff = [\"20ms\"]\ngrants.tcp = {grants}\nconfig = {{ address = \"{address}\" }}"
            )
        };
        let denied = rest("[\"localhost:1\"]").replace("1000", "2");
        let stage = Stage::new(on)
            .channel("lines", "tcp-out", &["a"], &rest(&format!("[\"{address}\"]")))
            .channel("denied", "tcp-out", &["a"], &denied);
        let router = stage.start();
        for data in ["one", "two", "three"] {
            assert_eq!(router.post(&json!({"subject": "a", "data": data})).status, 202);
        }
        router.wait_attempts("lines", "retry", 3);
        let letter = dead_letter_of(&router, "denied");
        says(&letter, "retry", MAX_ATTEMPTS, &address.to_string());
        assert!(!router.log_lines(&["denied", "grants.tcp"]).is_empty(), "{on:?}");

        let listener = TcpListener::bind(address).expect("the same port");
        router.wait_attempts("lines", "done", 3);
        // Several instances, a connection each; what they wrote is there when they are gone.
        drop(router);
        listener.set_nonblocking(true).expect("a socket");
        let mut lines: Vec<String> = Vec::new();
        while let Ok((stream, _)) = listener.accept() {
            stream.set_nonblocking(false).expect("a socket");
            lines.extend(BufReader::new(stream).lines().map_while(Result::ok));
        }
        lines.sort_unstable();
        assert_eq!(lines, ["\"one\"", "\"three\"", "\"two\""], "{on:?}");
    }
}
