//! What a language costs: the same two Channels in each, on the embedded broker. `enrich` parses a JSON object and adds a field;
//! `github-events` summarises GitHub's own example payloads. Three things are measured of each: a drain; the first event after a
//! restart, with what was compiled before; and events one at a time, from the post to the settled attempt.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use bytes::Bytes;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::runtime::Builder;

use crate::bench::{Bench, Figure, Row, Unit};
use crate::ceilings;
use crate::drain::{CONCURRENCY, watch};
use crate::load::{Connection, Load, Until, quantile_millis};
use crate::payload::{self, SUBJECT, Size};
use crate::router::Router;
use crate::stage::{Broker, ChannelPlan, Code, Stage};

/// A folder of `guests/dist` each.
pub(crate) const LANGUAGES: [&str; 6] = ["rust", "c", "go", "python", "js", "ts"];

/// How often `/metrics` is looked at.
const LOOK: Duration = Duration::from_millis(5);
/// Of a drain's events, for `enrich`: a dear language takes a hundred times what the cheapest does.
const EVENTS_SHARE: u64 = 4;
/// Every example is drained so often.
const EXAMPLES_TIMES: u64 = 20;
/// Connections that fill the stream.
const FILL_CONNECTIONS: usize = 16;
/// Events that are handed over one by one.
const SINGLES: usize = 1_000;
/// The first of them warm the instance, and are in no quantile.
const WARM_UP: usize = 100;
const PATIENCE: Duration = Duration::from_secs(30);

/// One of the Channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Enrich,
    GithubEvents,
}

impl Work {
    pub(crate) const ALL: [Self; 2] = [Self::Enrich, Self::GithubEvents];

    /// The guest's, and in rows' names.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Enrich => "enrich",
            Self::GithubEvents => "github-events",
        }
    }

    fn subject(self) -> &'static str {
        match self {
            Self::Enrich => SUBJECT,
            Self::GithubEvents => "github.*",
        }
    }

    /// A post for each of its events.
    fn requests(self) -> anyhow::Result<Vec<Bytes>> {
        match self {
            Self::Enrich => {
                Ok((0..payload::VARIETY).map(|n| payload::single(n, SUBJECT, Size::Large)).collect())
            }
            Self::GithubEvents => examples(),
        }
    }

    fn events(self, bench: &Bench, requests: usize) -> u64 {
        match self {
            Self::Enrich => bench.scale.events / EVENTS_SHARE,
            Self::GithubEvents => requests as u64 * EXAMPLES_TIMES,
        }
    }
}

/// GitHub's examples, as GitHub posts them.
fn examples() -> anyhow::Result<Vec<Bytes>> {
    #[derive(serde::Deserialize)]
    struct Examples<'a> {
        name: &'a str,
        #[serde(borrow)]
        examples: Vec<&'a RawValue>,
    }
    const MISSING: &str = "SAF_WEBHOOK_EXAMPLES is not set: run `cargo xtask bench`, with npm installed";
    let text = std::fs::read_to_string(std::env::var_os("SAF_WEBHOOK_EXAMPLES").context(MISSING)?)?;
    let events: Vec<Examples<'_>> = serde_json::from_str(&text).context("a list of events")?;
    let post = |name: &str, body: &str| {
        let head = format!(
            "POST /api/event/github.{name} HTTP/1.1\r\nHost: bench\r\nContent-Type: application/json\r\n"
        );
        Bytes::from(format!("{head}X-GitHub-Event: {name}\r\nContent-Length: {}\r\n\r\n{body}", body.len()))
    };
    let posts =
        events.iter().flat_map(|event| event.examples.iter().map(|body| post(event.name, body.get())));
    Ok(posts.collect())
}

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for work in Work::ALL {
        for language in LANGUAGES {
            rows.push(Row::new(
                name(language, work),
                format!("stream through one Channel in {language}, {}", work.name()),
                Unit::EventsPerSecond,
                move |bench| measure(bench, language, work),
            ));
        }
    }
    rows
}

pub(crate) fn name(language: &str, work: Work) -> String {
    format!("language.{language}.{}", work.name())
}

fn measure(bench: &Bench, language: &'static str, work: Work) -> anyhow::Result<Figure> {
    let guest = format!("{language}/{}", work.name());
    let component = bench.programs.guest(&guest);
    let size = std::fs::metadata(&component)
        .with_context(|| format!("{}: cargo xtask guests --language {language}", component.display()))?
        .len();
    let requests = work.requests()?;
    let instance = ceilings::host::instance_mib(bench, &guest, &requests_data(&requests)?)?;

    let stage = Stage::new(bench, Broker::Embedded)?;
    let events = work.events(bench, requests.len());
    fill(&stage, &requests, events)?;
    let plan = || ChannelPlan {
        name: "channel".to_owned(),
        guest: &guest,
        subject: work.subject().to_owned(),
        concurrency: CONCURRENCY,
        code: Code::Wasm,
    };
    let router = stage.router(&[plan()])?;
    let rate = watch(&router, events, LOOK)?;
    router.stop()?;

    // With a store of its own: what a start reads of a full one is another row's.
    let stage = Stage::new(bench, Broker::Embedded)?;
    stage.router(&[plan()])?.stop()?;
    let router = stage.router(&[plan()])?;
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let singles = runtime.block_on(singles(&router, &requests))?;
    router.stop()?;
    let Singles { cold, micros, fuel } = singles;
    let mean = fuel.iter().sum::<u64>() as f64 / fuel.len().max(1) as f64;
    let most = fuel.iter().max().copied().unwrap_or_default() as f64;
    let note = format!(
        "one at a time: p50 {:.2} ms; the largest event {}",
        quantile_millis(&micros, 0.5),
        Unit::Fuel.show(most)
    );
    Ok(Figure::new(rate)
        .note(note)
        .beside("p99", Unit::Millis, quantile_millis(&micros, 0.99))
        .beside("fuel", Unit::Fuel, mean)
        .beside("instance", Unit::MebiBytes, instance)
        .beside("size", Unit::KiloBytes, size as f64 / 1e3)
        .beside("cold", Unit::Millis, cold.as_secs_f64() * 1e3))
}

