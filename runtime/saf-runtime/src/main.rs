//! saf-runtime: events in over HTTP, stored in a stream, handed to sandboxed Channels, whose emissions are stored again.
//!
//! This file is the table of contents: arguments, then a command. `run` is the router itself (`app.rs`); each other command is
//! a file in `cli/`. Only this crate knows the environment, the arguments and exit codes.

mod app;
mod cli;
mod config;
#[cfg(test)]
mod docs;
mod exit;
mod graph;
mod runtimes;
mod shutdown;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

/// musl's own takes two to three times the router's CPU an event (`docs/decisions/008`).
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let arguments = cli::Arguments::parse();
    match arguments.execute() {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("saf-runtime: {failure}");
            failure.code()
        }
    }
}
