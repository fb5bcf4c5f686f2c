//! The HTTP load generator: keep-alive connections on one thread, requests encoded before, none pipelined: a connection sends
//! its next request when it has read the answer to the last one. It reads just enough of HTTP to do so: a status, a length, a
//! body. It shares the machine's cores with what it measures; so does every ceiling's.

use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use bytes::Bytes;
use futures::future::join_all;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// Largest answer: a batch of 1000 receipts is a tenth of it.
const ANSWER_BYTES: usize = 4 << 20;
/// A load that takes this much longer than it was to take has hung.
const PATIENCE: Duration = Duration::from_mins(1);

/// When a load is over.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Until {
    Elapsed(Duration),
    Requests(u64),
}

/// A load to be.
pub(crate) struct Load<'a> {
    pub(crate) address: SocketAddr,
    /// Take turns.
    pub(crate) requests: &'a [Bytes],
    pub(crate) connections: usize,
    pub(crate) until: Until,
}

/// What came of it.
pub(crate) struct Loaded {
    /// Answers 202.
    pub(crate) accepted: u64,
    /// Other answers.
    refused: u64,
    first_refusal: Option<String>,
    /// From the first request to the last answer.
    pub(crate) took: Duration,
    /// Every answer's, in microseconds, sorted.
    micros: Vec<u32>,
}

impl Loaded {
    /// A quantile of the time to an answer, in milliseconds.
    pub(crate) fn millis(&self, quantile: f64) -> f64 {
        quantile_millis(&self.micros, quantile)
    }

    /// What went wrong, in words.
    pub(crate) fn problem(&self) -> String {
        let first = self.first_refusal.as_deref().unwrap_or("none was refused");
        format!("{} accepted, {} refused, the first: {first}", self.accepted, self.refused)
    }

    pub(crate) fn is_clean(&self) -> bool {
        self.refused == 0 && self.accepted > 0
    }
}

/// A quantile of sorted microseconds, in milliseconds.
pub(crate) fn quantile_millis(sorted: &[u32], quantile: f64) -> f64 {
    let place = ((sorted.len() as f64 * quantile) as usize).min(sorted.len().saturating_sub(1));
    sorted.get(place).map_or(0.0, |micros| f64::from(*micros) / 1e3)
}

/// What connections share; one thread, but the compiler cannot know.
struct Shared<'a> {
    load: &'a Load<'a>,
    sent: AtomicU64,
    began: Instant,
    total: Mutex<Loaded>,
}

impl Load<'_> {
    /// Runs it on this thread.
    pub(crate) fn run(&self) -> anyhow::Result<Loaded> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let longest = match self.until {
            Until::Elapsed(time) => time + PATIENCE,
            Until::Requests(_) => PATIENCE,
        };
        runtime
            .block_on(async { tokio::time::timeout(longest, self.drive()).await.context("the load hangs")? })
    }

    async fn drive(&self) -> anyhow::Result<Loaded> {
        let connects = (0..self.connections).map(|_| Connection::open(self.address));
        let connections = join_all(connects).await.into_iter().collect::<Result<Vec<_>, _>>()?;
        let total =
            Loaded { accepted: 0, refused: 0, first_refusal: None, took: Duration::ZERO, micros: Vec::new() };
        let (began, sent) = (Instant::now(), AtomicU64::new(0));
        let shared = Shared { load: self, sent, began, total: Mutex::new(total) };
        let all = connections.into_iter().map(|connection| shared.client(connection));
        join_all(all).await.into_iter().collect::<anyhow::Result<()>>()?;
        let mut total = shared.total.into_inner().context("no client panicked")?;
        total.took = began.elapsed();
        total.micros.sort_unstable();
        Ok(total)
    }
}

impl Shared<'_> {
    /// The number of the next request, while there is one.
    fn next(&self) -> Option<u64> {
        let next = self.sent.fetch_add(1, Ordering::Relaxed);
        match self.load.until {
            Until::Requests(count) => (next < count).then_some(next),
            Until::Elapsed(time) => (self.began.elapsed() < time).then_some(next),
        }
    }

    async fn client(&self, mut connection: Connection) -> anyhow::Result<()> {
        let (mut accepted, mut refused, mut first_refusal, mut micros) = (0, 0, None, Vec::new());
        while let Some(n) = self.next() {
            let sent = Instant::now();
            let request = &self.load.requests[n as usize % self.load.requests.len()];
            let status = connection.ask(request).await?;
            micros.push(sent.elapsed().as_micros() as u32);
            if status == 202 {
                accepted += 1;
            } else {
                refused += 1;
                first_refusal.get_or_insert_with(|| connection.answer());
            }
        }
        let mut total = self.total.lock().map_err(|_| anyhow::anyhow!("another client panicked"))?;
        total.accepted += accepted;
        total.refused += refused;
        total.first_refusal = total.first_refusal.take().or(first_refusal);
        total.micros.append(&mut micros);
        Ok(())
    }
}

/// One keep-alive connection.
pub(crate) struct Connection {
    stream: TcpStream,
    /// The last answer.
    buffer: Vec<u8>,
}

impl Connection {
    pub(crate) async fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await.context("the router takes no connection")?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, buffer: Vec::with_capacity(16 << 10) })
    }

    /// Sends a request, reads its answer whole, and gives the status. Not cancel-safe: half an answer may be left behind.
    pub(crate) async fn ask(&mut self, request: &[u8]) -> anyhow::Result<u16> {
        self.stream.write_all(request).await?;
        self.buffer.clear();
        loop {
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                bail!("the connection was closed in the middle of an answer: {}", self.answer());
            }
            if let Some(end) = end(&self.buffer)?
                && self.buffer.len() >= end
            {
                return status(&self.buffer).with_context(|| format!("not HTTP: {}", self.answer()));
            }
        }
    }

    /// The last answer as text, cut.
    fn answer(&self) -> String {
        const SHOWN_BYTES: usize = 600;
        String::from_utf8_lossy(&self.buffer[..self.buffer.len().min(SHOWN_BYTES)]).replace("\r\n", " ")
    }
}

/// How long an answer is, once its head is there.
fn end(answer: &[u8]) -> anyhow::Result<Option<usize>> {
    let Some(head) = answer.windows(4).position(|four| four == b"\r\n\r\n") else { return Ok(None) };
    let text = std::str::from_utf8(&answer[..head]).context("a head is text")?;
    let length = text.split("\r\n").find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim())
    });
    let length: usize = length.with_context(|| format!("an answer has no length: {text}"))?.parse()?;
    anyhow::ensure!(length <= ANSWER_BYTES, "an answer of {length} bytes");
    Ok(Some(head + 4 + length))
}

fn status(answer: &[u8]) -> Option<u16> {
    std::str::from_utf8(answer.get(9..12)?).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_whole_when_its_length_has_come() {
        let answer = b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n\r\nhello";
        assert_eq!(end(answer).expect("HTTP"), Some(answer.len()));
        assert_eq!(status(answer), Some(202));
        assert_eq!(end(b"HTTP/1.1 202 Accepted\r\nContent-Length: 5\r\n").expect("not yet"), None);
        assert!(end(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    }

    #[test]
    fn quantiles_are_of_the_sorted_row() {
        let sorted: Vec<u32> = (1..=1000).collect();
        assert!((quantile_millis(&sorted, 0.5) - 0.501).abs() < 1e-9);
        assert!((quantile_millis(&sorted, 0.99) - 0.991).abs() < 1e-9);
        assert!(quantile_millis(&[], 0.5).abs() < f64::EPSILON);
    }
}
