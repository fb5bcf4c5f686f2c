//! The sandbox for the commands that work on files: one host and one thread, no broker and no port.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use saf_host::{Case, CaseReport, Component, Config, Host, LoadError};
use tokio::runtime::Runtime;

use crate::exit::Failure;

/// One case runs at a time; a few more let an instance be torn down while the next starts.
const MAX_INSTANCES: std::num::NonZeroU32 =
    std::num::NonZeroU32::new(4).expect("a constant that the compiler checks: not zero");

/// A host, and what drives it.
pub(crate) struct Sandbox {
    host: Arc<Host>,
    runtime: Runtime,
}

impl Sandbox {
    /// With the router's own cache of compiled components, but room for few instances.
    pub(crate) fn new(config: &Config) -> Result<Self, Failure> {
        let config = Config { max_instances: MAX_INSTANCES.min(config.max_instances), ..config.clone() };
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Failure::internal)?;
        let host = Host::new(&config).map_err(|error| Failure::Config(error.to_string()))?;
        Ok(Self { host, runtime })
    }

    /// For a component that no configuration names: compiled code is kept with the user's other caches.
    pub(crate) fn without_configuration() -> Result<Self, Failure> {
        Self::new(&Config { cache: user_cache(), ..Config::default() })
    }

    /// Compiles a component, unless the cache has it.
    pub(crate) fn load(&self, path: &Path) -> Result<Component, LoadError> {
        self.runtime.block_on(self.host.load(path))
    }

    /// Runs one case; at most as long as its limits allow.
    pub(crate) fn run(&self, component: &Component, case: &Case) -> CaseReport {
        self.runtime.block_on(saf_host::run_case(&self.host, component, case))
    }
}

fn user_cache() -> PathBuf {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let base = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
    // Whoever has no home shares no folder with others either.
    let base = base
        .unwrap_or_else(|| std::env::temp_dir().join(format!("saf-{}", rustix::process::getuid().as_raw())));
    base.join("saf/components")
}
