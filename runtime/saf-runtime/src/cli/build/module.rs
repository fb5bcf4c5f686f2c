//! From a core module to a component: for tool chains that end at the module, such as Go's and C's. What `wasm-tools component embed`
//! and `component new` do, as the library they are made of, with the contract and wasmtime's adapter from this binary: one tool less
//! to install, and no version of the contract to mix up.

use wasi_preview1_component_adapter_provider::{
    WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER,
};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

/// The contract, as `wit/channel.wit` has it.
pub(crate) const CONTRACT: &str = include_str!("../../../../../wit/channel.wit");
const WORLD: &str = "channel";

/// The component of a module that exports what the canonical ABI asks of the contract's world, and imports at most WASI 0.1.
pub(crate) fn component(module: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut module = module.to_vec();
    let mut resolve = Resolve::default();
    let package = resolve.push_str("channel.wit", CONTRACT)?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter(WASI_SNAPSHOT_PREVIEW1_ADAPTER_NAME, WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_that_is_none_is_refused_with_a_reason() {
        let error = component(b"nonsense").expect_err("no module");
        assert!(!format!("{error:#}").is_empty());
        // A module without the exports of the world.
        assert!(component(b"\0asm\x01\0\0\0").is_err());
    }
}
