//! Real programs that a test uses where they are there. A test that lacks one says so, and what to do.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A program: named by a variable, in `PATH`, or in a folder of cargo's `tools` that begins with its name.
pub(crate) fn find(program: &str) -> Option<PathBuf> {
    let variable = program.to_uppercase();
    if let Some(named) = std::env::var_os(&variable).filter(|named| !named.is_empty()) {
        return Some(named.into());
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    let in_path = std::env::split_paths(&path).map(|folder| folder.join(program));
    // target/<profile>/deps/<this test>
    let this = std::env::current_exe().ok()?;
    let tools = this.ancestors().nth(3).map(|target| target.join("tools"));
    let tools = tools.and_then(|tools| std::fs::read_dir(tools).ok()).into_iter().flatten().flatten();
    let named = tools.filter(|entry| entry.file_name().to_string_lossy().starts_with(&format!("{program}-")));
    in_path.chain(named.map(|entry| entry.path().join(program))).find(|path| path.is_file())
}

/// The same, or a line that says what was left out.
pub(crate) fn find_or_skip(program: &str, how: &str) -> Option<PathBuf> {
    let found = find(program);
    if found.is_none() {
        eprintln!("SKIPPED: there is no {program}; name one by {}, or: {how}", program.to_uppercase());
    }
    found
}

pub(crate) const PROMTOOL: &str = "install Prometheus (Debian: apt-get install prometheus)";

/// A program that runs until it is dropped.
pub(crate) struct Running(Child);

impl Running {
    pub(crate) fn start(command: &mut Command) -> Self {
        let command = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Self(command.spawn().expect("starts"))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
