//! `cargo xtask guests`: builds the guests and puts the components into `guests/dist/<language>/<name>.wasm`.

use std::env;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{self, Command};

use anyhow::{Context, ensure};

use crate::step;
use crate::workspace::Workspace;

/// What Rust calls components that use WASI 0.2.
pub(crate) const RUST_TARGET: &str = "wasm32-wasip2";

/// Builds every guest that this checkout has.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    build_rust(workspace)
}

fn build_rust(workspace: &Workspace) -> anyhow::Result<()> {
    ensure_rust_target(workspace)?;
    let mut build = workspace.guests_cargo(&["build", "--release", "--target", RUST_TARGET]);
    step::run("building the Rust guests", &mut build)?;
    let built = workspace.guests_target().join(RUST_TARGET).join("release");
    let components = workspace.components().join("rust");
    fs::create_dir_all(&components)?;
    for name in crates(&workspace.rust_guests())? {
        let from = built.join(format!("{}.wasm", name.replace('-', "_")));
        let to = components.join(format!("{name}.wasm"));
        replace(&from, &to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    }
    eprintln!("    components in {}", components.display());
    Ok(())
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

/// The crates of a workspace whose members stand in folders of the same name, in order.
fn crates(workspace: &Path) -> anyhow::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(workspace).with_context(|| format!("cannot read {}", workspace.display()))? {
        let entry = entry?;
        if entry.path().join("Cargo.toml").is_file() {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort_unstable();
    Ok(names)
}

/// Puts `from` in the place of `to`, unless they are equal already: a router that watches `to` reloads it, and must never
/// see half of it.
fn replace(from: &Path, to: &Path) -> anyhow::Result<()> {
    let component = fs::read(from)?;
    match fs::read(to) {
        Ok(present) if present == component => return Ok(()),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
        Ok(_) | Err(_) => {}
    }
    let partial = to.with_extension(format!("wasm.{}", process::id()));
    fs::write(&partial, component)?;
    Ok(fs::rename(&partial, to)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_crate_of_the_workspace_is_a_guest() {
        let workspace = Workspace::find().expect("a checkout");
        let names = crates(&workspace.rust_guests()).expect("a folder");
        for name in ["echo", "enrich", "github-events", "hostile", "printer", "sink"] {
            assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        }
    }

    #[test]
    fn a_component_is_replaced_only_when_it_changed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let (from, to) = (folder.path().join("new"), folder.path().join("guest.wasm"));
        for (new, modified) in [("one", true), ("one", false), ("two", true)] {
            fs::write(&from, new).expect("written");
            if to.exists() {
                // An old time stamp shows whether the file was written again.
                let file = fs::File::options().append(true).open(&to).expect("opened");
                file.set_modified(std::time::UNIX_EPOCH).expect("set");
            }
            replace(&from, &to).expect("replaced");
            let time = fs::metadata(&to).and_then(|m| m.modified()).expect("a time");
            assert_eq!(time != std::time::UNIX_EPOCH, modified, "{new}");
            assert_eq!(fs::read_to_string(&to).expect("read"), new);
        }
        assert_eq!(fs::read_dir(folder.path()).expect("a folder").count(), 2, "no partial file is left");
    }
}
