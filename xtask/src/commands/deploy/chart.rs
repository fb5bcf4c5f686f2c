//! The chart: linted, rendered for each set of values in `ci/`, held against the manifests in `golden/`, and those against schemas. To take over
//! what changed on purpose: `SAF_BLESS=1 cargo xtask test --deploy`.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, ensure};

use super::Fetch;
use super::tools::{self, GoTool};
use crate::commands::chart::folder;
use crate::commands::guests::Outcome;
use crate::step;
use crate::workspace::Workspace;

/// What manifests are checked for.
const KUBERNETES: &str = "1.37";
/// The release's name in rendered manifests.
const RELEASE: &str = "saf";

/// The sets of values: their names and files.
pub(super) fn sets(workspace: &Workspace) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let ci = folder(workspace).join("ci");
    let mut sets = Vec::new();
    for entry in fs::read_dir(&ci).with_context(|| format!("cannot read {}", ci.display()))? {
        let path = entry?.path();
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .and_then(|name| name.strip_suffix("-values.yaml"));
        if let Some(name) = name {
            sets.push((name.to_owned(), path.clone()));
        }
    }
    ensure!(!sets.is_empty(), "{} holds no *-values.yaml", ci.display());
    sets.sort();
    Ok(sets)
}

fn goldens(workspace: &Workspace) -> anyhow::Result<Vec<PathBuf>> {
    let golden = folder(workspace).join("golden");
    Ok(sets(workspace)?.into_iter().map(|(name, _)| golden.join(name + ".yaml")).collect())
}

/// `helm lint --strict`, and `helm template` as it was.
pub(super) fn golden(workspace: &Workspace, _: Fetch) -> anyhow::Result<Outcome> {
    let Some(helm) = GoTool::Helm.find(workspace) else {
        return Ok(Outcome::Missing(GoTool::Helm.missing()));
    };
    let chart = folder(workspace);
    let mut changed = Vec::new();
    for ((name, values), golden) in sets(workspace)?.into_iter().zip(goldens(workspace)?) {
        let mut lint = Command::new(&helm);
        lint.args(["lint", "--strict", "--quiet", "--values"]).arg(&values).arg(&chart);
        step::run(&format!("helm lint, {name}"), &mut lint)?;
        let rendered = render(&helm, &chart, &values)?;
        let bless = env::var_os("SAF_BLESS").is_some_and(|word| !word.is_empty());
        if bless {
            fs::write(&golden, rendered).with_context(|| format!("cannot write {}", golden.display()))?;
        } else if fs::read_to_string(&golden).unwrap_or_default() != rendered {
            let came = golden.with_extension("yaml.new");
            fs::write(&came, rendered)?;
            changed.push(format!("diff {} {}", golden.display(), came.display()));
        }
    }
    ensure!(
        changed.is_empty(),
        "manifests changed; see {}. If that is meant: SAF_BLESS=1 cargo xtask test --deploy",
        changed.join("; ")
    );
    refusals(&helm, &chart)?;
    Ok(Outcome::Done)
}

fn render(helm: &Path, chart: &Path, values: &Path) -> anyhow::Result<String> {
    let mut template = Command::new(helm);
    template
        .args(["template", RELEASE])
        .arg(chart)
        .arg("--values")
        .arg(values)
        .args(["--kube-version", KUBERNETES]);
    let output = template.output().context("cannot start helm")?;
    ensure!(
        output.status.success(),
        "helm template failed for {}: {}",
        values.display(),
        String::from_utf8_lossy(&output.stderr)
    );
    Ok(String::from_utf8(output.stdout)?)
}

/// What must not be rendered, and a word of what is said of it.
fn refusals(helm: &Path, chart: &Path) -> anyhow::Result<()> {
    let cases: [(&[&str], &str); 9] = [
        (&["broker.kind=jetstream"], "broker.url is missing"),
        (&["roles.split=true"], "an embedded store has one process"),
        (&["autoscaling.hpa.enabled=true"], "nothing to scale"),
        (&["ingress.enabled=true"], "open to everybody beyond the cluster"),
        (&["service.type=LoadBalancer"], "open to everybody beyond the cluster"),
        (&["ingest.allowAnonymous=false"], "nobody could post"),
        (&["replicas=-1"], "replicas"),
        (&["broker.kind=core"], "kind"),
        (&["brokers.kind=jetstream"], "brokers"),
    ];
    for (sets, expected) in cases {
        let mut template = Command::new(helm);
        // A helm that `go install` built takes every cluster for 1.20, and the chart would be refused for that alone.
        template.args(["template", RELEASE]).arg(chart).args(["--kube-version", KUBERNETES]);
        for set in sets {
            template.args(["--set", set]);
        }
        let output = template.output().context("cannot start helm")?;
        let said = String::from_utf8_lossy(&output.stderr);
        ensure!(!output.status.success(), "helm renders {sets:?}");
        ensure!(said.contains(expected), "helm refuses {sets:?} without saying {expected:?}: {said}");
    }
    Ok(())
}

