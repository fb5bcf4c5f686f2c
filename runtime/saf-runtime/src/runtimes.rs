//! Two tokio runtimes, so that guests never hold up the network: `io` answers sockets, `guest` runs WebAssembly, with more
//! threads than cores at a lower priority, so that the kernel takes turns between Channels (`docs/architecture.md`).

use tokio::runtime::{Builder, Runtime};

/// A plain Channel keeps one io thread busy at 150,000 events a second; a second one gained nothing on two cores.
const IO_THREADS: usize = 1;
const GUEST_THREADS_PER_CORE: usize = 2;
/// Work comes to the guests from outside, through the global queue. Tokio looks there once in 61 polls of busy tasks, and a poll of
/// a guest that spins in one instruction takes milliseconds: look each time.
const GLOBAL_QUEUE_INTERVAL_POLLS: u32 = 1;
/// The same for the timers that stop guests.
const EVENT_INTERVAL_POLLS: u32 = 8;
/// Guests give way to everything else.
const GUEST_NICENESS: i32 = 10;

pub(crate) struct Runtimes {
    pub(crate) io: Runtime,
    pub(crate) guest: Runtime,
}

impl Runtimes {
    pub(crate) fn start() -> std::io::Result<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let io = Builder::new_multi_thread()
            .worker_threads(IO_THREADS)
            .thread_name("saf-io")
            .enable_all()
            .build()?;
        let guest = Builder::new_multi_thread()
            .worker_threads(cores * GUEST_THREADS_PER_CORE)
            .thread_name("saf-guest")
            .on_thread_start(lower_priority)
            .global_queue_interval(GLOBAL_QUEUE_INTERVAL_POLLS)
            .event_interval(EVENT_INTERVAL_POLLS)
            .enable_all()
            .build()?;
        Ok(Self { io, guest })
    }
}

/// On Linux this is the calling thread's own. Refused in some containers: then guests compete as equals.
pub(crate) fn lower_priority() {
    if let Err(error) = rustix::process::setpriority_process(None, GUEST_NICENESS) {
        tracing::debug!(%error, "a thread keeps its priority");
    }
}
