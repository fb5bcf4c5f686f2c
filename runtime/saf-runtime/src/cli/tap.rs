//! `saf-runtime tap`: events as they are stored, for somebody who watches. Lossy by design: whoever reads too slowly is told how
//! many events he missed, and nobody waits for him.

use serde::Deserialize;
use serde_json::value::RawValue;

use super::client::{Patience, Query, Server};
use super::item::Item;
use super::sse::{Message, Next};
use super::table::{Format, Out, Output, read};
use super::text::{json_line, short};
use crate::exit::Failure;

const SUBJECT_CHARS: usize = 40;

/// Watch events as they are stored.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime tap                            everything, until Ctrl-C
  saf-runtime tap 'ride.>'                   subjects that match; quote the > for your shell
  saf-runtime tap --sample 0.01              about every hundredth event
  saf-runtime tap --limit 1 --format ndjson  wait for one event, as JSON

A tap is lossy: a reader that is too slow is told how many events it missed. Nothing is consumed; see `events` for what was
stored before.")]
pub(crate) struct Tap {
    /// Only subjects that match: * stands for one token, > for one or more at the end.
    #[arg(value_name = "SUBJECT")]
    subject: Option<String>,
    /// The stream; the router's default when absent.
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Show only this share of the events, from 0 to 1.
    #[arg(long, value_name = "SHARE", value_parser = share)]
    sample: Option<f64>,
    /// Most events a second.
    #[arg(long, value_name = "N")]
    max_rate: Option<u32>,
    /// End after so many events.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    output: Output,
}

fn share(text: &str) -> Result<f64, String> {
    match text.parse() {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("write a number from 0 to 1, such as 0.1".to_owned()),
    }
}

impl Tap {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = self.server.admin()?;
        let query = Query::default()
            .with("stream", self.stream)
            .with("subject", self.subject)
            .with("sample", self.sample)
            .with("max_rate", self.max_rate);
        let mut messages = client.messages("/api/v1/tap", &query, Patience::WhileAlive)?;
        eprintln!("tapping; Ctrl-C ends it");
        let mut out = Out::new();
        let mut left = self.limit.unwrap_or(u64::MAX);
        while left > 0 {
            match messages.next()? {
                Next::Message(message) => left -= show(&message, self.output.format, &mut out)?,
                Next::Ended | Next::TimedOut => {
                    return Err(Failure::Unreachable("the router ended the tap: it is stopping".to_owned()));
                }
            }
        }
        Ok(())
    }
}

/// Shows a message at once; tells how many events it was.
fn show(message: &Message, format: Format, out: &mut Out) -> Result<u64, Failure> {
    if message.kind != "event" {
        if let Some(text) = skipped(message) {
            eprintln!("{text}");
        }
        return Ok(0);
    }
    let raw: &RawValue = serde_json::from_str(&message.data)
        .map_err(|error| Failure::Check(format!("the router sent an event that is no JSON ({error})")))?;
    match format {
        Format::Table => out.line(&line(&read(raw)?))?,
        Format::Json | Format::Ndjson => out.line(&json_line(raw.get()))?,
    }
    out.flush()?;
    Ok(1)
}

fn line(item: &Item) -> String {
    let subject = short(&item.subject, SUBJECT_CHARS);
    let line = format!("{}  {:>8}  {subject:<20}  {}", item.time, item.sequence, item.preview());
    line.trim_end().to_owned()
}

/// What is said about a gap in a stream; `None` for other messages.
pub(crate) fn skipped(message: &Message) -> Option<String> {
    #[derive(Deserialize)]
    struct Gap {
        skipped: u64,
    }
    let gap =
        (message.kind == "skipped").then(|| serde_json::from_str::<Gap>(&message.data).ok()).flatten()?;
    Some(format!("({} left out: they came faster than they were read)", gap.skipped))
}
