//! Which tool a build command lacks, and how it is installed. Asked only after a command failed: a build that works is not held up.

use std::path::Path;
use std::process::{Command, Stdio};

/// How one finds out whether a tool is there.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// A program in PATH.
    Program,
    /// A target of the Rust tool chain.
    RustTarget,
    /// A module of `python3`.
    PythonModule,
}

/// The word in the command, how to look for it, what it is, and what installs it.
const TOOLS: [(&str, Probe, &str, &str); 11] = [
    ("cargo", Probe::Program, "Rust's cargo", "curl -sSf https://sh.rustup.rs | sh    (https://rustup.rs)"),
    ("wasm32-wasip2", Probe::RustTarget, "Rust's target wasm32-wasip2", "rustup target add wasm32-wasip2"),
    (
        "python3",
        Probe::Program,
        "Python 3",
        "apt-get install python3-venv    (or https://www.python.org/downloads)",
    ),
    (
        "componentize-py",
        Probe::Program,
        "componentize-py",
        "python3 -m venv .venv && . .venv/bin/activate && pip install componentize-py==0.25.1",
    ),
    (
        "ziglang",
        Probe::PythonModule,
        "Zig's C compiler",
        "python3 -m venv .venv && . .venv/bin/activate && pip install ziglang==0.17.1",
    ),
    (
        "node",
        Probe::Program,
        "Node.js",
        "apt-get install nodejs npm    (20.6 or newer; or https://nodejs.org)",
    ),
    (
        "npm",
        Probe::Program,
        "npm",
        "apt-get install nodejs npm    (Node.js 20.6 or newer; or https://nodejs.org)",
    ),
    (
        "npx",
        Probe::Program,
        "npx",
        "apt-get install nodejs npm    (Node.js 20.6 or newer; or https://nodejs.org)",
    ),
    ("go", Probe::Program, "Go", "https://go.dev/doc/install    (1.24 or newer)"),
    ("clang", Probe::Program, "clang", "apt-get install clang lld wasi-libc"),
    ("wasm-tools", Probe::Program, "wasm-tools", "cargo install wasm-tools"),
];

/// A tool that is not there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Missing {
    /// What it is called.
    pub(crate) tool: &'static str,
    /// The command, or the page, that installs it.
    pub(crate) install: &'static str,
}

/// The first tool of a command that is not there. May start the tool chain to ask it, some milliseconds.
pub(crate) fn missing(command: &str) -> Option<Missing> {
    missing_with(command, lacks)
}

fn missing_with(command: &str, lacks: impl Fn(&str, Probe) -> bool) -> Option<Missing> {
    let is_part = |c: char| c.is_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    let words: Vec<&str> = command.split(|c| !is_part(c)).collect();
    let tool = TOOLS.iter().find(|(word, probe, ..)| words.contains(word) && lacks(word, *probe))?;
    let &(_, _, tool, install) = tool;
    Some(Missing { tool, install })
}

fn lacks(word: &str, probe: Probe) -> bool {
    match probe {
        Probe::Program => !in_path(word),
        Probe::RustTarget => {
            let asked = Command::new("rustc").args(["--print", "target-libdir", "--target", word]).output();
            // Without rustc it is cargo that is missing.
            asked.is_ok_and(|output| !Path::new(String::from_utf8_lossy(&output.stdout).trim()).is_dir())
        }
        Probe::PythonModule => {
            let mut asked = Command::new("python3");
            asked.args(["-c", &format!("import {word}")]).stdout(Stdio::null()).stderr(Stdio::null());
            asked.status().is_ok_and(|status| !status.success())
        }
    }
}

fn in_path(program: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|folder| folder.join(program).is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_missing_tool_is_named_with_what_installs_it() {
        for (command, absent, install) in [
            ("cargo build --target wasm32-wasip2", "cargo", Some("rustup.rs")),
            ("cargo build --target wasm32-wasip2", "wasm32-wasip2", Some("rustup target add")),
            ("[ -d node_modules ]||npm install", "npm", Some("nodejs")),
            ("GOOS=wasip1 go build .", "go", Some("go.dev")),
            ("${ZIG:-python3 -m ziglang} cc main.c", "ziglang", Some("ziglang==")),
            ("cargo build", "go", None),
            ("./go-build.sh", "go", None),
        ] {
            let found = missing_with(command, |word, _| word == absent);
            assert_eq!(found.is_some(), install.is_some(), "{command}");
            if let (Some(found), Some(install)) = (found, install) {
                assert!(found.install.contains(install), "{found:?}");
            }
        }
        assert!(in_path("sh") && !in_path("no-such-program"));
    }
}
