//! A router as its users run it: the binary, a configuration file, real guests, and a real broker, each test its own.
#![allow(
    dead_code,
    unreachable_pub,
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::format_push_string,
    clippy::unused_self
)]

pub mod dev;
pub mod load;
pub mod peer;

use std::fmt::Write as _;
use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

/// Everything waits this long at most; a test that needs more hangs.
pub const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(20);

/// Waits until something is there.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(start.elapsed() < PATIENCE, "waited {PATIENCE:?} for {what}");
        sleep(POLL);
    }
}

/// Which broker a test runs on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    Embedded,
    JetStream,
}

pub const BOTH: [On; 2] = [On::Embedded, On::JetStream];

/// A folder, and a NATS server if the broker is one; survives the routers that are started on it.
pub struct Stage {
    pub folder: TempDir,
    pub on: On,
    pub nats: Option<Nats>,
    pub channels: String,
    pub streams: String,
    pub env: Vec<(String, String)>,
}

impl Stage {
    pub fn new(on: On) -> Self {
        let folder = TempDir::new().expect("a temporary folder");
        let nats = (on == On::JetStream).then(|| Nats::start(&folder.path().join("nats")));
        Self { folder, on, nats, channels: String::new(), streams: String::new(), env: Vec::new() }
    }

    /// Adds a Channel of a guest; `rest` is more of its section.
    pub fn channel(self, name: &str, guest: &str, subjects: &[&str], rest: &str) -> Self {
        self.component(name, &guest_path(guest), subjects, rest)
    }

    /// The same of any component.
    pub fn component(mut self, name: &str, component: &Path, subjects: &[&str], rest: &str) -> Self {
        self.channels += &format!(
            "[channels.{name}]\ncomponent = {:?}\nsubjects = {subjects:?}\n{rest}\n",
            component.display().to_string()
        );
        self
    }

    pub fn streams(mut self, text: &str) -> Self {
        self.streams += text;
        self
    }

    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.env.push((name.to_owned(), value.to_owned()));
        self
    }

    pub fn config(&self) -> String {
        let mut text = "[http]\nlisten = \"127.0.0.1:0\"\nforward_headers = [\"x-*\"]\n[admin]\nlisten = \"127.0.0.1:0\"\n".to_owned();
        match &self.nats {
            None => text += "[broker]\nkind = \"embedded\"\npath = \"store\"\n",
            Some(nats) => text += &nats.section(),
        }
        write!(text, "[host]\ncache = {:?}\n", shared_cache().display().to_string()).expect("a string");
        text + &self.streams + &self.channels
    }

    pub fn start(&self) -> Router {
        Router::start(self, &[])
    }

    /// A router that does a part of the work: `--role`.
    pub fn start_as(&self, role: &str) -> Router {
        Router::start(self, &["--role", role])
    }

    /// A start that must end by itself: how, and what was logged.
    pub fn start_that_fails(&self) -> (ExitStatus, String) {
        let mut router = Router::spawn(self, &[]);
        (router.wait(), router.log())
    }

    /// Waits until a Channel, whose last event was handled, has also settled everything.
    #[track_caller]
    pub fn settled(&self, router: &Router, channel: &str) {
        let label = format!("channel=\"{channel}\"");
        until("nothing held", || (router.metric("saf_channel_held", &[&label]) == 0.0).then_some(()));
        if let Some(nats) = &self.nats {
            let peer = peer::Peer::connect(nats);
            until("every ack", || {
                let info = peer.consumer("events", channel);
                (info.num_pending == 0 && info.num_ack_pending == 0).then_some(())
            });
        }
    }
}

/// Compiled guests are shared between tests: a component is compiled once a test run.
fn shared_cache() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-cache")
}

/// Where the guests of all languages are.
pub fn guests() -> PathBuf {
    std::env::var_os("SAF_GUESTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/dist"), PathBuf::from)
}

/// A guest in every language in which it was built: a language whose tools are missing is left out, and `cargo xtask guests` said so.
pub fn in_every_language(name: &str) -> Vec<(String, PathBuf)> {
    let languages = std::fs::read_dir(guests()).expect("guests; run `cargo xtask guests`");
    let mut found: Vec<_> = languages
        .map(|folder| folder.expect("readable").path())
        .filter_map(|folder| {
            let component = folder.join(format!("{name}.wasm"));
            let language = folder.file_name()?.to_str()?.to_owned();
            component.exists().then_some((language, component))
        })
        .collect();
    found.sort();
    found
}

pub fn guest_path(name: &str) -> PathBuf {
    let path = guests().join("rust").join(format!("{name}.wasm"));
    assert!(
        path.exists(),
        "{} is missing: run `cargo xtask guests`, or the tests by `cargo xtask test`",
        path.display()
    );
    path
}

/// A running `saf-runtime`.
pub struct Router {
    child: Child,
    log: PathBuf,
    pub ingest: String,
    pub admin: String,
}

/// An answer.
#[derive(Debug)]
pub struct Reply {
    pub status: u16,
    pub body: String,
    pub retry_after: Option<String>,
}

