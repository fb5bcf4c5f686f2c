//! The sandbox: components as Channels, each event under fuel, time, memory, output, log and host-call limits.
//!
//! ```text
//! Host::load -> Component -> Pool::new -> acquire -> Lease::call(event) -> Verdict, Usage
//!  bytes         compiled,                 idle or    one call, under       what the guest said,
//!                checked                   new        all limits            or why it was stopped
//! ```
//!
//! A guest gets nothing but its event and its configuration: WASI 0.2 over an empty context, because every language's runtime wants it
//! to start, log lines, and what its Channel's grants name. What it cannot do: outlive its deadline, hold more memory than its limit,
//! fill the log, forge a log line, reach the disk or a network address that is not granted, or harm another Channel's call. What it can do: keep state from event to event in one instance, and hold
//! a thread for some milliseconds with one bulk memory instruction.
//!
//! Components of other hosts run too, by an adapter for each of their contracts ([`Contract`]).
//!
//! Invariants: only this crate names wasmtime. It knows neither brokers nor what becomes of an emission: subjects and headers of
//! emissions are checked by `channel`. It spawns no task of its own (one thread for its clock, blocking threads to compile; a guest's
//! granted requests run as tasks that end with its event); calls run on the caller's tokio runtime, which needs its timer and its network.

mod adapter;
mod bindings;
mod bounded;
mod capability;
mod case;
mod clock;
mod component;
mod config;
mod console;
mod engine;
mod fault;
mod host;
mod instance;
mod kit;
#[cfg(feature = "native")]
mod native;
mod pool;
mod roster;
mod state;
mod tally;
mod verdict;
mod world;

use std::io;
use std::path::PathBuf;

pub use adapter::Contract;
pub use capability::http::{
    HttpAnswer, HttpFailure, HttpRequest, HttpScript, Origin as HttpOrigin, OriginError,
};
pub use capability::tcp::{Endpoint, EndpointError};
pub use case::{Case, CaseReport, run_case};
pub use component::{Access, Component, Import, LoadError, Origin};
pub use config::{Config, Grants, Isolation, Limits, Recycle};
pub use console::{Level, LogLine, STDERR_TAIL_BYTES, Source};
pub use host::Host;
pub use instance::{Stage, StartError};
pub use pool::{Lease, Pool, Setup};
pub use state::{Change, Held, KeyPage, State};
pub use tally::Ended;
pub use verdict::{Call, Cause, Emission, Fault, Usage, Verdict};

/// Why there is no sandbox.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine cannot be made: usually the address space for its instances is not to be had.
    #[error(
        "the WebAssembly engine cannot be made ({0}): lower host.max_instances, or raise the limit on address space (ulimit -v)"
    )]
    Engine(String),
    /// The clock's thread cannot be started.
    #[error("the clock's thread cannot be started: {0}")]
    Clock(io::Error),
    /// The folder of compiled components cannot be used.
    #[error("host.cache = {folder:?} cannot be used: {problem}")]
    Cache {
        /// The folder.
        folder: PathBuf,
        /// What is wrong with it, and what to do.
        problem: String,
    },
}
