//! `cargo xtask check`: what must hold before anybody reads a change. Advisories are left out: they need a database from
//! outside, and a check that fails overnight without a change is a job of its own.

use std::path::Path;
use std::process::Command;

use anyhow::ensure;

use crate::commands::guests::{RUST_TARGET, ensure_rust_target};
use crate::step;
use crate::tools;
use crate::workspace::Workspace;

/// Runs every check, also behind one that fails, and fails when one did.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    ensure_rust_target(workspace)?;
    let cargo_deny = tools::cargo_deny(workspace)?;
    let deny = |folder: &Path| {
        let mut deny = Command::new(&cargo_deny);
        deny.args(["--locked", "--all-features", "--config"]).arg(workspace.root().join("deny.toml"));
        deny.args(["check", "bans", "licenses", "sources"]).current_dir(folder);
        deny
    };
    let clippy = ["clippy", "--workspace", "--all-targets"];
    let denied = ["--", "--deny", "warnings"];
    let on_guests = [&clippy[..], &["--target", RUST_TARGET], &denied].concat();
    let checks = [
        ("formatting of the router", workspace.cargo(&["fmt", "--all", "--check"])),
        ("formatting of the Rust guests", workspace.guests_cargo(&["fmt", "--all", "--check"])),
        ("licences and sources of the router", deny(workspace.root())),
        ("licences and sources of the Rust guests", deny(&workspace.rust_guests())),
        ("lints of the Rust guests", workspace.guests_cargo(&on_guests)),
        ("lints of the router", workspace.cargo(&[&clippy[..], &denied].concat())),
    ];
    let mut failed = Vec::new();
    for (name, mut command) in checks {
        if let Err(error) = step::run(name, &mut command) {
            eprintln!("    {error:#}");
            failed.push(name);
        }
    }
    ensure!(failed.is_empty(), "not well: {}", failed.join("; "));
    Ok(())
}