impl Reply {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

impl Router {
    fn start(stage: &Stage, arguments: &[&str]) -> Self {
        let mut router = Self::spawn(stage, arguments);
        let started = Instant::now();
        loop {
            let text = router.log();
            if text.contains("ready: ") {
                // A consumer has no ingest listener.
                if let Some((_, rest)) = text.split_once("}}' http://") {
                    router.ingest = format!("http://{}", rest.split_once('/').expect("a path").0);
                }
                let rest = text.split_once("health and metrics: http://").expect("announced before").1;
                router.admin = format!("http://{}", rest.split_once('/').expect("a path").0);
                return router;
            }
            if let Some(status) = router.child.try_wait().expect("waits") {
                panic!("ended at start: {status}\n{text}");
            }
            assert!(started.elapsed() < PATIENCE, "not ready in {PATIENCE:?}\n{text}");
            sleep(POLL);
        }
    }

    fn spawn(stage: &Stage, arguments: &[&str]) -> Self {
        let config = stage.folder.path().join("router.toml");
        fs::write(&config, stage.config()).expect("writable");
        let log = stage.folder.path().join(format!("log-{}.json", fresh()));
        let mut command = Command::new(env!("CARGO_BIN_EXE_saf-runtime"));
        command.arg("--config").arg(&config).args(arguments).envs(stage.env.iter().cloned());
        command.envs(stage.nats.as_ref().and_then(|nats| nats.user).map(|user| (PASSWORD, user)));
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(&log).expect("writable"));
        Self { child: command.spawn().expect("starts"), log, ingest: String::new(), admin: String::new() }
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Log lines that hold every one of `parts`.
    pub fn log_lines(&self, parts: &[&str]) -> Vec<String> {
        self.log()
            .lines()
            .filter(|line| parts.iter().all(|part| line.contains(part)))
            .map(str::to_owned)
            .collect()
    }

    /// Posts an envelope.
    pub fn post(&self, envelope: &Value) -> Reply {
        self.send(
            "POST",
            &format!("{}/api/event", self.ingest),
            &[("content-type", "application/json")],
            envelope.to_string(),
        )
    }

    /// Posts a raw body.
    pub fn post_raw(&self, subject: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        self.send("POST", &format!("{}/api/event/{subject}", self.ingest), headers, body)
    }

    pub fn send(&self, method: &str, url: &str, headers: &[(&str, &str)], body: impl AsRef<[u8]>) -> Reply {
        let reply = self.try_send(method, url, headers, body);
        reply.unwrap_or_else(|error| panic!("{method} {url}: {error}\n{}", self.log()))
    }

    pub fn try_send(
        &self,
        method: &str,
        url: &str,
        headers: &[(&str, &str)],
        body: impl AsRef<[u8]>,
    ) -> Result<Reply, ureq::Error> {
        let agent: ureq::Agent = ureq::Agent::config_builder()
            .http_status_as_error(false)
            .timeout_global(Some(Duration::from_mins(1)))
            .build()
            .into();
        send(&agent, method, url, headers, body.as_ref())
    }

    /// A request to the admin API that must be answered 2xx.
    pub fn admin(&self, method: &str, path: &str, body: &str) -> Reply {
        let headers: &[_] = if body.is_empty() { &[] } else { &[("content-type", "application/json")] };
        let reply = self.send(method, &format!("{}{path}", self.admin), headers, body);
        assert!((200..300).contains(&reply.status), "{method} {path}: {reply:?}");
        reply
    }

    /// What the admin API says of a Channel.
    pub fn channel(&self, name: &str) -> Value {
        self.admin("GET", &format!("/api/v1/channels/{name}"), "").json()
    }

    /// How many attempts of a Channel ended so, since this process started.
    pub fn attempts(&self, channel: &str, outcome: &str) -> usize {
        let labels = [format!("channel=\"{channel}\""), format!("outcome=\"{outcome}\"")];
        self.metric("saf_channel_attempts_total", &labels.each_ref().map(String::as_str)) as usize
    }

    /// Waits until a Channel was called so often with that outcome, in this process.
    #[track_caller]
    pub fn wait_attempts(&self, channel: &str, outcome: &str, count: usize) {
        until(&format!("{count} x {outcome} of {channel}"), || {
            (self.attempts(channel, outcome) >= count).then_some(())
        });
    }

    /// How many events the stream `events` holds.
    pub fn stored(&self) -> usize {
        let streams = self.all("/api/v1/streams");
        let stream = streams.iter().find(|stream| stream["name"] == "events").expect("there by default");
        stream["events"].as_u64().expect("a number") as usize
    }

    /// What `/readyz` says of a Channel that is in trouble.
    pub fn trouble(&self, channel: &str) -> Option<Value> {
        self.get("/readyz").json()["channels"]["troubled"].get(channel).cloned()
    }

    pub fn get(&self, path: &str) -> Reply {
        self.send("GET", &format!("{}{path}", self.admin), &[], [])
    }

