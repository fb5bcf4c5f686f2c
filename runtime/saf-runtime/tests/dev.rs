//! `saf-runtime dev`, as its author sees it: lines on standard output, while events are posted and sources change.
#![allow(clippy::expect_used, reason = "a test that cannot set its scene has failed")]

mod support;

use std::fs::{self, File};
use std::io::Read as _;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use serde_json::{Value, json};
use support::{guest_path, send, signal, until};
use tempfile::TempDir;

/// A folder with a Channel whose source names the guest that its build copies.
struct Author {
    folder: TempDir,
    child: Child,
}

const BUILD: &str =
    "echo compiling; guest=$(cat src/guest); cp $GUESTS/$guest.wasm made && mv made upper.wasm";

impl Author {
    fn new(http: &str, args: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("upper/src")).expect("writable");
        fs::write(root.join("upper/src/guest"), "echo").expect("writable");
        fs::write(root.join("router.toml"), config(http, "")).expect("writable");
        let child = start(root, args);
        Self { folder, child }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    fn said(&self) -> String {
        said(self.root())
    }

    /// Waits for a line with every part, behind the first `skip` bytes; gives the line.
    #[track_caller]
    fn line(&self, parts: &[&str], skip: usize) -> String {
        let found = || {
            let said = self.said();
            let mut lines = said.get(skip..)?.lines();
            lines.find(|line| parts.iter().all(|part| line.contains(part))).map(str::to_owned)
        };
        let start = std::time::Instant::now();
        loop {
            if let Some(line) = found() {
                return line;
            }
            assert!(start.elapsed() < support::PATIENCE, "no line with {parts:?} in:\n{}", self.said());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn source(&self, guest: &str) {
        fs::write(self.root().join("upper/src/guest"), guest).expect("writable");
    }

    fn ingest(&self) -> String {
        let line = self.line(&["events at http://"], 0);
        let rest = line.split_once("events at ").expect("there").1;
        rest.split_once(',').expect("a list").0.to_owned()
    }

    fn admin(&self) -> String {
        let line = self.line(&["admin at http://"], 0);
        let rest = line.split_once("admin at ").expect("there").1;
        rest.split_once(',').expect("a list").0.to_owned()
    }

    fn post(&self, data: &Value) {
        let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let body = json!({ "subject": "hello", "data": data }).to_string();
        let url = format!("{}/api/event", self.ingest());
        let reply = send(&agent, "POST", &url, &[("content-type", "application/json")], body.as_bytes());
        assert_eq!(reply.expect("an answer").status, 202);
    }

    /// Ctrl-C.
    fn interrupt(&mut self) {
        signal(self.child.id(), "INT");
        let child = &mut self.child;
        let status = until("the end", || child.try_wait().expect("waits"));
        assert!(status.success(), "{status}: {}", self.said());
    }
}

impl Drop for Author {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn config(http: &str, rest: &str) -> String {
    let cache = Path::new(env!("CARGO_TARGET_TMPDIR")).join("guest-cache").display().to_string();
    format!(
        "[http]\nlisten = {http:?}\n[admin]\nlisten = \"127.0.0.1:0\"\n[host]\ncache = {cache:?}\n\
         [channels.upper]\ncomponent = \"upper/upper.wasm\"\nsubjects = [\"hello\"]\nemit.subjects = [\">\"]\nbackoff = [\"50ms\"]\n\
         max_attempts = 2\n{rest}\n[channels.upper.build]\ncommand = {BUILD:?}\ndir = \"upper\"\nwatch = [\"src\"]\n"
    )
}

fn start(root: &Path, args: &[&str]) -> Child {
    let guests = guest_path("echo").parent().expect("a folder").to_owned();
    Command::new(env!("CARGO_BIN_EXE_saf-runtime"))
        .arg("dev")
        .args(args)
        .current_dir(root)
        .env("GUESTS", guests)
        .env("TMPDIR", root)
        .stdin(Stdio::null())
        .stdout(File::create(root.join("said")).expect("writable"))
        .stderr(File::create(root.join("log")).expect("writable"))
        .spawn()
        .expect("starts")
}

fn said(root: &Path) -> String {
    let mut text = String::new();
    for name in ["said", "log"] {
        let file = File::open(root.join(name)).and_then(|mut file| file.read_to_string(&mut text));
        file.expect("readable");
    }
    text
}

fn stores(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).expect("readable").flatten();
    entries.map(|entry| entry.path()).filter(|path| path.display().to_string().contains("saf-dev-")).collect()
}

#[test]
fn a_channel_is_built_shown_at_work_and_built_again_when_its_source_changes() {
    let mut author = Author::new("127.0.0.1:0", &[]);
    let ready = author.line(&["ready", "hello ──▶ upper ──▶ >"], 0);
    assert!(
        ready.contains("(try: saf-runtime send hello '{\"a\":1}' --ingest-url http://127.0.0.1:"),
        "{ready}"
    );
    assert!(!author.said().contains('\u{1b}'), "no colours where there is no terminal");
    author.post(&json!({"a": 1}));
    let line = author.line(&["hello #1 ──▶ upper  ok "], 0);
    assert!(line.contains(" fuel   1 emission"), "{line}");

    author.source("enrich");
    let line = author.line(&["changed src/guest   built ", "upper ", " ▶ "], 0);
    assert!(line.contains("(0 events lost, 0 waited)"), "{line}");
    author.post(&json!({"a": 2}));
    // 1 is the event, 2 its echo, 3 this one: its emission says what runs.
    author.line(&["hello #3 ──▶ upper  ok "], 0);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}/api/v1/events?subject=enriched.hello", author.admin());
    let events = send(&agent, "GET", &url, &[], b"").expect("an answer").json();
    assert_eq!(events["items"][0]["data"], json!({"a": 2, "enriched": true}));

    // A build that fails leaves what ran before, and shows what the tools said.
    author.source("none");
    let before = author.said().len();
    author.line(&["changed src/guest   upper BUILD FAILED in "], 0);
    author.line(&["compiling"], 0);
    author.line(&["none.wasm"], 0);
    author.post(&json!({"a": 3}));
    author.line(&["hello #5 ──▶ upper  ok "], 0);
    assert!(author.said().len() > before);

    assert_eq!(stores(author.root()).len(), 1);
    author.interrupt();
    assert_eq!(stores(author.root()), Vec::<PathBuf>::new(), "the store is removed");
}

#[test]
fn a_trap_says_its_message_and_its_place_and_what_comes_next() {
    let author = Author::new("127.0.0.1:0", &[]);
    author.line(&["ready"], 0);
    author.source("fail");
    author.line(&["changed src/guest   built ", " ▶ "], 0);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let url = format!("{}/api/event/hello", author.ingest());
    assert_eq!(send(&agent, "POST", &url, &[], b"trap").expect("an answer").status, 202);
    author.line(&["hello #1 ──▶ upper  TRAP  attempt 1/2, retry in "], 0);
    author.line(&["hello #1 ──▶ upper  TRAP  attempt 2/2, dead letter"], 0);
    let why = author.line(&["asked to trap   "], 0);
    assert!(why.contains("lib.rs:"), "{why}");
    assert_eq!(send(&agent, "POST", &url, &[], b"reject").expect("an answer").status, 202);
    author.line(&["hello #2 ──▶ upper  REJECT  attempt 1/2, dead letter"], 0);
    author.line(&["never"], 0);
}

#[test]
fn the_configuration_is_read_again_and_a_bad_one_changes_nothing() {
    let author = Author::new("127.0.0.1:0", &[]);
    author.line(&["ready"], 0);
    fs::write(author.root().join("router.toml"), "[channels.upper]\ncomponent = 5\n").expect("writable");
    author.line(&["changed router.toml   REFUSED, nothing is changed"], 0);
    author.line(&["router.toml:2"], 0);
    fs::write(author.root().join("router.toml"), config("127.0.0.1:0", "limits.fuel = 7_000_000"))
        .expect("writable");
    author.line(&["changed router.toml   upper ", "new settings"], 0);
    author.post(&json!({}));
    author.line(&["hello #1 ──▶ upper  ok "], 0);
}

#[test]
fn a_taken_port_is_exchanged_and_a_kept_store_is_gone_on_from() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = taken.local_addr().expect("bound").to_string();
    let mut author = Author::new(&address, &["--keep", "kept", "upper"]);
    author.line(&["ready"], 0);
    assert_ne!(author.ingest(), format!("http://{address}"));
    author.post(&json!({"a": 1}));
    author.line(&["hello #1 ──▶ upper  ok "], 0);
    author.interrupt();
    author.child = start(author.root(), &["--keep", "kept"]);
    author.line(&["ready"], 0);
    author.post(&json!({"a": 2}));
    author.line(&["hello #3 ──▶ upper  ok "], 0);
}