/// Every field of every manifest is one that Kubernetes knows; and a misspelt one is found.
pub(super) fn by_schema(workspace: &Workspace, fetch: Fetch) -> anyhow::Result<Outcome> {
    let Some(validate) = tools::python(workspace, "kubernetes-validate", fetch)? else {
        return Ok(Outcome::Missing(tools::python_missing("kubernetes-validate")));
    };
    let check = |files: &[PathBuf]| {
        let mut command = Command::new(&validate);
        command.args(["-k", KUBERNETES, "--strict", "--no-warn", "--quiet"]).args(files);
        command
    };
    let goldens = goldens(workspace)?;
    step::run("kubernetes-validate", &mut check(&goldens))?;
    let text = fs::read_to_string(&goldens[0])?;
    let bad = workspace.target().join("misspelt.yaml");
    let misspelt = text.replacen("imagePullPolicy", "imagePulPolicy", 1);
    ensure!(misspelt != text, "{} has no imagePullPolicy", goldens[0].display());
    fs::write(&bad, misspelt)?;
    let output = check(&[bad]).output().context("cannot start kubernetes-validate")?;
    ensure!(!output.status.success(), "kubernetes-validate does not see a misspelt field");
    Ok(Outcome::Done)
}

/// A second opinion, by the same schemas in the form that kubeconform reads.
pub(super) fn by_kubeconform(workspace: &Workspace, fetch: Fetch) -> anyhow::Result<Outcome> {
    let Some(kubeconform) = GoTool::Kubeconform.find(workspace) else {
        return Ok(Outcome::Missing(GoTool::Kubeconform.missing()));
    };
    let Some(validate) = tools::python(workspace, "kubernetes-validate", fetch)? else {
        return Ok(Outcome::Missing(tools::python_missing("kubernetes-validate")));
    };
    let schemas = workspace.target().join("kubernetes-schemas");
    let python = validate.with_file_name("python");
    let script = workspace.root().join("xtask/src/commands/deploy/schemas.py");
    let mut write = Command::new(if python.is_file() { python } else { "python3".into() });
    write.arg(script).arg(KUBERNETES).arg(&schemas);
    step::run("writing the schemas of kubernetes-validate for kubeconform", &mut write)?;
    let mut check = Command::new(kubeconform);
    check.args(["-strict", "-summary", "-kubernetes-version", "1.37.0", "-schema-location"]);
    check.arg(format!("{}/{{{{.ResourceKind}}}}{{{{.KindSuffix}}}}.json", schemas.display()));
    // Other people's kinds, which Kubernetes has no schemas of.
    check.args(["-skip", "HTTPRoute,ServiceMonitor,PrometheusRule,ScaledObject"]).args(goldens(workspace)?);
    step::run("kubeconform", &mut check)?;
    Ok(Outcome::Done)
}

/// What kube-score finds critical and the chart's README answers.
const ANSWERED: &str = "container-image-pull-policy";
/// Its values turn off what kube-score wants.
const WITHOUT_POLICIES: &str = "jetstream-plain.yaml";

/// Nothing critical that is not answered.
pub(super) fn by_kube_score(workspace: &Workspace, _: Fetch) -> anyhow::Result<Outcome> {
    let Some(kube_score) = GoTool::KubeScore.find(workspace) else {
        return Ok(Outcome::Missing(GoTool::KubeScore.missing()));
    };
    let readme = fs::read_to_string(folder(workspace).join("README.md"))?;
    ensure!(readme.contains(ANSWERED), "the chart's README does not answer {ANSWERED}");
    for golden in goldens(workspace)?.iter().filter(|golden| !golden.ends_with(WITHOUT_POLICIES)) {
        let mut score = Command::new(&kube_score);
        score.args(["score", "--output-format", "ci", "--ignore-test", ANSWERED]).arg(golden);
        let output = score.output().context("cannot start kube-score")?;
        let said = String::from_utf8_lossy(&output.stdout);
        ensure!(said.contains("[OK]"), "kube-score says nothing of {}", golden.display());
        let critical: Vec<_> = said.lines().filter(|line| line.starts_with("[CRITICAL]")).collect();
        ensure!(critical.is_empty(), "kube-score of {}:\n{}", golden.display(), critical.join("\n"));
    }
    Ok(Outcome::Done)
}
