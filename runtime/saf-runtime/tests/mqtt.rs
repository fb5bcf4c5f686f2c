//! The guest `mqtt` against real brokers: nats-server, which speaks MQTT 3.1.1, and mosquitto where there is one (`MOSQUITTO` names it, or it is
//! in PATH). What is checked is what a subscriber sees.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use serde_json::json;
use support::{BOTH, On, PATIENCE, Router, Stage, free_port, until};
use tempfile::TempDir;

/// Shorter than a test's patience, longer than a broker takes to start.
const REST: &str = "max_attempts = 1000\nbackoff = [\"20ms\"]";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Nats,
    Mosquitto,
}

impl Kind {
    /// The brokers that are here.
    fn all() -> Vec<Self> {
        let mut all = vec![Self::Nats];
        match mosquitto() {
            Some(_) => all.push(Self::Mosquitto),
            None => eprintln!("SKIPPED: mosquitto, which is neither in PATH nor named by MOSQUITTO"),
        }
        all
    }

    /// What the broker reads at its start.
    fn config(self, port: u16, login: Option<(&str, &str)>, folder: &Path) -> String {
        match self {
            Self::Nats => {
                let login = login.map(|(user, password)| {
                    format!("authorization {{ user: {user}, password: {password} }}\n")
                });
                format!(
                    "server_name: mqtt\nlisten: \"127.0.0.1:-1\"\njetstream {{ store_dir: {:?}, max_file_store: 1TB }}\n{}\
                     mqtt {{ listen: \"127.0.0.1:{port}\" }}\n",
                    folder.join("store").display().to_string(),
                    login.unwrap_or_default()
                )
            }
            Self::Mosquitto => {
                assert!(login.is_none(), "mosquitto reads passwords from a file of its own making");
                format!("listener {port} 127.0.0.1\nallow_anonymous true\n")
            }
        }
    }
}

/// The program, where there is one.
fn mosquitto() -> Option<PathBuf> {
    if let Some(named) = std::env::var_os("MOSQUITTO").filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    // Distributions put servers where only root's PATH leads.
    let folders = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join("mosquitto")).find(|program| program.is_file())
}

/// A broker of its own, on a port that it keeps.
struct Broker {
    kind: Kind,
    folder: TempDir,
    port: u16,
    child: Option<Child>,
}

impl Broker {
    fn new(kind: Kind, login: Option<(&str, &str)>) -> Self {
        let (folder, port) = (TempDir::new().expect("a folder"), free_port());
        fs::write(folder.path().join("conf"), kind.config(port, login, folder.path())).expect("writable");
        Self { kind, folder, port, child: None }
    }

    fn start(&mut self) {
        let program = match self.kind {
            Kind::Nats => std::env::var_os("NATS_SERVER").expect("`cargo xtask test` sets it").into(),
            Kind::Mosquitto => mosquitto().expect("it was found before"),
        };
        let mut command = Command::new(program);
        command.arg("-c").arg(self.folder.path().join("conf"));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        self.child = Some(command.spawn().expect("a broker"));
        until("the broker", || TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("runs");
            child.wait().expect("ends");
        }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.stop();
    }
}

/// Somebody who subscribes to everything, with `QoS` 0: so there is nothing to acknowledge.
struct Subscriber {
    stream: TcpStream,
    /// A broker may send what was retained before it confirms a subscription.
    early: VecDeque<(u8, Vec<u8>)>,
}

impl Subscriber {
    fn new(broker: &Broker, login: Option<(&str, &str)>) -> Self {
        let stream = TcpStream::connect(broker.address()).expect("connects");
        stream.set_read_timeout(Some(PATIENCE)).expect("a socket");
        let mut subscriber = Self { stream, early: VecDeque::new() };
        let flags = if login.is_some() { 0xc2 } else { 0x02 };
        let mut connect = [&b"\0\x04MQTT\x04"[..], &[flags, 0, 0], &text("watcher")].concat();
        for part in login.into_iter().flat_map(|(user, password)| [user, password]) {
            connect.extend(text(part));
        }
        subscriber.send(0x10, &connect);
        assert_eq!(subscriber.packet(), (0x20, vec![0, 0]), "accepted");
        subscriber.send(0x82, &[&[0, 1][..], &text("#"), &[0]].concat());
        loop {
            match subscriber.packet() {
                (0x90, answer) => {
                    assert_eq!(answer, [0, 1, 0], "subscribed");
                    return subscriber;
                }
                early => subscriber.early.push_back(early),
            }
        }
    }

    fn send(&mut self, kind: u8, rest: &[u8]) {
        let length = u8::try_from(rest.len()).expect("short packets").min(127);
        self.stream.write_all(&[&[kind, length], rest].concat()).expect("sent");
    }

    /// The first byte, and what follows the length.
    fn packet(&mut self) -> (u8, Vec<u8>) {
        let byte = |stream: &mut TcpStream| {
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("a packet");
            byte[0]
        };
        let kind = byte(&mut self.stream);
        let (mut length, mut shift) = (0, 0);
        loop {
            let part = byte(&mut self.stream);
            length |= usize::from(part & 0x7f) << shift;
            shift += 7;
            if part < 0x80 {
                break;
            }
        }
        let mut rest = vec![0; length];
        self.stream.read_exact(&mut rest).expect("a whole packet");
        (kind, rest)
    }

    /// The next message: topic and data.
    fn message(&mut self) -> (String, Vec<u8>) {
        loop {
            let (kind, rest) = match self.early.pop_front() {
                Some(packet) => packet,
                None => self.packet(),
            };
            if kind >> 4 == 3 {
                let end = 2 + usize::from(u16::from_be_bytes([rest[0], rest[1]]));
                let topic = String::from_utf8(rest[2..end].to_vec()).expect("text");
                return (topic, rest[end..].to_vec());
            }
        }
    }

