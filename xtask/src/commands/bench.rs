//! `cargo xtask bench`: the benchmarks, built for release, with the router, the guests and the nats-server that they run.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::process::Command;

use crate::commands::guests;
use crate::step;
use crate::tools;
use crate::workspace::Workspace;

/// Passes `arguments` on.
pub(crate) fn run(workspace: &Workspace, arguments: &[OsString]) -> anyhow::Result<()> {
    guests::build(workspace, &[])?;
    let nats_server = tools::nats_server(workspace)?;
    let examples = tools::webhook_examples(workspace)?;
    // Both packages each time, and programs by their paths: cargo would build what they share again with the features of one.
    const PACKAGES: [&str; 6] = ["build", "--release", "--package", "saf-runtime", "--package", "saf-bench"];
    let release = workspace.target().join("release");
    let program = |name: &str| release.join(format!("{name}{}", env::consts::EXE_SUFFIX));
    if arguments.iter().any(|argument| argument == "--native") {
        let native = [&PACKAGES[..], &["--bin", "saf-runtime", "--features", "saf-runtime/native"]].concat();
        step::run("building a router with native functions for guests", &mut workspace.cargo(&native))?;
        fs::copy(program("saf-runtime"), program("saf-runtime-native"))?;
    }
    step::run("building the router and the benchmarks for release", &mut workspace.cargo(&PACKAGES))?;
    let mut bench = Command::new(program("saf-bench"));
    bench.args(arguments).env("SAF_GUESTS", workspace.components()).env("NATS_SERVER", nats_server);
    examples.pass_to(&mut bench);
    step::run("running the benchmarks", &mut bench)
}
