//! Events in over HTTP: singles and batches at one, 64 and 256 connections, beside an empty handler and the raw store at as
//! many. Each connection waits for its 202; ids are the router's, so every event is new and its key is checked.

use crate::bench::{Bench, Figure, Row, Unit};
use crate::ceilings;
use crate::frames;
use crate::load::{Load, Until};
use crate::payload::{self, Size};
use crate::process;
use crate::stage::{Broker, Stage};

/// Connections, and producers of the raw stores.
const CONNECTIONS: [usize; 3] = [1, 64, 256];
/// Events of a batch.
pub(crate) const BATCH_EVENTS: u64 = 100;
/// Answers outstanding of the raw publish that batches are held against.
pub(crate) const FULL_WINDOW: usize = 4_096;

/// How many connections a size is measured at. 1 KiB at 64 only: it tells little more, and takes as long.
pub(crate) fn connections(size: Size) -> &'static [usize] {
    match size {
        Size::Small => &CONNECTIONS,
        Size::Large => &CONNECTIONS[1..2],
    }
}

pub(crate) fn rows(size: Size) -> Vec<Row> {
    let mut rows = Vec::new();
    let s = size.name();
    for &n in connections(size) {
        rows.push(Row::new(
            format!("ceiling.http.empty.{n}.{s}"),
            format!("empty axum handler, {n} connections"),
            Unit::EventsPerSecond,
            move |bench| ceilings::http::empty(bench, size, n, 1),
        ));
        rows.push(Row::new(
            format!("ceiling.log.append.{n}.{s}"),
            format!("raw group commit, {n} producers"),
            Unit::EventsPerSecond,
            move |bench| ceilings::log::append(bench, size, n),
        ));
        rows.push(Row::new(
            format!("ceiling.jetstream.publish.{n}.{s}"),
            format!("raw JetStream publish, {n} outstanding"),
            Unit::EventsPerSecond,
            move |bench| ceilings::jetstream::publish(bench, size, n),
        ));
        for broker in Broker::ALL {
            let b = broker.name();
            rows.push(Row::new(
                format!("ingest.{b}.single.{n}.{s}"),
                format!("POST of one event, {n} connections"),
                Unit::EventsPerSecond,
                move |bench| ingest(bench, broker, size, n, 1),
            ));
        }
    }
    rows.push(Row::new(
        format!("ceiling.jetstream.publish.{FULL_WINDOW}.{s}"),
        format!("raw JetStream publish, {FULL_WINDOW} outstanding"),
        Unit::EventsPerSecond,
        move |bench| ceilings::jetstream::publish(bench, size, FULL_WINDOW),
    ));
    for &n in connections(size) {
        rows.push(Row::new(
            format!("ceiling.http.empty-batch.{n}.{s}"),
            format!("empty axum handler, bodies of {BATCH_EVENTS} events, {n} connections"),
            Unit::EventsPerSecond,
            move |bench| ceilings::http::empty(bench, size, n, BATCH_EVENTS),
        ));
        for broker in Broker::ALL {
            let b = broker.name();
            rows.push(Row::new(
                format!("ingest.{b}.batch.{n}.{s}"),
                format!("POST of {BATCH_EVENTS} events, {n} connections"),
                Unit::EventsPerSecond,
                move |bench| ingest(bench, broker, size, n, BATCH_EVENTS),
            ));
        }
    }
    rows
}

fn ingest(
    bench: &Bench,
    broker: Broker,
    size: Size,
    connections: usize,
    events: u64,
) -> anyhow::Result<Figure> {
    let stage = Stage::new(bench, broker)?;
    let router = stage.router(&[])?;
    let requests = payload::requests(events, size);
    let cpu = process::cpu(router.pid());
    let until = Until::Elapsed(bench.scale.load);
    let loaded = Load { address: router.ingest, requests: &requests, connections, until }.run()?;
    anyhow::ensure!(loaded.is_clean(), "{}", loaded.problem());
    let stored = loaded.accepted * events;
    let cpu = process::cpu(router.pid()).saturating_sub(cpu).as_secs_f64() * 1e6 / stored as f64;
    let note = format!(
        "p50 {:.2}, p99 {:.2} ms; router {cpu:.1} us an event",
        loaded.millis(0.5),
        loaded.millis(0.99)
    );
    let rss = process::peak_rss_mib(router.pid());
    router.stop()?;
    let rate = stored as f64 / loaded.took.as_secs_f64();
    let mut figure = Figure::new(rate).note(note).beside("rss", Unit::MebiBytes, rss);
    if broker == Broker::Embedded
        && let Some(batch) = frames::records_a_frame(&stage, 0)?
    {
        figure = figure.beside("batch", Unit::Records, batch);
        if events > 1 {
            let raw = ceilings::log::append_groups(bench, size, (batch.round() as usize).max(1))?;
            figure = figure.beside("raw-append", Unit::EventsPerSecond, raw);
        }
    }
    Ok(figure)
}