/// What is behind each request's head.
fn requests_data(requests: &[Bytes]) -> anyhow::Result<Vec<(String, Bytes)>> {
    let parts = |request: &Bytes| {
        let text = std::str::from_utf8(request)?;
        let (head, body) = text.split_once("\r\n\r\n").context("a head")?;
        let path = head.split(' ').nth(1).context("a path")?;
        if let Some(subject) = path.strip_prefix("/api/event/") {
            return Ok((subject.to_owned(), Bytes::copy_from_slice(body.as_bytes())));
        }
        let envelope: BTreeMap<String, Box<RawValue>> = serde_json::from_str(body)?;
        let data = envelope.get("data").context("an envelope has data")?;
        Ok((SUBJECT.to_owned(), Bytes::copy_from_slice(data.get().as_bytes())))
    };
    requests.iter().map(parts).collect()
}

fn fill(stage: &Stage<'_>, requests: &[Bytes], events: u64) -> anyhow::Result<()> {
    let router = stage.router(&[])?;
    let load = Load {
        address: router.ingest,
        requests,
        connections: FILL_CONNECTIONS,
        until: Until::Requests(events),
    };
    let loaded = load.run()?;
    ensure!(loaded.accepted == events, "filling the stream: {}", loaded.problem());
    router.stop()
}

/// Events that were handed over one at a time.
struct Singles {
    /// From the start of the process to the first one's settled attempt.
    cold: Duration,
    /// From the post to the settled attempt, sorted, without the first ones.
    micros: Vec<u32>,
    /// Of every attempt.
    fuel: Vec<u64>,
}

/// The router has just been started.
async fn singles(router: &Router, requests: &[Bytes]) -> anyhow::Result<Singles> {
    let mut attempts = attempts(router.admin()).await?;
    let mut posts = Connection::open(router.ingest).await?;
    let (mut cold, mut micros, mut fuel) = (Duration::ZERO, Vec::new(), Vec::new());
    for (n, request) in requests.iter().cycle().take(SINGLES).enumerate() {
        let sent = Instant::now();
        let status = posts.ask(request).await?;
        ensure!(status == 202, "a post was answered {status}");
        let attempt =
            tokio::time::timeout(PATIENCE, next(&mut attempts)).await.context("no attempt is seen")??;
        ensure!(attempt["outcome"] == "done", "the guest does not like the payload: {attempt}");
        if n == 0 {
            cold = router.began.elapsed();
        }
        if n >= WARM_UP {
            micros.push(sent.elapsed().as_micros() as u32);
        }
        fuel.push(attempt["fuel"].as_u64().context("an attempt has fuel")?);
    }
    micros.sort_unstable();
    Ok(Singles { cold, micros, fuel })
}

/// Server-sent events of attempts.
async fn attempts(admin: SocketAddr) -> anyhow::Result<BufReader<TcpStream>> {
    let mut stream = TcpStream::connect(admin).await?;
    stream.set_nodelay(true)?;
    let request = "GET /api/v1/attempts HTTP/1.1\r\nHost: localhost\r\nAccept: text/event-stream\r\n\r\n";
    stream.write_all(request.as_bytes()).await?;
    let mut lines = BufReader::new(stream);
    let mut status = String::new();
    lines.read_line(&mut status).await?;
    ensure!(status.contains(" 200 "), "/api/v1/attempts was answered {status:?}");
    Ok(lines)
}

async fn next(attempts: &mut BufReader<TcpStream>) -> anyhow::Result<Value> {
    loop {
        let mut line = String::new();
        ensure!(attempts.read_line(&mut line).await? > 0, "the attempts were closed");
        if let Some(attempt) = line.strip_prefix("data: ") {
            return Ok(serde_json::from_str(attempt)?);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_is_handed_what_was_posted() {
        let example = Bytes::from_static(b"POST /api/event/github.push HTTP/1.1\r\nHost: a\r\n\r\n{\"a\":1}");
        let parts = requests_data(&[payload::single(3, SUBJECT, Size::Large), example]).expect("requests");
        assert_eq!(parts[0], (SUBJECT.to_owned(), Bytes::from(payload::json(3, Size::Large))));
        assert_eq!(parts[1], ("github.push".to_owned(), Bytes::from_static(b"{\"a\":1}")));
    }
}
