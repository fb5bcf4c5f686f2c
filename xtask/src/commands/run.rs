//! `cargo xtask run`: a router from this checkout, with the guests that its configuration names. The dev profile: it builds in a
//! fraction of the time, and its dependencies are optimised all the same.

use std::env;
use std::ffi::OsString;
use std::path::PathBuf;

use crate::commands::guests::{self, Language};
use crate::step;
use crate::workspace::Workspace;

const CONFIG: &str = "config/router.toml";

/// Builds and starts the router; on Unix it takes this process' place, so that signals and the exit code are its own.
pub(crate) fn run(workspace: &Workspace, arguments: Vec<OsString>) -> anyhow::Result<()> {
    guests::build(workspace, &[Language::Rust])?;
    step::run("building the router", &mut workspace.cargo(&["build", "--package", "saf-runtime"]))?;
    let mut router = workspace.cargo(&["run", "--quiet", "--package", "saf-runtime", "--"]);
    // Paths among the arguments are the caller's.
    router.args(with_config(workspace.root().join(CONFIG), arguments)).current_dir(env::current_dir()?);
    #[cfg(unix)]
    {
        use std::os::unix::process::CommandExt as _;

        eprintln!("==> starting the router; Ctrl-C stops it");
        Err(router.exec().into())
    }
    #[cfg(not(unix))]
    step::run("running the router; Ctrl-C stops it", &mut router)
}

/// The router's arguments, with the checkout's configuration unless they name one.
fn with_config(config: PathBuf, mut arguments: Vec<OsString>) -> Vec<OsString> {
    let names_one =
        |argument: &OsString| argument == "--config" || argument.to_string_lossy().starts_with("--config=");
    if !arguments.iter().any(names_one) {
        arguments.splice(0..0, ["--config".into(), config.into()]);
    }
    arguments
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checkouts_configuration_is_used_unless_another_is_named() {
        let cases: [(&[&str], &[&str]); 4] = [
            (&[], &["--config", CONFIG]),
            (&["--role", "all"], &["--config", CONFIG, "--role", "all"]),
            (&["--config", "mine.toml"], &["--config", "mine.toml"]),
            (&["--config=mine.toml"], &["--config=mine.toml"]),
        ];
        for (given, expected) in cases {
            assert_eq!(
                with_config(CONFIG.into(), given.iter().map(Into::into).collect()),
                expected,
                "{given:?}"
            );
        }
    }
}
