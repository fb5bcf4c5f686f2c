//! The image and what else starts the program: the Dockerfile by a linter, the service by systemd's own checks, and the image of a release run as it
//! would be in a cluster: as a user without rights, on a root that cannot be written.

use std::fs;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};
use flate2::read::GzDecoder;
use serde_json::Value;

use super::Fetch;
use super::tools;
use crate::commands::guests::Outcome;
use crate::step;
use crate::workspace::Workspace;

/// A start with nothing in the cache compiles components.
const PATIENCE: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(100);
/// What `systemd-analyze security` gives may be so bad, in tenths.
const EXPOSURE_TENTHS: &str = "20";

/// hadolint.
pub(super) fn lint(workspace: &Workspace, fetch: Fetch) -> anyhow::Result<Outcome> {
    let Some(hadolint) = tools::python(workspace, "hadolint", fetch)? else {
        return Ok(Outcome::Missing(tools::python_missing("hadolint")));
    };
    let mut lint = Command::new(hadolint);
    lint.arg(workspace.root().join("Dockerfile"));
    step::run("hadolint", &mut lint)?;
    Ok(Outcome::Done)
}

/// `systemd-analyze verify` and `security`, with a program that is there in the place of ours.
pub(super) fn service(workspace: &Workspace, _: Fetch) -> anyhow::Result<Outcome> {
    let Some(analyze) = tools::in_path("systemd-analyze") else {
        return Ok(Outcome::Missing("There is no systemd-analyze: this machine has no systemd".to_owned()));
    };
    let unit = workspace.root().join("deploy/systemd/saf-runtime.service");
    let text = fs::read_to_string(&unit).with_context(|| format!("cannot read {}", unit.display()))?;
    let here =
        text.replace("/usr/local/bin/saf-runtime", "/bin/true").replace("man:saf-runtime(1)", "man:true(1)");
    let folder = workspace.target().join("deploy-test");
    fs::create_dir_all(&folder)?;
    let unit = folder.join("saf-runtime.service");
    fs::write(&unit, here)?;
    step::run("systemd-analyze verify", Command::new(&analyze).args(["verify", "--man=no"]).arg(&unit))?;
    let mut security = Command::new(&analyze);
    security
        .args(["security", "--no-pager", "--offline=yes", "--threshold", EXPOSURE_TENTHS])
        .arg(&unit)
        .stdout(Stdio::null());
    step::run("systemd-analyze security", &mut security)?;
    Ok(Outcome::Done)
}

/// The files of the image that `cargo xtask dist` made, unpacked; `None` when there is none.
pub(super) fn unpacked(workspace: &Workspace) -> anyhow::Result<Option<PathBuf>> {
    let layout = workspace.target().join("dist/image");
    if !layout.is_dir() {
        return Ok(None);
    }
    let json = |path: &Path| -> anyhow::Result<Value> { Ok(serde_json::from_slice(&fs::read(path)?)?) };
    let blob =
        |digest: &Value| digest.as_str().map(|digest| layout.join("blobs").join(digest.replace(':', "/")));
    let index = json(&layout.join("index.json"))?;
    let manifest = json(&blob(&index["manifests"][0]["digest"]).context("the index names no manifest")?)?;
    let layer = blob(&manifest["layers"][0]["digest"]).context("the manifest names no layer")?;
    let root = workspace.target().join("deploy-test/image");
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    tar::Archive::new(GzDecoder::new(fs::File::open(layer)?)).unpack(&root)?;
    Ok(Some(root))
}

pub(super) const NO_IMAGE: &str = "There is no image: make one with cargo xtask dist";

/// Runs the image, asks for its health, posts an event and sees an emission come of it, and stops it.
pub(super) fn runs(workspace: &Workspace, _: Fetch) -> anyhow::Result<Outcome> {
    let Some(bwrap) = tools::in_path("bwrap") else {
        return Ok(Outcome::Missing("There is no bwrap (Debian: apt-get install bubblewrap)".to_owned()));
    };
    let Some(root) = unpacked(workspace)? else { return Ok(Outcome::Missing(NO_IMAGE.to_owned())) };
    let program = root.join("saf-runtime");
    let state = workspace.target().join("deploy-test/state");
    if state.exists() {
        fs::remove_dir_all(&state)?;
    }
    fs::create_dir_all(&state)?;
    let (ingest, admin) = (free_address()?, free_address()?);
    let mut run = Command::new(bwrap);
    run.args([
        "--unshare-all",
        "--share-net",
        "--uid",
        "65532",
        "--gid",
        "65532",
        "--as-pid-1",
        "--die-with-parent",
        "--cap-drop",
        "ALL",
    ]);
    run.arg("--ro-bind").arg(&root).arg("/").arg("--bind").arg(&state).arg("/var/lib/saf");
    run.args([
        "--proc",
        "/proc",
        "--dev",
        "/dev",
        "--clearenv",
        "--setenv",
        "SAF_CONFIG",
        "/etc/saf/router.toml",
    ]);
    run.args(["--setenv", "SAF__HTTP__LISTEN", &ingest, "--setenv", "SAF__ADMIN__LISTEN", &admin])
        .arg("/saf-runtime");
    let mut router = Running(run.stdin(Stdio::null()).spawn().context("cannot start bwrap")?);
    let (ingest, admin) = (format!("http://{ingest}"), format!("http://{admin}"));
    let begun = Instant::now();
    while !Command::new(&program)
        .args(["health", "--url", &admin])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()?
        .success()
    {
        if let Some(status) = router.0.try_wait()? {
            bail!("the router ended with {status}");
        }
        ensure!(begun.elapsed() < PATIENCE, "the router is not ready after {PATIENCE:?}");
        sleep(POLL);
    }
    let mut send = Command::new(&program);
    send.args([
        "send",
        "hello",
        "{\"from\": \"the image\"}",
        "--until",
        "echo.hello",
        "--ingest-url",
        &ingest,
        "--url",
        &admin,
    ]);
    step::run("posting an event to the image", &mut send)?;
    let inside = router.inside()?;
    ensure!(Command::new("kill").args(["-TERM", &inside]).status()?.success(), "cannot stop {inside}");
    let status = router.0.wait()?;
    ensure!(status.success(), "after SIGTERM the router ended with {status}");
    Ok(Outcome::Done)
}

fn free_address() -> anyhow::Result<String> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string())
}

/// A sandbox that does not outlive the test.
struct Running(Child);

impl Running {
    /// The program inside, as this machine numbers it: a signal to the sandbox would be no SIGTERM to the program.
    fn inside(&self) -> anyhow::Result<String> {
        let id = self.0.id();
        let children = fs::read_to_string(format!("/proc/{id}/task/{id}/children"))?;
        children.split_whitespace().next().map(str::to_owned).context("the sandbox is empty")
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}
