//! One engine for all Channels: Cranelift, pooling allocator, copy-on-write images, fuel, no concurrency support (it costs 0.7 us a
//! call and WASI 0.2 needs none), and the linker with everything that is linked for everybody.
//!
//! WASI 0.3 components need an engine of another configuration; its place is here, beside this one. Until then they are refused by
//! name ([`crate::LoadError::Newer`]).

use wasmtime::component::Linker;
use wasmtime::{Enabled, Engine, PoolingAllocationConfig, WasmBacktraceDetails};

use crate::Error;
use crate::adapter::messaging;
use crate::capability::{config, keyvalue, logging, tcp};
use crate::world::World;

/// Of a component slot, so that the largest guests fit (Python: 14 core modules) while all slots are taken.
const CORE_INSTANCES_A_SLOT: u32 = 16;
const TABLES_A_SLOT: u32 = 8;
const MEMORIES_A_SLOT: u32 = 4;
/// What one component may have of the above; more than any guest measured, so that one cannot take all.
const MAX_CORE_INSTANCES: u32 = 128;
const MAX_TABLES: u32 = 64;
const MAX_MEMORIES: u32 = 16;
/// A memory may become as large as its type allows: `limits.memory` bounds it, and address space is reserved anyway.
const MAX_MEMORY_BYTES: usize = 4 << 30;
/// What of a slot stays mapped when its instance goes: a fresh instance then costs 8 us instead of page faults.
const MEMORY_KEEP_RESIDENT_BYTES: usize = 1 << 20;
const TABLE_KEEP_RESIDENT_BYTES: usize = 64 << 10;

/// An engine with room for `max_instances` components.
pub(crate) fn engine(max_instances: u32) -> Result<Engine, Error> {
    let mut config = wasmtime::Config::new();
    config
        .consume_fuel(true)
        .concurrency_support(false)
        .wasm_backtrace_details(WasmBacktraceDetails::Enable)
        // Multi-memory stays on: wasmtime 48 panics without it on components that hold components.
        .wasm_tail_call(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false)
        .wasm_wide_arithmetic(false)
        .wasm_gc(false);
    config.allocation_strategy(pool(max_instances));
    Engine::new(&config).map_err(|error| Error::Engine(format!("{error:#}")))
}

fn pool(slots: u32) -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    pool.total_component_instances(slots)
        .total_core_instances(slots.saturating_mul(CORE_INSTANCES_A_SLOT).max(MAX_CORE_INSTANCES))
        .total_tables(slots.saturating_mul(TABLES_A_SLOT).max(MAX_TABLES))
        .total_memories(slots.saturating_mul(MEMORIES_A_SLOT).max(MAX_MEMORIES))
        .total_stacks(slots)
        .max_core_instances_per_component(MAX_CORE_INSTANCES)
        .max_tables_per_component(MAX_TABLES)
        .max_memories_per_component(MAX_MEMORIES)
        .max_memory_size(MAX_MEMORY_BYTES)
        .linear_memory_keep_resident(MEMORY_KEEP_RESIDENT_BYTES)
        .table_keep_resident(TABLE_KEEP_RESIDENT_BYTES)
        .pagemap_scan(Enabled::Auto);
    pool
}

/// What every component is linked against; `component/imports.rs` says the same in names.
pub(crate) fn linker(engine: &Engine) -> Result<Linker<World>, Error> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)
        .and_then(|()| wasmtime_wasi_http::p2::add_only_http_to_linker_async(&mut linker))
        .and_then(|()| logging::add_to_linker(&mut linker, |world: &mut World| &mut world.console))
        .and_then(|()| config::add_to_linker(&mut linker, |world: &mut World| &mut world.config))
        .and_then(|()| tcp::add_to_linker(&mut linker, World::sockets))
        .and_then(|()| keyvalue::add_to_linker(&mut linker, World::keyvalue))
        .and_then(|()| messaging::add_to_linker(&mut linker, |world: &mut World| &mut world.outbox))
        .map_err(|error| Error::Engine(format!("{error:#}")))?;
    Ok(linker)
}