    /// Every item of a listing of the admin API, page by page.
    pub fn all(&self, path: &str) -> Vec<Value> {
        let mut items = Vec::new();
        let mut cursor = String::new();
        loop {
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.get(&format!("{path}{join}limit=1000{cursor}")).json();
            items
                .extend(page["items"].as_array().unwrap_or_else(|| panic!("{path}: {page}")).iter().cloned());
            match &page["next"] {
                Value::String(next) => cursor = format!("&after={next}"),
                _ => return items,
            }
        }
    }

    /// Stored events whose subject matches a filter.
    pub fn events(&self, filter: &str) -> Vec<Value> {
        self.all(&format!("/api/v1/events?subject={}", filter.replace('>', "%3E")))
    }

    pub fn dead_letters(&self) -> Vec<Value> {
        self.all("/api/v1/dead-letters")
    }

    /// A metric's value, summed over the lines that hold every one of `labels`.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let text = self.get("/metrics").body;
        let lines = text
            .lines()
            .filter(|line| line.starts_with(name) && labels.iter().all(|label| line.contains(label)));
        lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// SIGKILL: nothing is finished, nothing is said.
    pub fn kill(mut self) {
        self.child.kill().expect("runs");
        self.child.wait().expect("ends");
    }

    /// SIGTERM, and what came of it.
    pub fn terminate(mut self) -> ExitStatus {
        signal(self.child.id(), "TERM");
        self.wait()
    }

    /// Waits for the end.
    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the router's end", || child.try_wait().expect("waits"))
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        if std::thread::panicking() {
            let log = self.log();
            let tail: Vec<_> = log.lines().rev().take(40).collect();
            eprintln!(
                "--- end of the router's log\n{}",
                tail.into_iter().rev().collect::<Vec<_>>().join("\n")
            );
        }
    }
}

/// One request on an agent that may be kept for many.
pub fn send(
    agent: &ureq::Agent,
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> Result<Reply, ureq::Error> {
    let mut request = ureq::http::Request::builder().method(method).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let mut response = match method {
        "GET" | "HEAD" => agent.run(request.body(()).expect("a request"))?,
        _ => agent.run(request.body(body).expect("a request"))?,
    };
    let retry_after =
        response.headers().get("retry-after").and_then(|value| value.to_str().ok()).map(str::to_owned);
    let body = response.body_mut().with_config().limit(1 << 30).read_to_string()?;
    Ok(Reply { status: response.status().as_u16(), body, retry_after })
}

/// Sends a signal by its name.
pub fn signal(pid: u32, name: &str) {
    let sent =
        Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status().expect("kill exists");
    assert!(sent.success());
}

/// A number that no other call in this process got.
pub fn fresh() -> u64 {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed)
}

/// A free port; taken again quickly enough that a collision is unlikely.
pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").expect("a socket").local_addr().expect("bound").port()
}

/// The environment variable with the password of [`Nats::user`].
const PASSWORD: &str = "NATS_PASSWORD";

/// A `nats-server` with JetStream.
pub struct Nats {
    child: Child,
    folder: PathBuf,
    pub port: u16,
    /// Who logs in, when the server asks; the password is the name.
    pub user: Option<&'static str>,
}

impl Nats {
    pub fn start(folder: &Path) -> Self {
        let port = free_port();
        Self::configure(folder, "");
        let child = Self::spawn(folder, port);
        let nats = Self { child, folder: folder.to_path_buf(), port, user: None };
        nats.wait_until_up();
        nats
    }

    /// The server reads these lines at its next start; it is started anew.
    pub fn reconfigure(&mut self, lines: &str) {
        Self::configure(&self.folder, lines);
        self.stop();
        self.start_again();
    }

    fn config(folder: &Path) -> PathBuf {
        folder.with_extension("conf")
    }

    /// Room for every test's streams, whatever the disk has left: the server's own default depends on that.
    fn configure(folder: &Path, lines: &str) {
        let room = "jetstream { max_file_store: 1TB }\n";
        fs::write(Self::config(folder), room.to_owned() + lines).expect("writable");
    }

    fn spawn(folder: &Path, port: u16) -> Child {
        let binary = std::env::var_os("NATS_SERVER")
            .expect("NATS_SERVER names the nats-server binary: run the tests by `cargo xtask test`");
        Command::new(binary)
            .args(["-js", "-a", "127.0.0.1", "-p", &port.to_string(), "-sd"])
            .arg(folder)
            .arg("-c")
            .arg(Self::config(folder))
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("nats-server starts")
    }

    fn wait_until_up(&self) {
        until("nats-server", || std::net::TcpStream::connect(("127.0.0.1", self.port)).ok());
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }

    /// The router's `[broker]`.
    fn section(&self) -> String {
        let login = self.user.map(|user| format!("user = {user:?}\npassword = {{ env = {PASSWORD:?} }}\n"));
        format!("[broker]\nkind = \"jetstream\"\nurl = {:?}\n{}", self.url(), login.unwrap_or_default())
    }

    pub fn stop(&mut self) {
        signal(self.child.id(), "TERM");
        self.child.wait().expect("ends");
    }

    pub fn start_again(&mut self) {
        self.child = Self::spawn(&self.folder, self.port);
        self.wait_until_up();
    }
}

impl Drop for Nats {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
