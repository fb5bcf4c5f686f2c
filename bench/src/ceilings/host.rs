//! The bare sandbox: the same guest under the same limits on the same threads as in the router, fed from memory.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures::future::join_all;
use saf_event::{ByteString, ChannelName, Event, EventId, Headers, Subject};
use saf_host::{Config, Grants, Host, Lease, Limits, Pool, Recycle, Setup, Verdict};
use tokio::runtime::{Builder, Runtime};

use crate::bench::{Bench, Figure};
use crate::payload::{self, SUBJECT, Size};
use crate::process;

/// The router's (`runtimes.rs` in saf-runtime).
const GUEST_THREADS_PER_CORE: usize = 2;
const GUEST_NICENESS: i32 = 10;
/// Deliveries that the router hands a worker at once: an instance is leased for as many.
const HOP_EVENTS: usize = 64;

/// Events a second.
pub(crate) fn calls(bench: &Bench, guest: &str, size: Size, concurrency: usize) -> anyhow::Result<Figure> {
    let guests = guest_runtime()?;
    let pool = Arc::new(guests.block_on(pool(bench, guest))?);
    let events: Arc<Vec<Event>> =
        Arc::new((0..payload::VARIETY).map(|n| event(n, size)).collect::<Result<_, _>>()?);
    let time = bench.scale.load;
    let began = Instant::now();
    let workers: Vec<_> =
        (0..concurrency).map(|_| guests.spawn(work(pool.clone(), events.clone(), time))).collect();
    let mut total = 0;
    for count in guests.block_on(join_all(workers)) {
        total += count.context("a worker panicked")??;
    }
    Ok(Figure::new(total as f64 / began.elapsed().as_secs_f64()))
}

/// Resident memory of an instance that has handled every event once, in MiB: what several more take, shared. Pages of code and of
/// a memory's first image that nobody wrote to are in it when this process has touched them.
pub(crate) fn instance_mib(bench: &Bench, guest: &str, events: &[(String, Bytes)]) -> anyhow::Result<f64> {
    const MORE: usize = 8;
    let guests = guest_runtime()?;
    let events: Vec<_> =
        events.iter().map(|(subject, data)| of(subject, data.clone())).collect::<Result<_, _>>()?;
    guests.block_on(async {
        let pool = pool(bench, guest).await?;
        // The first one's are shared: the code, and what is made once.
        let first = used(&pool, &events).await?;
        let before = process::rss_mib(std::process::id());
        let mut kept = vec![first];
        for _ in 0..MORE {
            kept.push(used(&pool, &events).await?);
        }
        Ok((process::rss_mib(std::process::id()) - before) / MORE as f64)
    })
}

/// A new instance, if all others are held, that has handled all events.
async fn used(pool: &Pool, events: &[Event]) -> anyhow::Result<Lease> {
    let mut lease = pool.acquire().await?;
    for event in events {
        let (call, kept) = lease.call(event, 1).await;
        anyhow::ensure!(matches!(call.verdict, Verdict::Done(_)), "the guest does not like the payload");
        lease = match kept {
            Some(lease) => lease,
            None => pool.acquire().await?,
        };
    }
    Ok(lease)
}

fn guest_runtime() -> anyhow::Result<Runtime> {
    let cores = std::thread::available_parallelism()?.get();
    let runtime = Builder::new_multi_thread()
        .worker_threads(cores * GUEST_THREADS_PER_CORE)
        .on_thread_start(|| {
            // Refused in some containers; then the router's guests keep their priority too.
            let _ = rustix::process::setpriority_process(None, GUEST_NICENESS);
        })
        .enable_all()
        .build()?;
    Ok(runtime)
}

async fn pool(bench: &Bench, guest: &str) -> anyhow::Result<Pool> {
    let host = Host::new(&Config { cache: bench.programs.cache().to_path_buf(), ..Config::default() })?;
    let component = host.load(&bench.programs.guest(guest)).await?;
    let setup = Setup {
        channel: ChannelName::parse("bench")?,
        limits: Limits::default(),
        instances: Recycle::default(),
        grants: Grants::default(),
        config_json: "{}".to_owned(),
        answers_to: None,
        state: None,
    };
    Ok(Pool::new(&host, component, setup))
}

fn event(n: u64, size: Size) -> anyhow::Result<Event> {
    let event = of(SUBJECT, payload::json(n, size).into())?;
    Ok(Event { sequence: n + 1, ..event })
}

/// An event as the router reads it back after a post.
fn of(subject: &str, data: Bytes) -> anyhow::Result<Event> {
    let mut headers = Headers::new();
    headers.push("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")?;
    Ok(Event {
        sequence: 1,
        id: EventId::generate(),
        subject: Subject::parse(subject)?,
        time: 1_796_000_000_000,
        content_type: Some(ByteString::from_static("application/json")),
        headers,
        data,
        lineage: None,
    })
}

async fn work(pool: Arc<Pool>, events: Arc<Vec<Event>>, time: Duration) -> anyhow::Result<u64> {
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time {
        let mut lease = None;
        for event in events.iter().cycle().skip(count as usize % events.len()).take(HOP_EVENTS) {
            let instance = match lease.take() {
                Some(instance) => instance,
                None => pool.acquire().await?,
            };
            let (call, kept) = instance.call(event, 1).await;
            lease = kept;
            anyhow::ensure!(matches!(call.verdict, Verdict::Done(_)), "the guest does not like the payload");
            count += 1;
        }
    }
    Ok(count)
}
