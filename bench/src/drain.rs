//! A full stream through one Channel: filled while no Channel is there, then the router starts with one, and the time from the
//! first event handled to the last one settled is taken from its own `/metrics`. Beside it what bounds it: raw consuming, a
//! native loop that does the same work, the bare sandbox, the raw append in groups as large as the router reached.

use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};

use crate::bench::{Bench, Figure, Row, Unit};
use crate::ceilings::relay::{PubAcks, Work, relay};
use crate::ceilings::{self, log};
use crate::frames;
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
    let Some(batch) = frames::records_a_frame(&stage, bench.scale.events)? else { return Ok(figure) };
    let raw = log::append_groups(bench, flow.size, (batch.round() as usize).max(1))?;
    Ok(figure.beside("batch", Unit::Records, batch).beside("raw-append", Unit::EventsPerSecond, raw))
}

/// Drains a stream of plain events; the stage is left as it is then.
pub(crate) fn drain(bench: &Bench, broker: Broker, flow: Flow) -> anyhow::Result<(Figure, Stage<'_>)> {
    drain_with(bench, broker, flow, String::new())
}

/// The same with more of the routers' configuration, as TOML.
pub(crate) fn drain_with(
    bench: &Bench,
    broker: Broker,
    flow: Flow,
    config: String,
) -> anyhow::Result<(Figure, Stage<'_>)> {
    let Flow { guest, size, concurrency, code } = flow;
    let stage = Stage::new(bench, broker)?.with(config);
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
