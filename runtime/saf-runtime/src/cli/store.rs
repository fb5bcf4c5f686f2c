//! `saf-runtime store`: the files of an embedded store that no router has open. Reading is free; cutting loses what somebody was
//! told is stored, so it is asked for by name and keeps what it takes away.

use std::path::{Path, PathBuf};

use saf_broker::embedded::{Finding, Part, Report, check, cut};

use super::table::Out;
use crate::exit::Failure;

/// Each cut can bring another damaged place to light; a store that needs more is better restored from a copy.
const MAX_CUTS: usize = 64;

/// Look after the files of an embedded store.
#[derive(Debug, clap::Args)]
pub(crate) struct Store {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// Read every byte of a store and say what is damaged; no router may have it open.
    Check(Check),
}

#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime store check                    is the store in ./data well?
  cp -a data data.copy                       before a cut: keep what there is
  saf-runtime store check --cut              give up what lies behind the damaged places

A torn end of a file, as a power failure leaves it, is no damage: nobody was told that it is stored, and the router removes it
by itself. Exit codes: 0 nothing is damaged, 1 something is, 78 there is no store, or a router has it open.")]
struct Check {
    /// The store's folder: `broker.path` of the configuration.
    #[arg(long, value_name = "FOLDER", default_value = "data")]
    path: PathBuf,
    /// Give up what lies behind each damaged place, so that the store opens again. What is taken away stays beside the files,
    /// as .cut; sequences behind the place are given out again.
    #[arg(long)]
    cut: bool,
}

impl Store {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let Action::Check(Check { path, cut }) = self.action;
        if cut { cut_all(&path) } else { look(&path) }
    }
}

fn look(path: &Path) -> Result<(), Failure> {
    let report = check(path)?;
    show(&report)?;
    match report.findings.len() {
        0 => Ok(()),
        n => Err(Failure::Check(format!(
            "{n} damaged: keep a copy of {}, then give up what lies behind with --cut",
            path.display()
        ))),
    }
}

/// Cuts, and looks again, until nothing is found.
fn cut_all(path: &Path) -> Result<(), Failure> {
    let mut out = Out::new();
    for _ in 0..MAX_CUTS {
        let report = check(path)?;
        let Some(finding) = report.findings.first() else {
            return show(&report);
        };
        out.line(&describe(finding))?;
        for kept in cut(path, finding)?.kept {
            out.line(&format!("  kept: {}", kept.display()))?;
        }
        out.flush()?;
    }
    Err(Failure::Check(format!(
        "still damaged after {MAX_CUTS} cuts: restore {} from a copy",
        path.display()
    )))
}

fn show(report: &Report) -> Result<(), Failure> {
    let mut out = Out::new();
    for stream in &report.streams {
        out.line(&format!(
            "stream {}: {} events, {} records of dead letters, {} keys of state",
            stream.name, stream.events, stream.dead_records, stream.keys
        ))?;
    }
    if report.streams.is_empty() && report.findings.is_empty() {
        out.line("no streams yet")?;
    }
    for finding in &report.findings {
        out.line(&describe(finding))?;
    }
    if report.findings.is_empty() {
        out.line("nothing is damaged")?;
    }
    out.flush()
}

fn describe(finding: &Finding) -> String {
    let cost = match finding.part {
        Part::Events => format!("a cut gives up {} events", finding.lost),
        Part::Dead => format!("a cut gives up {} records of dead letters", finding.lost),
        Part::State => "a cut forgets what Channels have handled since: they are handed those events again, and may emit \
                        twice"
            .to_owned(),
        Part::Values => "a cut forgets what Channels have written to their state since: keys come back as they were before, or not \
                         at all"
            .to_owned(),
    };
    format!("stream {}: {}; {cost}", finding.stream, finding.damage)
}
