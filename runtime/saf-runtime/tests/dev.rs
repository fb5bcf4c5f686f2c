//! `saf-runtime dev`, as its author sees it: lines on standard output, while events are posted and sources change.
#![allow(clippy::expect_used, reason = "a test that cannot set its scene has failed")]

mod support;

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use support::dev::Dev;
use support::until;
use tempfile::TempDir;

/// A folder with a Channel whose source names the guest that its build copies.
struct Author {
    folder: TempDir,
    dev: Dev,
}

const BUILD: &str =
    "echo compiling; guest=$(cat src/guest); cp $GUESTS/rust/$guest.wasm made && mv made upper.wasm";

impl Author {
    fn new(http: &str, args: &[&str]) -> Self {
        let folder = TempDir::new().expect("a folder");
        let root = folder.path();
        fs::create_dir_all(root.join("upper/src")).expect("writable");
        fs::write(root.join("upper/src/guest"), "echo").expect("writable");
        fs::write(root.join("router.toml"), config(http, "")).expect("writable");
        let dev = Dev::start(root, args);
        Self { folder, dev }
    }

    fn root(&self) -> &Path {
        self.folder.path()
    }

    #[track_caller]
    fn line(&self, parts: &[&str]) -> String {
        self.dev.line(parts)
    }

    fn source(&self, guest: &str) {
        fs::write(self.root().join("upper/src/guest"), guest).expect("writable");
    }

    fn post(&self, data: &Value) {
        self.dev.post("hello", &data.to_string());
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

fn stores(root: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(root).expect("readable").flatten();
    entries.map(|entry| entry.path()).filter(|path| path.display().to_string().contains("saf-dev-")).collect()
}

#[test]
fn a_channel_is_built_shown_at_work_and_built_again_when_its_source_changes() {
    let mut author = Author::new("127.0.0.1:0", &[]);
    let ready = author.line(&["ready", "hello ──▶ upper ──▶ >"]);
    assert!(
        ready.contains("(try: saf-runtime send hello '{\"a\":1}' --ingest-url http://127.0.0.1:"),
        "{ready}"
    );
    assert!(!author.dev.said().contains('\u{1b}'), "no colours where there is no terminal");
    author.post(&json!({"a": 1}));
    let line = author.line(&["hello #1 ──▶ upper  ok "]);
    assert!(line.contains(" fuel   1 emission"), "{line}");

    author.source("enrich");
    let line = author.line(&["changed src/guest   built ", "upper ", " ▶ "]);
    assert!(line.contains("(0 events lost, 0 waited)"), "{line}");
    author.post(&json!({"a": 2}));
    // 1 is the event, 2 its echo, 3 this one: its emission says what runs.
    author.line(&["hello #3 ──▶ upper  ok "]);
    let url = format!("{}/api/v1/events?subject=enriched.hello", author.dev.admin());
    let events = author.dev.send("GET", &url, "").json();
    assert_eq!(events["items"][0]["data"], json!({"a": 2, "enriched": true}));

    // A build that fails leaves what ran before, and shows what the tools said.
    author.source("none");
    let before = author.dev.said().len();
    author.line(&["changed src/guest   upper BUILD FAILED in "]);
    author.line(&["compiling"]);
    author.line(&["none.wasm"]);
    author.post(&json!({"a": 3}));
    author.line(&["hello #5 ──▶ upper  ok "]);
    assert!(author.dev.said().len() > before);

    assert_eq!(stores(author.root()).len(), 1);
    author.dev.interrupt();
    assert_eq!(stores(author.root()), Vec::<PathBuf>::new(), "the store is removed");
}

#[test]
fn what_a_guest_prints_stands_above_its_attempt() {
    let author = Author::new("127.0.0.1:0", &[]);
    author.line(&["ready"]);
    author.source("printer");
    author.line(&["changed src/guest   built ", " ▶ "]);
    author.post(&json!({"a": 1}));
    author.line(&["hello #1 ──▶ upper  ok "]);
    let said = author.dev.said();
    let (above, _) = said.split_once("hello #1 ──▶ upper  ok ").expect("just seen");
    let printed = |line: &str| ["upper │ ", "hello", r#"{"a":1}"#].iter().all(|part| line.contains(part));
    assert!(above.lines().any(printed), "{said}");
}

#[test]
fn a_trap_says_its_message_and_its_place_and_what_comes_next() {
    let author = Author::new("127.0.0.1:0", &[]);
    author.line(&["ready"]);
    author.source("fail");
    author.line(&["changed src/guest   built ", " ▶ "]);
    author.dev.post("hello", "trap");
    author.line(&["hello #1 ──▶ upper  TRAP  attempt 1/2, retry in "]);
    author.line(&["hello #1 ──▶ upper  TRAP  attempt 2/2, dead letter"]);
    let why = author.line(&["asked to trap   "]);
    assert!(why.contains("lib.rs:"), "{why}");
    author.dev.post("hello", "reject");
    author.line(&["hello #2 ──▶ upper  REJECT  attempt 1/2, dead letter"]);
    author.line(&["never"]);
}

#[test]
fn the_configuration_is_read_again_and_a_bad_one_changes_nothing() {
    let author = Author::new("127.0.0.1:0", &[]);
    author.line(&["ready"]);
    fs::write(author.root().join("router.toml"), "[channels.upper]\ncomponent = 5\n").expect("writable");
    author.line(&["changed router.toml   REFUSED, nothing is changed"]);
    author.line(&["router.toml:2"]);
    fs::write(author.root().join("router.toml"), config("127.0.0.1:0", "limits.fuel = 7_000_000"))
        .expect("writable");
    author.line(&["changed router.toml   upper ", "new settings"]);
    author.post(&json!({}));
    author.line(&["hello #1 ──▶ upper  ok "]);
}

#[test]
fn a_taken_port_is_exchanged_and_a_kept_store_is_gone_on_from() {
    let taken = TcpListener::bind("127.0.0.1:0").expect("a socket");
    let address = taken.local_addr().expect("bound").to_string();
    let mut author = Author::new(&address, &["--keep", "kept", "upper"]);
    author.line(&["ready"]);
    assert_ne!(author.dev.ingest(), format!("http://{address}"));
    author.post(&json!({"a": 1}));
    author.line(&["hello #1 ──▶ upper  ok "]);
    author.dev.interrupt();
    author.dev = Dev::start(author.root(), &["--keep", "kept"]);
    author.line(&["ready"]);
    author.post(&json!({"a": 2}));
    author.line(&["hello #3 ──▶ upper  ok "]);
}

#[test]
fn more_lines_than_can_be_read_are_counted() {
    let author = Author::new("127.0.0.1:0", &[]);
    author.line(&["ready"]);
    let batch: Vec<_> = (0..500).map(|n| json!({ "subject": "hello", "data": n })).collect();
    let url = format!("{}/api/event", author.dev.ingest());
    let body = json!(batch).to_string();
    assert!(author.dev.send("POST", &url, &body).status < 300);
    // Every attempt is in a line, or in the count of one.
    until("all attempts", || {
        let said = author.dev.said();
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
    let mut dev = Dev::start(folder.path(), &["lower"]);
    assert_eq!(dev.wait().code(), Some(2));
    assert!(dev.said().contains("there is no Channel lower; there are: upper"));
}
