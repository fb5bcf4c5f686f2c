//! `cargo xtask bench`: the benchmarks, built for release, with the guests and the nats-server that they run.

use std::ffi::OsString;

use crate::commands::guests;
use crate::step;
use crate::tools;
use crate::workspace::Workspace;

/// Passes `arguments` on.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> anyhow::Result<()> {
    guests::run(workspace)?;
    let mut bench = workspace.cargo(&["run", "--release", "--package", "saf-bench", "--"]);
    bench.args(arguments).env("SAF_GUESTS", workspace.components());
    bench.env("NATS_SERVER", tools::nats_server(workspace)?);
    step::run("running the benchmarks", &mut bench)
}
