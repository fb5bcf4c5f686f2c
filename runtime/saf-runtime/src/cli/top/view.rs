//! What a person has chosen to see: order and place in the list; and the table that follows from it. No terminal in here: lines out of
//! figures, so that tests read what a person reads.

use super::column::Column;
use super::keys::Press;
use crate::cli::live::Figures;
use crate::cli::paint::{Paint, Tone};
use crate::cli::text::short;

const GAP: &str = "  ";
/// With less room a reason says nothing.
const MIN_REASON_CHARS: usize = 12;
/// Without a width, as in a pipe; the rest is for `channels inspect`.
const MAX_REASON_CHARS: usize = 200;

/// Which way the order goes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Order {
    /// The most on top; names from a to z.
    #[default]
    MostFirst,
    /// The other way round.
    LeastFirst,
}

/// Order and place.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct View {
    sort: Column,
    order: Order,
    /// Channels above the first that is shown.
    above: usize,
}

impl View {
    /// Takes a key; `page` is how many Channels are shown at once.
    pub(super) fn press(&mut self, press: Press, page: usize) {
        match press {
            Press::Left => self.sort_by(-1),
            Press::Right => self.sort_by(1),
            Press::Reverse => {
                self.order = match self.order {
                    Order::MostFirst => Order::LeastFirst,
                    Order::LeastFirst => Order::MostFirst,
                };
            }
            Press::Up => self.above = self.above.saturating_sub(1),
            Press::Down => self.above = self.above.saturating_add(1),
            Press::PageUp => self.above = self.above.saturating_sub(page),
            Press::PageDown => self.above = self.above.saturating_add(page),
            Press::Top => self.above = 0,
            Press::Bottom => self.above = usize::MAX,
            Press::Quit | Press::Nothing => {}
        }
    }

    fn sort_by(&mut self, step: isize) {
        let at = Column::ALL.iter().position(|column| *column == self.sort).unwrap_or_default();
        self.sort = Column::ALL[at.saturating_add_signed(step).min(Column::ALL.len() - 1)];
        self.order = Order::MostFirst;
    }

    /// Keeps the place within the list.
    pub(super) fn stay_within(&mut self, channels: usize, page: usize) {
        self.above = self.above.min(channels.saturating_sub(page));
    }

    pub(super) const fn above(&self) -> usize {
        self.above
    }

    /// The head, then a line for each Channel; none is wider than `width`.
    pub(super) fn table(&self, figures: &[Figures], width: usize, paint: Paint) -> Vec<String> {
        let mut sorted: Vec<_> = figures.iter().collect();
        sorted.sort_by(|a, b| {
            let by = match self.order {
                Order::MostFirst => self.sort.compare(a, b),
                Order::LeastFirst => self.sort.compare(b, a),
            };
            by.then_with(|| a.channel.cmp(&b.channel))
        });
        let columns = columns(&sorted, width);
        let head = columns
            .iter()
            .map(|(column, wide)| paint.tone(Tone::Faint, &pad(*column, &self.title(*column), *wide)));
        let head = head.collect::<Vec<_>>().join(GAP);
        let rows = sorted.iter().map(|figures| {
            let cells = columns.iter().map(|(column, wide)| {
                let cell = pad(*column, &column.cell(figures), *wide);
                column.tone(figures).map_or_else(|| cell.clone(), |tone| paint.tone(tone, &cell))
            });
            let row = cells.collect::<Vec<_>>().join(GAP);
            let used = columns.iter().map(|(_, wide)| wide + GAP.len()).sum::<usize>();
            row + &reason(figures, width.saturating_sub(used))
        });
        std::iter::once(head).chain(rows).collect()
    }

    fn title(&self, column: Column) -> String {
        let mark = match (column == self.sort, self.order) {
            (false, _) => "",
            (true, Order::MostFirst) => "▼",
            (true, Order::LeastFirst) => "▲",
        };
        format!("{}{mark}", column.title())
    }
}

/// What fits into `width`, with how wide each column is.
fn columns(figures: &[&Figures], width: usize) -> Vec<(Column, usize)> {
    let wide = |column: Column| {
        let cells = figures.iter().map(|figures| column.cell(figures).chars().count());
        // The mark of the order stands beside any title: columns do not move when another one is chosen.
        cells.max().unwrap_or(0).max(column.title().len() + 1)
    };
    let mut columns: Vec<_> = Column::ALL.into_iter().map(|column| (column, wide(column))).collect();
    for dispensable in Column::DISPENSABLE {
        if columns.iter().map(|(_, wide)| wide + GAP.len()).sum::<usize>() <= width.saturating_add(GAP.len())
        {
            break;
        }
        columns.retain(|(column, _)| *column != dispensable);
    }
    columns
}

fn pad(column: Column, text: &str, width: usize) -> String {
    if column.is_words() { format!("{text:<width$}") } else { format!("{text:>width$}") }
}

