//! Guests in Python: componentize-py makes a component of a module and the interpreter. Both it and pytest come prebuilt, at the
//! versions in `guests/python/requirements.txt`. A guest is a folder with a `main.py`; the SDK is the package `saf_channel`
//! beside them.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::guest::{self, Guest, Recipe};
use super::{Language, Outcome, foreign};
use crate::step;
use crate::tools::{self, WebhookExamples};
use crate::workspace::Workspace;

const MISSING: &str = "There is no Python: install Python 3.10 or newer with venv and pip (Debian: apt-get install python3-venv)";

/// Guests that changed.
pub(super) fn build(workspace: &Workspace) -> anyhow::Result<Outcome> {
    if !tools::has_python() {
        return Ok(Outcome::Missing(MISSING.into()));
    }
    let folder = workspace.guests(Language::Python.name());
    let programs = programs(workspace, &folder)?;
    let recipe = Recipe {
        workspace,
        language: Language::Python,
        tools: "componentize-py".into(), // its version stands in requirements.txt
        shared: vec![folder.join("requirements.txt"), folder.join("sdk/saf_channel"), workspace.contract()],
    };
    let componentize = programs.join("componentize-py");
    recipe.build(&guest::find(&folder, "main.py")?, |guest| {
        make(workspace, &componentize, &folder.join("sdk"), guest)
    })?;
    let tools = ("componentize-py", folder.join("requirements.txt"));
    foreign::build(workspace, Language::Python, "main.py", tools, |parts| {
        let mut command = Command::new(&componentize);
        command.arg("--quiet").arg("-d").arg(parts.wit).args(["-w", parts.world, "componentize", "main"]);
        command.args(["-p", "."]).arg("-o").arg(parts.made).current_dir(parts.folder);
        command
    })?;
    Ok(Outcome::Done)
}

fn make(workspace: &Workspace, componentize: &Path, sdk: &Path, guest: &Guest) -> anyhow::Result<Vec<u8>> {
    let made = workspace.scratch(&format!("python-{}.wasm", guest.name))?;
    let mut command = Command::new(componentize);
    command.arg("--quiet").arg("-d").arg(workspace.contract()).args([
        "-w",
        "channel",
        "componentize",
        "main",
    ]);
    command.args(["-p", "."]).arg("-p").arg(sdk).arg("-o").arg(&made).current_dir(&guest.folder);
    step::run(&format!("componentizing python/{}", guest.name), &mut command)?;
    fs::read(&made).with_context(|| format!("cannot read {}", made.display()))
}

/// pytest: the SDK, the shared cases on every guest, and each guest's own tests, in a process each: they are all called `main`.
pub(super) fn test(workspace: &Workspace, examples: &WebhookExamples) -> anyhow::Result<Outcome> {
    if !tools::has_python() {
        return Ok(Outcome::Missing(MISSING.into()));
    }
    let folder = workspace.guests(Language::Python.name());
    let programs = programs(workspace, &folder)?;
    let guests = guest::find(&folder, "main.py")?;
    let with_tests = guests
        .iter()
        .map(|guest| &*guest.name)
        .filter(|name| folder.join(name).join("test_main.py").is_file());
    for suite in ["tests"].into_iter().chain(with_tests) {
        let mut pytest = Command::new(programs.join("python"));
        pytest.args(["-B", "-m", "pytest", "-q", "-p", "no:cacheprovider", suite]).current_dir(&folder);
        examples.pass_to(&mut pytest);
        step::run(&format!("testing python/{suite}, natively"), &mut pytest)?;
    }
    Ok(Outcome::Done)
}

fn programs(workspace: &Workspace, folder: &Path) -> anyhow::Result<PathBuf> {
    tools::python_packages(workspace, "python-guests", &folder.join("requirements.txt"))
}
