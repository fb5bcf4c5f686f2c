//! What the sandbox's tests share: a host in a folder of its own, events, guests, and components made to measure.
//!
//! Real guests come from `guests/dist` (`cargo xtask guests`). The others are written as core modules in text and wrapped into
//! components here, so that a test can hold exactly the import or the state that it is about.

#![allow(unreachable_pub, reason = "a module of a test binary has no outside")]
#![allow(dead_code, reason = "every test binary uses a part of it")]
#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]

pub mod server;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use saf_event::{ChannelName, Event, EventId, Headers, Size, Span, Subject};
use saf_host::{Call, Component, Config, Grants, Host, Limits, Pool, Recycle, Setup, StartError};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// Generous: says that something does not hang, not how fast it is.
pub const NOT_HUNG: Duration = Duration::from_mins(1);

/// A host whose cache lies in a folder that goes with it.
pub struct Sandbox {
    pub host: Arc<Host>,
    pub folder: tempfile::TempDir,
}

pub fn sandbox() -> Sandbox {
    sandbox_with(|_| {})
}

pub fn sandbox_with(change: impl FnOnce(&mut Config)) -> Sandbox {
    let folder = tempfile::tempdir().expect("a folder");
    let mut config = Config {
        cache: folder.path().join("cache"),
        max_instances: 16.try_into().expect("not 0"),
        ..Config::default()
    };
    change(&mut config);
    Sandbox { host: Host::new(&config).expect("a host"), folder }
}

impl Sandbox {
    pub async fn guest(&self, name: &str) -> Component {
        self.host.load(&guest_path(name)).await.expect("loads")
    }

    pub async fn component(&self, module: &str) -> Component {
        self.host.load_bytes(channel(module).into()).await.expect("loads")
    }

    pub fn pool(&self, component: &Component, change: impl FnOnce(&mut Setup)) -> Pool {
        let mut setup = Setup {
            channel: ChannelName::parse("test").expect("a name"),
            limits: Limits { timeout: Span(Duration::from_secs(10)), ..Limits::default() },
            instances: Recycle::default(),
            grants: Grants::default(),
            config_json: "{}".into(),
            answers_to: None,
            state: None,
        };
        change(&mut setup);
        Pool::new(&self.host, component.clone(), setup)
    }
}

/// One event through a pool, which must not hang.
pub async fn call(pool: &Pool, data: &str) -> Call {
    let called = async { pool.acquire().await.expect("starts").call(&event(data), 1).await.0 };
    tokio::time::timeout(NOT_HUNG, called).await.expect("does not hang")
}

/// Why a pool has no instance.
pub async fn start_error(pool: &Pool) -> StartError {
    let acquired = tokio::time::timeout(NOT_HUNG, pool.acquire()).await.expect("does not hang");
    acquired.map(|_| ()).expect_err("does not start")
}

pub fn event(data: &str) -> Event {
    let mut headers = Headers::new();
    headers.push("x-source", "orders").expect("a header");
    Event {
        sequence: 7,
        id: EventId::parse("id-1").expect("an id"),
        subject: Subject::parse("ride.accepted").expect("a subject"),
        time: 1_796_000_000_000,
        content_type: Some("text/plain".into()),
        headers,
        data: data.to_owned().into(),
        lineage: None,
    }
}

pub fn guest_path(name: &str) -> PathBuf {
    let folder = std::env::var_os("SAF_GUESTS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../guests/dist")),
        PathBuf::from,
    );
    let path = folder.join("rust").join(name).with_extension("wasm");
    assert!(path.exists(), "{} is missing: run cargo xtask guests", path.display());
    path
}

pub const MIB: Size = Size::mib(1);

/// A Channel around a core module in text. It has the exports `memory`, `init` and `handle` as `MODULE` shows, and what it imports
/// must be in `extra_wit`.
pub fn channel(module: &str) -> Vec<u8> {
    component(module, "package test:made; world made { include saf:channel/channel@0.1.0; }")
}

/// A component of the world `made` that `wit` defines.
pub fn component(module: &str, wit: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/channel.wit");
    resolve.push_path(contract).expect("the contract");
    for package in INTERFACES {
        resolve.push_str("interfaces.wit", package).expect("valid WIT");
    }
    let package = resolve.push_str("made.wit", wit).expect("valid WIT");
    let world = resolve.select_world(&[package], Some("made")).expect("the world `made`");
    let mut module = wat::parse_str(module).expect("valid text");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embeds");
    let encoder = ComponentEncoder::default().module(&module).expect("a module of that world");
    encoder.validate(true).encode().expect("encodes")
}

/// Parts of interfaces that made components import.
const INTERFACES: [&str; 7] = [
    "package wasi:cli@0.2.0; interface environment {
        get-environment: func() -> list<tuple<string, string>>;
        get-arguments: func() -> list<string>;
     }",
    "package wasi:io@0.2.0; interface poll { resource pollable { block: func(); } }",
    "package wasi:logging@0.1.0-draft; interface logging {
        enum level { trace, debug, info, warn, error, critical }
        log: func(level: level, context: string, message: string);
     }",
    "package wasi:clocks@0.2.0; interface monotonic-clock {
        use wasi:io/poll@0.2.0.{pollable};
        now: func() -> u64;
        subscribe-duration: func(nanos: u64) -> pollable;
     }
     interface wall-clock { record datetime { seconds: u64, nanoseconds: u32 } now: func() -> datetime; }",
    "package wasi:random@0.2.0; interface random { get-random-u64: func() -> u64; }",
    "package wasi:keyvalue@0.2.0-draft; interface store { open: func(identifier: string) -> bool; }",
    "package acme:things@1.0.0; interface thing { do-it: func(); } interface kinds { enum kind { a, b } }",
];

/// A Channel that answers `reject` with a reason of `$length` letters, which `handle` computes; the host cuts at 4096.
pub fn counting(imports: &str, globals: &str, handle: &str) -> String {
    format!(
        r#"(module
            {imports}
            (memory (export "memory") 2)
            (global $length (mut i32) (i32.const 0))
            (global $end (mut i32) (i32.const 70000))
            {globals}
            (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
                (local $at i32)
                (local.set $at (i32.and (i32.add (global.get $end) (i32.const 15)) (i32.const -16)))
                (global.set $end (i32.add (local.get $at) (local.get 3)))
                (local.get $at))
            (func (export "saf:channel/handler@0.1.0#init") (param i32 i32) (result i32) (i32.const 0))
            (func (export "saf:channel/handler@0.1.0#handle")
                (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i32)
                (global.set $end (i32.const 70000))
                {handle}
                (i32.store8 (i32.const 64) (i32.const 1))
                (i32.store8 (i32.const 68) (i32.const 1))
                (i32.store (i32.const 72) (i32.const 1024))
                (i32.store (i32.const 76) (global.get $length))
                (memory.fill (i32.const 1024) (i32.const 120) (global.get $length))
                (i32.const 64)))"#
    )
}

/// Counts its own calls in the length of its reason.
pub fn stateful() -> String {
    counting("", "", "(global.set $length (i32.add (global.get $length) (i32.const 1)))")
}

/// The number that a [`counting`] Channel answered.
pub fn count(call: &Call) -> usize {
    match &call.verdict {
        saf_host::Verdict::Reject { reason } => reason.len(),
        other => panic!("not a count: {other:?}"),
    }
}
