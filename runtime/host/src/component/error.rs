//! Why a component was refused, in words for the author of the Channel: what is wrong, and what to do.

use std::io;
use std::path::PathBuf;

use saf_event::Size;

/// Why a component was refused.
#[derive(Debug, thiserror::Error)]
pub enum LoadError {
    /// The file cannot be read.
    #[error("{} cannot be read: {error}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// Larger than `host.max_component`.
    #[error(
        "the component has {size} bytes, host.max_component allows {limit}: raise it, or strip the component"
    )]
    TooLarge {
        /// Its size, in bytes.
        size: u64,
        /// The limit.
        limit: Size,
    },
    /// Not by its first bytes.
    #[error(
        "this is no WebAssembly component: give the .wasm file that the build made for wasm32-wasip2 (or its like)"
    )]
    NotWebAssembly,
    /// A module of the core format.
    #[error(
        "this is a core WebAssembly module, not a component: build it for wasm32-wasip2, or turn it into a component with \
         `wasm-tools component new`"
    )]
    CoreModule,
    /// An ELF file: what wasmtime compiles to, or a program.
    #[error(
        "this is compiled machine code, which is never run from a file: give the .wasm component that it was made from"
    )]
    Precompiled,
    /// The validator's or the compiler's words.
    #[error("the component is invalid, or uses a feature that is turned off: {0}")]
    Invalid(String),
    /// Imports that nothing grants.
    #[error(
        "the component imports {}, which nothing grants. A Channel may import wasi:io, wasi:clocks, wasi:random and wasi:cli 0.2, \
         wasi:logging 0.1.0-draft and wasi:config 0.2.0-rc.1; wasi:http 0.2 works with grants.http, wasi:sockets \
         0.2 over TCP with grants.tcp, wasi:keyvalue 0.2.0-draft2 with grants.keyvalue; wasi:filesystem 0.2 is there and empty. Build it without {}",
        .0.join(", "),
        if .0.len() == 1 { "that import" } else { "those imports" }
    )]
    Imports(Vec<String>),
    /// Imports that its Channel is not granted.
    #[error("the component imports {}, which its Channel is not granted: write {line} into its section, or build it without", imports.join(", "))]
    Ungranted {
        /// Their names.
        imports: Vec<String>,
        /// The line that would grant them.
        line: &'static str,
    },
    /// Linking failed for another reason, such as a function that the host's version of an interface does not have.
    #[error(
        "the component cannot be linked: {0}. Build it against the WASI 0.2 interfaces that this runtime has"
    )]
    Link(String),
    /// It is not a Channel.
    #[error(
        "the component is no Channel: it must export saf:channel/handler@0.1.0 (world saf:channel/channel), or for other hosts' \
         components wasmcloud:messaging/handler@0.2 or wasi:http/incoming-handler@0.2, but {0}"
    )]
    World(String),
    /// It is a Channel of another contract.
    #[error(
        "the component exports {exported}, this runtime speaks {wanted}: build it against that version of the contract"
    )]
    OtherVersion {
        /// What it exports.
        exported: String,
        /// What it should.
        wanted: &'static str,
    },
    /// The compiler has a bug; the host is unharmed.
    #[error(
        "the compiler panicked on the component ({0}); nothing else is affected. Please report it with the component"
    )]
    Panicked(String),
    /// WASI 0.3, or what is built on it.
    #[error(
        "the component needs {}, which is WASI 0.3 or built on it, and this runtime has no engine for that yet: build it for WASI 0.2 \
         (wasm32-wasip2; wasi:http/incoming-handler@0.2, wasmcloud:messaging@0.2.0)",
        .0.join(", ")
    )]
    Newer(Vec<String>),
    /// The runtime is shutting down.
    #[error("the component was not loaded: the runtime is stopping")]
    Stopping,
}
