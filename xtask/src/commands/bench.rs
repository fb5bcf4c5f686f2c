//! `cargo xtask bench`: the benchmarks, built for release, with the router, the guests and the nats-server that they run.

use std::env;
use std::ffi::OsString;
use std::process::Command;

use crate::commands::guests;
use crate::step;
use crate::tools;
use crate::workspace::Workspace;

/// Passes `arguments` on.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> anyhow::Result<()> {
    guests::run(workspace)?;
    let nats_server = tools::nats_server(workspace)?;
    // Together, and the program by its path: cargo would build what they share again with the features of one alone.
    let packages = ["build", "--release", "--package", "saf-runtime", "--package", "saf-bench"];
    step::run("building the router and the benchmarks for release", &mut workspace.cargo(&packages))?;
    let name = format!("saf-bench{}", env::consts::EXE_SUFFIX);
    let mut bench = Command::new(workspace.target().join("release").join(name));
    bench.args(arguments).env("SAF_GUESTS", workspace.components()).env("NATS_SERVER", nats_server);
    step::run("running the benchmarks", &mut bench)
}
