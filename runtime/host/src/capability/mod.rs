//! What a guest can reach outside itself. One file a capability, each in the same order: bindings, owned context, what it adds
//! to the linker; `docs/capabilities.md` says the same to authors. The WASI 0.2 set over an empty context lies in [`crate::world`].

mod address;
pub(crate) mod config;
pub(crate) mod http;
pub(crate) mod keyvalue;
pub(crate) mod logging;
mod peer;
pub(crate) mod tcp;
