//! A NATS server of a test's own: a free port, a temporary folder, killed when the test ends.
//! Not every test file uses all of it.
#![allow(dead_code)]

use std::io::{BufRead, BufReader, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use saf_broker::{Config, Kind};
use tempfile::TempDir;

/// How long a server may take to start.
const START_SECONDS: u64 = 20;

/// What a server may store in files: more than any test does, whatever the disk has left. The server's own default depends on that.
const ROOM: &str = "1TB";

/// A running nats-server.
pub struct NatsServer {
    pub port: u16,
    pub folder: TempDir,
    child: Option<Child>,
}

impl NatsServer {
    /// JetStream on, nothing else.
    pub fn start() -> Self {
        Self::with("")
    }

    /// With more lines of configuration.
    pub fn with(lines: &str) -> Self {
        let mut server = Self::new();
        server.reconfigure(lines);
        server.run();
        server
    }

    /// One that may store so much in files.
    pub fn with_room(room: &str) -> Self {
        let mut server = Self::new();
        server.limit(room, "");
        server.run();
        server
    }

    /// Plain NATS.
    pub fn without_jetstream() -> Self {
        let mut server = Self::new();
        server.configure("");
        server.run();
        server
    }

    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a free port");
        let port = listener.local_addr().expect("a bound address").port();
        Self { port, folder, child: None }
    }

    fn configure(&self, lines: &str) {
        let config = format!("listen: 127.0.0.1:{}\n{lines}", self.port);
        std::fs::write(self.file("nats.conf"), config).expect("a configuration file");
    }

    /// Replaces its configuration beyond JetStream; read at the next start.
    pub fn reconfigure(&self, lines: &str) {
        self.limit(ROOM, lines);
    }

    fn limit(&self, room: &str, lines: &str) {
        let store = self.file("js").display().to_string();
        self.configure(&format!("jetstream {{ store_dir: \"{store}\", max_file_store: {room} }}\n{lines}\n"));
    }

    /// A file in the server's folder.
    pub fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Starts it (again), and waits until it greets.
    pub fn run(&mut self) {
        let program = std::env::var_os("NATS_SERVER").expect(
            "this test needs a real nats-server: run `cargo xtask test`, or set NATS_SERVER to the path of one (2.12 or newer)",
        );
        let child = Command::new(program)
            .arg("-c")
            .arg(self.file("nats.conf"))
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(self.file("nats.log")).expect("a log file"))
            .spawn()
            .expect("NATS_SERVER can be run");
        self.child = Some(child);
        let deadline = Instant::now() + Duration::from_secs(START_SECONDS);
        while !self.greets() {
            assert!(Instant::now() < deadline, "nats-server did not start: {}", self.log());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.file("nats.log")).unwrap_or_default()
    }

    fn greets(&self) -> bool {
        let Ok(stream) = TcpStream::connect(self.address()) else { return false };
        stream.set_read_timeout(Some(Duration::from_millis(200))).expect("a timeout");
        let mut line = String::new();
        match BufReader::new(stream).read_line(&mut line) {
            Ok(_) => line.starts_with("INFO"),
            // One that wants TLS first says nothing before it.
            Err(_) => true,
        }
    }

    pub fn address(&self) -> SocketAddr {
        (Ipv4Addr::LOCALHOST, self.port).into()
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// Ends it in good order: what it knows of acks goes to disk, which a kill may lose.
    pub fn stop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let pid = rustix::process::Pid::from_child(&child);
            rustix::process::kill_process(pid, rustix::process::Signal::TERM)
                .expect("signalling a child of ours");
            child.wait().expect("waiting for a child of ours");
        }
    }

    /// Kills it; its files stay.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            child.kill().expect("killing a child of ours");
            child.wait().expect("waiting for a child of ours");
        }
    }

    /// A configuration that reaches it without credentials.
    pub fn config(&self) -> Config {
        Config { kind: Kind::Jetstream, url: Some(self.url()), ..Config::default() }
    }
}

impl Drop for NatsServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A NATS client that sends whatever it is told to, well formed or not.
pub struct RawPeer(TcpStream);

impl RawPeer {
    pub fn connect(server: &NatsServer) -> Self {
        let stream = TcpStream::connect(server.address()).expect("a connection");
        let mut peer = Self(stream);
        peer.send(b"CONNECT {\"verbose\":false,\"pedantic\":false,\"headers\":true}\r\n");
        peer.settle();
        peer
    }

    /// Publishes bytes as they are; an empty header block means none.
    pub fn publish(&mut self, subject: &[u8], headers: &[u8], data: &[u8]) {
        let mut message = if headers.is_empty() { b"PUB ".to_vec() } else { b"HPUB ".to_vec() };
        message.extend_from_slice(subject);
        if headers.is_empty() {
            message.extend_from_slice(format!(" {}\r\n", data.len()).as_bytes());
        } else {
            message.extend_from_slice(
                format!(" {} {}\r\n", headers.len(), headers.len() + data.len()).as_bytes(),
            );
            message.extend_from_slice(headers);
        }
        message.extend_from_slice(data);
        message.extend_from_slice(b"\r\n");
        self.send(&message);
        self.settle();
    }

    fn send(&mut self, bytes: &[u8]) {
        self.0.write_all(bytes).expect("the server takes it");
    }

    /// Waits until the server has read everything.
    fn settle(&mut self) {
        self.send(b"PING\r\n");
        let mut reader = BufReader::new(&self.0);
        loop {
            let mut line = String::new();
            assert!(reader.read_line(&mut line).expect("the server answers") > 0, "the server hung up");
            if line.starts_with("PONG") {
                return;
            }
        }
    }
}
