//! From the moment a request is sent to the moment its Channel's emission can be seen, at 1,000 events a second: on JetStream
//! by a consumer of the stream, on the embedded broker by `/api/v1/tap`. The rate does not give way when answers are slow.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_nats::jetstream::{self, consumer};
use futures::StreamExt;
use futures::future::join_all;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Builder;
use tokio::sync::{Mutex, mpsc};

use crate::bench::{Bench, Figure, Row, Unit};
use crate::drain::CONCURRENCY;
use crate::load::{Connection, quantile_millis};
use crate::payload::{self, SUBJECT, Size};
use crate::stage::{Broker, ChannelPlan, Code, Stage};

const RATE_PER_SECOND: u64 = 1_000;
/// Enough that one is idle whenever an event is due.
const CONNECTIONS: usize = 32;
/// Events that are due and wait for a connection; beyond it the run fails: the router does not keep the rate.
const DUE_EVENTS: usize = 4_096;
/// The first events warm instances and connections, and do not count.
const WARM_UP_EVENTS: u64 = 500;
const PATIENCE: Duration = Duration::from_secs(10);

pub(crate) fn rows() -> Vec<Row> {
    let row = |broker: Broker| {
        Row::new(
            format!("latency.{}.p99", broker.name()),
            format!("POST to emission seen, {RATE_PER_SECOND}/s, p99"),
            Unit::Millis,
            move |bench| latency(bench, broker),
        )
    };
    Broker::ALL.map(row).into()
}

fn latency(bench: &Bench, broker: Broker) -> anyhow::Result<Figure> {
    let stage = Stage::new(bench, broker)?;
    let plan = ChannelPlan {
        name: "echo".to_owned(),
        guest: "echo",
        subject: SUBJECT.to_owned(),
        concurrency: CONCURRENCY,
        code: Code::Wasm,
    };
    let router = stage.router(&[plan])?;
    let events = RATE_PER_SECOND * bench.scale.latency.as_secs_f64() as u64 + WARM_UP_EVENTS;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let seen = runtime.block_on(async {
        let began = Instant::now();
        let watcher = match broker {
            Broker::JetStream => {
                let url = stage.nats.as_ref().context("the stage has a nats-server")?.url.clone();
                Watcher::Consumer(Box::new(consume(&url).await?))
            }
            Broker::Embedded => Watcher::Tap(tap(router.admin()).await?),
        };
        let ((), seen) = tokio::try_join!(post(router.ingest, events, began), see(watcher, events, began))?;
        anyhow::Ok(seen)
    })?;
    router.stop()?;
    let quantile = |q| quantile_millis(&seen, q);
    let note =
        format!("p50 {:.2}, p99 {:.2}, p99.9 {:.2} ms", quantile(0.5), quantile(0.99), quantile(0.999));
    Ok(Figure::new(quantile(0.99)).note(note).beside("p50", Unit::Millis, quantile(0.5)))
}

/// Posts event after event when it is due, each with the moment at which it was.
async fn post(address: SocketAddr, events: u64, began: Instant) -> anyhow::Result<()> {
    let (due, waiting) = mpsc::channel(DUE_EVENTS);
    let waiting = Arc::new(Mutex::new(waiting));
    let connects = (0..CONNECTIONS).map(|_| Connection::open(address));
    let connections = join_all(connects).await.into_iter().collect::<anyhow::Result<Vec<_>>>()?;
    let clients = connections.into_iter().map(|connection| client(connection, waiting.clone(), began));
    let clock = async move {
        let mut tick = tokio::time::interval(Duration::from_millis(1));
        let first = Instant::now();
        for n in 0..events {
            while first.elapsed().as_micros() < u128::from(n * 1_000_000 / RATE_PER_SECOND) {
                tick.tick().await;
            }
            ensure!(due.try_send(n).is_ok(), "the router does not keep up with {RATE_PER_SECOND}/s");
        }
        drop(due);
        Ok(())
    };
    let (clients, clock) = tokio::join!(join_all(clients), clock);
    clock?;
    clients.into_iter().collect()
}

