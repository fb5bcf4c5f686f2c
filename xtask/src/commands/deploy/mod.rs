//! `cargo xtask test --deploy`: what stands in docker-compose.yml, Dockerfile, deploy/ and charts/, held against real programs: schemas, the image run
//! as a user without rights on a root that cannot be written, the compose file brought up, the chart installed on a real API server.
//!
//! Each part finds its programs or says what is missing and how it is had; nothing of the machine is installed. Parts that take seconds also
//! run with `cargo xtask test`, where their programs are there already. What takes minutes to build (`cargo xtask deploy-tools`) is built only when asked for.

mod chart;
mod cluster;
mod compose;
mod image;
mod part;
mod tools;

use std::time::Instant;

use anyhow::ensure;

use self::part::Part;
pub(crate) use self::tools::{GoTool, build as build_tools};
use crate::commands::guests::Outcome;
use crate::workspace::Workspace;

/// What may be fetched for a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fetch {
    /// Packages of PyPI, into the target folder.
    Allowed,
    /// Nothing: what is not there is left out.
    Forbidden,
}

/// In the order in which they are run.
const PARTS: [Part; 12] = [
    Part::quick("docker-compose.yml by the schema of compose files", compose::by_schema),
    Part::quick("the files of docker-compose.yml by the programs that read them", compose::configurations),
    Part::quick("the Dockerfile by its linter", image::lint),
    Part::quick("the service of systemd", image::service),
    Part::quick("the chart by helm lint, and its manifests as they were", chart::golden),
    Part::quick("the chart's manifests by Kubernetes' strict schemas", chart::by_schema),
    Part::slow("docker-compose.yml by Docker's own loader", compose::by_loader),
    Part::slow("the chart's manifests by kubeconform", chart::by_kubeconform),
    Part::slow("the chart's manifests by kube-score", chart::by_kube_score),
    Part::slow("the image, run", image::runs),
    Part::slow("docker-compose.yml, brought up", compose::comes_up),
    Part::slow("the chart on an API server", cluster::installs),
];

/// Every part whose programs are there or can be fetched.
pub(crate) fn test(workspace: &Workspace) -> anyhow::Result<()> {
    run(workspace, &PARTS, Fetch::Allowed)
}

/// The quick parts whose programs are there.
pub(crate) fn test_quickly(workspace: &Workspace) -> anyhow::Result<()> {
    let quick: Vec<_> = PARTS.into_iter().filter(Part::is_quick).collect();
    run(workspace, &quick, Fetch::Forbidden)
}

fn run(workspace: &Workspace, parts: &[Part], fetch: Fetch) -> anyhow::Result<()> {
    let (mut failed, mut told) = (Vec::new(), Vec::new());
    for part in parts {
        eprintln!("==> {}", part.name());
        let begun = Instant::now();
        let came = part.run(workspace, fetch);
        let seconds = begun.elapsed().as_secs_f32();
        told.push(match came {
            Ok(Outcome::Done) => format!("done      {} ({seconds:.1} s)", part.name()),
            Ok(Outcome::Missing(what)) => format!("SKIPPED   {}. {what}", part.name()),
            Err(error) => {
                failed.push(part.name());
                format!("FAILED    {}: {error:#}", part.name())
            }
        });
    }
    // At the end, where they are seen.
    for line in told {
        eprintln!("    {line}");
    }
    ensure!(failed.is_empty(), "not well: {}", failed.join("; "));
    Ok(())
}
