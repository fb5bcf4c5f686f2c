//! A full stream through one Channel: filled while no Channel is there, then the router starts with one, and the time from the
//! first event handled to the last one settled is taken from its own `/metrics`. Beside it what bounds it: raw consuming, a
//! native loop that does the same work, the bare sandbox, the raw append in groups as large as the router reached.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bench::{Bench, Figure, Row, Unit};
use crate::ceilings::relay::{PubAcks, Work, relay};
use crate::ceilings::{self, log};
use crate::payload::{SUBJECT, Size};
use crate::process;
use crate::router::{Progress, Router};
use crate::stage::{Broker, ChannelPlan, Code, Stage};

/// A Channel's default; the bare sandbox gets as many tasks.
pub(crate) const CONCURRENCY: usize = 4;
/// The guests: one that says nothing, one that gives the event back, one that parses it and adds a field.
pub(crate) const GUESTS: [&str; 3] = ["sink", "echo", "enrich"];

/// How often `/metrics` is looked at, with few Channels; a look costs the router about 0.1 ms.
const LOOK: Duration = Duration::from_millis(5);
/// A drain that does not move for so long has hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// What is drained, and by what.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) guest: &'static str,
    pub(crate) size: Size,
    pub(crate) concurrency: usize,
    pub(crate) code: Code,
}

impl Flow {
    /// A guest as it is by default.
    pub(crate) const fn of(guest: &'static str, size: Size) -> Self {
        Self { guest, size, concurrency: CONCURRENCY, code: Code::Wasm }
    }
}

pub(crate) fn rows(size: Size) -> Vec<Row> {
    let s = size.name();
    let mut rows = Vec::new();
    for guest in GUESTS {
        rows.push(Row::new(
            format!("ceiling.host.{guest}.{s}"),
            format!("bare sandbox, {guest}, {CONCURRENCY} tasks"),
            Unit::EventsPerSecond,
            move |bench| ceilings::host::calls(bench, guest, size, CONCURRENCY),
        ));
        rows.push(Row::new(
            format!("drain.embedded.{guest}.{s}"),
            format!("stream through one Channel, {guest}"),
            Unit::EventsPerSecond,
            move |bench| embedded(bench, Flow::of(guest, size)),
        ));
        rows.push(native_row(Broker::Embedded, guest, size));
    }
    rows.push(Row::new(
        format!("ceiling.log.read.{s}"),
        "raw log read in order",
        Unit::EventsPerSecond,
        move |bench| log::read(bench, size),
    ));
    rows.push(Row::new(
        format!("ceiling.jetstream.consume.{s}"),
        "raw JetStream consume + ack",
        Unit::EventsPerSecond,
        move |bench| ceilings::jetstream::consume(bench, size),
    ));
    rows.push(jetstream_row("sink", size));
    rows.push(native_row(Broker::JetStream, "sink", size));
    for work in Work::ALL {
        for (acks, what) in [(PubAcks::Futures, "futures"), (PubAcks::Inbox, "inbox")] {
            rows.push(Row::new(
                format!("ceiling.jetstream.relay-{what}.{}.{s}", work.name()),
                format!("native loop, {}, PubAcks by {what}", work.name()),
                Unit::EventsPerSecond,
                move |bench| relay(bench, work, acks, size),
            ));
        }
        rows.push(jetstream_row(work.name(), size));
        rows.push(native_row(Broker::JetStream, work.name(), size));
    }
    rows
}

fn jetstream_row(guest: &'static str, size: Size) -> Row {
    Row::new(
        format!("drain.jetstream.{guest}.{}", size.name()),
        format!("stream through one Channel, {guest}"),
        Unit::EventsPerSecond,
        move |bench| drain(bench, Broker::JetStream, Flow::of(guest, size)).map(|(figure, _)| figure),
    )
}

/// The same work by a Rust function in the guest's place: what the sandbox costs is the difference.
fn native_row(broker: Broker, guest: &'static str, size: Size) -> Row {
    let flow = Flow { code: Code::Native, ..Flow::of(guest, size) };
    Row::new(
        format!("native.{}.{guest}.{}", broker.name(), size.name()),
        format!("the same by a Rust function in the router, {guest}"),
        Unit::EventsPerSecond,
        move |bench| drain(bench, broker, flow).map(|(figure, _)| figure),
    )
}

/// Measures the raw append right after, in groups as large as the router's were.
fn embedded(bench: &Bench, flow: Flow) -> anyhow::Result<Figure> {
    let (figure, stage) = drain(bench, Broker::Embedded, flow)?;
    let Some(batch) = records_a_frame(&stage, bench.scale.events)? else { return Ok(figure) };
    let raw = log::append_groups(bench, flow.size, (batch.round() as usize).max(1))?;
    Ok(figure.beside("batch", Unit::Records, batch).beside("raw-append", Unit::EventsPerSecond, raw))
}

