//! `cargo xtask build`: the router for release, and the guests.

use crate::commands::guests;
use crate::step;
use crate::workspace::Workspace;

/// Builds both and says where they are.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    guests::build(workspace, &[])?;
    let mut build = workspace.cargo(&["build", "--release", "--package", "saf-runtime"]);
    step::run("building the router for release", &mut build)?;
    let name = format!("saf-runtime{}", std::env::consts::EXE_SUFFIX);
    eprintln!("    the router is {}", workspace.target().join("release").join(name).display());
    Ok(())
}
