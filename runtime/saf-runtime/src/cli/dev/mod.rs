//! `saf-runtime dev`: the router for an author. The same router, under the same limits, on a store that is gone afterwards; what builds
//! the Channels runs when their sources change, and every attempt is a line.
//!
//! ```text
//! workshop:  sources change -> build -> Fleet::reload -> a line
//! attempts:  Channel::observe                         -> a line each, counted when there are too many
//! prints:    the log's lines of guests                -> under the Channel's name, the same way
//! ```
//!
//! Deliberately absent: anything that production does not do to an event. Only the store, the ports and the log differ.

mod arrangement;
mod attempts;
mod lines;
mod prints;
mod screen;
mod workshop;

use std::path::PathBuf;

use super::ConfigFile;
use super::run::on_runtimes;
use crate::app::{Places, Role, Router, hangups};
use crate::config::{Channels, Config};
use crate::exit::Failure;
use crate::shutdown::Signals;
use crate::telemetry::{self, Instruments};

use arrangement::Arrangement;
use lines::Addresses;
use prints::Prints;
use screen::Screen;
use workshop::Workshop;

/// What goes wrong, and what guests print, is said in lines of our own; `RUST_LOG` shows more.
const LOG_LEVEL: &str = "error";

/// Run Channels while writing them: build on change, reload, and show every attempt.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime dev                 every Channel of router.toml
  saf-runtime dev hello           one
  saf-runtime dev --keep dev-data keep the events for the next time

Events are posted as to any router: saf-runtime send hello '{\"a\": 1}'. A Channel with a [channels.<name>.build] is built first and
whenever something under its build.watch (or its build.dir) changes; while a build fails, the last component that was built goes on.
The broker is always the embedded store; a port that is taken is exchanged for a free one. Times are UTC. Ctrl-C ends it.")]
pub(crate) struct Dev {
    /// The Channels; all when absent.
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Keep the store in this folder, and go on from what is there.
    #[arg(long, value_name = "FOLDER")]
    keep: Option<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
}

impl Dev {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let (arrangement, config) = Arrangement::new(self.file, &self.channels, self.keep)?;
        let log = telemetry::Config { level: LOG_LEVEL.to_owned(), ..config.log.clone() };
        let (prints, listener) = Prints::of();
        telemetry::start_logs_beside(&log, listener)
            .map_err(|error| Failure::Config(format!("{error:#}")))?;
        on_runtimes(async |places| Box::pin(live(&arrangement, config, prints, places)).await)
    }
}

/// Until Ctrl-C. The router begins without Channels: a component may have to be built first, and one that fails must not end it.
async fn live(
    arrangement: &Arrangement,
    config: Config,
    mut prints: Prints,
    places: Places,
) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::internal)?;
    let mut hangups = hangups().map_err(Failure::internal)?;
    let instruments = Instruments::start(&config).map_err(|error| Failure::Config(format!("{error:#}")))?;
    let empty = Config { channels: Channels::default(), ..config.clone() };
    let Some(router) = Router::open(empty, Role::All, places, &instruments, &mut signals).await? else {
        return Ok(());
    };
    let screen = Screen::new();
    let Some(ingest) = router.ingest() else {
        return Err(Failure::internal("a router with every role has no ingest listener"));
    };
    let addresses = Addresses { ingest, admin: router.admin() };
    screen.note("dev", &arrangement.describe(addresses))?;
    let serving = router.serve(signals, async |fleet| {
        tokio::select! {
            failure = Workshop::new(arrangement, &screen, addresses, config).work(fleet) => failure,
            failure = attempts::show(fleet, &mut prints, &screen) => failure,
            // The terminal is gone, and with it the author.
            _ = hangups.recv() => Failure::ReaderLeft,
        }
    });
    Box::pin(serving).await
}