/// Why a Channel is as it is, where there is room for it.
fn reason(figures: &Figures, room: usize) -> String {
    match &figures.reason {
        Some(reason) if room >= MIN_REASON_CHARS => {
            format!("{GAP}{}", short(reason, room.min(MAX_REASON_CHARS)))
        }
        _ => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::live::Pace;

    fn figures() -> Vec<Figures> {
        let one = |channel: &str, state: &str, rate: f64, pending: u64| Figures {
            channel: channel.to_owned(),
            state: state.to_owned(),
            pace: Pace {
                attempts_per_second: Some(rate),
                failures_per_second: Some(0.0),
                emissions_per_second: Some(0.0),
                p50_us: Some(120),
                p99_us: Some(1_535),
                fuel_per_attempt: Some(41_302),
            },
            peak_memory_bytes: 1 << 20,
            pending,
            lag_ms: Some(pending * 100),
            ..Figures::default()
        };
        let mut all = vec![
            one("printer", "running", 0.4, 0),
            one("enrich", "running", 1_204.0, 31),
            one("mail", "faulted", 0.0, 7),
        ];
        all[2].reason = Some("no instance: init said \u{1b}[2J no".to_owned());
        all[2].pace = Pace::default();
        all[2].dead_letters = 3;
        all
    }

    fn shown(view: &View, width: usize) -> String {
        let lines = view.table(&figures(), width, Paint::Plain);
        lines.iter().flat_map(|line| [line.trim_end(), "\n"]).collect()
    }

    #[test]
    fn the_busiest_channel_is_on_top_and_one_in_trouble_says_why() {
        assert_eq!(
            shown(&View::default(), 200),
            "\
CHANNEL   STATE    EVENTS/S▼   ERRORS/S     P50     P99   FUEL     PEAK   PENDING     LAG   DEAD
enrich    running       1204          0  120 us  1.5 ms  41.3k  1.0 MiB        31   3.1 s      0
printer   running        0.4          0  120 us  1.5 ms  41.3k  1.0 MiB         0    0 ms      0
mail      faulted          -          -       -       -      -  1.0 MiB         7  700 ms      3  no instance: init said \\u{1b}[2J no
"
        );
    }

    #[test]
    fn a_narrow_terminal_does_without_what_matters_least() {
        for width in 30..130 {
            for line in shown(&View::default(), width).lines() {
                assert!(line.chars().count() <= width, "{width}: {line:?}");
            }
        }
        let head = shown(&View::default(), 60).lines().next().map(str::to_owned).unwrap_or_default();
        assert!(head.contains("CHANNEL") && head.contains("EVENTS/S▼") && head.contains("PENDING"), "{head}");
    }

    #[test]
    fn keys_choose_the_order() {
        let names = |view: &View| {
            let lines = view.table(&figures(), 200, Paint::Plain);
            lines[1..]
                .iter()
                .map(|line| line.split(' ').next().unwrap_or_default().to_owned())
                .collect::<Vec<_>>()
                .join(" ")
        };
        let mut view = View::default();
        assert_eq!(names(&view), "enrich printer mail");
        view.press(Press::Reverse, 10);
        assert_eq!(names(&view), "mail printer enrich");
        for (presses, expected) in [
            (&[Press::Left, Press::Left][..], "enrich mail printer"),
            (&[Press::Left], "enrich mail printer"),
            (&[Press::Reverse], "printer mail enrich"),
            (&[Press::Right; 8], "enrich mail printer"),
            (&[Press::Right; 20], "mail enrich printer"),
        ] {
            for press in presses {
                view.press(*press, 10);
            }
            assert_eq!(names(&view), expected, "{presses:?}");
        }
    }

    #[test]
    fn the_place_stays_within_the_list() {
        let mut view = View::default();
        for (press, above) in [
            (Press::Up, 0),
            (Press::Down, 1),
            (Press::PageDown, 11),
            (Press::PageDown, 15),
            (Press::PageUp, 5),
            (Press::Bottom, 15),
            (Press::Down, 15),
            (Press::Top, 0),
        ] {
            view.press(press, 10);
            view.stay_within(25, 10);
            assert_eq!(view.above(), above, "{press:?}");
        }
        view.press(Press::Bottom, 10);
        view.stay_within(3, 10);
        assert_eq!(view.above(), 0, "all fit");
    }

    #[test]
    fn colour_only_repeats_what_the_words_say() {
        let strip = |text: &str| {
            let mut parts = text.split('\u{1b}');
            let first = parts.next().unwrap_or_default().to_owned();
            first + &parts.map(|part| part.split_once('m').map_or("", |(_, rest)| rest)).collect::<String>()
        };
        let (plain, coloured) = (
            View::default().table(&figures(), 200, Paint::Plain),
            View::default().table(&figures(), 200, Paint::Coloured),
        );
        assert!(coloured.iter().any(|line| line.contains("\u{1b}[31m")), "a faulted Channel is seen");
        assert_eq!(coloured.iter().map(|line| strip(line)).collect::<Vec<_>>(), plain);
    }
}
