//! Against a server that says what it is told, over a real socket.

use std::net::TcpListener;
use std::thread::{self, JoinHandle};

use super::*;

const CONNACK: [u8; 4] = [0x20, 2, 0, 0];
/// The first message's identifier is 1.
const PUBACK: [u8; 4] = [0x40, 2, 0, 1];

/// Reads one packet and answers, once for each of `answers`; closes after the last. What it read is what it returns.
fn broker(answers: Vec<Vec<u8>>) -> (String, JoinHandle<Vec<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap_or_else(|error| panic!("{error}"));
    let address = listener.local_addr().unwrap_or_else(|error| panic!("{error}")).to_string();
    let serving = thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap_or_else(|error| panic!("{error}"));
        let mut packets = Vec::new();
        for answer in answers {
            let mut buffer = [0; READ_BYTES];
            let read = stream.read(&mut buffer).unwrap_or_else(|error| panic!("{error}"));
            packets.push(buffer[..read].to_vec());
            stream.write_all(&answer).unwrap_or_else(|error| panic!("{error}"));
        }
        packets
    });
    (address, serving)
}

fn join(serving: JoinHandle<Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    serving.join().unwrap_or_else(|_| panic!("the broker panicked"))
}

#[test]
fn a_message_is_done_when_its_own_acknowledgement_came() {
    // Another identifier's before it, and all in one read.
    let acks = [&[0x40, 2, 0, 9][..], &PUBACK].concat();
    for acks in [PUBACK.to_vec(), acks[4..].to_vec()] {
        let (address, serving) = broker(vec![CONNACK.to_vec(), acks]);
        let login = Login { user: Some("u".into()), password: Some("p".into()), ..Login::default() };
        let mut session = Session::open(&address, &login).unwrap_or_else(|problem| panic!("{problem}"));
        session.publish("a/b", b"data", true).unwrap_or_else(|problem| panic!("{problem}"));
        let packets = join(serving);
        // Version 4, user, password and a clean session; no keep-alive, no client id.
        assert_eq!(packets[0], *b"\x10\x12\0\x04MQTT\x04\xc2\0\0\0\0\0\x01u\0\x01p");
        // QoS 1, retained, identifier 1.
        assert_eq!(packets[1], *b"\x33\x0b\0\x03a/b\0\x01data");
    }
}

#[test]
fn a_broker_that_refuses_leaves_or_talks_nonsense_is_named() {
    let cases: [(Vec<Vec<u8>>, &str); 5] = [
        (vec![vec![0x20, 2, 0, 4]], "config.user or config.password is wrong"),
        (vec![vec![0x20, 2, 0, 5]], "may not connect"),
        (vec![vec![]], "closed the connection"),
        // The kind of packet that 3.1.1 does not have.
        (vec![vec![0xf0, 0]], "not as MQTT 3.1.1 wants it"),
        (vec![CONNACK.to_vec(), vec![]], "closed the connection"),
    ];
    for (answers, part) in cases {
        let (address, serving) = broker(answers);
        let opened = Session::open(&address, &Login::default());
        let published = opened.and_then(|mut session| session.publish("a", b"", false));
        let problem = published.err().map(|problem| problem.to_string()).unwrap_or_default();
        assert!(problem.contains(part), "{problem:?} lacks {part:?}");
        join(serving);
    }
}

#[test]
fn a_login_is_checked_before_any_event() {
    let new = |client_id: &str, user: Option<&str>, password: Option<&str>| {
        Login::new(client_id.to_owned(), user.map(Into::into), password.map(Into::into))
    };
    assert!(new("", None, Some("p")).is_err_and(|why| why.contains("config.user")));
    assert!(new(&"x".repeat(70_000), None, None).is_err_and(|why| why.contains("client_id")));
    assert_eq!(new("", None, None), Ok(Login::default()));
}
