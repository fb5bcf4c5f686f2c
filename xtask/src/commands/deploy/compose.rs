//! docker-compose.yml: by its schema, by the library that `docker compose` loads it with, and brought up by podman-compose, with images that are made
//! of the programs of this machine.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use super::Fetch;
use super::image::{NO_IMAGE, unpacked};
use super::tools::{self, GoTool};
use crate::commands::guests::Outcome;
use crate::step;
use crate::tools::nats_server;
use crate::workspace::Workspace;

const FILE: &str = "docker-compose.yml";

/// The schema of compose files; and a misspelt key is found.
pub(super) fn by_schema(workspace: &Workspace, fetch: Fetch) -> anyhow::Result<Outcome> {
    let Some(check) = tools::python(workspace, "check-jsonschema", fetch)? else {
        return Ok(Outcome::Missing(tools::python_missing("check-jsonschema")));
    };
    let check = |file: &Path| {
        let mut command = Command::new(&check);
        command.args(["--builtin-schema", "vendor.compose-spec"]).arg(file);
        command
    };
    let file = workspace.root().join(FILE);
    step::run("check-jsonschema", &mut check(&file))?;
    let text = fs::read_to_string(&file)?;
    let folder = workspace.target().join("deploy-test");
    fs::create_dir_all(&folder)?;
    let bad = folder.join("misspelt-compose.yml");
    fs::write(&bad, text.replacen("depends_on:", "depend_on:", 1))?;
    let status = check(&bad).stdout(Stdio::null()).status().context("cannot start check-jsonschema")?;
    ensure!(!status.success(), "check-jsonschema does not see a misspelt key");
    Ok(Outcome::Done)
}

/// As `docker compose config` reads it: variables, references between services, volumes, secrets and files.
pub(super) fn by_loader(workspace: &Workspace, _: Fetch) -> anyhow::Result<Outcome> {
    let Some(loader) = GoTool::Compose.find(workspace) else {
        return Ok(Outcome::Missing(GoTool::Compose.missing()));
    };
    step::run("loading docker-compose.yml", Command::new(loader).arg(workspace.root().join(FILE)))?;
    Ok(Outcome::Done)
}

/// What each program says of the file that the compose file gives it: a name, where it is found, the file, and how it is asked.
const CONFIGURATIONS: [(&str, &str, &str, &[&str]); 3] = [
    ("NATS_SERVER", "nats-server", "nats.conf", &["-t", "-c"]),
    ("PROMTOOL", "promtool", "prometheus.yml", &["check", "config"]),
    ("OTELCOL", "otelcol", "otelcol.yaml", &["validate", "--config"]),
];

/// The files that are mounted into other people's images, by those people's programs. mosquitto has no such check: it is started below.
pub(super) fn configurations(workspace: &Workspace, _: Fetch) -> anyhow::Result<Outcome> {
    let scratch = workspace.target().join("deploy-test/configurations");
    fs::create_dir_all(&scratch)?;
    let deploy = workspace.root().join("deploy");
    let mut missing = Vec::new();
    for (variable, name, file, arguments) in CONFIGURATIONS {
        let program = match name {
            "nats-server" => Some(nats_server(workspace)?),
            _ => tools::find(workspace, variable, name),
        };
        let Some(program) = program else {
            missing.push(format!("{name} (or {variable})"));
            continue;
        };
        // As in the container, but where these files are here.
        let text = fs::read_to_string(deploy.join("compose").join(file))?
            .replace(
                "/etc/prometheus/rules.yaml",
                &deploy.join("prometheus/rules.yaml").display().to_string(),
            )
            .replace("/run/secrets/", &format!("{}/", deploy.join("compose").display()))
            .replace("\"/data\"", &format!("{:?}", scratch.join("data").display().to_string()));
        let here = scratch.join(file);
        fs::write(&here, text)?;
        step::run(&format!("{name} reads {file}"), Command::new(program).args(arguments).arg(&here))?;
    }
    if missing.is_empty() {
        return Ok(Outcome::Done);
    }
    Ok(Outcome::Missing(format!("What was there took its file; there is no {}", missing.join(", no "))))
}

/// What the script needs beside the image of a release.
const PROGRAMS: [(&str, &str); 8] = [
    ("podman", "podman"),
    ("buildah", "buildah"),
    ("crun", "crun"),
    ("iptables", "iptables"),
    ("awk", "mawk"),
    ("ldd", "libc-bin"),
    ("unshare", "util-linux"),
    ("busybox", "busybox-static"),
];

/// `compose.sh` brings it up, posts an event, and takes it down.
pub(super) fn comes_up(workspace: &Workspace, fetch: Fetch) -> anyhow::Result<Outcome> {
    for (program, package) in PROGRAMS {
        if tools::in_path(program).is_none() {
            return Ok(Outcome::Missing(format!(
                "There is no {program} (Debian: apt-get install {package} netavark aardvark-dns catatonit)"
            )));
        }
    }
    if !is_root()? {
        return Ok(Outcome::Missing("It takes root, to mount and to have networks".to_owned()));
    }
    let Some(compose) = tools::python(workspace, "podman-compose", fetch)? else {
        return Ok(Outcome::Missing(tools::python_missing("podman-compose")));
    };
    let Some(root) = unpacked(workspace)? else { return Ok(Outcome::Missing(NO_IMAGE.to_owned())) };
    let mut script = Command::new("bash");
    script.arg(workspace.root().join("xtask/src/commands/deploy/compose.sh"));
    script.env("CHECKOUT", workspace.root()).env("WORK", workspace.target().join("deploy-test/compose"));
    script.env("IMAGE", root).env("NATS_SERVER", nats_server(workspace)?).env("PODMAN_COMPOSE", compose);
    step::run("bringing docker-compose.yml up", &mut script)?;
    Ok(Outcome::Done)
}

fn is_root() -> anyhow::Result<bool> {
    let id = Command::new("id").arg("-u").output().context("cannot start id")?;
    Ok(id.stdout.trim_ascii() == b"0")
}
