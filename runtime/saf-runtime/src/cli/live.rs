//! What Channels are doing right now: the router counts, two readings of its counts have a rate between them. For [`super::top`] and
//! [`super::graph`].

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ureq::http::Method;

use super::client::{Ask, Client, Patience, Query};
use super::table::{Page, read};
use super::text::rfc3339;
use crate::exit::Failure;

/// Channels that are asked for at once.
const PAGE_CHANNELS: usize = 1000;
/// A router that answers more is not one that a person looks at.
const MAX_CHANNELS: usize = 100_000;

/// What the router had counted at one moment.
#[derive(Debug)]
pub(crate) struct Reading {
    at: Instant,
    /// Milliseconds since the Unix epoch.
    pub(crate) time: u64,
    channels: Vec<Counts>,
}

/// A Channel as the admin API answers it, as far as rates need it. Counts are since the Channel's process started.
#[derive(Clone, Debug, Default, Deserialize)]
struct Counts {
    name: String,
    state: String,
    #[serde(default)]
    reason: Option<String>,
    attempts: BTreeMap<String, u64>,
    fuel: u64,
    peak_memory: u64,
    durations: Vec<(u64, u64)>,
    emissions: u64,
    dead_letters: u64,
    held: u64,
    waiting: u64,
    lag: Lag,
    #[serde(default)]
    behind_ms: Option<u64>,
}

#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
struct Lag {
    pending: u64,
    unsettled: u64,
    expired: u64,
}

impl Reading {
    /// Asks the router; an answer that takes longer than `patience` is given up.
    pub(crate) fn take(client: &Client, patience: Duration) -> Result<Self, Failure> {
        let mut channels = Vec::new();
        let mut cursor = None::<String>;
        loop {
            let query = Query::default()
                .with("lag", Some("now"))
                .with("limit", Some(PAGE_CHANNELS))
                .with("after", cursor.take());
            let ask = Ask::new(Method::GET, "/api/v1/channels").query(&query);
            let page: Page = client.ask(&ask.patience(Patience::For(patience)))?.json()?;
            for item in &page.items {
                let item: &RawValue = item;
                channels.push(read(item)?);
            }
            match page.next {
                Some(next) if !page.items.is_empty() && channels.len() < MAX_CHANNELS => cursor = Some(next),
                _ => break,
            }
        }
        Ok(Self { at: Instant::now(), time: saf_event::unix_millis(), channels })
    }

    #[cfg(test)]
    pub(crate) fn of(at: Instant, channels: &str) -> Self {
        Self { at, time: 0, channels: serde_json::from_str(channels).expect("Channels") }
    }

    /// How every Channel is; with the rates since an earlier reading, when there is one.
    pub(crate) fn since(&self, earlier: Option<&Self>) -> Vec<Figures> {
        let before: BTreeMap<_, _> = earlier
            .iter()
            .flat_map(|earlier| &earlier.channels)
            .map(|counts| (&counts.name, counts))
            .collect();
        let span = earlier.map(|earlier| self.at.saturating_duration_since(earlier.at));
        let figures = self.channels.iter().map(|now| {
            let pace = span
                .filter(|span| !span.is_zero())
                .map(|span| now.pace(before.get(&now.name).copied(), span));
            now.figures(self.time, pace)
        });
        figures.collect()
    }
}

/// What a Channel does, with the unit in each name; `null` is what cannot be known: nothing was handled, or there was one reading only.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Figures {
    /// RFC 3339.
    pub(crate) time: String,
    pub(crate) channel: String,
    pub(crate) state: String,
    pub(crate) reason: Option<String>,
    #[serde(flatten)]
    pub(crate) pace: Pace,
    pub(crate) peak_memory_bytes: u64,
    pub(crate) pending: u64,
    pub(crate) unsettled: u64,
    /// How long ago the oldest event was stored that is not settled.
    pub(crate) lag_ms: Option<u64>,
    pub(crate) held: u64,
    pub(crate) waiting: u64,
    pub(crate) dead_letters: u64,
    pub(crate) expired: u64,
}

/// What happened between two readings.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub(crate) struct Pace {
    /// Attempts, however they ended.
    pub(crate) attempts_per_second: Option<f64>,
    /// Those that were not done.
    pub(crate) failures_per_second: Option<f64>,
    pub(crate) emissions_per_second: Option<f64>,
    /// Time in the guest, an attempt; at most an eighth too long.
    pub(crate) p50_us: Option<u64>,
    pub(crate) p99_us: Option<u64>,
    pub(crate) fuel_per_attempt: Option<u64>,
}

impl Counts {
    fn figures(&self, time: u64, pace: Option<Pace>) -> Figures {
        Figures {
            time: rfc3339(time),
            channel: self.name.clone(),
            state: self.state.clone(),
            reason: self.reason.clone(),
            pace: pace.unwrap_or_default(),
            peak_memory_bytes: self.peak_memory,
            pending: self.lag.pending,
            unsettled: self.lag.unsettled,
            lag_ms: self.behind_ms,
            held: self.held,
            waiting: self.waiting,
            dead_letters: self.dead_letters,
            expired: self.lag.expired,
        }
    }

