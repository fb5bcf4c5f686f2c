//! Guests in Go: the machine's own tool chain makes core modules, and [`component`] makes components of them. A guest is a folder with a
//! `main.go`; the packages beside them are the SDK.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::guest::{self, Guest, Recipe};
use super::{Language, Outcome, component};
use crate::step;
use crate::tools::WebhookExamples;
use crate::workspace::Workspace;

/// `go:wasmexport` and reactors came with 1.24; what is tried is 1.26.
const OLDEST: (u32, u32) = (1, 24);

/// What makes a folder a guest.
const MAIN: &str = "main.go";

/// Changes here build every guest again. Names of functions stay in, 2 % of the size: a guest that runs out of fuel then says where.
const OPTIONS: [&str; 4] = ["build", "-trimpath", "-buildvcs=false", "-buildmode=c-shared"];

/// Guests that changed.
pub(super) fn build(workspace: &Workspace) -> anyhow::Result<Outcome> {
    let version = match find_go() {
        Ok(version) => version,
        Err(missing) => return Ok(Outcome::Missing(missing)),
    };
    let folder = workspace.guests(Language::Go.name());
    let recipe = Recipe {
        workspace,
        language: Language::Go,
        tools: format!("{version} {OPTIONS:?}"),
        shared: shared(workspace, &folder)?,
    };
    recipe.build(&guest::find(&folder, MAIN)?, |guest| make(workspace, &folder, guest))?;
    Ok(Outcome::Done)
}

/// The packages that guests import, the module's file, and the contract.
fn shared(workspace: &Workspace, folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut shared = vec![workspace.contract(), folder.join("go.mod")];
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() && !path.join(MAIN).exists() {
            shared.push(path);
        }
    }
    shared.sort_unstable();
    Ok(shared)
}

fn make(workspace: &Workspace, folder: &Path, guest: &Guest) -> anyhow::Result<Vec<u8>> {
    let core = workspace.scratch(&format!("go-{}.core.wasm", guest.name))?;
    let mut go = go(folder);
    go.args(OPTIONS).arg("-o").arg(&core).arg(format!("./{}", guest.name));
    go.env("GOOS", "wasip1").env("GOARCH", "wasm");
    step::run(&format!("compiling go/{}", guest.name), &mut go)?;
    component::from_core(workspace, fs::read(&core)?).context("making a component")
}

/// `go test`, which vets too, of the SDK and the guests.
pub(super) fn test(workspace: &Workspace, examples: &WebhookExamples) -> anyhow::Result<Outcome> {
    if let Err(missing) = find_go() {
        return Ok(Outcome::Missing(missing));
    }
    let folder = workspace.guests(Language::Go.name());
    let mut test = go(&folder);
    examples.pass_to(test.args(["test", "./..."]));
    step::run("testing the Go guests, natively", &mut test)?;
    Ok(Outcome::Done)
}

/// Without modules from outside, and without another tool chain being fetched.
fn go(folder: &Path) -> Command {
    let mut go = Command::new("go");
    go.current_dir(folder).env("GOTOOLCHAIN", "local").env("GOFLAGS", "-mod=mod").env("GOPROXY", "off");
    go
}

/// The version, such as `go1.26.8`; else what to install.
fn find_go() -> Result<String, String> {
    let (major, minor) = OLDEST;
    let install =
        format!("install Go {major}.{minor} or newer (https://go.dev/doc/install) and put it into PATH");
    let Ok(output) = Command::new("go").args(["env", "GOVERSION"]).env("GOTOOLCHAIN", "local").output()
    else {
        return Err(format!("There is no Go: {install}"));
    };
    let version = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    match numbers(&version) {
        Some(found) if found >= OLDEST => Ok(version),
        Some(_) | None => Err(format!("Go is {version:?}: {install}")),
    }
}

/// The first two numbers of `go1.26.8` or `go1.27rc1`.
fn numbers(version: &str) -> Option<(u32, u32)> {
    let (major, rest) = version.strip_prefix("go")?.split_once('.')?;
    let minor = rest.split(|c: char| !c.is_ascii_digit()).next()?;
    Some((major.parse().ok()?, minor.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_read_as_go_writes_them() {
        let cases = [
            ("go1.26.8", Some((1, 26))),
            ("go1.24", Some((1, 24))),
            ("go1.27rc1", Some((1, 27))),
            ("go1.9.2", Some((1, 9))),
            ("devel", None),
            ("", None),
        ];
        for (version, expected) in cases {
            assert_eq!(numbers(version), expected, "{version}");
        }
    }
}
