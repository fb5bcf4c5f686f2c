//! What must be shown: each ratio's parts, and its target. A ratio is made within a round, because the machine changes its speed
//! between rounds; what is shown is the median of the rounds in which both parts were measured.

use crate::bench::{Results, median};
use crate::drain::GUESTS;
use crate::ingest::{FULL_WINDOW, connections};
use crate::operate::{self, Said};
use crate::payload::Size;
use crate::stage::Broker;

/// A claim to be measured.
struct Claim {
    what: String,
    row: String,
    against: Against,
    target: Target,
}

/// What a row is held against.
enum Against {
    Row(String),
    /// The slower of two bounds.
    Smaller(String, String),
    /// Both, one after the other: 1 / (1/a + 1/b).
    Both(String, String),
    /// Nothing: the value itself is bounded.
    Nothing,
}

/// When a claim holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Target {
    /// The ratio is at least this.
    AtLeast(f64),
    /// The value is below this many milliseconds.
    BelowMillis(f64),
    /// Shown for its own sake.
    None,
}

/// What became of a claim.
pub(crate) struct Ratio {
    pub(crate) what: String,
    pub(crate) median: f64,
    pub(crate) least: f64,
    pub(crate) most: f64,
    pub(crate) target: Target,
}

impl Ratio {
    /// `None` when nothing was promised.
    pub(crate) fn holds(&self) -> Option<bool> {
        match self.target {
            Target::AtLeast(least) => Some(self.median >= least),
            Target::BelowMillis(most) => Some(self.median < most),
            Target::None => None,
        }
    }
}

/// The claims of which all parts were measured.
pub(crate) fn all(results: &Results) -> Vec<Ratio> {
    claims().into_iter().filter_map(|claim| measure(claim, results)).collect()
}

fn measure(claim: Claim, results: &Results) -> Option<Ratio> {
    let rounds: Vec<f64> =
        (0..results.rounds()).filter_map(|round| in_round(&claim, results, round)).collect();
    let median = median(rounds.iter().copied())?;
    let least = rounds.iter().copied().fold(f64::INFINITY, f64::min);
    let most = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    Some(Ratio { what: claim.what, median, least, most, target: claim.target })
}

fn in_round(claim: &Claim, results: &Results, round: usize) -> Option<f64> {
    let value = |name: &String| results.value(name, round);
    let row = value(&claim.row)?;
    let bound = match &claim.against {
        Against::Row(other) => value(other)?,
        Against::Smaller(a, b) => value(a)?.min(value(b)?),
        Against::Both(a, b) => 1.0 / (1.0 / value(a)? + 1.0 / value(b)?),
        Against::Nothing => 1.0,
    };
    Some(row / bound)
}

fn claims() -> Vec<Claim> {
    let mut claims = Vec::new();
    for size in Size::ALL {
        claims.extend(jetstream_drains(size.name()));
        claims.extend(embedded_drains(size.name()));
        claims.extend(native_twins(size.name()));
        claims.extend(singles(size));
        claims.extend(batches(size));
    }
    for (broker, most) in [("jetstream", 10.0), ("embedded", 5.0)] {
        claims.push(Claim {
            what: format!("{broker}: p99 from POST to emission at 1,000/s"),
            row: format!("latency.{broker}.p99"),
            against: Against::Nothing,
            target: Target::BelowMillis(most),
        });
    }
    claims.extend(operating());
    claims
}

/// What saying costs.
fn operating() -> Vec<Claim> {
    let claim = |broker: Broker, guest: &str, said: Said, least: f64| Claim {
        what: format!("{}, {guest}: with {} / with nothing said", broker.name(), said.name()),
        row: operate::name(broker, guest, said),
        against: Against::Row(operate::name(broker, guest, Said::Nothing)),
        target: Target::AtLeast(least),
    };
    let mut claims = Vec::new();
    for broker in Broker::ALL {
        for guest in operate::GUESTS {
            for (said, least) in [(Said::Telemetry, 0.9), (Said::History, 0.95), (Said::All, 0.9)] {
                claims.push(claim(broker, guest, said, least));
            }
        }
    }
    claims
}

fn jetstream_drains(s: &str) -> Vec<Claim> {
    let against = |row: &str, other: String, what: String, least: f64| Claim {
        what: format!("JetStream, {s}: {what}"),
        row: format!("drain.jetstream.{row}.{s}"),
        against: Against::Row(other),
        target: Target::AtLeast(least),
    };
    let mut claims = vec![against(
        "sink",
        format!("ceiling.jetstream.consume.{s}"),
        "sink / raw consume + ack".to_owned(),
        0.8,
    )];
    for (guest, least) in [("echo", 1.0), ("enrich", 0.95)] {
        let futures = format!("ceiling.jetstream.relay-futures.{guest}.{s}");
        let inbox = format!("ceiling.jetstream.relay-inbox.{guest}.{s}");
        claims.push(against(guest, futures, format!("{guest} / native loop, PubAck futures"), least));
        claims.push(against(guest, inbox, format!("{guest} / native loop, one inbox"), 0.8));
    }
    claims
}

