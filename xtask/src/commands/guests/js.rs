//! Guests in JavaScript and TypeScript: the SDK's own command, `saf-channel build`, makes a component of a module and the QuickJS
//! engine. It and its tools are installed by npm into the folder's `node_modules`, at the versions in `package-lock.json`. A guest is
//! a folder with a `main.js` or `main.ts`; the SDK of both is `guests/js/sdk`.

use std::fs;
use std::path::Path;
use std::process::Command;

use anyhow::Context;

use super::guest::{self, Guest, Recipe};
use super::{Language, Outcome, foreign};
use crate::step;
use crate::tools::{self, WebhookExamples};
use crate::workspace::Workspace;

const MISSING: &str =
    "There is no npm: install Node.js 20.6 or newer with npm (Debian: apt-get install nodejs npm)";

/// What one engine runs.
#[derive(Clone, Copy)]
pub(super) enum Dialect {
    JavaScript,
    TypeScript,
}

impl Dialect {
    fn language(self) -> Language {
        match self {
            Self::JavaScript => Language::Js,
            Self::TypeScript => Language::Ts,
        }
    }

    fn main(self) -> &'static str {
        match self {
            Self::JavaScript => "main.js",
            Self::TypeScript => "main.ts",
        }
    }
}

/// Guests that changed.
pub(super) fn build(workspace: &Workspace, dialect: Dialect) -> anyhow::Result<Outcome> {
    if !tools::has_npm() {
        return Ok(Outcome::Missing(MISSING.into()));
    }
    let language = dialect.language();
    let folder = workspace.guests(language.name());
    tools::npm_packages(language.name(), &folder)?;
    let sdk = workspace.guests(Language::Js.name()).join("sdk");
    let recipe = Recipe {
        workspace,
        language,
        tools: "saf-channel build".into(), // what it uses stands in package-lock.json
        shared: vec![
            folder.join("package.json"),
            folder.join("package-lock.json"),
            sdk.join("bin"),
            sdk.join("src"),
            sdk.join("wit"),
        ],
    };
    let guests = guest::find(&folder, dialect.main())?;
    recipe.build(&guests, |guest| make(workspace, dialect, &folder, guest))?;
    match dialect {
        Dialect::JavaScript => build_foreign(workspace, &folder)?,
        Dialect::TypeScript => {}
    }
    Ok(Outcome::Done)
}

/// With the engine's own command, as somebody who knows nothing of the SDK would.
fn build_foreign(workspace: &Workspace, folder: &Path) -> anyhow::Result<()> {
    let tools = ("componentize-qjs --sync", folder.join("package-lock.json"));
    foreign::build(workspace, Language::Js, "main.js", tools, |parts| {
        let mut command = Command::new("node");
        command.arg(folder.join("node_modules/componentize-qjs/cli.mjs"));
        command.arg("--wit").arg(parts.wit).args(["--world", parts.world, "--js", "main.js", "--sync"]);
        command.arg("--output").arg(parts.made).current_dir(parts.folder);
        command
    })
}

fn make(workspace: &Workspace, dialect: Dialect, folder: &Path, guest: &Guest) -> anyhow::Result<Vec<u8>> {
    let language = dialect.language().name();
    let made = workspace.scratch(&format!("{language}-{}.wasm", guest.name))?;
    let mut command = Command::new("node");
    command.arg("node_modules/saf-channel/bin/saf-channel.js").arg("build");
    command.arg(Path::new(&guest.name).join(dialect.main())).arg("-o").arg(&made).current_dir(folder);
    step::run(&format!("componentizing {language}/{}", guest.name), &mut command)?;
    fs::read(&made).with_context(|| format!("cannot read {}", made.display()))
}

/// The types, then node's own test runner on the SDK and the guests.
pub(super) fn test(
    workspace: &Workspace,
    dialect: Dialect,
    examples: &WebhookExamples,
) -> anyhow::Result<Outcome> {
    if !tools::has_npm() {
        return Ok(Outcome::Missing(MISSING.into()));
    }
    let language = dialect.language().name();
    let folder = workspace.guests(language);
    tools::npm_packages(language, &folder)?;
    if let Dialect::TypeScript = dialect {
        let mut check = tools::npm(&folder, &["run", "--silent", "check"]);
        step::run("checking the types of the TypeScript guests", &mut check)?;
    }
    let mut test = tools::npm(&folder, &["test", "--silent"]);
    examples.pass_to(&mut test);
    step::run(&format!("testing the guests in {language}, natively"), &mut test)?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_shared_cases_have_their_guests() {
        let workspace = Workspace::find().expect("a checkout");
        let marks = [(Language::Python, "main.py"), (Language::Js, "main.js"), (Language::Ts, "main.ts")];
        for (language, mark) in marks {
            let guests = guest::find(&workspace.guests(language.name()), mark).expect("a folder");
            let names: Vec<&str> = guests.iter().map(|guest| &*guest.name).collect();
            assert_eq!(names, ["echo", "enrich", "fail", "github-events"], "{language:?}");
        }
    }
}
