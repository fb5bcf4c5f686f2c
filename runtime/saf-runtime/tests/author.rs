//! A Channel from nothing, in each language: `new`, `build`, `test`. A language whose tool chain the machine lacks is skipped by
//! name; `cargo xtask guests` brings what can be fetched.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]
#![allow(clippy::unnecessary_debug_formatting, reason = "quoted as TOML wants it")]

mod support;

#[path = "cli/said.rs"]
#[allow(dead_code, reason = "it is shared with the tests of the other commands")]
mod said;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use said::{Said, command};

/// A folder for a language. Kept, so that what its tools have compiled is not compiled again; anything of ours in it is removed.
fn folder(language: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join("author").join(language);
    for file in
        ["router.toml", "hello-there/cases", "hello-there/src", "hello-there/saf", "hello-there/node_modules"]
    {
        let path = folder.join(file);
        let removed = if path.is_dir() { fs::remove_dir_all(&path) } else { fs::remove_file(&path) };
        assert!(removed.is_ok() || !path.exists(), "{}", path.display());
    }
    let files = fs::read_dir(folder.join("hello-there")).into_iter().flatten();
    for entry in files.filter_map(Result::ok).filter(|entry| entry.path().is_file()) {
        fs::remove_file(entry.path()).expect("ours");
    }
    fs::create_dir_all(&folder).expect("writable");
    folder
}

/// The commands in that folder, as an author types them; `path` goes before PATH.
fn say(folder: &Path, path: &Path, args: &[&str]) -> Said {
    let mut paths = vec![path.to_owned()];
    paths.extend(std::env::split_paths(&std::env::var_os("PATH").unwrap_or_default()));
    let mut command = command(args);
    command.current_dir(folder).env("PATH", std::env::join_paths(paths).expect("a PATH"));
    Said::of(&command.output().expect("runs"))
}

/// `new`, `build`, `test`; and `test` again after the case expects something else.
fn from_nothing(language: &str, tools: &Path) {
    let folder = folder(language);
    let said = say(&folder, tools, &["new", "hello-there", "--lang", language]).ok();
    assert!(said.out.contains("saf-runtime build hello-there") && said.out.contains("README.md"), "{said:?}");
    if language == "rust" {
        // The versions that the guests are built with: no other have to be fetched.
        let lock = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/rust/Cargo.lock");
        fs::copy(lock, folder.join("hello-there/Cargo.lock")).expect("copied");
    }
    let said = say(&folder, tools, &["build"]);
    assert_eq!(said.code, Some(0), "{language}:\n{}\n{}", said.out, said.err);
    assert!(said.out.contains("built") && said.out.contains("imports"), "{said:?}");
    let said = say(&folder, tools, &["test"]).ok();
    assert!(said.out.contains("1 passed") && said.out.contains("hello-there/cases/hello.json"), "{said:?}");
    say(&folder, tools, &["check"]).ok();

    let case = folder.join("hello-there/cases/hello.json");
    let text = fs::read_to_string(&case).expect("there").to_lowercase();
    fs::write(&case, text.replace("hello, world", "goodbye")).expect("writable");
    let said = say(&folder, tools, &["test"]).fails(1, &["1 case failed"]);
    assert!(said.out.contains("goodbye"), "{said:?}");
    say(&folder, tools, &["new", "hello-there", "--lang", language]).fails(2, &["choose another name"]);
}

/// Whether a program runs.
fn runs(program: &Path, argument: &str) -> bool {
    Command::new(program).arg(argument).output().is_ok_and(|output| output.status.success())
}

/// Where `cargo xtask` puts the tools that it fetches.
fn fetched(name: &str) -> PathBuf {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("a target folder");
    target.join("tools").join(name).join("bin")
}

fn nowhere() -> &'static Path {
    Path::new("/nonexistent")
}

#[test]
fn a_channel_in_rust() {
    from_nothing("rust", nowhere());
}

#[test]
fn a_channel_in_python() {
    let tools = fetched("python-guests");
    if !runs(&tools.join("componentize-py"), "--version") {
        eprintln!("SKIPPED: a Channel in Python: no componentize-py (cargo xtask guests --language python)");
        return;
    }
    from_nothing("python", &tools);
}

#[test]
fn a_channel_in_javascript_and_in_typescript() {
    if !runs(Path::new("npm"), "--version") {
        eprintln!("SKIPPED: a Channel in JavaScript: no npm (apt-get install nodejs npm)");
        return;
    }
    from_nothing("js", nowhere());
    from_nothing("ts", nowhere());
}

#[test]
fn a_channel_in_go() {
    if !runs(Path::new("go"), "version") {
        eprintln!("SKIPPED: a Channel in Go: no go (https://go.dev/doc/install)");
        return;
    }
    from_nothing("go", nowhere());
}

#[test]
fn a_channel_in_c() {
    let pinned = fs::read_dir(fetched("").parent().expect("tools").parent().expect("tools"));
    let zig = pinned.into_iter().flatten().filter_map(Result::ok).map(|entry| entry.path().join("bin"));
    // The venv's python3 has the module.
    let Some(tools) =
        zig.filter(|bin| bin.to_string_lossy().contains("ziglang-")).find(|bin| bin.join("python3").exists())
    else {
        eprintln!("SKIPPED: a Channel in C: no ziglang (cargo xtask guests --language c)");
        return;
    };
    from_nothing("c", &tools);
}

#[test]
fn a_build_that_fails_is_shown_and_a_tool_that_is_missing_is_named() {
    let folder = tempfile::tempdir().expect("a folder");
    let config = |command: &str| {
        let text = format!(
            "# mine\n[channels.a]\ncomponent = \"a.wasm\"\nsubjects = [\"x\"]\nbuild.command = {command:?}\n\
             [channels.b]\ncomponent = \"b.wasm\"\nsubjects = [\"x\"]\n"
        );
        fs::write(folder.path().join("router.toml"), text).expect("writable");
    };
    let say = |path: Option<&str>, args: &[&str]| {
        let mut command = command(args);
        command.current_dir(folder.path());
        if let Some(path) = path {
            command.env("PATH", path);
        }
        Said::of(&command.output().expect("runs"))
    };
    config("echo to stdout; echo the compiler says no >&2; exit 1");
    let said = say(None, &["build"]).fails(1, &["the compiler says no", "not built: a"]);
    assert!(said.out.contains("to stdout") && said.out.contains("FAILED"), "{said:?}");
    let said = say(None, &["build", "-q"]).fails(1, &["not built: a"]);
    assert!(said.out.contains("the compiler says no"), "{said:?}");
    say(None, &["build", "b"]).fails(78, &["[channels.b.build]"]);
    say(None, &["build", "c"]).fails(2, &["there are: a, b"]);
    config("touch a.wasm");
    let said = say(None, &["build"]).fails(1, &["not built: a"]);
    assert!(said.out.contains("no WebAssembly component"), "{said:?}");
    // Only sh is to be found.
    let bin = folder.path().join("bin");
    fs::create_dir(&bin).expect("writable");
    std::os::unix::fs::symlink("/bin/sh", bin.join("sh")).expect("linked");
    for (command, parts) in [
        ("componentize-py -d x", &["componentize-py", "pip install componentize-py=="][..]),
        ("npm run build", &["npm", "apt-get install nodejs"]),
        ("go build", &["Go", "go.dev"]),
        ("cargo build", &["cargo", "rustup.rs"]),
    ] {
        config(command);
        let said = say(bin.to_str(), &["build", "-q"]).fails(1, &["not built: a"]);
        for part in parts {
            assert!(said.out.contains(part), "{command}: lacks {part:?}: {said:?}");
        }
    }
}
