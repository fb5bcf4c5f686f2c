//! `top` on a terminal: readings come in, keys come in, lines go out. A router that is away is said so above what was seen last.

use std::sync::mpsc::{Receiver, TryRecvError};
use std::time::{Duration, Instant};

use super::column::{count, rate};
use super::terminal::Terminal;
use super::view::View;
use super::{Taken, is_passing, keys::Press, readings};
use crate::cli::client::Client;
use crate::cli::live::{Figures, Reading};
use crate::cli::paint::{Paint, Tone};
use crate::cli::text::{printable, rfc3339};
use crate::exit::Failure;

/// How soon a reading is shown, and SIGTERM seen.
const LOOK_EVERY: Duration = Duration::from_millis(50);
const KEYS: &str = "←→ sort by   r turn round   ↑↓ scroll   q quit";
/// Lines that are no Channel: two of summary, one of trouble, the table's head, the keys.
const OTHER_LINES: usize = 5;

/// Shows the Channels until a person has seen enough.
pub(super) fn show(client: Client, url: &str, interval: Duration) -> Result<(), Failure> {
    let readings = readings(client, interval)?;
    let mut shown = Shown { url: printable(url), interval, paint: Paint::of_stdout(), ..Shown::default() };
    let mut view = View::default();
    let mut terminal = Terminal::open()?;
    loop {
        let size = Terminal::size();
        terminal.draw(&shown.lines(&mut view, size, Instant::now()))?;
        loop {
            if let Some(press) = terminal.press(LOOK_EVERY)? {
                if press == Press::Quit {
                    return Ok(());
                }
                view.press(press, page(size));
                break;
            }
            if shown.take(&readings)? {
                break;
            }
        }
    }
}

/// Channels that are shown at once.
fn page((_, lines): (usize, usize)) -> usize {
    lines.saturating_sub(OTHER_LINES).max(1)
}

/// What is on the screen.
#[derive(Default)]
struct Shown {
    url: String,
    interval: Duration,
    paint: Paint,
    reading: Option<Reading>,
    figures: Vec<Figures>,
    trouble: Option<Trouble>,
}

/// The router does not answer.
struct Trouble {
    since: Instant,
    why: String,
}

impl Shown {
    /// Takes a reading if there is one; whether something is to be drawn.
    fn take(&mut self, readings: &Receiver<Taken>) -> Result<bool, Failure> {
        let taken = match readings.try_recv() {
            Ok(taken) => taken,
            Err(TryRecvError::Empty) => return Ok(false),
            Err(TryRecvError::Disconnected) => {
                return Err(Failure::Internal("nobody asks the router any more".to_owned()));
            }
        };
        self.read(taken, Instant::now())?;
        Ok(true)
    }

    fn read(&mut self, taken: Taken, now: Instant) -> Result<(), Failure> {
        match taken {
            Ok(reading) => {
                self.figures = reading.since(self.reading.as_ref());
                self.reading = Some(reading);
                self.trouble = None;
            }
            Err(failure) if is_passing(&failure, self.reading.is_some()) => {
                let since = self.trouble.take().map_or(now, |trouble| trouble.since);
                self.trouble = Some(Trouble { since, why: failure.to_string() });
            }
            Err(failure) => return Err(failure),
        }
        Ok(())
    }

    /// As many lines as the terminal has at most, none wider than it is.
    fn lines(&self, view: &mut View, size: (usize, usize), now: Instant) -> Vec<String> {
        let (width, height) = size;
        view.stay_within(self.figures.len(), page(size));
        let mut table = view.table(&self.figures, width, self.paint).into_iter();
        let head = table.next().unwrap_or_default();
        let rows = table.skip(view.above()).take(page(size));
        let tone = |tone, text: &str| self.paint.tone(tone, &cut(text, width));
        let mut lines = vec![
            cut(&self.title(), width),
            cut(&self.summary(), width),
            tone(Tone::Bad, &self.trouble(now)),
            head,
        ];
        lines.extend(rows);
        lines.truncate(height.saturating_sub(1));
        let below = self.figures.len().saturating_sub(view.above() + page(size));
        let keys = if below == 0 { KEYS.to_owned() } else { format!("{KEYS}   {below} more below") };
        lines.push(tone(Tone::Faint, &keys));
        lines
    }

    fn title(&self) -> String {
        let time =
            self.reading.as_ref().map_or_else(|| "no answer yet".to_owned(), |reading| rfc3339(reading.time));
        format!(
            "saf-runtime top   {}   {time}   every {}",
            self.url,
            humantime::format_duration(self.interval)
        )
    }

