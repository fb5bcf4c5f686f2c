//! `saf-runtime [run]`: the router itself.

use std::time::Duration;

use super::ConfigFile;
use crate::app::{Places, Router, follow, hangups};
use crate::config::Config;
use crate::exit::Failure;
use crate::runtimes::Runtimes;
use crate::shutdown::Signals;
use crate::telemetry;

/// What tasks that ignore the end of the router get before they are left behind.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

pub(crate) fn run(file: &ConfigFile) -> Result<(), Failure> {
    let config = file.load()?;
    telemetry::start_logs(&config.log).map_err(|error| Failure::Config(format!("{error:#}")))?;
    on_runtimes(async |places| Box::pin(route(file, config, places)).await)
}

/// Runs a router's life on the two runtimes, and ends them after it.
pub(super) fn on_runtimes(life: impl AsyncFnOnce(Places) -> Result<(), Failure>) -> Result<(), Failure> {
    let Runtimes { io, guest } = Runtimes::start().map_err(Failure::internal)?;
    let places = Places { io: io.handle().clone(), guests: guest.handle().clone() };
    let ended = io.block_on(life(places));
    guest.shutdown_timeout(RUNTIME_GRACE);
    io.shutdown_timeout(RUNTIME_GRACE);
    ended
}

async fn route(file: &ConfigFile, config: Config, places: Places) -> Result<(), Failure> {
    let mut signals = Signals::listen().map_err(Failure::internal)?;
    let hangups = hangups().map_err(Failure::internal)?;
    let instruments = telemetry::instruments().map_err(Failure::internal)?;
    let opened = Router::open(config.clone(), places, &instruments, &mut signals).await?;
    let Some(router) = opened else { return Ok(()) };
    router.announce();
    let read = || Config::load(file.path(), std::env::vars());
    router.serve(signals, async |fleet| follow(fleet, file.path(), &config, read, hangups).await).await
}
