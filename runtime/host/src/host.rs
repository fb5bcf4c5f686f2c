//! What all Channels share: the engine, the linker, the clock, the cache of compiled components, and the bound on instances.

use std::hash::{Hash as _, Hasher};
use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest as _, Sha256};
use tokio::sync::Semaphore;
use wasmtime::Engine;
use wasmtime::component::Linker;

use crate::Error;
use crate::clock::Clock;
use crate::component::{self, Cache, Component, LoadError};
use crate::config::Config;
use crate::engine;
use crate::roster::Roster;
use crate::world::World;

/// The sandbox. One for a process: its pool of memories reserves 16 GiB of address space an instance.
pub struct Host {
    compiler: Arc<Compiler>,
    compilations: Semaphore,
    max_component: saf_event::Size,
    clock: Clock,
    roster: Arc<Roster>,
}

/// What compiling needs, off the async threads.
struct Compiler {
    engine: Engine,
    linker: Linker<World>,
    cache: Cache,
}

impl Host {
    /// Makes the engine (which reserves its address space), starts the clock's thread and opens the cache.
    pub fn new(config: &Config) -> Result<Arc<Self>, Error> {
        let engine = engine::engine(config.max_instances.get())?;
        let linker = engine::linker(&engine)?;
        let cache = Cache::open(&config.cache, config.cache_max.0, compatibility(&engine))?;
        let clock = Clock::start().map_err(Error::Clock)?;
        Ok(Arc::new(Self {
            compiler: Arc::new(Compiler { engine, linker, cache }),
            compilations: Semaphore::new(config.compilations.get() as usize),
            max_component: config.max_component,
            clock,
            roster: Roster::new(config.max_instances.get()),
        }))
    }

    /// Loads a component from a file; compiles it unless the cache has it. Seconds for large languages, on a blocking thread.
    ///
    /// Dropping the future lets a compilation that has begun run to its end.
    pub async fn load(&self, path: &Path) -> Result<Component, LoadError> {
        let read = |error| LoadError::Read { path: path.into(), error };
        let (file, limit) = (path.to_owned(), self.max_component.0);
        let reading = tokio::task::spawn_blocking(move || {
            use std::io::Read as _;
            let file = std::fs::File::open(file)?;
            // One byte more than allowed, so that a file that grows is no way around the limit.
            let most = limit.saturating_add(1);
            // And one more than there is, which is how reading finds the end without growing what it read into.
            let size =
                usize::try_from(file.metadata()?.len().saturating_add(1).min(most)).unwrap_or_default();
            let mut bytes = Vec::with_capacity(size);
            file.take(most).read_to_end(&mut bytes)?;
            Ok(bytes)
        });
        let bytes = reading.await.map_err(|_| LoadError::Stopping)?.map_err(read)?;
        self.load_bytes(bytes.into()).await
    }

    /// Loads a component from memory; otherwise the same as [`Self::load`].
    pub async fn load_bytes(&self, bytes: Bytes) -> Result<Component, LoadError> {
        let size = bytes.len() as u64;
        if size > self.max_component.0 {
            return Err(LoadError::TooLarge { size, limit: self.max_component });
        }
        let _turn = self.compilations.acquire().await.map_err(|_| LoadError::Stopping)?;
        let compiler = Arc::clone(&self.compiler);
        tokio::task::spawn_blocking(move || {
            component::load(&bytes, &compiler.engine, &compiler.linker, &compiler.cache)
        })
        .await
        .map_err(|_| LoadError::Stopping)?
    }

    /// Drops instances that were idle for longer than their Channel allows. Call it about once a second.
    pub fn sweep(&self) {
        self.roster.sweep(self.clock.now());
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.compiler.engine
    }

    pub(crate) fn clock(&self) -> &Clock {
        &self.clock
    }

    pub(crate) fn roster(&self) -> &Arc<Roster> {
        &self.roster
    }
}

impl std::fmt::Debug for Host {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Host").field("max_component", &self.max_component).finish_non_exhaustive()
    }
}

/// The engine's compatibility hash as text that is the same in every process (the standard hasher promises no such thing).
fn compatibility(engine: &Engine) -> String {
    struct Stable(Sha256);
    impl Hasher for Stable {
        fn finish(&self) -> u64 {
            0 // Never asked for: the digest itself is taken.
        }
        fn write(&mut self, bytes: &[u8]) {
            self.0.update(bytes);
        }
    }
    const ENOUGH_BYTES: usize = 8;
    let mut hasher = Stable(Sha256::new());
    engine.precompile_compatibility_hash().hash(&mut hasher);
    component::hex(&hasher.0.finalize()[..ENOUGH_BYTES])
}
