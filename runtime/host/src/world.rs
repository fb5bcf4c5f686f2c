//! What an instance lives in: an empty WASI context, its console, and the meter that stops it.
//!
//! The context is empty (no environment, arguments or preopened folders; every address and name look-up is refused; stdin is at
//! its end), so that every language's runtime starts and none reaches anything. What a guest makes the host allocate is bounded
//! in number ([`MAX_RESOURCES`]) and size. What a Channel is granted
//! beside it is `capability`'s.

use std::sync::Arc;
use std::time::Duration;

use saf_event::Event;
use tokio::io::AsyncWrite;
use wasmtime::ResourceLimiter;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::sockets::WasiSocketsCtxView;
use wasmtime_wasi::{Deterministic, HostMonotonicClock, HostWallClock, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtxView, WasiHttpView};

use crate::adapter::messaging::Outbox;
use crate::capability::config::Table;
use crate::capability::http::Http;
use crate::capability::keyvalue::{self, KeyValue};
use crate::capability::tcp::{Sockets, Tcp};
use crate::clock::Clock;
use crate::config::Limits;
use crate::console::{Console, Stream};
use crate::kit::Kit;

/// Most handles (streams, pollables, fields, …) that an instance may hold in the host.
pub(crate) const MAX_RESOURCES: usize = 4096;
/// Most handles that an instance may hold of its own resources.
pub(crate) const MAX_COMPONENT_HANDLES: usize = 16 << 10;
/// Most elements of all tables of an instance together; Python, the largest, has about 6,000.
const MAX_TABLE_ELEMENTS: usize = 100_000;
/// Most bytes of one request for random bytes.
const MAX_RANDOM_BYTES: u64 = 64 << 10;
/// Most bytes that a guest may write to stdout or stderr at once.
const MAX_WRITE_BYTES: usize = 64 << 10;

/// Why the meter stopped a guest in a host call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Stop {
    #[error("the deadline has passed")]
    Deadline,
    #[error("too many host calls")]
    HostCalls,
    #[error("too many or too large emissions")]
    Output,
}

/// What is measured and bounded while a guest runs.
pub(crate) struct Meter {
    clock: Clock,
    deadline_millis: u64,
    host_calls: u64,
    max_host_calls: u64,
    memory_bytes: usize,
    max_memory_bytes: usize,
    table_elements: usize,
    refused: Option<Growth>,
}

/// A growth that a guest wanted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Growth {
    /// By so many bytes of linear memory.
    Memory(usize),
    /// By so many elements of a table.
    Table(usize),
    /// By more than the machine or the type has.
    Impossible,
}

impl Meter {
    fn new(clock: Clock, limits: &Limits) -> Self {
        Self {
            clock,
            deadline_millis: 0,
            host_calls: 0,
            max_host_calls: limits.host_calls,
            memory_bytes: 0,
            max_memory_bytes: limits.memory.bytes(),
            table_elements: 0,
            refused: None,
        }
    }

    /// Begins a call that must end at `deadline_millis` of the clock.
    pub(crate) fn begin(&mut self, deadline_millis: u64) {
        self.deadline_millis = deadline_millis;
        self.host_calls = 0;
        self.refused = None;
    }

    /// Counts a call out of the guest's code (wasmtime's hook also sees its own library calls); an error is raised in the guest as a trap.
    pub(crate) fn host_call(&mut self) -> Result<(), Stop> {
        self.host_calls += 1;
        if self.clock.now() >= self.deadline_millis {
            return Err(Stop::Deadline);
        }
        if self.host_calls > self.max_host_calls {
            return Err(Stop::HostCalls);
        }
        Ok(())
    }

    /// Calls into the host since the call began.
    pub(crate) fn host_calls(&self) -> u64 {
        self.host_calls
    }

    /// Linear memory of the instance; it never shrinks.
    pub(crate) fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }

    /// The last growth that was refused since the call began.
    pub(crate) fn refused(&self) -> Option<Growth> {
        self.refused
    }
}

/// What was granted is never taken back when the growth fails after all: wasmtime also reports failures that it did not ask about,
/// and a guest could make room for itself with those.
impl ResourceLimiter for Meter {
    fn memory_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false); // The guest's own limit, not ours.
        }
        if growth > self.max_memory_bytes.saturating_sub(self.memory_bytes) {
            self.refused = Some(Growth::Memory(growth));
            return Ok(false);
        }
        self.memory_bytes += growth;
        Ok(true)
    }

    fn memory_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(Growth::Impossible);
        Ok(())
    }

    fn table_growing(
        &mut self,
        current: usize,
        desired: usize,
        maximum: Option<usize>,
    ) -> wasmtime::Result<bool> {
        let growth = desired.saturating_sub(current);
        if maximum.is_some_and(|maximum| desired > maximum) {
            return Ok(false);
        }
        if growth > MAX_TABLE_ELEMENTS.saturating_sub(self.table_elements) {
            self.refused = Some(Growth::Table(growth));
            return Ok(false);
        }
        self.table_elements += growth;
        Ok(true)
    }

    fn table_grow_failed(&mut self, _: wasmtime::Error) -> wasmtime::Result<()> {
        self.refused = Some(Growth::Impossible);
        Ok(())
    }
}

