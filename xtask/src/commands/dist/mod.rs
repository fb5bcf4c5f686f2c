//! `cargo xtask dist`: a release, in `target/dist`: an archive with the program and all that is installed beside it, the image as an OCI
//! layout, a bill of materials, checksums. Without a container engine, and without a network beyond crates.io.
//!
//! The program is static where the machine can link with musl, so that it runs on any Linux and in an image that holds nothing else;
//! elsewhere it needs the C library of this machine, and the step says so. The same sources make the same archives: no times, no owners of this machine.
//!
//! Deliberately absent: signatures (they belong to who publishes), cross compilation, packages of distributions.

mod archive;
mod image;
mod sbom;

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};

use self::archive::Tree;
use crate::commands::guests::{self, Language};
use crate::step;
use crate::workspace::Workspace;

const PROGRAM: &str = "saf-runtime";
const VERSION: &str = env!("CARGO_PKG_VERSION");
/// The user of the image, by a number that a cluster may check. 65532 is what images without a shell use by custom.
const USER: u64 = 65532;

/// What is made.
#[derive(Debug, clap::Args)]
pub(crate) struct Dist {
    /// Only put what is in the image into this folder, for a Dockerfile
    #[arg(long, value_name = "FOLDER", conflicts_with = "ca_bundle")]
    root: Option<PathBuf>,
    /// PEM file of the authorities that the image trusts; without it, Channels in the image can reach nothing over TLS
    #[arg(long, value_name = "FILE")]
    ca_bundle: Option<PathBuf>,
}

impl Dist {
    /// Builds, and writes everything.
    pub(crate) fn run(&self, workspace: &Workspace) -> anyhow::Result<()> {
        let target = Target::choose(workspace)?;
        guests::build(workspace, &[Language::Rust])?;
        let program = build(workspace, &target)?;
        let root = image_root(workspace, &program, self.ca_bundle.as_deref())?;
        if let Some(folder) = &self.root {
            root.unpack(folder)?;
            eprintln!("==> the image's files are in {}", folder.display());
            return Ok(());
        }
        let dist = workspace.target().join("dist");
        if dist.exists() {
            fs::remove_dir_all(&dist).with_context(|| format!("cannot empty {}", dist.display()))?;
        }
        fs::create_dir_all(&dist)?;
        let name = format!("{PROGRAM}-{VERSION}-{}", target.triple);
        let archive = format!("{name}.tar.gz");
        release(workspace, &program)?.write_gz(&dist.join(&archive), &name)?;
        let bill = format!("{PROGRAM}-{VERSION}.cdx.json");
        fs::write(dist.join(&bill), sbom::bill(workspace, &target.triple)?)?;
        image::write(&root, &dist.join("image"), VERSION)?;
        let sums = [&archive, &bill]
            .map(|file| archive::checksum(&dist.join(file)).map(|sum| format!("{sum}  {file}\n")));
        fs::write(dist.join("SHA256SUMS"), sums.into_iter().collect::<anyhow::Result<String>>()?)?;
        eprintln!("==> a release is in {}", dist.display());
        Ok(())
    }
}

/// What is built for.
struct Target {
    triple: String,
}

impl Target {
    fn choose(workspace: &Workspace) -> anyhow::Result<Self> {
        let musl = format!("{}-unknown-linux-musl", env::consts::ARCH);
        let missing = if !cfg!(target_os = "linux") {
            Some("this is no Linux")
        } else if !starts("musl-gcc") {
            Some("there is no musl-gcc (Debian: apt-get install musl-tools)")
        } else if !add_target(workspace, &musl) {
            Some("the Rust tool chain has no standard library for it, and rustup cannot add it")
        } else {
            None
        };
        let Some(missing) = missing else { return Ok(Self { triple: musl }) };
        eprintln!(
            "==> not {musl}, because {missing}: the program needs this machine's C library, and an image of it does not run"
        );
        let rustc = Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .args(["--version", "--verbose"])
            .current_dir(workspace.root())
            .output()
            .context("cannot start rustc: is it in PATH beside cargo?")?;
        let said = String::from_utf8_lossy(&rustc.stdout).into_owned();
        let host =
            said.lines().find_map(|line| line.strip_prefix("host: ")).context("rustc names no host")?;
        Ok(Self { triple: host.to_owned() })
    }
}

