//! What a new Channel begins with, by language: files, and how they are built. Everything is in this binary; the sources stand in
//! `templates/`, and the SDKs are those of `guests/`, taken from there when the binary is compiled.
//!
//! SDKs are not published, and a new Channel needs no network but its own tool chain's. So each comes along as what its language
//! takes as one's own: a module in Python, an archive for npm, a package in Go, two files in C. In Rust, the generated bindings
//! are pleasant as they are: wit-bindgen, from the registry like every crate.

use super::tar;
use crate::cli::build::CONTRACT;

/// A language that there is a template for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Language {
    /// For wasm32-wasip2, with wit-bindgen.
    Rust,
    /// With componentize-py.
    Python,
    /// JavaScript, in QuickJS.
    Js,
    /// TypeScript, in QuickJS.
    Ts,
    /// Standard Go, no generator.
    Go,
    /// With Zig's clang.
    C,
}

/// A template, with the Channel's name filled in.
#[derive(Debug)]
pub(super) struct Template {
    /// At most six, by path.
    pub(super) files: Vec<(&'static str, Vec<u8>)>,
    /// The component, in the Channel's folder.
    pub(super) component: String,
    pub(super) command: String,
    /// The core module that the command makes, for tools that end there.
    pub(super) module: Option<String>,
    pub(super) watch: &'static [&'static str],
    /// Data for an event to try it with.
    pub(super) data: &'static str,
}

const PERSON: &str = r#"{"name": "world"}"#;
const CASE: &str = include_str!("../../../templates/hello.json");
const CASE_PATH: &str = "cases/hello.json";

macro_rules! template {
    ($path:literal) => {
        include_str!(concat!("../../../templates/", $path))
    };
}

macro_rules! guests {
    ($path:literal) => {
        include_str!(concat!("../../../../../guests/", $path))
    };
}

/// The package `saf-channel` of npm.
const JS_SDK: [(&str, &str); 17] = [
    ("package.json", guests!("js/sdk/package.json")),
    ("bin/saf-channel.js", guests!("js/sdk/bin/saf-channel.js")),
    ("bin/stage.js", guests!("js/sdk/bin/stage.js")),
    ("src/index.js", guests!("js/sdk/src/index.js")),
    ("src/index.d.ts", guests!("js/sdk/src/index.d.ts")),
    ("src/testing.js", guests!("js/sdk/src/testing.js")),
    ("src/testing.d.ts", guests!("js/sdk/src/testing.d.ts")),
    ("src/typescript.js", guests!("js/sdk/src/typescript.js")),
    ("src/typescript-hooks.js", guests!("js/sdk/src/typescript-hooks.js")),
    ("src/platform/console.js", guests!("js/sdk/src/platform/console.js")),
    ("src/platform/node.js", guests!("js/sdk/src/platform/node.js")),
    ("src/platform/quickjs.js", guests!("js/sdk/src/platform/quickjs.js")),
    ("src/platform/shown.js", guests!("js/sdk/src/platform/shown.js")),
    ("src/platform/text.js", guests!("js/sdk/src/platform/text.js")),
    ("wit/world.wit", guests!("js/sdk/wit/world.wit")),
    ("wit/deps/channel.wit", guests!("js/sdk/wit/deps/channel.wit")),
    ("wit/deps/logging.wit", guests!("js/sdk/wit/deps/logging.wit")),
];

impl Template {
    pub(super) fn new(language: Language, name: &str) -> Self {
        match language {
            Language::Rust => rust(name),
            Language::Python => python(name),
            Language::Js => js(name, "main.js", template!("js/main.js"), None),
            Language::Ts => js(name, "main.ts", template!("ts/main.ts"), Some(template!("ts/tsconfig.json"))),
            Language::Go => go(name),
            Language::C => c(name),
        }
    }
}

fn text(template: &str, name: &str) -> Vec<u8> {
    template.replace("{{name}}", name).into_bytes()
}

fn rust(name: &str) -> Template {
    Template {
        files: vec![
            ("Cargo.toml", text(template!("rust/Cargo.toml"), name)),
            ("src/lib.rs", text(template!("rust/lib.rs"), name)),
            ("channel.wit", CONTRACT.into()),
            (CASE_PATH, text(CASE, name)),
            ("README.md", text(template!("rust/README.md"), name)),
        ],
        component: format!("target/wasm32-wasip2/release/{}.wasm", name.replace('-', "_")),
        // Wherever CARGO_TARGET_DIR points, the component is where router.toml says.
        command: "cargo build --release --target wasm32-wasip2 --target-dir target".to_owned(),
        module: None,
        watch: &["src", "Cargo.toml", "channel.wit"],
        data: PERSON,
    }
}

fn python(name: &str) -> Template {
    Template {
        files: vec![
            ("main.py", text(template!("python/main.py"), name)),
            ("saf_channel.py", python_sdk().into_bytes()),
            ("requirements.txt", text(template!("python/requirements.txt"), name)),
            ("channel.wit", CONTRACT.into()),
            (CASE_PATH, text(CASE, name)),
            ("README.md", text(template!("python/README.md"), name)),
        ],
        component: format!("{name}.wasm"),
        command: format!(
            "componentize-py --quiet -d channel.wit -w channel componentize main -o {name}.wasm"
        ),
        module: None,
        watch: &["main.py", "saf_channel.py"],
        data: PERSON,
    }
}

