//! `saf-runtime top`: what every Channel is doing right now. A screen for a person at a terminal, lines for a pipe; both say what
//! happened between two readings of the router's counts ([`super::live`]), so that the router keeps no rates for anybody.
//!
//! Drawn with crossterm alone: one table, line by line. Deliberately absent: changing anything (`channels pause` does that, and is in
//! the shell's history), graphs over time (`/metrics` and a dashboard have the memory for it).

mod column;
mod keys;
mod screen;
mod terminal;
mod view;

use std::io::IsTerminal;
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread;
use std::time::{Duration, Instant};

use super::client::{Client, Server};
use super::live::{Figures, Reading};
use super::paint::Paint;
use super::table::{Format, Out};
use crate::exit::Failure;
pub(crate) use column::{count, rate};
use view::View;

/// A router that does not answer in this time is away; it is asked again.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(5);
const MIN_INTERVAL: Duration = Duration::from_millis(100);
const MAX_INTERVAL: Duration = Duration::from_hours(1);
/// Readings that wait for being shown: a new one would only be older.
const QUEUE_READINGS: usize = 1;

/// See what every Channel is doing right now.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime top                                   a screen, until q
  saf-runtime top --once                            one table
  saf-runtime top --interval 10s | jq -c 'select(.failures_per_second > 0)'
                                                    a JSON line for each Channel and interval, for a pipe

Keys: left and right choose the column to sort by, r turns the order round, up and down scroll, q ends it.

EVENTS/S are attempts a second, ERRORS/S those that were not done. P50 and P99 are the time in the guest of half, and of 99 in 100, of
the attempts of the last interval (at most an eighth too long); FUEL is what an attempt used in it, on average. PEAK is the largest
memory of one event since the Channel started; PENDING are events that wait in the stream, LAG is the age of the oldest event that is not
settled; DEAD are dead letters since it started. Counts are of the router that is asked, not of its replicas.")]
pub(crate) struct Top {
    /// How often the router is asked: 100ms to 1h.
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = interval)]
    interval: Duration,
    /// Show what happened in one interval, and end.
    #[arg(long)]
    once: bool,
    /// A table for people, a JSON array an interval, or a JSON line for each Channel and interval. When absent: a table on a terminal,
    /// else ndjson.
    #[arg(long, value_enum, help_heading = "Output")]
    format: Option<Format>,
    #[command(flatten)]
    server: Server,
}

fn interval(text: &str) -> Result<Duration, String> {
    let interval = humantime::parse_duration(text).map_err(|error| error.to_string())?;
    let fits = (MIN_INTERVAL..=MAX_INTERVAL).contains(&interval);
    fits.then_some(interval).ok_or_else(|| "write a time from 100ms to 1h, such as 1s".to_owned())
}

impl Top {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = self.server.admin()?;
        let terminal = std::io::stdout().is_terminal();
        let format = self.format.unwrap_or(if terminal { Format::Table } else { Format::Ndjson });
        if self.once {
            return print(&once(&client, self.interval)?, format, &mut Out::new());
        }
        if terminal && format == Format::Table {
            return screen::show(client, self.server.url(), self.interval);
        }
        follow(client, self.interval, format)
    }
}

/// What happened in one interval from now on.
pub(crate) fn once(client: &Client, interval: Duration) -> Result<Vec<Figures>, Failure> {
    let before = Reading::take(client, ANSWER_TIMEOUT)?;
    thread::sleep(interval);
    Ok(Reading::take(client, ANSWER_TIMEOUT)?.since(Some(&before)))
}

/// Prints every interval, until the reader leaves.
fn follow(client: Client, interval: Duration, format: Format) -> Result<(), Failure> {
    let readings = readings(client, interval)?;
    let (mut before, mut away, mut out) = (None::<Reading>, false, Out::new());
    loop {
        let taken = readings.recv().map_err(Failure::internal)?;
        let reading = match taken {
            Ok(reading) => reading,
            Err(failure) if is_passing(&failure, before.is_some()) => {
                if !away {
                    eprintln!("{failure}\ntrying again");
                }
                away = true;
                continue;
            }
            Err(failure) => return Err(failure),
        };
        if std::mem::take(&mut away) {
            eprintln!("it answers again");
        }
        if let Some(before) = &before {
            print(&reading.since(Some(before)), format, &mut out)?;
            if format == Format::Table {
                // Tables follow each other.
                out.line("")?;
                out.flush()?;
            }
        }
        before = Some(reading);
    }
}

/// Whether it is worth asking again: a router may come back, one that answered before may be behind a proxy that does not find it now;
/// a wrong URL or token stays wrong.
fn is_passing(failure: &Failure, answered: bool) -> bool {
    match failure {
        Failure::Unreachable(_) => true,
        Failure::Check(_) => answered,
        Failure::Usage(_)
        | Failure::Internal(_)
        | Failure::Store(_)
        | Failure::Config(_)
        | Failure::ReaderLeft => false,
    }
}

fn print(figures: &[Figures], format: Format, out: &mut Out) -> Result<(), Failure> {
    match format {
        Format::Table => {
            for line in View::default().table(figures, usize::MAX, Paint::of_stdout()) {
                out.line(line.trim_end())?;
            }
        }
        Format::Json => out.line(&serde_json::to_string(figures).map_err(Failure::internal)?)?,
        Format::Ndjson => {
            for figures in figures {
                out.line(&serde_json::to_string(figures).map_err(Failure::internal)?)?;
            }
        }
    }
    out.flush()
}

type Taken = Result<Reading, Failure>;

/// Asks the router every interval, on a thread of its own: one that does not answer must not hold up keys. The thread ends with the
/// receiver, or with the process while it waits for an answer.
fn readings(client: Client, interval: Duration) -> Result<Receiver<Taken>, Failure> {
    let (sender, receiver) = sync_channel(QUEUE_READINGS);
    let ask = move || ask(&client, interval, &sender);
    thread::Builder::new().name("readings".to_owned()).spawn(ask).map_err(Failure::internal)?;
    Ok(receiver)
}

fn ask(client: &Client, interval: Duration, readings: &SyncSender<Taken>) {
    loop {
        let next = Instant::now() + interval;
        if readings.send(Reading::take(client, ANSWER_TIMEOUT)).is_err() {
            return;
        }
        thread::sleep(next.saturating_duration_since(Instant::now()));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interval_is_neither_a_flood_nor_for_ever() {
        for (text, expected) in
            [("1s", true), ("100ms", true), ("1h", true), ("99ms", false), ("2h", false), ("x", false)]
        {
            assert_eq!(interval(text).is_ok(), expected, "{text}");
        }
    }

    #[test]
    fn a_router_that_is_away_is_asked_again_and_a_wrong_token_is_not() {
        let away = Failure::Unreachable(String::new());
        let refused = Failure::Check(String::new());
        assert_eq!([is_passing(&away, false), is_passing(&refused, true)], [true, true]);
        assert_eq!(
            [is_passing(&refused, false), is_passing(&Failure::Usage(String::new()), true)],
            [false, false]
        );
    }
}