fn starts(program: &str) -> bool {
    let mut command = Command::new(program);
    command.arg("--version").stdout(Stdio::null()).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Whether the tool chain has the target, now at least.
fn add_target(workspace: &Workspace, triple: &str) -> bool {
    let mut add = Command::new("rustup");
    add.args(["target", "add", triple]).current_dir(workspace.root());
    step::run("adding the Rust target", &mut add).is_ok()
}

fn build(workspace: &Workspace, target: &Target) -> anyhow::Result<PathBuf> {
    let mut build = workspace.cargo(&[
        "build",
        "--release",
        "--locked",
        "--package",
        PROGRAM,
        "--target",
        &target.triple,
    ]);
    // Not in the manifest: who builds for himself wants to read a stack.
    build.env("CARGO_PROFILE_RELEASE_STRIP", "symbols").env("CARGO_PROFILE_RELEASE_DEBUG", "none");
    step::run(&format!("building the router for {}", target.triple), &mut build)?;
    Ok(workspace.target().join(&target.triple).join("release").join(PROGRAM))
}

/// The file system of the image.
fn image_root(workspace: &Workspace, program: &Path, ca_bundle: Option<&Path>) -> anyhow::Result<Tree> {
    let mut root = Tree::default();
    root.program(PROGRAM, program)?;
    root.file("etc/saf/router.toml", &workspace.root().join("deploy/image/router.toml"))?;
    if let Some(bundle) = ca_bundle {
        root.file("etc/ssl/certs/ca-certificates.crt", bundle)?;
    }
    root.folder(&workspace.components().join(Language::Rust.name()), "guests/rust", "wasm")?;
    root.owned("var/lib/saf", USER);
    // What is mounted by everybody, and made by container engines only.
    root.owned("proc", 0);
    root.owned("dev", 0);
    Ok(root)
}

/// What is in the archive of a release.
fn release(workspace: &Workspace, program: &Path) -> anyhow::Result<Tree> {
    let scratch = workspace.target().join("dist-scratch");
    let man = scratch.join("man");
    fs::create_dir_all(&man).with_context(|| format!("cannot make {}", man.display()))?;
    step::run("writing the manual pages", Command::new(program).arg("man").arg(&man))?;
    let mut tree = Tree::default();
    tree.program(PROGRAM, program)?;
    for file in ["LICENSE", "README.md", "CHANGELOG.md", "config/router.toml"] {
        tree.file(file, &workspace.root().join(file))?;
    }
    tree.file("systemd/saf-runtime.service", &workspace.root().join("deploy/systemd/saf-runtime.service"))?;
    tree.folder(&man, "man", "1")?;
    for (shell, file) in [
        ("bash", "saf-runtime.bash"),
        ("zsh", "_saf-runtime"),
        ("fish", "saf-runtime.fish"),
        ("powershell", "_saf-runtime.ps1"),
    ] {
        tree.bytes(
            &format!("completions/{file}"),
            output(Command::new(program).args(["completions", shell]))?,
        );
    }
    // Where config/router.toml looks for them.
    tree.folder(&workspace.components().join(Language::Rust.name()), "guests/dist/rust", "wasm")?;
    Ok(tree)
}

fn output(command: &mut Command) -> anyhow::Result<Vec<u8>> {
    let output = command.stderr(Stdio::inherit()).output();
    let output = output.with_context(|| format!("cannot start {}", command.get_program().display()))?;
    ensure!(
        output.status.success(),
        "{} ended with {}",
        OsStr::display(command.get_program()),
        output.status
    );
    Ok(output.stdout)
}
