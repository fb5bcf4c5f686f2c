//! `saf-runtime dev` in a folder, read as its author reads it: line by line.

use std::fs::{self, File};
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use super::{PATIENCE, Reply, guests, send, signal, until};

const LOOK: Duration = Duration::from_millis(5);

/// A `dev` that runs; what it says stands in the files `said` and `log` of its folder, which is not its own.
pub struct Dev {
    root: std::path::PathBuf,
    child: Child,
}

impl Dev {
    /// In `root`, where a router.toml is. `GUESTS` names the built guests for build commands.
    pub fn start(root: &Path, args: &[&str]) -> Self {
        let child = Command::new(env!("CARGO_BIN_EXE_saf-runtime"))
            .arg("dev")
            .args(args)
            .current_dir(root)
            .env("GUESTS", guests())
            .env("TMPDIR", root)
            .stdin(Stdio::null())
            .stdout(File::create(root.join("said")).expect("writable"))
            .stderr(File::create(root.join("log")).expect("writable"))
            .spawn()
            .expect("starts");
        Self { root: root.to_owned(), child }
    }

    /// Everything so far.
    pub fn said(&self) -> String {
        let read = |name: &str| fs::read_to_string(self.root.join(name)).expect("readable");
        read("said") + &read("log")
    }

    /// Waits for a line with every part; gives the line.
    #[track_caller]
    pub fn line(&self, parts: &[&str]) -> String {
        let start = Instant::now();
        loop {
            let said = self.said();
            if let Some(line) = said.lines().find(|line| parts.iter().all(|part| line.contains(part))) {
                return line.to_owned();
            }
            assert!(start.elapsed() < PATIENCE, "no line with {parts:?} in:\n{said}");
            sleep(LOOK);
        }
    }

    pub fn ingest(&self) -> String {
        self.address("events at http://")
    }

    pub fn admin(&self) -> String {
        self.address("admin at http://")
    }

    fn address(&self, before: &str) -> String {
        let line = self.line(&[before]);
        let rest = line.split_once(before).expect("there").1;
        format!("http://{}", rest.split_once(',').expect("a list").0)
    }

    /// Posts an event's data as it is.
    pub fn post(&self, subject: &str, data: &str) {
        let url = format!("{}/api/event/{subject}", self.ingest());
        let reply = ask("POST", &url, "text/plain", data);
        assert_eq!(reply.status, 202, "{reply:?}");
    }

    /// A request with JSON.
    pub fn send(&self, method: &str, url: &str, body: &str) -> Reply {
        ask(method, url, "application/json", body)
    }

    /// Ctrl-C, and its end.
    pub fn interrupt(&mut self) {
        signal(self.child.id(), "INT");
        let status = self.wait();
        assert!(status.success(), "{status}: {}", self.said());
    }

    pub fn wait(&mut self) -> ExitStatus {
        let child = &mut self.child;
        until("the end", || child.try_wait().expect("waits"))
    }
}

fn ask(method: &str, url: &str, content_type: &str, body: &str) -> Reply {
    let agent: ureq::Agent = ureq::Agent::config_builder().http_status_as_error(false).build().into();
    send(&agent, method, url, &[("content-type", content_type)], body.as_bytes()).expect("an answer")
}

impl Drop for Dev {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
