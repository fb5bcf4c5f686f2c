//! Project commands: `cargo xtask run`, `test`, `build`, `guests`, `check`, `bench`, `chart`, `dist`. A command is a file in `commands/`; what
//! they share is the checkout's places ([`workspace`]), programs that are run ([`step`]) and tools that are fetched
//! ([`tools`]).
//!
//! It needs a Rust tool chain; `test` and `check` also Python 3 for tools that come prebuilt, and npm for the example
//! payloads; guests in other languages need what [`commands::guests`] says, and are skipped without it. It installs nothing
//! outside cargo's target folder, except a Rust target through rustup, and what npm calls `node_modules` beside the guests in
//! JavaScript and TypeScript, where it must stand.

mod commands;
mod step;
mod tools;
mod workspace;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

use crate::commands::guests::Language;
use crate::workspace::Workspace;

/// Builds, tests and runs saf from this checkout.
#[derive(Parser)]
#[command(name = "xtask", bin_name = "cargo xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Build the guests and the router (dev profile), and start it with config/router.toml
    Run {
        /// Arguments for saf-runtime; --config among them replaces config/router.toml
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the guests, fetch what tests need, and run all tests
    Test {
        /// Test what is deployed instead: image, compose file, chart, each where its programs are
        #[arg(long)]
        deploy: bool,
        /// Arguments for cargo test, such as -p saf-host; with any, the guests' own tests are left out
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Build the router for release, and the guests
    Build,
    /// Build the guests into guests/dist, in every language whose tools are there
    Guests {
        /// Build only this language, and fail without its tools; may be given several times
        #[arg(long)]
        language: Vec<Language>,
    },
    /// Formatting, lints, licences and sources, of the router and the guests
    Check,
    /// Make a release in target/dist: a static program in an archive, the image as an OCI layout, a bill of materials
    Dist(commands::dist::Dist),
    /// Build programs for `test --deploy` from Go modules into the target folder; it takes minutes, some of them an hour
    DeployTools {
        /// Which; all of them when none is named
        tools: Vec<commands::deploy::GoTool>,
    },
    /// Make the chart's schema, the table in its README and its copy of the alert rules
    Chart,
    /// Build for release and run the benchmarks
    Bench {
        /// Arguments for the benchmarks
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
}

fn main() -> ExitCode {
    match perform(Arguments::parse().command) {
        Ok(()) => ExitCode::SUCCESS,
        // Not as `Result` from main: with RUST_BACKTRACE set, a stack of ours would bury what to do.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(command: Command) -> anyhow::Result<()> {
    let workspace = Workspace::find()?;
    match command {
        Command::Run { arguments } => commands::run::run(&workspace, arguments),
        Command::Test { deploy: true, .. } => commands::deploy::test(&workspace),
        Command::Test { deploy: false, arguments } => commands::test::run(&workspace, &arguments),
        Command::Build => commands::build::run(&workspace),
        Command::Guests { language } => commands::guests::build(&workspace, &language),
        Command::DeployTools { tools } => commands::deploy::build_tools(&workspace, &tools),
        Command::Dist(dist) => dist.run(&workspace),
        Command::Chart => commands::chart::run(&workspace),
        Command::Check => commands::check::run(&workspace),
        Command::Bench { arguments } => commands::bench::run(&workspace, &arguments),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_deployment_is_tested_when_that_is_said() {
        let parsed = Arguments::try_parse_from(["xtask", "test", "--deploy"]).expect("valid arguments");
        assert!(matches!(parsed.command, Command::Test { deploy: true, .. }));
    }

    #[test]
    fn arguments_behind_a_command_are_passed_on() {
        Arguments::command().debug_assert();
        let cases: [(&[&str], &[&str]); 5] = [
            (&["run", "--role", "all"], &["--role", "all"]),
            (&["test"], &[]),
            (&["test", "-p", "saf-host", "--", "--nocapture"], &["-p", "saf-host", "--", "--nocapture"]),
            (
                &["test", "--", "-p", "saf-host", "--", "--nocapture"],
                &["-p", "saf-host", "--", "--nocapture"],
            ),
            (&["bench", "--", "--help"], &["--help"]),
        ];
        for (line, expected) in cases {
            let parsed = Arguments::try_parse_from(["xtask"].iter().chain(line)).expect("valid arguments");
            let (Command::Run { arguments } | Command::Test { arguments, .. } | Command::Bench { arguments }) =
                parsed.command
            else {
                panic!("{line:?} takes arguments")
            };
            assert_eq!(arguments, expected, "{line:?}");
        }
    }
}
