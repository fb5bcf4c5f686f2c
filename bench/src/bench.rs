//! The words of a benchmark: a row is measured once a round and gives a figure; results hold every round's.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, ensure};

/// What every row gets.
pub(crate) struct Bench {
    pub(crate) programs: Programs,
    pub(crate) scale: Scale,
}

/// How much is measured.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Scale {
    /// How often each row is measured.
    pub(crate) rounds: usize,
    /// Stored events of a drain.
    pub(crate) events: u64,
    /// How long a load lasts.
    pub(crate) load: Duration,
    /// How long latency is watched.
    pub(crate) latency: Duration,
}

impl Scale {
    pub(crate) const FULL: Self = Self {
        rounds: 5,
        events: 200_000,
        load: Duration::from_millis(1_500),
        latency: Duration::from_secs(4),
    };
    pub(crate) const QUICK: Self = Self {
        rounds: 1,
        events: 20_000,
        load: Duration::from_millis(500),
        latency: Duration::from_millis(1_500),
    };
}

/// What is run: the router beside this program, guests and nats-server where the environment says.
pub(crate) struct Programs {
    pub(crate) router: PathBuf,
    /// The same with the feature `native`.
    pub(crate) native_router: PathBuf,
    pub(crate) nats_server: PathBuf,
    guests: PathBuf,
    /// Compiled guests, kept from row to row.
    pub(crate) cache: tempfile::TempDir,
}

impl Programs {
    pub(crate) fn find() -> anyhow::Result<Self> {
        const HELP: &str = "run `cargo xtask bench`, which builds and names everything";
        let this = std::env::current_exe()?;
        let beside = |name: &str| this.with_file_name(format!("{name}{}", std::env::consts::EXE_SUFFIX));
        let (router, native_router) = (beside("saf-runtime"), beside("saf-runtime-native"));
        ensure!(router.is_file(), "{} is missing: {HELP}", router.display());
        let named = |variable: &str| {
            let path = std::env::var_os(variable).map(PathBuf::from);
            path.with_context(|| format!("{variable} is not set: {HELP}"))
        };
        Ok(Self {
            router,
            native_router,
            nats_server: named("NATS_SERVER")?,
            guests: named("SAF_GUESTS")?,
            cache: tempfile::tempdir()?,
        })
    }

    /// A guest's component: `enrich` is Rust's, `python/enrich` another language's.
    pub(crate) fn guest(&self, name: &str) -> PathBuf {
        let (language, name) = name.split_once('/').unwrap_or(("rust", name));
        self.guests.join(language).join(format!("{name}.wasm"))
    }

    pub(crate) fn cache(&self) -> &Path {
        self.cache.path()
    }
}

/// What a figure counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Unit {
    EventsPerSecond,
    Millis,
    MebiBytes,
    /// Records that shared one fdatasync.
    Records,
    /// What the sandbox counts a guest's work in.
    Fuel,
    KiloBytes,
}

impl Unit {
    pub(crate) fn show(self, value: f64) -> String {
        match self {
            Self::EventsPerSecond if value < 10_000.0 => format!("{value:.0}/s"),
            Self::EventsPerSecond if value < 1e6 => format!("{:.1}k/s", value / 1e3),
            Self::EventsPerSecond => format!("{:.2}M/s", value / 1e6),
            Self::Millis => format!("{value:.2} ms"),
            Self::MebiBytes if value < 10.0 => format!("{value:.1} MiB"),
            Self::MebiBytes => format!("{value:.0} MiB"),
            Self::Fuel if value < 1e6 => format!("{:.1}k fuel", value / 1e3),
            Self::Fuel => format!("{:.2}M fuel", value / 1e6),
            Self::KiloBytes => format!("{value:.0} KB"),
            Self::Records => format!("{value:.0} records"),
        }
    }
}

/// What one measurement gave.
#[derive(Clone, Debug)]
pub(crate) struct Figure {
    pub(crate) value: f64,
    /// For a person who asks why: where the CPU went.
    pub(crate) note: String,
    /// What was seen on the way, under a name of its own.
    pub(crate) beside: Vec<Beside>,
}

/// A second figure of a row.
#[derive(Clone, Debug)]
pub(crate) struct Beside {
    /// Follows the row's name: `<row>:<name>`.
    pub(crate) name: &'static str,
    pub(crate) unit: Unit,
    pub(crate) value: f64,
}

impl Figure {
    pub(crate) fn new(value: f64) -> Self {
        Self { value, note: String::new(), beside: Vec::new() }
    }

    pub(crate) fn note(self, note: String) -> Self {
        Self { note, ..self }
    }

    pub(crate) fn beside(mut self, name: &'static str, unit: Unit, value: f64) -> Self {
        self.beside.push(Beside { name, unit, value });
        self
    }
}