/// Which clock and which randomness a guest sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Nature {
    /// The machine's.
    Real,
    /// The same in every run: the wall clock stands at the event's time, the monotonic clock moves a microsecond a reading,
    /// random bytes repeat.
    Fixed {
        /// Milliseconds since the Unix epoch.
        time: u64,
    },
}

impl Nature {
    /// What a repeated run of `event` needs.
    pub(crate) fn fixed_at(event: &Event) -> Self {
        Self::Fixed { time: event.time }
    }
}

/// The data of a store.
pub(crate) struct World {
    pub(crate) meter: Meter,
    pub(crate) console: Console,
    pub(crate) config: Table,
    pub(crate) outbox: Outbox,
    pub(crate) keyvalue: KeyValue,
    wasi: WasiCtx,
    http: Http,
    tcp: Tcp,
    table: ResourceTable,
}

impl World {
    pub(crate) fn new(clock: Clock, limits: &Limits, console: Console, nature: Nature, kit: &Kit) -> Self {
        let mut wasi = WasiCtx::builder();
        wasi.max_random_size(MAX_RANDOM_BYTES);
        let tcp = Tcp::new(Arc::clone(&kit.tcp), &mut wasi, console.clone());
        wasi.stdout(Output { console: console.clone(), stream: Stream::Stdout });
        wasi.stderr(Output { console: console.clone(), stream: Stream::Stderr });
        if let Nature::Fixed { time } = nature {
            let bytes: Vec<u8> = (0..=u8::MAX).map(|n| n.wrapping_mul(167).wrapping_add(13)).collect();
            wasi.secure_random(Deterministic::new(bytes.clone()));
            wasi.insecure_random(Deterministic::new(bytes));
            wasi.insecure_random_seed(u128::from(time));
            wasi.wall_clock(FixedClock(Duration::from_millis(time)));
            wasi.monotonic_clock(CountingClock(0.into()));
        }
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_RESOURCES);
        let http = Http::new(kit.http.clone(), limits, console.clone());
        let (meter, config, outbox) = (Meter::new(clock, limits), kit.config.clone(), Outbox::new(limits));
        let keyvalue = KeyValue::new(kit.state.clone(), limits);
        Self { meter, console, config, outbox, keyvalue, wasi: wasi.build(), http, tcp, table }
    }

    /// Ends an event: its log, and whatever it still had running.
    pub(crate) fn finish(&mut self) {
        self.http.end_event();
        self.tcp.end_event();
        self.keyvalue.end_event();
        self.console.finish();
    }
}

impl World {
    /// Name look-ups and new sockets, under the Channel's grants.
    pub(crate) fn sockets(&mut self) -> Sockets<'_> {
        let wasi = WasiSocketsCtxView { ctx: self.wasi.sockets(), table: &mut self.table };
        Sockets { tcp: &mut self.tcp, wasi }
    }

    /// The Channel's state, as the event sees it.
    pub(crate) fn keyvalue(&mut self) -> keyvalue::View<'_> {
        keyvalue::View { keyvalue: &mut self.keyvalue, table: &mut self.table }
    }
}

impl WasiView for World {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for World {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http.ctx, table: &mut self.table, hooks: &mut self.http.outgoing }
    }
}

struct FixedClock(Duration);

impl HostWallClock for FixedClock {
    fn resolution(&self) -> Duration {
        Duration::from_millis(1)
    }

    fn now(&self) -> Duration {
        self.0
    }
}

/// Moves, so that a guest that waits for time to pass does not spin for ever.
struct CountingClock(std::sync::atomic::AtomicU64);

const NANOS_A_READING: u64 = 1000;

impl HostMonotonicClock for CountingClock {
    fn resolution(&self) -> u64 {
        NANOS_A_READING
    }

    fn now(&self) -> u64 {
        self.0.fetch_add(NANOS_A_READING, std::sync::atomic::Ordering::Relaxed)
    }
}

/// Standard output or error of a guest. Always ready: a console takes or drops, it never waits.
#[derive(Clone)]
struct Output {
    console: Console,
    stream: Stream,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Output {
    async fn ready(&mut self) {}
}

impl OutputStream for Output {
    fn write(&mut self, bytes: bytes::Bytes) -> StreamResult<()> {
        self.console.write(self.stream, &bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_WRITE_BYTES)
    }
}

impl AsyncWrite for Output {
    fn poll_write(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
        bytes: &[u8],
    ) -> std::task::Poll<std::io::Result<usize>> {
        self.console.write(self.stream, bytes);
        std::task::Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn poll_shutdown(
        self: std::pin::Pin<&mut Self>,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<std::io::Result<()>> {
        std::task::Poll::Ready(Ok(()))
    }
}