#[test]
fn more_lines_than_can_be_read_are_counted() {
    let author = Author::new("127.0.0.1:0", &[]);
    author.line(&["ready"], 0);
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    let batch: Vec<_> = (0..500).map(|n| json!({ "subject": "hello", "data": n })).collect();
    let url = format!("{}/api/event", author.ingest());
    let body = json!(batch).to_string();
    let reply = send(&agent, "POST", &url, &[("content-type", "application/json")], body.as_bytes());
    assert!(reply.expect("an answer").status < 300);
    // Every attempt is in a line, or in the count of one.
    until("all attempts", || {
        let said = author.said();
        let shown = said.lines().filter(|line| line.contains(" ──▶ upper  ok ")).count();
        let counts = said.lines().filter_map(|line| line.split_once(" attempts more: upper "));
        let counted: usize =
            counts.filter_map(|(before, _)| before.get(9..)?.replace(' ', "").parse::<usize>().ok()).sum();
        (shown + counted == 500 && counted > 0).then_some(())
    });
}

#[test]
fn a_channel_that_is_not_there_is_a_mistake_in_the_arguments() {
    let folder = TempDir::new().expect("a folder");
    fs::write(folder.path().join("router.toml"), config("127.0.0.1:0", "")).expect("writable");
    let mut child = start(folder.path(), &["lower"]);
    let status = until("the end", || child.try_wait().expect("waits"));
    assert_eq!(status.code(), Some(2));
    assert!(said(folder.path()).contains("there is no Channel lower; there are: upper"));
}