async fn client(
    mut connection: Connection,
    waiting: Arc<Mutex<mpsc::Receiver<u64>>>,
    began: Instant,
) -> anyhow::Result<()> {
    loop {
        let Some(n) = waiting.lock().await.recv().await else { return Ok(()) };
        // The moment is in the payload, which comes back whole wherever the emission turns up.
        let sent = began.elapsed().as_micros() as u64;
        let status = connection.ask(&payload::single(sent * 1_000_000 + n, SUBJECT, Size::Small)).await?;
        ensure!(status == 202, "a post was answered {status}");
    }
}

enum Watcher {
    Consumer(Box<consumer::pull::Stream>),
    Tap(BufReader<TcpStream>),
}

impl Watcher {
    /// The next thing that was stored, as text.
    async fn next(&mut self) -> anyhow::Result<String> {
        match self {
            Self::Consumer(events) => {
                let event = events.next().await.context("the consumer lives")??;
                Ok(String::from_utf8(event.payload.to_vec())?)
            }
            Self::Tap(lines) => {
                let mut line = String::new();
                let read = lines.read_line(&mut line).await?;
                ensure!(read > 0, "the tap was closed");
                Ok(line)
            }
        }
    }
}

/// Sorted microseconds of all events behind the warm-up.
async fn see(mut watcher: Watcher, events: u64, began: Instant) -> anyhow::Result<Vec<u32>> {
    let mut seen = BTreeMap::new();
    while (seen.len() as u64) < events {
        let next = tokio::time::timeout(PATIENCE, watcher.next()).await;
        let text = next.with_context(|| format!("{} of {events} emissions came", seen.len()))??;
        let now = began.elapsed().as_micros() as u64;
        if let Some((sent, n)) = stamp(&text) {
            seen.insert(n, now.saturating_sub(sent) as u32);
        }
    }
    let mut micros: Vec<_> =
        seen.into_iter().filter(|(n, _)| *n >= WARM_UP_EVENTS).map(|(_, took)| took).collect();
    micros.sort_unstable();
    Ok(micros)
}

/// When it was sent, in microseconds, and its number: out of the payload's id.
fn stamp(text: &str) -> Option<(u64, u64)> {
    let (_, rest) = text.split_once("\"ev-")?;
    let digits = &rest[..rest.find('"')?];
    let number: u64 = digits.parse().ok()?;
    Some((number / 1_000_000, number % 1_000_000))
}

/// A consumer of emissions from now on; it sees what is stored.
async fn consume(url: &str) -> anyhow::Result<consumer::pull::Stream> {
    let client = async_nats::connect(url).await?;
    let stream = jetstream::new(client).get_stream("events").await?;
    let config = consumer::pull::Config {
        filter_subject: format!("events.echo.{SUBJECT}"),
        ack_policy: consumer::AckPolicy::None,
        deliver_policy: consumer::DeliverPolicy::New,
        ..Default::default()
    };
    Ok(stream.create_consumer(config).await?.messages().await?)
}

/// Server-sent events of emissions.
async fn tap(admin: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.set_nodelay(true)?;
    let request =
        "GET /api/v1/tap?subject=echo.%3E HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream);
    let mut status = String::new();
    lines.read_line(&mut status).await?;
    ensure!(status.contains(" 200 "), "/api/v1/tap was answered {status:?}");
    Ok(lines)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_moment_and_the_number_are_found_in_what_was_sent() {
        let text = payload::json(1_234_567 * 1_000_000 + 42, Size::Small);
        assert_eq!(text.len(), Size::Small.bytes());
        assert_eq!(stamp(&format!("data: {{\"data\":{text}}}")), Some((1_234_567, 42)));
        assert_eq!(stamp(": heartbeat"), None);
    }
}
