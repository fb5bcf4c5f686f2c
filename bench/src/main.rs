//! What saf costs against what the machine, the disk and the broker can do. `cargo xtask bench` builds the guests and the
//! router for release, runs this, and leaves one table in `bench/RESULTS.md`.
//!
//! The router is measured as it is shipped: a child process with a configuration file, driven over HTTP. The ceilings live in
//! this process. Everything shares one machine, the load generator too, so a figure says something only beside another of the
//! same run: shapes take turns round by round, a ratio is made within a round, and the table shows medians.
//!
//! Deliberately absent: comparison with an earlier run (machines change their speed between minutes), warm-up heuristics, and
//! statistics beyond the median and the spread.

mod bench;
mod ceilings;
mod drain;
mod frames;
mod ingest;
mod language;
mod latency;
mod load;
mod machine;
mod nats;
mod operate;
mod payload;
mod process;
mod ratio;
mod report;
mod router;
mod scale;
mod stage;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;

use crate::bench::{Bench, Programs, Results, Row, Scale};

/// Measures saf beside what bounds it, in one run on one machine.
#[derive(Parser)]
#[command(name = "cargo xtask bench")]
struct Arguments {
    /// One round, 20,000 events a drain, half a second a load: to see that everything runs
    #[arg(long)]
    quick: bool,
    /// Rounds; each runs every chosen row once
    #[arg(long, value_name = "N")]
    rounds: Option<usize>,
    /// Only rows whose name contains this, such as drain.jetstream.echo; may be repeated
    #[arg(long = "row", value_name = "NAME")]
    rows: Vec<String>,
    /// Also the rows native.*: the same work by Rust functions in a router built for it, which takes minutes more
    #[arg(long)]
    native: bool,
    /// Print the rows' names and what each measures, and run nothing
    #[arg(long)]
    list: bool,
    /// Hold an exclusive lock on this file during each round: on a machine that others use, they can wait for it (`flock FILE command`)
    #[arg(long, value_name = "FILE")]
    lock: Option<PathBuf>,
    /// Where the table goes; bench/RESULTS.md after a full run, nowhere after --quick or --row
    #[arg(long, value_name = "FILE")]
    output: Option<PathBuf>,
}

fn main() -> ExitCode {
    match perform(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        // Not as `Result` from main: with RUST_BACKTRACE set, a stack of ours would bury what to do.
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn perform(arguments: &Arguments) -> anyhow::Result<()> {
    let rows: Vec<Row> = all_rows()
        .into_iter()
        .filter(|row| row.is_chosen(&arguments.rows))
        .filter(|row| arguments.native || !row.is_native())
        .collect();
    anyhow::ensure!(!rows.is_empty(), "no row is named like that: --list shows them all");
    if arguments.list {
        for row in &rows {
            println!("{:44} {}", row.name, row.what);
        }
        return Ok(());
    }
    let scale = if arguments.quick { Scale::QUICK } else { Scale::FULL };
    let scale = Scale { rounds: arguments.rounds.unwrap_or(scale.rounds).max(1), ..scale };
    let whole = arguments.rows.is_empty() && !arguments.quick;
    let default = || whole.then(|| PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/RESULTS.md")));
    let output = arguments.output.clone().or_else(default);
    let machine = machine::Machine::look()?;
    let bench = Bench { programs: Programs::find()?, scale };
    let mut results = Results::default();
    for round in 1..=scale.rounds {
        let _alone = arguments.lock.as_deref().map(lock).transpose()?;
        for row in &rows {
            let figure = (row.run)(&bench);
            report::progress(round, scale.rounds, row, &figure);
            results.record(row, figure);
        }
        results.end_round();
        // After each round: a run that is ended early has a table of what it did.
        let table = report::table(&machine, &scale, &results, &ratio::all(&results));
        if let Some(path) = &output {
            std::fs::write(path, &table).with_context(|| format!("cannot write {}", path.display()))?;
        }
        if round == scale.rounds {
            println!("\n{table}");
        }
    }
    if let Some(path) = output {
        eprintln!("written to {}", path.display());
    }
    Ok(())
}

/// The lock ends with the file.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::options().create(true).append(true).open(path);
    let file = file.with_context(|| format!("cannot open {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// In the order in which a round runs them: what is compared stands close together.
fn all_rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for size in payload::Size::ALL {
        rows.extend(ingest::rows(size));
        rows.extend(drain::rows(size));
    }
    rows.extend(latency::rows());
    rows.extend(scale::rows());
    rows.extend(language::rows());
    rows.extend(operate::rows());
    rows
}
