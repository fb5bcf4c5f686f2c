//! Running one build: the Channel's own command, and the component of the module that it made. Blocking, without a time limit (the
//! author's compiler, in the author's terminal); `dev` runs it on a thread of its own.

use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::process::{Command as Process, ExitStatus, Stdio};

use saf_event::ChannelName;

use super::module;
use super::tools::{Missing, missing};
use crate::config::{Build, Command};

/// The end of a captured output that is kept, in bytes.
const MAX_LOG_BYTES: usize = 256 << 10;

/// What is to be built.
#[derive(Clone, Debug)]
pub(crate) struct Job {
    /// The Channel.
    pub(crate) name: ChannelName,
    /// What runs.
    pub(crate) command: Command,
    /// The section that it stands in.
    pub(crate) build: Build,
    /// What must be there afterwards.
    pub(crate) component: PathBuf,
}

/// Where the output of a build goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Output {
    /// To our own, as it comes.
    Passed,
    /// Into the result, standard error after standard output is interleaved as it came.
    Captured,
}

/// Why there is no new component.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The command cannot be started.
    #[error("cannot run the build command in {}: {error}", dir.display())]
    Start {
        /// Where.
        dir: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// A tool of the command is not there.
    #[error("the build needs {}, which is not there. Install it: {}", .missing.tool, .missing.install)]
    Tool {
        /// Which.
        missing: Missing,
        /// What the command said, when it was captured.
        log: String,
    },
    /// The command ended badly.
    #[error("the build failed ({status})")]
    Failed {
        /// How it ended.
        status: ExitStatus,
        /// What it said, when it was captured.
        log: String,
    },
    /// It ended well and there is no such file.
    #[error("the build made no {}: make the command write it there, or change {key} in the configuration", path.display())]
    Nothing {
        /// The file.
        path: PathBuf,
        /// The key that names it.
        key: &'static str,
    },
    /// The module cannot be made a component.
    #[error("{} is no module of a Channel: {problem}", path.display())]
    Module {
        /// The module.
        path: PathBuf,
        /// What is wrong.
        problem: String,
    },
    /// The component cannot be written.
    #[error("cannot write {}: {error}", path.display())]
    Write {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
}

impl Error {
    /// What the command said, when it was captured; for a terminal it is still to be made fit.
    pub(crate) fn log(&self) -> &str {
        match self {
            Self::Tool { log, .. } | Self::Failed { log, .. } => log,
            Self::Start { .. } | Self::Nothing { .. } | Self::Module { .. } | Self::Write { .. } => "",
        }
    }
}

impl Job {
    /// The job of a Channel; `None` when its section names no command.
    pub(crate) fn of(config: &crate::config::Config, name: &ChannelName) -> Option<Self> {
        let build = config.channels.build(name)?.clone();
        let component = config.channels.get(name)?.component.clone();
        Some(Self { name: name.clone(), command: build.command.clone()?, build, component })
    }

    /// Runs the command and makes the component. What the command said, when it was captured.
    pub(crate) fn run(&self, output: Output) -> Result<String, Error> {
        let log = self.command(output)?;
        let Some(module) = &self.build.module else {
            if self.component.is_file() {
                return Ok(log);
            }
            return Err(Error::Nothing { path: self.component.clone(), key: "component" });
        };
        let bytes =
            fs::read(module).map_err(|_| Error::Nothing { path: module.clone(), key: "build.module" })?;
        let made = module::component(&bytes)
            .map_err(|error| Error::Module { path: module.clone(), problem: format!("{error:#}") })?;
        replace(&self.component, &made)
            .map_err(|error| Error::Write { path: self.component.clone(), error })?;
        Ok(log)
    }

    fn command(&self, output: Output) -> Result<String, Error> {
        let mut process = self.process();
        let start = |error| match missing(&self.command.to_string()) {
            Some(missing) => Error::Tool { missing, log: String::new() },
            None => Error::Start { dir: self.build.dir.clone(), error },
        };
        let (status, log) = match output {
            Output::Passed => (process.status().map_err(start)?, String::new()),
            Output::Captured => captured(process).map_err(start)?,
        };
        if status.success() {
            return Ok(log);
        }
        match missing(&self.command.to_string()) {
            Some(missing) => Err(Error::Tool { missing, log }),
            None => Err(Error::Failed { status, log }),
        }
    }

    fn process(&self) -> Process {
        let mut process = match &self.command {
            Command::Line(line) => {
                let mut shell = Process::new("sh");
                shell.arg("-c").arg(line);
                shell
            }
            Command::Words(words) => {
                let mut words = words.iter();
                let mut program = Process::new(words.next().map(String::as_str).unwrap_or_default());
                program.args(words);
                program
            }
        };
        // An empty folder is the one we are in.
        if !self.build.dir.as_os_str().is_empty() {
            process.current_dir(&self.build.dir);
        }
        process.stdin(Stdio::null());
        process
    }
}

/// Both outputs through one pipe, so that lines stay in their order.
fn captured(mut process: Process) -> io::Result<(ExitStatus, String)> {
    let (mut reader, writer) = io::pipe()?;
    process.stdout(writer.try_clone()?).stderr(writer);
    let mut child = process.spawn()?;
    // Holds the pipe's other end: the reader would wait for it for ever.
    drop(process);
    let mut log = Vec::new();
    let mut buffer = [0; 8 << 10];
    loop {
        match reader.read(&mut buffer)? {
            0 => break,
            n => log.extend_from_slice(&buffer[..n]),
        }
        if log.len() > 2 * MAX_LOG_BYTES {
            log.drain(..log.len() - MAX_LOG_BYTES);
        }
    }
    let tail = log.len().saturating_sub(MAX_LOG_BYTES);
    Ok((child.wait()?, String::from_utf8_lossy(&log[tail..]).into_owned()))
}

/// Whole or not at all: a router that reads the file meanwhile sees the old one or the new one.
fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let beside = path.with_file_name(format!(".{name}.new"));
    fs::write(&beside, bytes)?;
    fs::rename(&beside, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(folder: &Path, command: Command) -> Job {
        Job {
            name: ChannelName::parse("hello").expect("valid"),
            build: Build { command: Some(command.clone()), dir: folder.to_owned(), ..Build::default() },
            command,
            component: folder.join("hello.wasm"),
        }
    }

    fn line(text: &str) -> Command {
        Command::Line(text.to_owned())
    }

    #[test]
    fn a_command_runs_in_its_folder_and_what_it_says_is_kept_in_order() {
        let folder = tempfile::tempdir().expect("a folder");
        let said = job(folder.path(), line("echo one; echo two >&2; echo three; touch hello.wasm"));
        assert_eq!(said.run(Output::Captured).expect("built"), "one\ntwo\nthree\n");
        let words = ["sh", "-c", "echo \"$0\"", "a b"].map(str::to_owned).to_vec();
        assert_eq!(job(folder.path(), Command::Words(words)).run(Output::Captured).expect("built"), "a b\n");
    }

    #[test]
    fn what_goes_wrong_is_said_with_what_to_do() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        let run = |command| job(folder, command).run(Output::Captured);
        assert!(matches!(run(line("echo why; exit 3")), Err(Error::Failed { log, .. }) if log == "why\n"));
        let error = run(line("true")).expect_err("made nothing").to_string();
        assert!(error.contains("hello.wasm") && error.contains("component"), "{error}");
        assert!(matches!(run(Command::Words(vec!["no-such-program".to_owned()])), Err(Error::Start { .. })));
        let mut with_module = job(folder, line("echo nonsense > core.wasm"));
        with_module.build.module = Some(folder.join("core.wasm"));
        assert!(matches!(with_module.run(Output::Captured), Err(Error::Module { .. })));
        with_module.build.module = Some(folder.join("none.wasm"));
        let error = with_module.run(Output::Captured).expect_err("no module").to_string();
        assert!(error.contains("build.module"), "{error}");
    }
}
