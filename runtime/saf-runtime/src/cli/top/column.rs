//! The columns of `top`: one list of titles, cells, what they are sorted by, and which goes first when the terminal is narrow.

use std::cmp::Ordering;

use crate::cli::live::Figures;
use crate::cli::paint::Tone;
use crate::cli::text::{micros, printable};

/// What is shown of a Channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Column {
    Channel,
    State,
    #[default]
    Events,
    Errors,
    P50,
    P99,
    Fuel,
    Peak,
    Pending,
    Lag,
    Dead,
}

impl Column {
    pub(super) const ALL: [Self; 11] = [
        Self::Channel,
        Self::State,
        Self::Events,
        Self::Errors,
        Self::P50,
        Self::P99,
        Self::Fuel,
        Self::Peak,
        Self::Pending,
        Self::Lag,
        Self::Dead,
    ];

    /// What a narrow terminal does without, first one first.
    pub(super) const DISPENSABLE: [Self; 8] =
        [Self::Peak, Self::Fuel, Self::P50, Self::State, Self::Lag, Self::Dead, Self::P99, Self::Errors];

    pub(super) const fn title(self) -> &'static str {
        match self {
            Self::Channel => "CHANNEL",
            Self::State => "STATE",
            Self::Events => "EVENTS/S",
            Self::Errors => "ERRORS/S",
            Self::P50 => "P50",
            Self::P99 => "P99",
            Self::Fuel => "FUEL",
            Self::Peak => "PEAK",
            Self::Pending => "PENDING",
            Self::Lag => "LAG",
            Self::Dead => "DEAD",
        }
    }

    /// Words stand on the left, numbers on the right.
    pub(super) const fn is_words(self) -> bool {
        matches!(self, Self::Channel | Self::State)
    }

    pub(super) fn cell(self, figures: &Figures) -> String {
        let pace = &figures.pace;
        match self {
            Self::Channel => printable(&figures.channel),
            Self::State => printable(&figures.state),
            Self::Events => pace.attempts_per_second.map_or_else(unknown, rate),
            Self::Errors => pace.failures_per_second.map_or_else(unknown, rate),
            Self::P50 => pace.p50_us.map_or_else(unknown, micros),
            Self::P99 => pace.p99_us.map_or_else(unknown, micros),
            Self::Fuel => pace.fuel_per_attempt.map_or_else(unknown, count),
            Self::Peak => saf_event::Size(figures.peak_memory_bytes).to_string(),
            Self::Pending => count(figures.pending),
            Self::Lag => figures.lag_ms.map_or_else(unknown, age),
            Self::Dead => count(figures.dead_letters),
        }
    }

    /// How a person should see the cell.
    pub(super) fn tone(self, figures: &Figures) -> Option<Tone> {
        match self {
            Self::State => match figures.state.as_str() {
                "running" => Some(Tone::Good),
                "faulted" => Some(Tone::Bad),
                _ => Some(Tone::Odd),
            },
            Self::Errors => figures.pace.failures_per_second.filter(|rate| *rate > 0.0).map(|_| Tone::Bad),
            Self::Dead => (figures.dead_letters > 0).then_some(Tone::Odd),
            _ => None,
        }
    }

    /// The order that a person looks for: the most on top; names from a to z.
    pub(super) fn compare(self, a: &Figures, b: &Figures) -> Ordering {
        match self {
            Self::Channel => a.channel.cmp(&b.channel),
            Self::State => a.state.cmp(&b.state),
            _ => self.number(b).total_cmp(&self.number(a)),
        }
    }

    fn number(self, figures: &Figures) -> f64 {
        let pace = &figures.pace;
        let whole = |n: Option<u64>| n.map(|n| n as f64);
        let number = match self {
            Self::Events => pace.attempts_per_second,
            Self::Errors => pace.failures_per_second,
            Self::P50 => whole(pace.p50_us),
            Self::P99 => whole(pace.p99_us),
            Self::Fuel => whole(pace.fuel_per_attempt),
            Self::Peak => whole(Some(figures.peak_memory_bytes)),
            Self::Pending => whole(Some(figures.pending)),
            Self::Lag => whole(figures.lag_ms),
            Self::Dead => whole(Some(figures.dead_letters)),
            Self::Channel | Self::State => None,
        };
        number.unwrap_or(-1.0)
    }
}

fn unknown() -> String {
    "-".to_owned()
}

/// A rate with as many digits as it deserves.
pub(crate) fn rate(rate: f64) -> String {
    if rate > 0.0 && rate < 9.95 { format!("{rate:.1}") } else { count(rate.round() as u64) }
}

/// A count in at most six characters.
pub(crate) fn count(n: u64) -> String {
    const UNITS: [(u64, char); 4] =
        [(1_000_000_000_000, 'T'), (1_000_000_000, 'G'), (1_000_000, 'M'), (1_000, 'k')];
    if n < 10_000 {
        return n.to_string();
    }
    let large = UNITS.into_iter().find(|(unit, _)| n >= *unit);
    large.map_or_else(|| n.to_string(), |(unit, letter)| format!("{:.1}{letter}", n as f64 / unit as f64))
}

/// A span of milliseconds, as coarse as it is long.
fn age(millis: u64) -> String {
    match millis / 1_000 {
        0 => format!("{millis} ms"),
        1..120 => format!("{:.1} s", millis as f64 / 1e3),
        seconds @ 120..7_200 => format!("{} min", seconds / 60),
        seconds @ 7_200..172_800 => format!("{} h", seconds / 3_600),
        seconds => format!("{} d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_as_many_digits_as_they_deserve() {
        for (n, text) in [
            (0.0, "0"),
            (0.04, "0.0"),
            (0.4, "0.4"),
            (9.94, "9.9"),
            (9.96, "10"),
            (1204.4, "1204"),
            (41302.0, "41.3k"),
        ] {
            assert_eq!(rate(n), text);
        }
        for (n, text) in [
            (9_999, "9999"),
            (10_000, "10.0k"),
            (1_234_567, "1.2M"),
            (1_000_000_000, "1.0G"),
            (u64::MAX, "18446744.1T"),
        ] {
            assert_eq!(count(n), text);
        }
        for (millis, text) in [
            (0, "0 ms"),
            (999, "999 ms"),
            (1_500, "1.5 s"),
            (119_940, "119.9 s"),
            (120_000, "2 min"),
            (7_200_000, "2 h"),
            (172_800_000, "2 d"),
        ] {
            assert_eq!(age(millis), text);
        }
    }

    #[test]
    fn every_column_but_the_first_needed_ones_can_be_left_out_once() {
        for (n, column) in Column::DISPENSABLE.iter().enumerate() {
            assert!(Column::ALL.contains(column) && !Column::DISPENSABLE[..n].contains(column), "{column:?}");
        }
    }
}