    /// Reads until there is a message for each of these topics; a repeated one counts once, as `QoS` 1 has it.
    fn messages(&mut self, mut topics: BTreeSet<String>) -> BTreeMap<String, Vec<u8>> {
        let mut messages = BTreeMap::new();
        while !topics.is_empty() {
            let (topic, data) = self.message();
            topics.remove(&topic);
            messages.insert(topic, data);
        }
        messages
    }
}

fn text(text: &str) -> Vec<u8> {
    let length = u16::try_from(text.len()).expect("short");
    [&length.to_be_bytes()[..], text.as_bytes()].concat()
}

fn channel(stage: Stage, broker: &Broker, config: &str) -> Stage {
    let address = broker.address();
    let rest = format!(
        "{REST}\ngrants.tcp = [{address:?}]\nconfig = {{ address = {address:?}{config} }}\nlimits.timeout = \"2s\""
    );
    stage.channel("out", "mqtt", &["ride.>"], &rest)
}

fn post(router: &Router, subject: &str, data: &[u8]) {
    let reply = router.post_raw(subject, &[("content-type", "application/octet-stream")], data);
    assert_eq!(reply.status, 202, "{reply:?}");
}

#[test]
fn each_event_is_published_with_its_data_as_it_is() {
    for kind in Kind::all() {
        for on in BOTH {
            let mut broker = Broker::new(kind, None);
            broker.start();
            let mut subscriber = Subscriber::new(&broker, None);
            let stage = channel(Stage::new(on), &broker, ", topic = \"saf/{subject}\"");
            let router = stage.start();
            let large: Vec<u8> = (0..300_000_u32).map(|n| n.to_le_bytes()[0]).collect();
            let data =
                [("ride.1", &b"one"[..]), ("ride.2.eu", b""), ("ride.3", b"\0\xff"), ("ride.4", &large)];
            for (subject, data) in data {
                post(&router, subject, data);
            }
            let topic = |subject: &str| format!("saf/{}", subject.replace('.', "/"));
            let seen = subscriber.messages(data.iter().map(|(subject, _)| topic(subject)).collect());
            for (subject, data) in data {
                assert!(seen[&topic(subject)] == data, "{kind:?}, {on:?}: {subject}");
            }
            router.wait_attempts("out", "done", data.len());
            assert!(router.dead_letters().is_empty(), "{kind:?}, {on:?}");
        }
    }
}

#[test]
fn a_broker_that_goes_away_and_comes_back_gets_everything() {
    const EVENTS: usize = 20;
    for kind in Kind::all() {
        let mut broker = Broker::new(kind, None);
        // Retained, so that a subscriber sees what was published before it was there.
        let stage = channel(Stage::new(On::Embedded), &broker, ", retain = true");
        let router = stage.start();
        let events = |from: usize| {
            (from..from + EVENTS).for_each(|n| post(&router, &format!("ride.{n}"), n.to_string().as_bytes()));
        };
        // Not there yet.
        events(0);
        router.wait_attempts("out", "retry", EVENTS);
        broker.start();
        router.wait_attempts("out", "done", EVENTS);
        // Gone, with the connections that were kept.
        broker.stop();
        let failed = router.attempts("out", "retry");
        events(EVENTS);
        router.wait_attempts("out", "retry", failed + EVENTS);
        broker.start();
        router.wait_attempts("out", "done", 2 * EVENTS);

        let mut subscriber = Subscriber::new(&broker, None);
        let seen = subscriber.messages((EVENTS..2 * EVENTS).map(|n| format!("ride/{n}")).collect());
        assert_eq!(seen[&format!("ride/{EVENTS}")], EVENTS.to_string().as_bytes(), "{kind:?}");
        assert!(router.dead_letters().is_empty(), "{kind:?}");
    }
}

#[test]
fn who_may_not_log_in_or_has_no_topic_is_told_why() {
    const LOGIN: (&str, &str) = ("saf", "secret");
    let mut broker = Broker::new(Kind::Nats, Some(LOGIN));
    broker.start();
    let address = broker.address();
    let section = |grants: &str, config: &str| {
        format!(
            "max_attempts = 2\nbackoff = [\"10ms\"]\ngrants.tcp = {grants}\nconfig = {{ address = {address:?}, {config} }}"
        )
    };
    let (granted, right) =
        (format!("[{address:?}]"), "user = \"saf\", password = \"secret\", client_id = \"saf-1\"");
    let stage = Stage::new(On::Embedded)
        .channel("right", "mqtt", &["a", "a.>"], &section(&granted, right))
        .channel("wrong", "mqtt", &["a"], &section(&granted, "user = \"saf\", password = \"guess\""))
        .channel("denied", "mqtt", &["a"], &section("[]", right));
    let router = stage.start();
    let mut subscriber = Subscriber::new(&broker, Some(LOGIN));
    post(&router, "a", b"data");
    assert_eq!(subscriber.message(), ("a".to_owned(), b"data".to_vec()));
    // A plus sign is a letter in a subject, and what stands for any letter in a topic.
    assert_eq!(router.post(&json!({"subject": "a.+", "data": 1})).status, 202);
    for (channel, outcome, words) in [
        ("wrong", "retry", "the broker refused the connection"),
        ("denied", "retry", &*address),
        ("right", "reject", "no topic"),
    ] {
        let letter =
            until(channel, || router.dead_letters().into_iter().find(|letter| letter["channel"] == channel));
        assert_eq!(letter["outcome"], outcome, "{letter}");
        assert!(letter["reason"].as_str().is_some_and(|reason| reason.contains(words)), "{letter}");
    }
    assert!(!router.log_lines(&["denied", "grants.tcp"]).is_empty());
}
