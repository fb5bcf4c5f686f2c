//! Runs other programs: says what for, that it still runs, how long it took, and what to repeat by hand when it failed.

use std::process::{Command, ExitStatus};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

/// How often a program that takes long is mentioned, in seconds.
const REMIND_SECONDS: u64 = 20;

/// Runs `command`; its output is shown as it comes. `purpose` reads like `building the guests`.
pub(crate) fn run(purpose: &str, command: &mut Command) -> anyhow::Result<()> {
    eprintln!("==> {purpose}");
    let begun = Instant::now();
    let status = wait(purpose, begun, command)
        .with_context(|| format!("{purpose}: cannot start {}", command.get_program().display()))?;
    let seconds = begun.elapsed().as_secs_f32();
    ensure!(
        status.success(),
        "{purpose} failed after {seconds:.1} s ({status}). To repeat it: {}",
        shown(command)
    );
    eprintln!("    {purpose}: done in {seconds:.1} s");
    Ok(())
}

fn wait(purpose: &str, begun: Instant, command: &mut Command) -> std::io::Result<ExitStatus> {
    thread::scope(|scope| {
        let (running, ended) = channel::<()>();
        scope.spawn(move || {
            let reminder = Duration::from_secs(REMIND_SECONDS);
            while let Err(RecvTimeoutError::Timeout) = ended.recv_timeout(reminder) {
                eprintln!("    {purpose}: {} s", begun.elapsed().as_secs());
            }
        });
        let status = command.status();
        drop(running);
        status
    })
}

/// A command as a person would type it, near enough.
fn shown(command: &Command) -> String {
    let mut words = Vec::new();
    if let Some(folder) = command.get_current_dir() {
        words.push(format!("cd {} &&", folder.display()));
    }
    for (name, value) in command.get_envs() {
        words.extend(value.map(|value| format!("{}={}", name.display(), value.display())));
    }
    words.push(command.get_program().display().to_string());
    words.extend(command.get_args().map(|argument| argument.display().to_string()));
    words.join(" ")
}

#[cfg(test)]
mod tests {
    use std::process::Stdio;

    use super::*;

    #[test]
    fn a_failed_program_says_how_to_repeat_it() {
        let rustc = |argument: &str| {
            let mut command = Command::new("rustc");
            command.arg(argument).env("SAF_EXAMPLE", "1").stdout(Stdio::null()).stderr(Stdio::null());
            run("an example", &mut command)
        };
        assert!(rustc("--version").is_ok());
        let failed = rustc("--no-such-option").expect_err("rustc refuses it").to_string();
        assert!(failed.contains("an example failed"), "{failed}");
        assert!(failed.ends_with("SAF_EXAMPLE=1 rustc --no-such-option"), "{failed}");
        let missing =
            run("an example", &mut Command::new("no-such-program")).expect_err("there is none").to_string();
        assert_eq!(missing, "an example: cannot start no-such-program");
    }
}
