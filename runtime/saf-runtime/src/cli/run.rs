//! `saf-runtime [run]`: the router itself.

use std::time::Duration;

use super::ConfigFile;
use crate::app::{Places, run as route};
use crate::exit::Failure;
use crate::runtimes::Runtimes;
use crate::telemetry;

/// What tasks that ignore the end of the router get before they are left behind.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

pub(crate) fn run(file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    telemetry::start_logs(&config.log).map_err(|error| Failure::Config(format!("{error:#}")))?;
    let instruments = telemetry::instruments().map_err(Failure::internal)?;
    let Runtimes { io, guest } = Runtimes::start().map_err(Failure::internal)?;
    let places = Places { io: io.handle().clone(), guests: guest.handle().clone() };
    let ended = io.block_on(route(config, places, instruments));
    guest.shutdown_timeout(RUNTIME_GRACE);
    io.shutdown_timeout(RUNTIME_GRACE);
    ended
}
