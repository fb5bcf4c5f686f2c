//! A component, from bytes to something that can be instantiated: digest, compiled (or from the cache), imports checked by name,
//! exports checked by type. Everything that can be wrong with a file is said here, at load, and not at the first event.

mod cache;
mod error;
mod imports;

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use wasmtime::Engine;
use wasmtime::component::{Component as Compiled, Linker};

use crate::bindings::ChannelPre;
use crate::world::World;

pub(crate) use cache::Cache;
pub use error::LoadError;
pub use imports::{Access, Import};

/// The interface that a Channel exports.
const HANDLER: &str = "saf:channel/handler@0.1.0";

/// A component that can be instantiated. Cheap to clone; the compiled code goes with the last clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    digest: String,
    bytes: usize,
    imports: Vec<Import>,
    origin: Origin,
    pre: ChannelPre<World>,
}

/// Where the compiled code came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Compiled now.
    Compiled,
    /// From the cache.
    Cached,
}

impl Component {
    /// The SHA-256 of the component's bytes, in hexadecimal.
    pub fn digest(&self) -> &str {
        &self.0.digest
    }

    /// The size of the component, in bytes of WebAssembly.
    pub fn size(&self) -> usize {
        self.0.bytes
    }

    /// What it imports, and what of that works.
    pub fn imports(&self) -> &[Import] {
        &self.0.imports
    }

    /// Whether it was compiled when it was loaded.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    pub(crate) fn pre(&self) -> &ChannelPre<World> {
        &self.0.pre
    }
}

impl fmt::Debug for Component {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Component")
            .field("digest", &self.0.digest)
            .field("bytes", &self.0.bytes)
            .finish_non_exhaustive()
    }
}

/// Makes a component of bytes. Blocks for as long as compiling takes; a panic of the compiler becomes an error.
pub(crate) fn load(
    bytes: &[u8],
    engine: &Engine,
    linker: &Linker<World>,
    cache: &Cache,
) -> Result<Component, LoadError> {
    look_at(bytes)?;
    // The engine is not left half changed: what a compilation allocates in it is its own.
    let loaded = catch_unwind(AssertUnwindSafe(|| load_component(bytes, engine, linker, cache)));
    loaded.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        let text = text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("no message");
        Err(LoadError::Panicked(text.to_owned()))
    })
}

fn load_component(
    bytes: &[u8],
    engine: &Engine,
    linker: &Linker<World>,
    cache: &Cache,
) -> Result<Component, LoadError> {
    let digest = hex(&Sha256::digest(bytes));
    let (compiled, origin) = match from_cache(&digest, engine, cache) {
        Some(compiled) => (compiled, Origin::Cached),
        None => (compile(bytes, &digest, engine, cache)?, Origin::Compiled),
    };
    let imports = imports::check(&compiled, engine).map_err(LoadError::Imports)?;
    check_world(&compiled, engine)?;
    let pre = linker.instantiate_pre(&compiled).map_err(|error| LoadError::Link(format!("{error:#}")))?;
    let pre = ChannelPre::new(pre).map_err(|error| LoadError::World(format!("{error:#}")))?;
    Ok(Component(Arc::new(Inner { digest, bytes: bytes.len(), imports, origin, pre })))
}

/// What a file is by its first bytes: the usual mistakes have better answers than a parser's.
fn look_at(bytes: &[u8]) -> Result<(), LoadError> {
    const MODULE: &[u8] = b"\0asm\x01\0\0\0";
    const COMPONENT: &[u8] = b"\0asm\x0d\0\x01\0";
    const ELF: &[u8] = b"\x7fELF";
    match bytes {
        b if b.starts_with(COMPONENT) => Ok(()),
        b if b.starts_with(MODULE) => Err(LoadError::CoreModule),
        b if b.starts_with(ELF) => Err(LoadError::Precompiled),
        _ => Err(LoadError::NotWebAssembly),
    }
}

fn from_cache(digest: &str, engine: &Engine, cache: &Cache) -> Option<Compiled> {
    let artefact = cache.read(digest)?;
    #[allow(unsafe_code)]
    // SAFETY: wasmtime trusts an artefact as it trusts its own code. `Cache::read` returns only what `Cache::write` wrote, whole by
    // its SHA-256, from a folder that only this user may write to; `Cache::write` is given only what `Engine` compiled, under a
    // name that holds this engine's compatibility hash, which wasmtime checks once more.
    let component = unsafe { Compiled::deserialize(engine, artefact) };
    component
        .inspect_err(|error| tracing::warn!(digest, "a compiled component does not load: {error:#}"))
        .ok()
}

fn compile(bytes: &[u8], digest: &str, engine: &Engine, cache: &Cache) -> Result<Compiled, LoadError> {
    let compiled =
        Compiled::from_binary(engine, bytes).map_err(|error| LoadError::Invalid(format!("{error:#}")))?;
    let stored = match compiled.serialize() {
        Ok(artefact) => cache.write(digest, &artefact).map_err(|error| error.to_string()),
        Err(error) => Err(format!("{error:#}")),
    };
    if let Err(error) = stored {
        tracing::warn!(
            digest,
            "a compiled component is not cached, the next start compiles it again: {error}"
        );
    }
    Ok(compiled)
}

fn check_world(compiled: &Compiled, engine: &Engine) -> Result<(), LoadError> {
    if compiled.get_export_index(None, HANDLER).is_some() {
        return Ok(());
    }
    let component_type = compiled.component_type();
    let exports: Vec<&str> = component_type.exports(engine).map(|(name, _)| name).collect();
    if let Some(other) = exports.iter().find(|name| name.starts_with("saf:channel/handler")) {
        return Err(LoadError::OtherVersion { exported: (*other).to_owned(), wanted: HANDLER });
    }
    let exports = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
    Err(LoadError::World(format!("it exports {exports}")))
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n & 15)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
}