type Run = Box<dyn Fn(&Bench) -> anyhow::Result<Figure>>;

/// Something to measure.
pub(crate) struct Row {
    /// `<family>.<broker>.<what>.<size>`.
    pub(crate) name: String,
    /// For people.
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) run: Run,
}

impl Row {
    pub(crate) fn new(
        name: impl Into<String>,
        what: impl Into<String>,
        unit: Unit,
        run: impl Fn(&Bench) -> anyhow::Result<Figure> + 'static,
    ) -> Self {
        Self { name: name.into(), what: what.into(), unit, run: Box::new(run) }
    }

    /// Needs a router of its own.
    pub(crate) fn is_native(&self) -> bool {
        self.name.starts_with("native.")
    }

    pub(crate) fn is_chosen(&self, wanted: &[String]) -> bool {
        wanted.is_empty() || wanted.iter().any(|part| self.name.contains(part.as_str()))
    }
}

/// One row's rounds; `None` for a round in which it failed.
pub(crate) struct Series {
    pub(crate) name: String,
    pub(crate) what: String,
    pub(crate) unit: Unit,
    pub(crate) rounds: Vec<Option<f64>>,
    /// The last round's.
    pub(crate) note: String,
}

impl Series {
    pub(crate) fn median(&self) -> Option<f64> {
        median(self.rounds.iter().copied().flatten())
    }
}

/// All rows' rounds, in the order in which they were first seen.
#[derive(Default)]
pub(crate) struct Results {
    series: Vec<Series>,
    places: BTreeMap<String, usize>,
    /// Rounds that are over.
    rounds: usize,
}

impl Results {
    pub(crate) fn record(&mut self, row: &Row, figure: anyhow::Result<Figure>) {
        match figure {
            Ok(figure) => {
                self.push(&row.name, &row.what, row.unit, Some(figure.value), figure.note);
                for Beside { name, unit, value } in figure.beside {
                    self.push(&format!("{}:{name}", row.name), "", unit, Some(value), String::new());
                }
            }
            Err(error) => self.push(&row.name, &row.what, row.unit, None, format!("failed: {error:#}")),
        }
    }

    fn push(&mut self, name: &str, what: &str, unit: Unit, value: Option<f64>, note: String) {
        let place = *self.places.entry(name.to_owned()).or_insert(self.series.len());
        if place == self.series.len() {
            let rounds = vec![None; self.rounds];
            self.series.push(Series {
                name: name.to_owned(),
                what: what.to_owned(),
                unit,
                rounds,
                note: String::new(),
            });
        }
        let series = &mut self.series[place];
        series.rounds.push(value);
        series.note = note;
    }

    /// Rows that gave nothing in this round have a gap there.
    pub(crate) fn end_round(&mut self) {
        self.rounds += 1;
        self.series.iter_mut().for_each(|series| series.rounds.resize(self.rounds, None));
    }

    pub(crate) fn series(&self) -> &[Series] {
        &self.series
    }

    /// A row's value in a round.
    pub(crate) fn value(&self, name: &str, round: usize) -> Option<f64> {
        self.series[*self.places.get(name)?].rounds.get(round).copied().flatten()
    }

    pub(crate) fn rounds(&self) -> usize {
        self.rounds
    }
}

/// The middle one; the mean of the two middle ones of an even number. `None` of none.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<_> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    match values.len() {
        0 => None,
        n if n % 2 == 1 => Some(values[middle]),
        _ => Some(f64::midpoint(values[middle - 1], values[middle])),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_is_in_the_middle() {
        let cases: [(&[f64], Option<f64>); 4] = [
            (&[], None),
            (&[3.0], Some(3.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 1.0, 2.0, 9.0], Some(3.0)),
        ];
        for (values, expected) in cases {
            assert_eq!(median(values.iter().copied()), expected, "{values:?}");
        }
    }

    #[test]
    fn a_row_that_failed_or_came_late_has_gaps_and_keeps_its_rounds_apart() {
        let row = |name: &str| Row::new(name, "", Unit::Millis, |_| Ok(Figure::new(0.0)));
        let mut results = Results::default();
        results.record(&row("a"), Ok(Figure::new(1.0)));
        results.end_round();
        results.record(&row("a"), Err(anyhow::anyhow!("no disk")));
        results.record(&row("b"), Ok(Figure::new(2.0).beside("rss", Unit::MebiBytes, 7.0)));
        results.end_round();
        assert_eq!([results.value("a", 0), results.value("a", 1)], [Some(1.0), None]);
        assert_eq!([results.value("b", 0), results.value("b", 1)], [None, Some(2.0)]);
        assert_eq!(results.value("b:rss", 1), Some(7.0));
        assert_eq!(results.value("c", 0), None);
        assert!(results.series()[0].note.contains("no disk"));
    }
}
