//! The programs of the deployment's test: named by a variable, in `PATH`, or in the target folder, where `cargo xtask deploy-tools` builds
//! those that come as Go modules and a virtual environment holds those of PyPI.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context;
use clap::ValueEnum;

use super::Fetch;
use crate::step;
use crate::tools;
use crate::workspace::Workspace;

/// An API server that says another version is refused by charts.
const KUBERNETES_VERSION: &str = "-s -w -X k8s.io/component-base/version.gitVersion=v1.37.2 \
     -X k8s.io/component-base/version.gitMajor=1 -X k8s.io/component-base/version.gitMinor=37";

const PYTHON_TOOLS: &str = "deploy-python";

/// A program that is built from Go modules, at a version that it is known to work with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum GoTool {
    /// Minutes.
    Helm,
    /// etcd, API server, controller manager, scheduler and kubectl in one program: up to an hour.
    Kubernetes,
    /// Nodes and pods that are only claimed: minutes.
    Kwok,
    /// Half a minute.
    Kubeconform,
    /// A minute.
    KubeScore,
    /// Docker's loader of compose files: half a minute.
    Compose,
    /// An OpenTelemetry collector: some minutes. The ordinary tests use it where it is there, too.
    Otelcol,
    /// What checks rules and metrics for Prometheus: some minutes. The ordinary tests use it where it is there, too.
    Promtool,
}

/// Where a Go program comes from.
enum Source {
    /// `go install`.
    Module(&'static str),
    /// A module in this folder, with the versions in its go.mod; and what the linker is told.
    Here(&'static str, &'static str),
}

impl GoTool {
    fn program(self) -> &'static str {
        match self {
            Self::Helm => "helm",
            Self::Kubernetes => "kubernetes",
            Self::Kwok => "kwok",
            Self::Kubeconform => "kubeconform",
            Self::KubeScore => "kube-score",
            Self::Compose => "compose",
            Self::Otelcol => "otelcol",
            Self::Promtool => "promtool",
        }
    }

    /// The version stands in the folder's name, so that an upgrade is one line here.
    fn version(self) -> &'static str {
        match self {
            Self::Helm => "v3.22.0",
            Self::Kubernetes => "v1.37.2",
            Self::Kwok | Self::Kubeconform => "v0.8.0",
            Self::KubeScore => "v1.20.0",
            Self::Compose => "v2.16.2",
            Self::Otelcol => "v0.165.0",
            Self::Promtool => "v0.316.0",
        }
    }

    fn source(self) -> Source {
        match self {
            Self::Helm => Source::Module("helm.sh/helm/v3/cmd/helm"),
            Self::Kwok => Source::Module("sigs.k8s.io/kwok/cmd/kwok"),
            Self::Kubeconform => Source::Module("github.com/yannh/kubeconform/cmd/kubeconform"),
            Self::KubeScore => Source::Module("github.com/zegl/kube-score/cmd/kube-score"),
            Self::Kubernetes => Source::Here("kubernetes", KUBERNETES_VERSION),
            Self::Compose => Source::Here("compose", "-s -w"),
            Self::Otelcol => Source::Here("otelcol", "-s -w"),
            Self::Promtool => Source::Module("github.com/prometheus/prometheus/cmd/promtool"),
        }
    }

    /// The variable that names one.
    fn variable(self) -> String {
        self.program().to_uppercase().replace('-', "_")
    }

    fn built(self, workspace: &Workspace) -> PathBuf {
        workspace.tools().join(format!("{}-{}", self.program(), self.version())).join(self.program())
    }

    /// The program, if it is there.
    pub(super) fn find(self, workspace: &Workspace) -> Option<PathBuf> {
        let built = self.built(workspace);
        named(&self.variable())
            .or_else(|| built.is_file().then_some(built))
            .or_else(|| in_path(self.program()))
    }

    /// How it is had.
    pub(super) fn missing(self) -> String {
        let name = self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_owned());
        format!(
            "There is no {}: name one by {}, or build it with: cargo xtask deploy-tools {name}",
            self.program(),
            self.variable()
        )
    }
}

/// Builds programs from Go modules into the target folder; all of them when none is named.
pub(crate) fn build(workspace: &Workspace, wanted: &[GoTool]) -> anyhow::Result<()> {
    let wanted = if wanted.is_empty() { GoTool::value_variants() } else { wanted };
    for tool in wanted {
        let to = tool.built(workspace);
        if to.is_file() {
            eprintln!("==> {} is there", to.display());
            continue;
        }
        let folder = to.parent().context("a file stands in a folder")?;
        fs::create_dir_all(folder)?;
        let mut go = Command::new("go");
        match tool.source() {
            Source::Module(module) => {
                go.arg("install").arg(format!("{module}@{}", tool.version())).env("GOBIN", folder);
            }
            Source::Here(name, linked) => {
                let sources = workspace.root().join("xtask/src/commands/deploy/go").join(name);
                go.args(["build", "-trimpath", "-ldflags", linked, "-o"])
                    .arg(&to)
                    .arg(".")
                    .current_dir(sources);
            }
        }
        // A machine that runs other things goes on doing so.
        let mut nice = Command::new("nice");
        nice.args(["-n", "19"]).arg(go.get_program()).args(go.get_args());
        nice.envs(go.get_envs().filter_map(|(name, value)| Some((name, value?)))).env("CGO_ENABLED", "0");
        if let Some(sources) = go.get_current_dir() {
            nice.current_dir(sources);
        }
        step::run(&format!("building {} {} with Go", tool.program(), tool.version()), &mut nice)
            .context("it takes Go 1.26 or newer, and the module proxy")?;
    }
    Ok(())
}

/// A program of the virtual environment, which is made when that is allowed.
pub(super) fn python(workspace: &Workspace, program: &str, fetch: Fetch) -> anyhow::Result<Option<PathBuf>> {
    let present = workspace.tools().join(PYTHON_TOOLS).join("bin").join(program);
    if present.is_file() && fetch == Fetch::Forbidden {
        return Ok(Some(present));
    }
    if fetch == Fetch::Forbidden || !tools::has_python() {
        return Ok(in_path(program));
    }
    let requirements = workspace.root().join("xtask/src/commands/deploy/requirements.txt");
    let programs = tools::python_packages(workspace, PYTHON_TOOLS, &requirements)?;
    Ok(Some(programs.join(program)))
}

/// What to do about a program of PyPI that is not there.
pub(super) fn python_missing(program: &str) -> String {
    format!(
        "There is no {program} in PATH: `cargo xtask test --deploy` fetches it, where there is a Python 3.10 with venv and pip"
    )
}

/// A program that a variable names, one in the target folder, whatever its version, or one in `PATH`.
pub(super) fn find(workspace: &Workspace, variable: &str, program: &str) -> Option<PathBuf> {
    let fetched = || {
        let folders = fs::read_dir(workspace.tools()).ok()?.filter_map(Result::ok).map(|entry| entry.path());
        let mine = |folder: &PathBuf| {
            let name = folder.file_name().and_then(|name| name.to_str());
            name.is_some_and(|name| name.starts_with(&format!("{program}-")))
        };
        folders.filter(mine).map(|folder| folder.join(program)).find(|path| path.is_file())
    };
    named(variable).or_else(fetched).or_else(|| in_path(program))
}

fn named(variable: &str) -> Option<PathBuf> {
    env::var_os(variable).filter(|named| !named.is_empty()).map(PathBuf::from)
}

/// A program in `PATH`, or where distributions put what only root runs.
pub(super) fn in_path(program: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    let folders = env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/sbin".into()]);
    folders.map(|folder| folder.join(program)).find(|path| path.is_file())
}