/// Drains a stream of plain events; the stage is left as it is then.
pub(crate) fn drain(bench: &Bench, broker: Broker, flow: Flow) -> anyhow::Result<(Figure, Stage<'_>)> {
    let Flow { guest, size, concurrency, code } = flow;
    let stage = Stage::new(bench, broker)?;
    stage.fill_plain(bench.scale.events, size)?;
    let channel =
        ChannelPlan { name: guest.to_owned(), guest, subject: SUBJECT.to_owned(), concurrency, code };
    let router = stage.router(&[channel])?;
    let nats = stage.nats.as_ref().map(crate::nats::Nats::pid);
    let rate = watch(&router, bench.scale.events, LOOK)?;
    let micros = |pid| process::cpu(pid).as_secs_f64() * 1e6 / bench.scale.events as f64;
    let note = match nats {
        None => format!("us an event: {:.1} router", micros(router.pid())),
        Some(nats) => {
            let (router, nats) = (micros(router.pid()), micros(nats));
            format!("us an event: {router:.1} router, {nats:.1} nats with the filling")
        }
    };
    let rss = process::peak_rss_mib(router.pid());
    router.stop()?;
    Ok((Figure::new(rate).note(note).beside("rss", Unit::MebiBytes, rss), stage))
}

/// Events a second from the first look that sees some handled to the one that sees all settled.
pub(crate) fn watch(router: &Router, events: u64, look: Duration) -> anyhow::Result<f64> {
    let mut operators = router.look()?;
    let mut first: Option<(Instant, u64)> = None;
    let (mut moved, mut last) = (Instant::now(), None::<Progress>);
    loop {
        let progress = operators.progress()?;
        let now = Instant::now();
        if first.is_none() && progress.done > 0 {
            first = Some((now, progress.done));
        }
        if progress.done >= events && progress.held == 0 {
            let (began, already) = first.context("something was handled")?;
            ensure!(progress.done == events, "{} were handled, {events} stored", progress.done);
            ensure!(already < events, "all was handled before the first look: take more events");
            return Ok((events - already) as f64 / (now - began).as_secs_f64());
        }
        if last.replace(progress) != Some(progress) {
            moved = now;
        }
        ensure!(moved.elapsed() < PATIENCE, "the drain stands still at {progress:?} of {events}");
        sleep(look);
    }
}

/// Mean records of the embedded store's frames behind the first `filled` events: so many emissions and settlements shared a
/// sync. `None` when there is none. Reads the store's format, which `runtime/broker/src/embedded/frame.rs` describes.
fn records_a_frame(stage: &Stage, filled: u64) -> anyhow::Result<Option<f64>> {
    let mut segments = Vec::new();
    collect_segments(&stage.folder.path().join("store"), &mut segments)?;
    let (mut frames, mut events) = (0_u64, 0_u64);
    for segment in segments {
        let bytes = std::fs::read(segment)?;
        for (first, count) in Frames::of(&bytes) {
            if first > filled {
                frames += 1;
                events += u64::from(count);
            }
        }
    }
    Ok((frames > 0).then(|| events as f64 / frames as f64))
}

fn collect_segments(folder: &std::path::Path, into: &mut Vec<std::path::PathBuf>) -> anyhow::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            collect_segments(&path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "seg") {
            into.push(path);
        }
    }
    Ok(())
}

/// The first sequence and the number of events of each frame of a segment.
struct Frames<'a> {
    rest: &'a [u8],
}

impl<'a> Frames<'a> {
    const SEGMENT_HEAD_BYTES: usize = 32;
    const HEAD_BYTES: usize = 40;

    fn of(segment: &'a [u8]) -> Self {
        Self { rest: segment.get(Self::SEGMENT_HEAD_BYTES..).unwrap_or_default() }
    }
}

impl Iterator for Frames<'_> {
    type Item = (u64, u32);

    fn next(&mut self) -> Option<Self::Item> {
        let head = self.rest.get(..Self::HEAD_BYTES).filter(|head| head.starts_with(b"SAF1"))?;
        let word = |at: usize| Some(u32::from_le_bytes(head.get(at..at + 4)?.try_into().ok()?));
        let first = u64::from_le_bytes(head.get(16..24)?.try_into().ok()?);
        let (body, events) = (word(8)?, word(32)?);
        self.rest = self.rest.get(Self::HEAD_BYTES + body as usize..).unwrap_or_default();
        Some((first, events))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_stepped_over_by_their_length() {
        let frame = |first: u64, events: u32, body: usize| {
            let mut bytes = vec![0; Frames::HEAD_BYTES + body];
            bytes[..4].copy_from_slice(b"SAF1");
            bytes[8..12].copy_from_slice(&(body as u32).to_le_bytes());
            bytes[16..24].copy_from_slice(&first.to_le_bytes());
            bytes[32..36].copy_from_slice(&events.to_le_bytes());
            bytes
        };
        let segment =
            [vec![1; Frames::SEGMENT_HEAD_BYTES], frame(1, 3, 50), frame(4, 2, 0), vec![0; 64]].concat();
        assert_eq!(Frames::of(&segment).collect::<Vec<_>>(), [(1, 3), (4, 2)]);
        assert_eq!(Frames::of(&[]).count(), 0);
    }
}
