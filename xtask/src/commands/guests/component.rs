//! Makes a component of a core module, for languages whose tools end there: the contract is embedded, and the module's imports
//! of WASI 0.1 are bound to 0.2 by wasmtime's adapter. What `wasm-tools component embed` and `new` do, as the library they are
//! made of, so that there is one tool less to install.

use anyhow::Context;
use wasi_preview1_component_adapter_provider::WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER;
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};
use wit_parser::Resolve;

use crate::workspace::Workspace;

const WORLD: &str = "channel";

/// `module` exports what the canonical ABI asks of the world `channel`, imports at most WASI 0.1, and is a reactor.
pub(super) fn from_core(workspace: &Workspace, mut module: Vec<u8>) -> anyhow::Result<Vec<u8>> {
    let mut resolve = Resolve::default();
    let package = resolve.push_file(workspace.contract())?;
    let world = resolve.select_world(&[package], Some(WORLD))?;
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8)?;
    ComponentEncoder::default()
        .validate(true)
        .module(&module)?
        .adapter("wasi_snapshot_preview1", WASI_SNAPSHOT_PREVIEW1_REACTOR_ADAPTER)?
        .encode()
        .context("the core module does not export the world `channel`, or imports more than WASI 0.1")
}
