//! The router as it is shipped: a child process with a configuration file.

use std::fs::File;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail, ensure};

use crate::nats::free_port;

const START: Duration = Duration::from_mins(2);
const POLL: Duration = Duration::from_millis(1);
/// Longer than the router's own grace.
const STOP: Duration = Duration::from_secs(40);
const ANSWER: Duration = Duration::from_secs(30);

pub(crate) struct Router {
    child: Child,
    /// Where events go.
    pub(crate) ingest: SocketAddr,
    admin: SocketAddr,
    /// When the process was started.
    pub(crate) began: Instant,
    /// From the start of the process to a `/readyz` that says yes.
    pub(crate) started_in: Duration,
}

impl Router {
    /// Starts it in `folder` with `config` and two free ports, and waits until it is ready.
    pub(crate) fn start(program: &Path, folder: &Path, config: &str) -> anyhow::Result<Self> {
        let (ingest, admin) = (loopback(free_port()?), loopback(free_port()?));
        let listen = format!("[http]\nlisten = \"{ingest}\"\n[admin]\nlisten = \"{admin}\"\n");
        let file = folder.join("router.toml");
        std::fs::write(&file, listen + config)?;
        let log = folder.join("router.log");
        let began = Instant::now();
        let child = Command::new(program)
            .arg("--config")
            .arg(&file)
            .env_remove("RUST_LOG")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log)?)
            .spawn()
            .with_context(|| format!("cannot start {}", program.display()))?;
        let mut router = Self { child, ingest, admin, began, started_in: Duration::ZERO };
        while !router.is_ready() {
            if let Some(status) = router.child.try_wait()? {
                bail!("the router ended at its start ({status}): {}", tail(&log));
            }
            ensure!(began.elapsed() < START, "the router is not ready after {START:?}: {}", tail(&log));
            std::thread::sleep(POLL);
        }
        router.started_in = began.elapsed();
        Ok(router)
    }

    /// The operators' listener opens first.
    fn is_ready(&self) -> bool {
        let Ok(mut look) = Look::open(self.admin) else { return false };
        look.get("/readyz").is_ok_and(|(status, _)| status == 200) && TcpStream::connect(self.ingest).is_ok()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// A connection to the operators' listener, for many looks.
    pub(crate) fn look(&self) -> anyhow::Result<Look> {
        Look::open(self.admin)
    }

    /// The operators' listener.
    pub(crate) fn admin(&self) -> SocketAddr {
        self.admin
    }

    /// SIGTERM, and its end.
    pub(crate) fn stop(mut self) -> anyhow::Result<()> {
        let pid = i32::try_from(self.child.id()).ok().and_then(rustix::process::Pid::from_raw);
        rustix::process::kill_process(pid.context("a process has a number")?, rustix::process::Signal::TERM)?;
        let began = Instant::now();
        while self.child.try_wait()?.is_none() {
            ensure!(began.elapsed() < STOP, "the router does not end after {STOP:?}");
            std::thread::sleep(POLL);
        }
        Ok(())
    }
}

impl Drop for Router {
    fn drop(&mut self) {
        // It may have ended by itself; then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The last lines of a log, for an error message.
fn tail(log: &Path) -> String {
    const LINES: usize = 5;
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(LINES)..].join(" | ")
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// A keep-alive connection for GETs: small, so that looking costs the router little.
pub(crate) struct Look(BufReader<TcpStream>);

impl Look {
    fn open(address: SocketAddr) -> anyhow::Result<Self> {
        let stream = TcpStream::connect_timeout(&address, ANSWER)?;
        stream.set_read_timeout(Some(ANSWER))?;
        stream.set_nodelay(true)?;
        Ok(Self(BufReader::new(stream)))
    }

    /// The status and the body; only answers with a length are understood.
    pub(crate) fn get(&mut self, path: &str) -> anyhow::Result<(u16, String)> {
        write!(self.0.get_mut(), "GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.with_context(|| format!("{path} was answered {line:?}"))?;
        let mut length = None;
        loop {
            line.clear();
            self.0.read_line(&mut line)?;
            let Some((name, value)) = line.split_once(':') else { break };
            if name.eq_ignore_ascii_case("content-length") {
                length = Some(value.trim().parse()?);
            }
        }
        let mut body = vec![0; length.with_context(|| format!("{path} was answered without a length"))?];
        self.0.read_exact(&mut body)?;
        Ok((status, String::from_utf8(body)?))
    }

    /// How far the Channels are.
    pub(crate) fn progress(&mut self) -> anyhow::Result<Progress> {
        let (status, metrics) = self.get("/metrics")?;
        ensure!(status == 200, "/metrics was answered {status}: {metrics}");
        let progress = Progress {
            done: sum(&metrics, "saf_channel_attempts_total{", "outcome=\"done\""),
            attempts: sum(&metrics, "saf_channel_attempts_total{", ""),
            held: sum(&metrics, "saf_channel_held{", ""),
        };
        ensure!(
            progress.attempts == progress.done,
            "{} attempts did not end as done: the guest and the payload do not fit",
            progress.attempts - progress.done
        );
        Ok(progress)
    }
}

/// All Channels together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    /// Attempts that ended well.
    pub(crate) done: u64,
    attempts: u64,
    /// Deliveries taken and not settled.
    pub(crate) held: u64,
}

fn sum(metrics: &str, name: &str, label: &str) -> u64 {
    let lines = metrics.lines().filter(|line| line.starts_with(name) && line.contains(label));
    lines.filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_summed_over_channels() {
        let text = "# HELP saf_channel_held h\nsaf_channel_held{channel=\"a\"} 3\nsaf_channel_held{channel=\"b\"} 4\n\
                    saf_channel_attempts_total{channel=\"a\",outcome=\"done\"} 5\n\
                    saf_channel_attempts_total{channel=\"a\",outcome=\"trap\"} 7\n";
        assert_eq!(sum(text, "saf_channel_held{", ""), 7);
        assert_eq!(sum(text, "saf_channel_attempts_total{", "outcome=\"done\""), 5);
        assert_eq!(sum(text, "saf_channel_attempts_total{", ""), 12);
    }
}
