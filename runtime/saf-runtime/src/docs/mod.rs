//! The reference pages, made from the code that they describe: `docs/cli.md` from clap, `docs/configuration.md` and
//! `config/router.schema.json` from the types of the configuration. Tests only: a page that is not current fails one, and
//! `SAF_BLESS=1` writes it anew. `figures` holds the figures that people plan with to what was measured last, `links` the links of
//! every page to what they lead to, `commands` every command that a page names to what this program takes,
//! `alerts` the rules to the pages that say what to do.

mod alerts;
mod cli;
mod commands;
mod configuration;
mod contract;
mod deployed;
mod figures;
mod links;
mod metrics;
mod snippets;

use std::path::Path;

const HOW: &str = "SAF_BLESS=1 cargo test -p saf-runtime --bin saf-runtime docs";

/// What stands on top of a page.
fn made_from(what: &str) -> String {
    format!("<!-- Made from {what} by: {HOW} -->\n\n")
}

/// Checks that a page in the repository says what the code says; with `SAF_BLESS` set it is written instead.
fn current(page: &str, text: &str) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
    if std::env::var_os("SAF_BLESS").is_some() {
        std::fs::write(&path, text).expect("writable");
        return;
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    let mut lines = found.lines().zip(text.lines()).enumerate();
    let difference = lines.find(|(_, (found, made))| found != made);
    assert!(
        found == text,
        "{page} is not what the code says; first difference: {difference:?}. Write it anew: {HOW}"
    );
}

/// Text for a cell of a Markdown table.
fn cell(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|")
}
