//! Where things stand in this checkout, and cargo as a child process. Deliberately without `cargo metadata`: two folders and
//! an environment variable are all there is to know.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

/// The checkout and cargo's target folder, both absolute.
pub(crate) struct Workspace {
    root: PathBuf,
    target: PathBuf,
}

impl Workspace {
    /// The checkout that this program was built from; its target folder is `CARGO_TARGET_DIR` when set, as for cargo.
    pub(crate) fn find() -> anyhow::Result<Self> {
        // Cargo says it when it runs this; what it said when this was built may be another checkout with the same target folder.
        let manifest = env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
        let root = Path::new(&manifest).parent().context("xtask stands in no checkout")?;
        let target = match env::var_os("CARGO_TARGET_DIR").filter(|folder| !folder.is_empty()) {
            Some(folder) => std::path::absolute(folder).context("CARGO_TARGET_DIR is no path")?,
            None => root.join("target"),
        };
        Ok(Self { root: root.into(), target })
    }

    /// A checkout in `root`, for tests.
    #[cfg(test)]
    pub(crate) fn at(root: &Path) -> Self {
        Self { root: root.into(), target: root.join("target") }
    }

    /// The checkout.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Where the router's builds go.
    pub(crate) fn target(&self) -> &Path {
        &self.target
    }

    /// Where fetched tools are kept: a folder for each, with its version in the name.
    pub(crate) fn tools(&self) -> PathBuf {
        self.target.join("tools")
    }

    /// The sources of the guests in a language, and of its SDK.
    pub(crate) fn guests(&self, language: &str) -> PathBuf {
        self.root.join("guests").join(language)
    }

    /// The Rust guests' sources.
    pub(crate) fn rust_guests(&self) -> PathBuf {
        self.guests("rust")
    }

    /// What every guest implements.
    pub(crate) fn contract(&self) -> PathBuf {
        self.root.join("wit/channel.wit")
    }

    /// Built components, a folder for each language.
    pub(crate) fn components(&self) -> PathBuf {
        self.root.join("guests/dist")
    }

    /// Where a step between sources and component leaves the file `name`; its folder is there.
    pub(crate) fn scratch(&self, name: &str) -> anyhow::Result<PathBuf> {
        let folder = self.guests_target().join("scratch");
        std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        Ok(folder.join(name))
    }

    /// Where the guests are built. Not the router's target folder: two cargos would wait for each other's lock.
    pub(crate) fn guests_target(&self) -> PathBuf {
        self.target.join("guests")
    }

    /// cargo for the router's workspace.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        cargo(&self.root, &self.target, arguments)
    }

    /// cargo for the Rust guests' workspace.
    pub(crate) fn guests_cargo(&self, arguments: &[&str]) -> Command {
        cargo(&self.rust_guests(), &self.guests_target(), arguments)
    }
}

/// The cargo that runs this program; rustup made sure that it is the one the checkout asks for.
fn cargo(folder: &Path, target: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(arguments).current_dir(folder).env("CARGO_TARGET_DIR", target);
    // What cargo told this program about its package. A build script that looks at it (ring's does) would build anew, and all that
    // stands on it, whenever `cargo build` and `cargo xtask` take turns.
    for (name, _) in env::vars_os().filter(|(name, _)| is_about_a_package(&name.to_string_lossy())) {
        command.env_remove(name);
    }
    command
}

fn is_about_a_package(variable: &str) -> bool {
    variable.starts_with("CARGO_PKG_") || variable.starts_with("CARGO_MANIFEST_")
}
