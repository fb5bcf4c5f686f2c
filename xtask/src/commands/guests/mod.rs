//! `cargo xtask guests`: builds the guests and puts the components into `guests/dist/<language>/<name>.wasm`.
//!
//! A language is a file here, with the same two functions: `build` and `test`. Each finds its guests (folders, not a list of
//! them) and its tool chain: on the machine, or pinned and fetched into `target/tools`. What the machine itself must bring, such
//! as Go, is never installed: a language without it is skipped, and named with what would install it. Asked for by name, its
//! absence is an error.
//!
//! Deliberately absent: a build graph. A guest is built again when a file that goes into it changed, by content
//! ([`guest::Recipe`]); Rust leaves that to cargo.

mod c;
mod component;
mod foreign;
mod go;
mod guest;
mod js;
mod python;
mod rust;

use anyhow::bail;
use clap::ValueEnum;

use self::c::Dialect;
pub(crate) use self::rust::{RUST_TARGET, ensure_rust_target};
use crate::tools::WebhookExamples;
use crate::workspace::Workspace;

/// The languages that this checkout has guests in. A name is the folder's, in `guests/` and in `guests/dist/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Language {
    Rust,
    C,
    Cpp,
    Zig,
    Go,
    Python,
    Js,
    Ts,
}

/// What became of a language.
#[derive(Debug)]
#[must_use]
pub(crate) enum Outcome {
    /// Its guests are built, or tested.
    Done,
    /// The machine lacks what its tools stand on; how to get it, as a sentence.
    Missing(String),
}

/// What is done with each language.
#[derive(Clone, Copy)]
enum Work<'a> {
    Build,
    Test(&'a WebhookExamples),
}

impl Language {
    /// The folder's name.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Rust => "rust",
            Self::C => "c",
            Self::Cpp => "cpp",
            Self::Zig => "zig",
            Self::Go => "go",
            Self::Python => "python",
            Self::Js => "js",
            Self::Ts => "ts",
        }
    }

    fn perform(self, workspace: &Workspace, work: Work<'_>) -> anyhow::Result<Outcome> {
        match (self, work) {
            (Self::Rust, Work::Build) => rust::build(workspace),
            (Self::Rust, Work::Test(examples)) => rust::test(workspace, examples),
            (Self::C, Work::Build) => c::build(workspace, Dialect::C),
            (Self::C, Work::Test(examples)) => c::test(workspace, examples),
            (Self::Cpp, Work::Build) => c::build(workspace, Dialect::Cpp),
            (Self::Zig, Work::Build) => c::build(workspace, Dialect::Zig),
            // An example each, of what is tested in C.
            (Self::Cpp | Self::Zig, Work::Test(_)) => Ok(Outcome::Done),
            (Self::Go, Work::Build) => go::build(workspace),
            (Self::Go, Work::Test(examples)) => go::test(workspace, examples),
            (Self::Python, Work::Build) => python::build(workspace),
            (Self::Python, Work::Test(examples)) => python::test(workspace, examples),
            (Self::Js, Work::Build) => js::build(workspace, js::Dialect::JavaScript),
            (Self::Js, Work::Test(examples)) => js::test(workspace, js::Dialect::JavaScript, examples),
            (Self::Ts, Work::Build) => js::build(workspace, js::Dialect::TypeScript),
            (Self::Ts, Work::Test(examples)) => js::test(workspace, js::Dialect::TypeScript, examples),
        }
    }
}

/// Builds the guests of `languages`; of every language whose tools are there when it is empty.
pub(crate) fn build(workspace: &Workspace, languages: &[Language]) -> anyhow::Result<()> {
    each(workspace, languages, Work::Build)?;
    eprintln!("    components in {}", workspace.components().display());
    Ok(())
}

/// Runs the guests' own tests, natively, in every language whose tools are there.
pub(crate) fn test(workspace: &Workspace, examples: &WebhookExamples) -> anyhow::Result<()> {
    each(workspace, &[], Work::Test(examples))
}

fn each(workspace: &Workspace, languages: &[Language], work: Work<'_>) -> anyhow::Result<()> {
    let asked_for = !languages.is_empty();
    let languages = if asked_for { languages } else { Language::value_variants() };
    let mut skipped = Vec::new();
    for &language in languages {
        match language.perform(workspace, work)? {
            Outcome::Done => {}
            Outcome::Missing(what) if asked_for => bail!("no {} guests: {what}", language.name()),
            Outcome::Missing(what) => skipped.push((language, what)),
        }
    }
    // At the end, where they are seen.
    for (language, what) in skipped {
        eprintln!("==> SKIPPED: the guests in {}. {what}", language.name());
    }
    Ok(())
}
