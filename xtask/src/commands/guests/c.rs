//! Guests in C, C++ and Zig: clang, its libraries and Zig itself come as one prebuilt package; they make core modules, and
//! [`component`] makes components of them. A guest is a folder with a `main.c`, `main.cpp` or `main.zig`; `saf.h`, `saf.c`,
//! `json.h` and the sources in `json` in `guests/c` are the SDK of all three.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context;

use super::guest::{self, Guest, Recipe};
use super::{Language, Outcome, component};
use crate::step;
use crate::tools::{self, WebhookExamples};
use crate::workspace::Workspace;

/// What one package compiles.
#[derive(Clone, Copy)]
pub(super) enum Dialect {
    C,
    Cpp,
    Zig,
}

/// A stack of 128 KiB: Zig's own choice of 16 MiB counts against the memory limit. With line tables a trap names file and
/// line.
const FOR_WASM: [&str; 6] = [
    "-target",
    "wasm32-wasi-musl",
    "-mexec-model=reactor",
    "-O2",
    "-gline-tables-only",
    "-Wl,-z,stack-size=131072",
];

const WARNINGS: [&str; 3] = ["-Wall", "-Wextra", "-Werror"];

/// A guest's own test: no part of its component.
const TEST: &str = "test.c";

impl Dialect {
    fn language(self) -> Language {
        match self {
            Self::C => Language::C,
            Self::Cpp => Language::Cpp,
            Self::Zig => Language::Zig,
        }
    }

    fn main(self) -> &'static str {
        match self {
            Self::C => "main.c",
            Self::Cpp => "main.cpp",
            Self::Zig => "main.zig",
        }
    }

    /// Compiler and options; what both C and C++ are told, and what is told to Zig, say the same.
    fn options(self) -> Vec<&'static str> {
        match self {
            Self::C => [&["cc", "-std=c17"], &WARNINGS[..], &FOR_WASM].concat(),
            // Without exceptions and their tables there is nothing of libc++ to link, and a component of a few KB.
            Self::Cpp => {
                let own = ["c++", "-fno-exceptions", "-fno-rtti", "-nostdlib++"];
                [&own, &WARNINGS[..], &FOR_WASM].concat()
            }
            Self::Zig => vec![
                "build-exe",
                "-target",
                "wasm32-wasi-musl",
                "-mexec-model=reactor",
                "-O",
                "ReleaseFast",
                "-rdynamic",
                "-lc",
                "--stack",
                "131072",
            ],
        }
    }
}

/// Guests that changed.
pub(super) fn build(workspace: &Workspace, dialect: Dialect) -> anyhow::Result<Outcome> {
    let Some(zig) = zig(workspace)? else {
        return Ok(missing());
    };
    let language = dialect.language();
    let sdk = workspace.guests(Language::C.name());
    // Where the checkout stands is nobody's business: not in a message of saf_trap, nor in a backtrace.
    let relative = format!("-ffile-prefix-map={}/=", workspace.root().display());
    let recipe = Recipe {
        workspace,
        language,
        tools: format!("{} {relative} {:?}", zig.display(), dialect.options()),
        shared: shared(workspace, dialect, &sdk),
    };
    let guests = guest::find(&workspace.guests(language.name()), dialect.main())?;
    recipe.build(&guests, |guest| {
        let core = workspace.scratch(&format!("{}-{}.core.wasm", language.name(), guest.name))?;
        let mut compile = command(workspace, &zig);
        compile.args(dialect.options()).arg("-I").arg(&sdk);
        match dialect {
            Dialect::C | Dialect::Cpp => {
                compile.arg(&relative).args(sources(guest, &sdk)?).arg("-o").arg(&core)
            }
            Dialect::Zig => zig_modules(workspace, guest, &sdk, &core, &mut compile),
        };
        step::run(&format!("compiling {}/{}", language.name(), guest.name), &mut compile)?;
        component::from_core(workspace, fs::read(&core)?).context("making a component")
    })?;
    Ok(Outcome::Done)
}

fn shared(workspace: &Workspace, dialect: Dialect, sdk: &Path) -> Vec<PathBuf> {
    let mut shared = vec![workspace.contract()];
    shared.extend(["saf.h", "saf.c", "json.h", "json"].iter().map(|file| sdk.join(file)));
    match dialect {
        Dialect::C | Dialect::Cpp => {}
        Dialect::Zig => shared.push(workspace.guests(Language::Zig.name()).join("saf.zig")),
    }
    shared
}

/// Zig takes what a guest imports as modules by name.
fn zig_modules<'a>(
    workspace: &Workspace,
    guest: &Guest,
    sdk: &Path,
    core: &Path,
    compile: &'a mut Command,
) -> &'a mut Command {
    let module = |name: &str, path: &Path| format!("-M{name}={}", path.display());
    let saf = workspace.guests(Language::Zig.name()).join("saf.zig");
    compile.arg(sdk.join("saf.c")).args(["--dep", "saf"]);
    compile.arg(module("main", &guest.folder.join("main.zig"))).arg(module("saf", &saf));
    compile.arg(format!("-femit-bin={}", core.display()))
}

/// The guests that have a test, with the machine's own libc instead of WASI's.
pub(super) fn test(workspace: &Workspace, examples: &WebhookExamples) -> anyhow::Result<Outcome> {
    let Some(zig) = zig(workspace)? else {
        return Ok(missing());
    };
    let sdk = workspace.guests(Language::C.name());
    for guest in guest::find(&sdk, TEST)? {
        let program = workspace.scratch(&format!("c-{}-test", guest.name))?;
        let mut compile = command(workspace, &zig);
        compile.args(["cc", "-std=c17", "-g", "-fsanitize=undefined"]).args(WARNINGS).arg("-I").arg(&sdk);
        compile.args(sources(&guest, &sdk)?).arg(guest.folder.join(TEST)).arg("-o").arg(&program);
        step::run(&format!("compiling the test of c/{}", guest.name), &mut compile)?;
        let mut test = Command::new(&program);
        examples.pass_to(&mut test);
        step::run(&format!("testing c/{}", guest.name), &mut test)?;
    }
    Ok(Outcome::Done)
}

/// A guest's own sources and the SDK's.
fn sources(guest: &Guest, sdk: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut sources = vec![sdk.join("saf.c")];
    for folder in [&guest.folder, &sdk.join("json")] {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let compiled =
                path.extension().is_some_and(|kind| ["c", "cpp", "zig"].iter().any(|known| kind == *known));
            if compiled && path.file_name().is_some_and(|name| name != TEST) {
                sources.push(path);
            }
        }
    }
    sources.sort_unstable();
    Ok(sources)
}

fn zig(workspace: &Workspace) -> anyhow::Result<Option<PathBuf>> {
    if !tools::has_python() {
        return Ok(None);
    }
    tools::zig(workspace).map(Some)
}

fn missing() -> Outcome {
    Outcome::Missing(
        "The compiler comes from PyPI: install Python 3 with venv (Debian: apt-get install python3-venv)"
            .into(),
    )
}

/// Zig, which keeps what it compiles of its libraries: below the target folder.
fn command(workspace: &Workspace, zig: &Path) -> Command {
    let cache = workspace.tools().join("zig-cache");
    let mut command = Command::new(zig);
    command.env("ZIG_GLOBAL_CACHE_DIR", &cache).env("ZIG_LOCAL_CACHE_DIR", &cache);
    command
}
