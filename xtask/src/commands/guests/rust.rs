//! Guests in Rust: one cargo workspace, for a target that makes components at once. cargo knows what changed.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::{Language, Outcome, guest};
use crate::step;
use crate::tools::WebhookExamples;
use crate::workspace::Workspace;

/// What Rust calls components that use WASI 0.2.
pub(crate) const RUST_TARGET: &str = "wasm32-wasip2";

/// A crate among the guests that is none.
const SDK: &str = "sdk";

/// Every crate of the workspace but the SDK. There is a Rust tool chain: it built this program.
pub(super) fn build(workspace: &Workspace) -> anyhow::Result<Outcome> {
    ensure_rust_target(workspace)?;
    let mut build = workspace.guests_cargo(&["build", "--release", "--target", RUST_TARGET]);
    step::run("building the Rust guests", &mut build)?;
    let built = workspace.guests_target().join(RUST_TARGET).join("release");
    for name in names(&workspace.guests(Language::Rust.name()))? {
        let from = built.join(format!("{}.wasm", name.replace('-', "_")));
        let component = fs::read(&from).with_context(|| format!("cannot read {}", from.display()))?;
        guest::replace(&component, &guest::component(workspace, Language::Rust, &name))?;
    }
    Ok(Outcome::Done)
}

/// The guests' tests and the SDK's.
pub(super) fn test(workspace: &Workspace, examples: &WebhookExamples) -> anyhow::Result<Outcome> {
    let mut test = workspace.guests_cargo(&["test", "--all-features"]);
    examples.pass_to(&mut test);
    step::run("testing the Rust guests, natively", &mut test)?;
    Ok(Outcome::Done)
}

fn names(crates: &Path) -> anyhow::Result<Vec<String>> {
    let guests = guest::find(crates, "Cargo.toml")?.into_iter().map(|guest| guest.name);
    Ok(guests.filter(|name| name != SDK).collect())
}

/// Has rustup add the target when the tool chain lacks it.
pub(crate) fn ensure_rust_target(workspace: &Workspace) -> anyhow::Result<()> {
    if rust_library(workspace)?.is_dir() {
        return Ok(());
    }
    let mut add = Command::new("rustup");
    add.args(["target", "add", RUST_TARGET]).current_dir(workspace.root());
    step::run("adding the Rust target", &mut add).with_context(|| {
        format!(
            "the Rust tool chain lacks the target {RUST_TARGET}. With rustup: rustup target add {RUST_TARGET}. \
             Without it: install your distribution's Rust standard library for {RUST_TARGET}"
        )
    })
}

/// Where the target's standard library is when the tool chain has it.
fn rust_library(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let mut rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()));
    rustc.args(["--print", "target-libdir", "--target", RUST_TARGET]).current_dir(workspace.root());
    let output = rustc.output().context("cannot start rustc: is it in PATH beside cargo?")?;
    ensure!(
        output.status.success(),
        "rustc is too old for {RUST_TARGET}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(PathBuf::from(String::from_utf8_lossy(&output.stdout).trim()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_workspace_but_the_sdk_is_a_guest() {
        let workspace = Workspace::find().expect("a checkout");
        let names = names(&workspace.guests("rust")).expect("a folder");
        for name in ["echo", "enrich", "fail", "github-events", "hostile", "printer", "sink"] {
            assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        }
        assert!(names.iter().all(|name| name != SDK), "{names:?}");
    }
}