fn embedded_drains(s: &str) -> Vec<Claim> {
    let host = |guest: &str| format!("ceiling.host.{guest}.{s}");
    let mut claims = vec![Claim {
        what: format!("embedded, {s}: sink / bare sandbox"),
        row: format!("drain.embedded.sink.{s}"),
        against: Against::Row(host("sink")),
        target: Target::AtLeast(0.6),
    }];
    for guest in ["echo", "enrich"] {
        let row = format!("drain.embedded.{guest}.{s}");
        claims.push(Claim {
            what: format!(
                "embedded, {s}: {guest} / the smaller of bare sandbox and raw append at the group reached"
            ),
            against: Against::Smaller(host(guest), format!("{row}:raw-append")),
            row,
            target: Target::AtLeast(0.5),
        });
    }
    claims
}

fn native_twins(s: &str) -> Vec<Claim> {
    let claim = |broker: &str, guest: &str| Claim {
        what: format!("{broker}, {s}: {guest} in WASM / as a Rust function in the router"),
        row: format!("drain.{broker}.{guest}.{s}"),
        against: Against::Row(format!("native.{broker}.{guest}.{s}")),
        target: Target::AtLeast(0.9),
    };
    GUESTS.iter().flat_map(|guest| ["embedded", "jetstream"].map(|broker| claim(broker, guest))).collect()
}

fn raw(broker: &str, n: usize, s: &str) -> String {
    match broker {
        "jetstream" => format!("ceiling.jetstream.publish.{n}.{s}"),
        _ => format!("ceiling.log.append.{n}.{s}"),
    }
}

fn singles(size: Size) -> Vec<Claim> {
    let s = size.name();
    let claim = |broker: &str, n: usize| Claim {
        what: format!("{broker}, {s}: singles at {n} / (1/(1/empty axum + 1/raw))"),
        row: format!("ingest.{broker}.single.{n}.{s}"),
        against: Against::Both(format!("ceiling.http.empty.{n}.{s}"), raw(broker, n, s)),
        // One connection waits for one disk: nothing was promised.
        target: if n == 1 { Target::None } else { Target::AtLeast(0.8) },
    };
    connections(size).iter().flat_map(|&n| ["embedded", "jetstream"].map(|broker| claim(broker, n))).collect()
}

/// Held against the raw store as the issue has it, and against what HTTP alone leaves of it for such bodies.
fn batches(size: Size) -> Vec<Claim> {
    let s = size.name();
    let mut claims = Vec::new();
    for &n in connections(size) {
        for broker in ["embedded", "jetstream"] {
            let row = format!("ingest.{broker}.batch.{n}.{s}");
            let (raw, what) = match broker {
                "jetstream" => {
                    (format!("ceiling.jetstream.publish.{FULL_WINDOW}.{s}"), "raw publish, pipelined")
                }
                _ => (format!("{row}:raw-append"), "raw append at the group reached"),
            };
            claims.push(Claim {
                what: format!("{broker}, {s}: batches of 100 at {n} / {what}"),
                row: row.clone(),
                against: Against::Row(raw.clone()),
                target: if n == 1 { Target::None } else { Target::AtLeast(0.6) },
            });
            claims.push(Claim {
                what: format!(
                    "{broker}, {s}: batches of 100 at {n} / (1/(1/empty axum, same bodies + 1/raw))"
                ),
                row,
                against: Against::Both(format!("ceiling.http.empty-batch.{n}.{s}"), raw),
                target: Target::None,
            });
        }
    }
    claims
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::bench::{Figure, Row, Unit};

    #[test]
    fn a_ratio_is_made_within_a_round_and_its_median_is_held_against_the_target() {
        let mut results = Results::default();
        for (sink, raw) in [(80.0, 100.0), (10.0, 20.0), (90.0, 100.0)] {
            for (name, value) in
                [("drain.jetstream.sink.256b", sink), ("ceiling.jetstream.consume.256b", raw)]
            {
                let row = Row::new(name, "", Unit::EventsPerSecond, |_| Ok(Figure::new(0.0)));
                results.record(&row, Ok(Figure::new(value)));
            }
            results.end_round();
        }
        let ratios = all(&results);
        assert_eq!(ratios.len(), 1);
        assert!((ratios[0].median - 0.8).abs() < 1e-9);
        assert_eq!((ratios[0].holds(), ratios[0].target), (Some(true), Target::AtLeast(0.8)));
        assert!((ratios[0].least - 0.5).abs() < 1e-9 && (ratios[0].most - 0.9).abs() < 1e-9);
    }

    #[test]
    fn every_part_of_a_claim_with_a_target_is_a_row() {
        let rows: BTreeSet<String> = crate::all_rows().into_iter().map(|row| row.name).collect();
        let known = |name: &String| rows.contains(name.split(':').next().unwrap_or(name));
        for claim in claims() {
            let parts = match &claim.against {
                Against::Row(a) => vec![a],
                Against::Smaller(a, b) | Against::Both(a, b) => vec![a, b],
                Against::Nothing => vec![],
            };
            assert!(parts.iter().all(|part| known(part)), "{}: {parts:?}", claim.what);
            assert!(known(&claim.row), "{}", claim.row);
        }
    }
}
