//! More of everything: Channels, concurrency, and how long a start takes. Throughput with many Channels is of all together,
//! each event being for one of them; memory is the router's alone.

use std::time::Duration;

use crate::bench::{Bench, Figure, Row, Unit};
use crate::drain::{Flow, drain, watch};
use crate::payload::{SUBJECT, Size};
use crate::process;
use crate::stage::{Broker, ChannelPlan, Code, Stage};

const CHANNELS: [usize; 4] = [1, 10, 100, 1_000];
const CONCURRENCY: [usize; 3] = [1, 2, 4];
/// `/metrics` has 30 lines a Channel.
const LOOK_AT_MANY: Duration = Duration::from_millis(100);
const LOOK_AT_FEW: Duration = Duration::from_millis(10);
/// Subjects are made by number, so that a request's events are for Channels side by side.
const MANY: usize = 100;

pub(crate) fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    for broker in Broker::ALL {
        let b = broker.name();
        for n in CONCURRENCY {
            rows.push(Row::new(
                format!("scale.{b}.concurrency.{n}"),
                format!("enrich, 256 B, concurrency {n}"),
                Unit::EventsPerSecond,
                move |bench| {
                    drain(bench, broker, Flow { concurrency: n, ..Flow::of("enrich", Size::Small) })
                        .map(|(figure, _)| figure)
                },
            ));
        }
        for n in CHANNELS {
            rows.push(Row::new(
                format!("scale.{b}.channels.{n}"),
                format!("sink, 256 B, spread over {n} Channels"),
                Unit::EventsPerSecond,
                move |bench| spread(bench, broker, n),
            ));
        }
        for n in [1, 100] {
            rows.push(Row::new(
                format!("start.{b}.{n}"),
                format!("start to ready, {n} Channels, warm cache"),
                Unit::Millis,
                move |bench| start(bench, broker, n),
            ));
        }
    }
    rows
}

fn plans(count: usize) -> Vec<ChannelPlan<'static>> {
    let plan = |n| ChannelPlan {
        name: format!("c{n}"),
        guest: "sink",
        subject: subject(n),
        concurrency: 1,
        code: Code::Wasm,
    };
    (0..count).map(plan).collect()
}

fn subject(n: usize) -> String {
    format!("{SUBJECT}.{n}")
}

fn spread(bench: &Bench, broker: Broker, channels: usize) -> anyhow::Result<Figure> {
    let stage = Stage::new(bench, broker)?;
    stage.fill(bench.scale.events, Size::Small, |n| subject(n as usize % channels))?;
    let router = stage.router(&plans(channels))?;
    let look = if channels < MANY { LOOK_AT_FEW } else { LOOK_AT_MANY };
    let rate = watch(&router, bench.scale.events, look)?;
    let cpu = process::cpu(router.pid()).as_secs_f64() * 1e6 / bench.scale.events as f64;
    let rss = process::peak_rss_mib(router.pid());
    router.stop()?;
    Ok(Figure::new(rate).note(format!("router {cpu:.1} us an event")).beside("rss", Unit::MebiBytes, rss))
}

/// The second start: the first one made streams, consumers and artefacts.
fn start(bench: &Bench, broker: Broker, channels: usize) -> anyhow::Result<Figure> {
    let stage = Stage::new(bench, broker)?;
    stage.router(&plans(channels))?.stop()?;
    let router = stage.router(&plans(channels))?;
    let took = router.started_in.as_secs_f64() * 1e3;
    let rss = process::rss_mib(router.pid());
    router.stop()?;
    Ok(Figure::new(took).beside("rss", Unit::MebiBytes, rss))
}
