//! Commands as they are typed, and what they said.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

use crate::support::{On, Router, Stage};

/// What a command said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) code: Option<i32>,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    pub(crate) fn of(output: &Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), out: text(&output.stdout), err: text(&output.stderr) }
    }

    #[track_caller]
    pub(crate) fn ok(self) -> Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        self
    }

    #[track_caller]
    pub(crate) fn fails(self, code: i32, parts: &[&str]) -> Self {
        assert_eq!(self.code, Some(code), "{self:?}");
        for part in parts {
            assert!(self.err.contains(part), "stderr lacks {part:?}: {self:?}");
        }
        self
    }

    /// Each line as JSON.
    #[track_caller]
    pub(crate) fn json_lines(&self) -> Vec<Value> {
        let parse = |line: &str| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line}"));
        self.out.lines().map(parse).collect()
    }

    /// The words of each line of a table, without its head.
    pub(crate) fn rows(&self) -> Vec<Vec<&str>> {
        self.out.lines().skip(1).map(|line| line.split_whitespace().collect()).collect()
    }
}

pub(crate) fn command(args: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_saf-runtime"));
    for name in [
        "SAF_URL",
        "SAF_TOKEN",
        "SAF_INGEST_URL",
        "SAF_INGEST_TOKEN",
        "SAF_CONFIG",
        "SSL_CERT_FILE",
        "SSL_CERT_DIR",
    ] {
        command.env_remove(name);
    }
    command.args(args).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// A command that needs no router.
pub(crate) fn alone(args: &[&str]) -> Said {
    Said::of(&command(args).output().expect("runs"))
}

pub(crate) fn at(router: &Router, args: &[&str]) -> Command {
    let mut command = command(args);
    command.env("SAF_URL", &router.admin).env("SAF_INGEST_URL", &router.ingest);
    command
}

/// A command that asks a router.
pub(crate) fn ask(router: &Router, args: &[&str]) -> Said {
    Said::of(&at(router, args).output().expect("runs"))
}

/// The same, with something on standard input.
pub(crate) fn ask_with(router: &Router, args: &[&str], input: &[u8]) -> Said {
    let mut child = at(router, args).stdin(Stdio::piped()).spawn().expect("starts");
    child.stdin.take().expect("piped").write_all(input).expect("reads");
    Said::of(&child.wait_with_output().expect("ends"))
}

/// A tap that is open.
pub(crate) fn tap(router: &Router, args: &[&str]) -> Child {
    let mut child = at(router, args).spawn().expect("starts");
    let mut line = String::new();
    let err = child.stderr.as_mut().expect("piped");
    BufReader::new(err).read_line(&mut line).expect("says something");
    assert!(line.contains("tapping"), "{line}");
    child
}

pub(crate) fn echo(on: On) -> Stage {
    Stage::new(on).channel("echo", "echo", &["hello"], "emit.subjects = [\"echo.>\"]")
}

/// A Channel that does what the data of its events says.
pub(crate) fn hostile(on: On) -> Stage {
    let rest = "backoff = [\"10ms\"]\nmax_attempts = 3\nemit.subjects = [\"hostile.>\"]";
    Stage::new(on).channel("hostile", "hostile", &["do"], rest)
}
