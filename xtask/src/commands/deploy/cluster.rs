//! The chart on a real API server: etcd, API server, controllers and scheduler run here, kwok claims that pods run. What it proves: schema,
//! defaults, admission (Pod Security `restricted` too), rollouts, what is left after uninstalling. What not: that an image starts, that probes
//! pass, DNS, NetworkPolicy. The image is run by the part before.

use std::process::Command;

use super::Fetch;
use super::tools::{self, GoTool};
use crate::commands::guests::Outcome;
use crate::step;
use crate::workspace::Workspace;

/// `cluster.sh` starts it, installs the chart with three sets of values, upgrades, uninstalls, and stops it.
pub(super) fn installs(workspace: &Workspace, _: Fetch) -> anyhow::Result<Outcome> {
    let mut script = Command::new("bash");
    script.arg(workspace.root().join("xtask/src/commands/deploy/cluster.sh"));
    script.env("CHECKOUT", workspace.root()).env("WORK", workspace.target().join("deploy-test/cluster"));
    for (variable, tool) in
        [("KUBERNETES", GoTool::Kubernetes), ("HELM", GoTool::Helm), ("KWOK", GoTool::Kwok)]
    {
        let Some(program) = tool.find(workspace) else { return Ok(Outcome::Missing(tool.missing())) };
        script.env(variable, program);
    }
    for program in ["go", "openssl", "curl"] {
        if tools::in_path(program).is_none() {
            return Ok(Outcome::Missing(format!("There is no {program} in PATH")));
        }
    }
    step::run("installing the chart on an API server", &mut script)?;
    Ok(Outcome::Done)
}
