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

use crate::adapter::{self, Contract, Pre};
use crate::config::Grants;
use crate::world::World;

pub(crate) use cache::Cache;
pub use error::LoadError;
pub use imports::{Access, Import};

/// A component that can be instantiated. Cheap to clone; the compiled code goes with the last clone.
#[derive(Clone)]
pub struct Component(Arc<Inner>);

struct Inner {
    digest: String,
    bytes: usize,
    imports: Vec<Import>,
    origin: Origin,
    ignored: Vec<String>,
    pre: Pre,
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

    /// What it imports, and what of that works without any grant.
    pub fn imports(&self) -> &[Import] {
        &self.0.imports
    }

    /// What it imports, and what of that works in a Channel with these grants.
    pub fn imports_under(&self, grants: &Grants) -> Vec<Import> {
        imports::under(&self.0.imports, grants)
    }

    /// What it imports and may not have in a Channel with these grants; a Channel does not run with it.
    pub fn check_grants(&self, grants: &Grants) -> Result<(), LoadError> {
        let refused = |import: &Import| import.access == Access::Refused;
        let mut refused = self.imports_under(grants).into_iter().filter(refused).peekable();
        let Some(line) = refused.peek().and_then(Import::would_grant) else { return Ok(()) };
        Err(LoadError::Ungranted { imports: refused.map(|import| import.name).collect(), line })
    }

    /// What it is called by.
    pub fn contract(&self) -> Contract {
        self.0.pre.contract()
    }

    /// What it exports beside its contract; nobody calls it.
    pub fn ignored_exports(&self) -> &[String] {
        &self.0.ignored
    }

    /// Whether it was compiled when it was loaded.
    pub fn origin(&self) -> Origin {
        self.0.origin
    }

    pub(crate) fn pre(&self) -> &Pre {
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
    let (contract, ignored) = Contract::of(&compiled, engine)?;
    let imports = imports::check(&compiled, engine, contract)?;
    let pre = linker.instantiate_pre(&compiled).map_err(|error| LoadError::Link(format!("{error:#}")))?;
    let pre = Pre::new(contract, pre).map_err(|error| LoadError::World(format!("{error:#}")))?;
    if ignored.iter().any(|name| adapter::is_newer(name)) {
        tracing::info!(digest, contract = %contract, ignored = ignored.join(", "), "a component of several contracts");
    }
    Ok(Component(Arc::new(Inner { digest, bytes: bytes.len(), imports, origin, ignored, pre })))
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
    let artefact = cache.find(digest)?;
    #[allow(unsafe_code)]
    // SAFETY: wasmtime trusts an artefact as it trusts its own code, and maps the file. `Cache::find` names only what `Cache::write`
    // wrote, whole by its checksum, in a folder that only this user may write to, and that is replaced or removed as a whole but
    // never changed; `Cache::write` is given only what `Engine` compiled, under a name that holds this engine's compatibility
    // hash, which wasmtime checks once more.
    let component = unsafe { Compiled::deserialize_file(engine, artefact) };
    component
        .inspect_err(|error| tracing::warn!(digest, "a compiled component does not load: {error:#}"))
        .ok()
}

fn compile(bytes: &[u8], digest: &str, engine: &Engine, cache: &Cache) -> Result<Compiled, LoadError> {
    let compiled = Compiled::from_binary(engine, bytes).map_err(|error| match newer_names(bytes) {
        names if names.is_empty() => LoadError::Invalid(format!("{error:#}")),
        names => LoadError::Newer(names),
    })?;
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

/// The interfaces of WASI 0.3 that stand in bytes which do not compile, a few of them: their types are not to be had, their names are.
fn newer_names(bytes: &[u8]) -> Vec<String> {
    const MAX_NAMES: usize = 5;
    let named = |b: &u8| b.is_ascii_alphanumeric() || b":/@.-".contains(b);
    let mut names: Vec<String> = Vec::new();
    for run in bytes.split(|b| !named(b)) {
        let Ok(name) = str::from_utf8(run) else { continue };
        if adapter::is_newer(name) && name.contains('/') && !names.iter().any(|known| known == name) {
            names.push(name.to_owned());
        }
        if names.len() == MAX_NAMES {
            break;
        }
    }
    names
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digit = |n: u8| char::from(DIGITS[usize::from(n & 15)]);
    bytes.iter().flat_map(|b| [digit(b >> 4), digit(*b)]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_newer_interfaces_are_found_once_each_in_what_does_not_compile() {
        let bytes = b"\0asm\x0d\0\x01\0\x1awasi:http/handler@0.3.0\0\xffwasi:http/handler@0.3.0\x05wasi:io/poll@0.2.0\0wasi:@0.3.";
        assert_eq!(newer_names(bytes), ["wasi:http/handler@0.3.0"]);
        assert_eq!(newer_names(b""), Vec::<String>::new());
    }
}