    fn summary(&self) -> String {
        if self.reading.is_none() {
            return String::new();
        }
        let sum = |of: fn(&Figures) -> Option<f64>| self.figures.iter().filter_map(of).sum::<f64>();
        let whole = |of: fn(&Figures) -> u64| count(self.figures.iter().map(of).sum());
        format!(
            "{} Channels   {} events/s   {} errors/s   {} emissions/s   {} pending   {} dead letters",
            self.figures.len(),
            rate(sum(|figures| figures.pace.attempts_per_second)),
            rate(sum(|figures| figures.pace.failures_per_second)),
            rate(sum(|figures| figures.pace.emissions_per_second)),
            whole(|figures| figures.pending),
            whole(|figures| figures.dead_letters),
        )
    }

    fn trouble(&self, now: Instant) -> String {
        self.trouble.as_ref().map_or_else(String::new, |Trouble { since, why }| {
            let seconds = now.saturating_duration_since(*since).as_secs();
            format!("no answer for {seconds} s, trying again: {}", printable(why))
        })
    }
}

fn cut(text: &str, width: usize) -> String {
    text.chars().take(width).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(paint: Paint) -> Shown {
        Shown {
            url: "http://127.0.0.1:1379".to_owned(),
            interval: Duration::from_secs(1),
            paint,
            ..Shown::default()
        }
    }

    fn reading(at: Instant, done: u64) -> Reading {
        let channels = (0..30).map(|n| {
            format!(
                r#"{{"name":"c{n:02}","state":"running","attempts":{{"done":{}}},"fuel":0,"peak_memory":0,"durations":[],
                    "emissions":0,"dead_letters":0,"held":0,"waiting":0,"lag":{{"pending":1}}}}"#,
                done * n
            )
        });
        Reading::of(at, &format!("[{}]", channels.collect::<Vec<_>>().join(",")))
    }

    #[test]
    fn whatever_the_size_nothing_is_drawn_beside_the_terminal() {
        let (start, mut shown, mut view) = (Instant::now(), shown(Paint::Plain), View::default());
        shown.read(Ok(reading(start, 1)), start).expect("shown");
        shown.read(Ok(reading(start + Duration::from_secs(1), 3)), start).expect("shown");
        for size in [(1, 1), (20, 3), (80, 24), (200, 60), (0, 0)] {
            let lines = shown.lines(&mut view, size, start);
            assert!(lines.len() <= size.1.max(1), "{size:?}: {lines:#?}");
            let keeps = |line: &String| {
                line.chars().count() <= size.0 || line.contains("CHANNEL") || line.starts_with('c')
            };
            assert!(lines.iter().all(keeps), "{size:?}: {lines:#?}");
        }
        let lines = shown.lines(&mut view, (80, 24), start);
        assert!(lines[1].starts_with("30 Channels   870 events/s   0 errors/s"), "{lines:#?}");
        assert!(lines[4].starts_with("c29 "), "the busiest first: {lines:#?}");
        assert!(lines.last().is_some_and(|line| line.ends_with("11 more below")), "{lines:#?}");
    }

    #[test]
    fn a_router_that_is_away_is_said_so_above_what_was_seen_last() {
        let (start, mut shown, mut view) = (Instant::now(), shown(Paint::Plain), View::default());
        let away = || Err(Failure::Unreachable("cannot reach the router".to_owned()));
        shown.read(away(), start).expect("it is asked again");
        let lines = shown.lines(&mut view, (80, 24), start + Duration::from_secs(3));
        assert!(lines[0].contains("no answer yet"), "{lines:#?}");
        assert_eq!(lines[2], "no answer for 3 s, trying again: cannot reach the router");
        shown.read(Ok(reading(start, 1)), start).expect("shown");
        assert_eq!(shown.lines(&mut view, (80, 24), start)[2], "");
        shown.read(away(), start).expect("it is asked again");
        shown.read(away(), start + Duration::from_secs(9)).expect("it is asked again");
        let lines = shown.lines(&mut view, (80, 24), start + Duration::from_secs(9));
        assert!(lines[2].starts_with("no answer for 9 s") && lines[4].starts_with('c'), "{lines:#?}");
    }

    #[test]
    fn a_wrong_token_ends_it() {
        let (mut shown, now) = (shown(Paint::Plain), Instant::now());
        assert!(shown.read(Err(Failure::Check("401".to_owned())), now).is_err());
    }
}
