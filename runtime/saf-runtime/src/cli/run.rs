//! `saf-runtime [run]`: the router itself.

use std::time::Duration;

use super::ConfigFile;
use crate::app::{Places, Role, Router, follow, hangups};
use crate::config::Config;
use crate::exit::Failure;
use crate::runtimes::Runtimes;
use crate::shutdown::Signals;
use crate::telemetry::{self, Instruments};

/// What tasks that ignore the end of the router get before they are left behind.
const RUNTIME_GRACE: Duration = Duration::from_secs(1);

#[derive(Debug, clap::Args)]
pub(crate) struct Run {
    #[command(flatten)]
    file: ConfigFile,
    /// Which part of the work this process does; other than all on JetStream only.
    #[arg(long, value_enum, env = "SAF_ROLE", default_value_t = Role::All)]
    role: Role,
}

impl Run {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let config = self.file.load()?;
        self.role.check(&config)?;
        telemetry::start_logs(&config.log).map_err(|error| Failure::Config(format!("{error:#}")))?;
        on_runtimes(async |places| Box::pin(self.route(config, places)).await)
    }

    async fn route(&self, config: Config, places: Places) -> Result<(), Failure> {
        let signals = Signals::listen().map_err(Failure::internal)?;
        let instruments =
            Instruments::start(&config).map_err(|error| Failure::Config(format!("{error:#}")))?;
        let config = self.role.part_of(config);
        let ended = Box::pin(self.serve(&config, places, &instruments, signals)).await;
        instruments.stop();
        ended
    }

    async fn serve(
        &self,
        config: &Config,
        places: Places,
        instruments: &Instruments,
        mut signals: Signals,
    ) -> Result<(), Failure> {
        let hangups = hangups().map_err(Failure::internal)?;
        let opened = Router::open(config.clone(), self.role, places, instruments, &mut signals).await?;
        let Some(router) = opened else { return Ok(()) };
        router.announce();
        let path = self.file.path();
        let read = || Config::load(path, std::env::vars()).map(|config| self.role.part_of(config));
        router.serve(signals, async |fleet| follow(fleet, path, config, read, hangups).await).await
    }
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
