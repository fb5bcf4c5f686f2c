//! The command line: what a newcomer sees with `--help`. A command is a file; without one, the router runs.

mod build;
mod channels;
mod check;
mod client;
mod completions;
mod dead_letters;
mod dev;
mod events;
mod graph;
mod health;
mod item;
mod live;
mod man;
mod new;
mod paint;
mod place;
mod run;
mod sandbox;
mod schema;
mod send;
mod sse;
mod stopped;
mod store;
mod table;
mod tap;
mod test;
mod text;
mod top;

use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::config::Config;
use crate::exit::Failure;

pub(crate) use client::system_tls;

/// Routes events to sandboxed WebAssembly Channels.
///
/// Post an event over HTTP; it is stored durably, handed to every Channel that subscribes to its subject, and what the Channels
/// emit is stored again. A Channel is a WebAssembly component in any language, run under fuel, time and memory limits.
#[derive(Debug, Parser)]
#[command(name = "saf-runtime", version, after_help = AFTER_HELP, args_conflicts_with_subcommands = true)]
pub(crate) struct Arguments {
    #[command(flatten)]
    run: run::Run,
    #[command(subcommand)]
    command: Option<Command>,
}

const AFTER_HELP: &str = "\
First steps:
  saf-runtime --config router.toml            run the router
  saf-runtime send hello '{\"a\": 1}' --wait    post an event, see what becomes of it
  curl -X POST -H 'Content-Type: application/json' \\
       -d '{\"subject\": \"hello\", \"data\": {\"a\": 1}}' http://127.0.0.1:1378/api/event
  saf-runtime check --config router.toml      say what is wrong before running

Every key of the file can be overridden by a variable: SAF__HTTP__LISTEN=127.0.0.1:8080.
Exit codes: 0 ok, 1 a check failed or the router said no, 2 usage, 69 server unreachable, 70 a bug, 74 the store failed, 78 bad configuration.";

/// Where the configuration is.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct ConfigFile {
    /// The configuration file.
    #[arg(short, long, value_name = "FILE", default_value = "router.toml", env = "SAF_CONFIG")]
    config: PathBuf,
}

impl ConfigFile {
    pub(crate) fn path(&self) -> &std::path::Path {
        &self.config
    }

    pub(crate) fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(&self.config, std::env::vars())?)
    }
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the router (the same as no command).
    Run(run::Run),
    /// Check the configuration, the components and how events flow between Channels; start nothing.
    Check(ConfigFile),
    /// Show how events flow between Channels: as text, for Graphviz or Mermaid, with live rates.
    Graph(graph::Graph),
    /// Start a Channel: a folder with sources, a test case and a README, and its section in router.toml.
    New(new::New),
    /// Build Channels with their own build commands, and check the components.
    Build(build::BuildArgs),
    /// Run Channels while writing them: build on change, reload, show every attempt.
    Dev(dev::Dev),
    /// Test Channels: run case files in the sandbox, without a broker.
    Test(test::Test),
    /// Post an event, and see what becomes of it.
    Send(send::Send),
    /// Watch events as they are stored.
    Tap(tap::Tap),
    /// See what every Channel is doing right now.
    Top(top::Top),
    /// Look at stored events.
    Events(events::Events),
    /// See how Channels are; pause and resume them.
    Channels(channels::Channels),
    /// Look at dead letters; replay or delete them.
    #[command(visible_alias = "dlq")]
    DeadLetters(dead_letters::DeadLetters),
    /// Ask whether a router is ready; for health checks of containers.
    Health(health::Health),
    /// Look after the files of an embedded store.
    Store(store::Store),
    /// Print the JSON Schema of the configuration file, for editors.
    Schema,
    /// Print a shell's completions.
    Completions(completions::Completions),
    /// Write the manual pages.
    Man(man::Man),
}

impl Arguments {
    /// Runs what was asked for.
    pub(crate) fn execute(self) -> Result<(), Failure> {
        let ended = match self.command {
            None => self.run.run(),
            Some(Command::Run(run)) => run.run(),
            Some(Command::Check(file)) => check::check(&file),
            Some(Command::Graph(graph)) => graph.run(),
            Some(Command::New(new)) => new.run(),
            Some(Command::Build(build)) => build.run(),
            Some(Command::Dev(dev)) => dev.run(),
            Some(Command::Test(test)) => test.run(),
            Some(Command::Send(send)) => send.run(),
            Some(Command::Tap(tap)) => tap.run(),
            Some(Command::Top(top)) => top.run(),
            Some(Command::Events(events)) => events.run(),
            Some(Command::Channels(channels)) => channels.run(),
            Some(Command::DeadLetters(dead_letters)) => dead_letters.run(),
            Some(Command::Health(health)) => health.run(),
            Some(Command::Store(store)) => store.run(),
            Some(Command::Schema) => schema::print(),
            Some(Command::Completions(completions)) => completions.print(),
            Some(Command::Man(man)) => man.write(),
        };
        match ended {
            Err(Failure::ReaderLeft) => Ok(()),
            ended => ended,
        }
    }
}

/// Prints to stdout; a reader that left (`| head`) is no error.
pub(crate) fn print(text: &str) -> Result<(), Failure> {
    use std::io::{ErrorKind, Write};
    match std::io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != ErrorKind::BrokenPipe => Err(Failure::internal(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }
}