fn js(name: &str, main: &'static str, source: &str, config: Option<&str>) -> Template {
    let (package, readme) = match config {
        None => (template!("js/package.json"), template!("js/README.md")),
        Some(_) => (template!("ts/package.json"), template!("ts/README.md")),
    };
    let mut files = vec![
        (main, text(source, name)),
        ("package.json", text(package, name)),
        ("saf-channel.tar", tar::package(&JS_SDK)),
        (CASE_PATH, text(CASE, name)),
        ("README.md", text(readme, name)),
    ];
    files.extend(config.map(|config| ("tsconfig.json", text(config, name))));
    Template {
        files,
        component: format!("{name}.wasm"),
        command: "[ -d node_modules ] || npm install --no-audit --no-fund && npm run --silent build"
            .to_owned(),
        module: None,
        watch: if config.is_some() { &["main.ts", "package.json"] } else { &["main.js", "package.json"] },
        data: PERSON,
    }
}

fn go(name: &str) -> Template {
    Template {
        files: vec![
            ("main.go", text(template!("go/main.go"), name)),
            ("go.mod", text(template!("go/go.mod"), name)),
            ("saf/saf.go", guests!("go/saf/saf.go").into()),
            ("saf/abi_wasip1.go", go_abi().into_bytes()),
            (CASE_PATH, text(CASE, name)),
            ("README.md", text(template!("go/README.md"), name)),
        ],
        component: format!("{name}.wasm"),
        command: format!(
            "GOOS=wasip1 GOARCH=wasm go build -trimpath -buildvcs=false -buildmode=c-shared -o {name}.core.wasm ."
        ),
        module: Some(format!("{name}.core.wasm")),
        watch: &["main.go", "go.mod", "saf"],
        data: PERSON,
    }
}

fn c(name: &str) -> Template {
    Template {
        files: vec![
            ("main.c", text(template!("c/main.c"), name)),
            ("saf.h", guests!("c/saf.h").into()),
            ("saf.c", guests!("c/saf.c").into()),
            (CASE_PATH, text(template!("c/hello.json"), name)),
            ("README.md", text(template!("c/README.md"), name)),
        ],
        component: format!("{name}.wasm"),
        // A stack of 128 KiB: Zig's own of 16 MiB counts against the memory limit. With line tables a trap names file and line.
        command: format!(
            "${{ZIG:-python3 -m ziglang}} cc -std=c17 -O2 -Wall -Wextra -gline-tables-only -target wasm32-wasi-musl \
             -mexec-model=reactor -Wl,-z,stack-size=131072 main.c saf.c -o {name}.core.wasm"
        ),
        module: Some(format!("{name}.core.wasm")),
        watch: &["main.c", "saf.c", "saf.h"],
        data: "hello",
    }
}

const PYTHON_FAILURE_IMPORT: &str =
    "from ._failure import Abort, Reject, Retry, abort, reason_of, reject, retry\n";
const PYTHON_FUTURE: &str = "from __future__ import annotations\n";
const GO_PACKAGE: &str = "package saf\n";
const GO_UNSAFE: &str = "import \"unsafe\"\n";

/// The package `saf_channel` as one module: what it imports of its own stands where the import was.
fn python_sdk() -> String {
    let failure = guests!("python/sdk/saf_channel/_failure.py");
    let failure = failure.split_once(PYTHON_FUTURE).map_or(failure, |(_, rest)| rest);
    guests!("python/sdk/saf_channel/__init__.py").replacen(PYTHON_FAILURE_IMPORT, failure.trim_start(), 1)
}

/// The two files that speak to the router as one.
fn go_abi() -> String {
    let arena = guests!("go/saf/arena_wasip1.go").replacen(GO_PACKAGE, "", 1).replacen(GO_UNSAFE, "", 1);
    guests!("go/saf/abi_wasip1.go").to_owned() + &arena
}

#[cfg(test)]
mod tests {
    use clap::ValueEnum;

    use super::*;

    #[test]
    fn a_new_channel_has_at_most_six_files_and_a_page_to_read() {
        for language in Language::value_variants() {
            let template = Template::new(*language, "my-channel");
            assert!(template.files.len() <= 6, "{language:?} has {}", template.files.len());
            for (path, content) in &template.files {
                let text = String::from_utf8_lossy(content);
                assert!(!text.contains("{{name"), "{language:?}: {path} has something left to fill in");
                if *path == "README.md" {
                    assert!(text.lines().count() <= 40, "{language:?}: more than a screen");
                }
            }
        }
    }

    #[test]
    fn sdks_are_whole() {
        let python = guests!("python/sdk/saf_channel/__init__.py");
        assert_eq!(python.matches("from .").count(), 1, "it imports what python_sdk() does not bring");
        assert!(python.contains(PYTHON_FAILURE_IMPORT) && python_sdk().contains("class Retry"));
        let arena = guests!("go/saf/arena_wasip1.go");
        assert!(arena.contains(GO_PACKAGE) && arena.contains(GO_UNSAFE));
        assert!(guests!("go/saf/abi_wasip1.go").contains("\"unsafe\""));
        let (abi, once) =
            (go_abi(), |word: &str, text: &str| text.lines().filter(|line| line.starts_with(word)).count());
        assert_eq!((once("package ", &abi), once("import ", &abi)), (1, 1));

        let sdk = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../guests/js/sdk");
        let mut found = vec!["package.json".to_owned()];
        for folder in ["bin", "src", "src/platform", "wit", "wit/deps"] {
            for entry in std::fs::read_dir(sdk.join(folder)).expect("a folder") {
                let entry = entry.expect("an entry");
                if entry.path().is_file() {
                    found.push(format!("{folder}/{}", entry.file_name().to_string_lossy()));
                }
            }
        }
        found.sort();
        let mut ours: Vec<_> = JS_SDK.iter().map(|(path, _)| (*path).to_owned()).collect();
        ours.sort();
        assert_eq!(ours, found, "JS_SDK lists what npm would pack");
        assert_eq!(guests!("js/sdk/wit/deps/channel.wit"), CONTRACT);
    }
}
