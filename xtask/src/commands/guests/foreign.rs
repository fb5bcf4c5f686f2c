//! Guests for other hosts' interfaces (`guests/foreign`), which the router's adapters are tested with: nothing of saf goes into them, neither
//! an SDK nor the contract. Each is built by its language's own tool for the world that its name says: `foreign-http` for `http`.
//!
//! The worlds and the packages that are not WASI's stand in `guests/foreign/wit`; WASI's own come with the crate `wasip2`, which the Rust guests
//! are built with, at the version in their lock file.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::Language;
use super::guest::{self, Guest, Recipe};
use crate::step;
use crate::workspace::Workspace;

/// What the name of every such guest begins with; the rest is its world.
const PREFIX: &str = "foreign-";
/// Where wit-parser looks for the packages beside a world.
const DEPS: &str = "deps";
const WORLDS: &str = "world.wit";
/// The crate that brings WASI's definitions.
const WASI: &str = "wasip2";

/// What one guest is made of.
pub(super) struct Parts<'a> {
    /// The folder of its sources.
    pub(super) folder: &'a Path,
    /// A folder with the worlds, and the packages that they name.
    pub(super) wit: &'a Path,
    /// Its world in there.
    pub(super) world: &'a str,
    /// Where the component goes.
    pub(super) made: &'a Path,
}

/// Builds the guests of a language that changed; `mark` is the file that makes a folder one, `tools` what they are built with, `lock` where its
/// version stands.
pub(super) fn build(
    workspace: &Workspace,
    language: Language,
    mark: &str,
    (tools, lock): (&str, PathBuf),
    componentize: impl Fn(&Parts<'_>) -> Command,
) -> anyhow::Result<()> {
    let folder = workspace.guests("foreign");
    let wasi = wasi_definitions(workspace)?;
    let wit = collect(workspace, language, &folder.join("wit"), &wasi)?;
    let recipe = Recipe { workspace, language, tools: tools.into(), shared: vec![wit.clone(), lock] };
    recipe.build(&guest::find(&folder.join(language.name()), mark)?, |guest| {
        let made = workspace.scratch(&format!("{}-{}.wasm", language.name(), guest.name))?;
        let parts = Parts { folder: &guest.folder, wit: &wit, world: world(guest)?, made: &made };
        step::run(&format!("componentizing {}/{}", language.name(), guest.name), &mut componentize(&parts))?;
        fs::read(&made).with_context(|| format!("cannot read {}", made.display()))
    })
}

fn world(guest: &Guest) -> anyhow::Result<&str> {
    guest.name.strip_prefix(PREFIX).with_context(|| {
        format!(
            "{} stands among the guests for other hosts: name it {PREFIX} and its world",
            guest.folder.display()
        )
    })
}

/// The worlds, and beside them every package that one of them may name.
fn collect(workspace: &Workspace, language: Language, worlds: &Path, wasi: &Path) -> anyhow::Result<PathBuf> {
    let collected = workspace.scratch(&format!("{}-foreign-wit", language.name()))?;
    for entry in fs::read_dir(worlds)?.chain(fs::read_dir(wasi)?) {
        let file = entry?;
        let to = if file.file_name() == WORLDS { collected.clone() } else { collected.join(DEPS) };
        guest::replace(&fs::read(file.path())?, &to.join(file.file_name()))?;
    }
    Ok(collected)
}

/// Where cargo has the definitions of WASI 0.2.
fn wasi_definitions(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let mut metadata = workspace.guests_cargo(&["metadata", "--format-version", "1", "--locked"]);
    let output = metadata.output().context("cannot start cargo")?;
    ensure!(
        output.status.success(),
        "cargo metadata of the Rust guests failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout)?;
    let packages = metadata["packages"].as_array().into_iter().flatten();
    let manifest = packages.filter(|package| package["name"] == WASI).find_map(|package| {
        let manifest = package["manifest_path"].as_str()?;
        Path::new(manifest).parent().map(|folder| folder.join("wit").join(DEPS))
    });
    manifest.with_context(|| format!("the Rust guests do not use {WASI}, which brings WASI's definitions"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guests_name_says_its_world() {
        let workspace = Workspace::find().expect("a checkout");
        let folder = workspace.guests("foreign");
        let languages: [(Language, &str, &[&str]); 2] = [
            (Language::Js, "main.js", &["messaging"]),
            (Language::Python, "main.py", &["http", "messaging"]),
        ];
        for (language, mark, expected) in languages {
            let guests = guest::find(&folder.join(language.name()), mark).expect("a folder");
            let worlds: Vec<&str> =
                guests.iter().map(|guest| world(guest).expect("named by its world")).collect();
            assert_eq!(worlds, expected, "{language:?}");
        }
    }
}