    fn pace(&self, before: Option<&Self>, span: Duration) -> Pace {
        let nothing = Self::default();
        // A Channel that was restarted counts from nothing again.
        let before = before.filter(|before| before.total() <= self.total()).unwrap_or(&nothing);
        let attempts = self.total() - before.total();
        let failures = attempts.saturating_sub(self.done().saturating_sub(before.done()));
        let emissions = self.emissions.saturating_sub(before.emissions);
        let fuel = self.fuel.saturating_sub(before.fuel);
        let rate = |count: u64| Some((count as f64 / span.as_secs_f64() * 10.0).round() / 10.0);
        let durations = difference(&self.durations, &before.durations);
        Pace {
            attempts_per_second: rate(attempts),
            failures_per_second: rate(failures),
            emissions_per_second: rate(emissions),
            p50_us: percentile(&durations, 0.50),
            p99_us: percentile(&durations, 0.99),
            fuel_per_attempt: fuel.checked_div(attempts),
        }
    }

    fn total(&self) -> u64 {
        self.attempts.values().sum()
    }

    fn done(&self) -> u64 {
        self.attempts.get("done").copied().unwrap_or(0)
    }
}

/// Attempts by duration that are in `now` and were not in `before`.
fn difference(now: &[(u64, u64)], before: &[(u64, u64)]) -> Vec<(u64, u64)> {
    let before: BTreeMap<u64, u64> = before.iter().copied().collect();
    let left =
        |(up_to, count): &(u64, u64)| (*up_to, count.saturating_sub(before.get(up_to).copied().unwrap_or(0)));
    now.iter().map(left).filter(|(_, count)| *count > 0).collect()
}

/// How long the given share of the attempts took at most.
pub(crate) fn percentile(durations: &[(u64, u64)], share: f64) -> Option<u64> {
    let total: u64 = durations.iter().map(|(_, count)| count).sum();
    let wanted = ((total as f64 * share).ceil() as u64).max(1);
    let mut seen = 0;
    durations.iter().find_map(|(up_to, count)| {
        seen += count;
        (seen >= wanted).then_some(*up_to)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channel(done: u64, trap: u64, rest: &str) -> String {
        format!(
            r#"[{{"name":"a","state":"running","attempts":{{"done":{done},"trap":{trap}}},"dead_letters":1,"held":0,"waiting":2,
                "lag":{{"pending":7,"unsettled":2,"floor":9,"expired":0}},{rest}}}]"#
        )
    }

    #[test]
    fn rates_are_what_happened_between_two_readings() {
        let start = Instant::now();
        let before =
            channel(100, 0, r#""fuel":5000,"peak_memory":64,"emissions":10,"durations":[[7,90],[1023,10]]"#);
        let after = channel(
            130,
            10,
            r#""fuel":9000,"peak_memory":128,"emissions":30,"durations":[[7,110],[1023,29],[2047,1]]"#,
        );
        let (before, after) =
            (Reading::of(start, &before), Reading::of(start + Duration::from_secs(2), &after));
        let figures = &after.since(Some(&before))[0];
        let expected = Pace {
            attempts_per_second: Some(20.0),
            failures_per_second: Some(5.0),
            emissions_per_second: Some(10.0),
            p50_us: Some(7),
            p99_us: Some(2047),
            fuel_per_attempt: Some(100),
        };
        assert_eq!(figures.pace, expected);
        assert_eq!((figures.pending, figures.unsettled, figures.dead_letters), (7, 2, 1));
        assert_eq!(figures.peak_memory_bytes, 128);
        assert_eq!(after.since(None)[0].pace, Pace::default());
    }

    #[test]
    fn counts_that_began_anew_are_counted_from_nothing() {
        let start = Instant::now();
        let rest = r#""fuel":0,"peak_memory":0,"emissions":3,"durations":[[7,4]]"#;
        let before = Reading::of(
            start,
            &channel(1000, 0, r#""fuel":9,"peak_memory":9,"emissions":900,"durations":[[7,1000]]"#),
        );
        let after = Reading::of(start + Duration::from_secs(1), &channel(4, 0, rest));
        let pace = after.since(Some(&before))[0].pace;
        assert_eq!(
            (pace.attempts_per_second, pace.emissions_per_second, pace.p50_us),
            (Some(4.0), Some(3.0), Some(7))
        );
        // One that was not there before is new.
        let nobody = Reading::of(start, "[]");
        assert_eq!(after.since(Some(&nobody))[0].pace.attempts_per_second, Some(4.0));
    }

    #[test]
    fn an_idle_channel_has_rates_and_no_percentiles() {
        let start = Instant::now();
        let text = channel(5, 0, r#""fuel":9,"peak_memory":9,"emissions":0,"durations":[[7,5]]"#);
        let (before, after) = (Reading::of(start, &text), Reading::of(start + Duration::from_secs(1), &text));
        let pace = after.since(Some(&before))[0].pace;
        assert_eq!((pace.attempts_per_second, pace.p50_us, pace.fuel_per_attempt), (Some(0.0), None, None));
    }

    #[test]
    fn percentiles_are_the_upper_bounds_of_their_class() {
        for (durations, share, expected) in [
            (&[][..], 0.5, None),
            (&[(7, 1)], 0.99, Some(7)),
            (&[(7, 99), (1023, 1)], 0.99, Some(7)),
            (&[(7, 98), (1023, 2)], 0.99, Some(1023)),
            (&[(7, 1), (1023, 1)], 0.5, Some(7)),
        ] {
            assert_eq!(percentile(durations, share), expected, "{durations:?} {share}");
        }
    }
}
