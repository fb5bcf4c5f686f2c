//! What a guest can reach outside itself. One file a capability, each in the same order: bindings, owned context, what it adds
//! to the linker. The WASI 0.2 set over an empty context lies in [`crate::world`].

pub(crate) mod http;
pub(crate) mod logging;
