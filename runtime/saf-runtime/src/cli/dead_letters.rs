//! `saf-runtime dead-letters` (`dlq`): events that a Channel could not handle. Shown with every attempt, replayed to their Channel,
//! or deleted; the second only by id, or by a filter together with the number that it must match, so that a slip deletes nothing.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use ureq::http::Method;

use super::client::{Ask, Client, Patience, Query, Server, encoded};
use super::item::Item;
use super::stopped::Stopped;
use super::table::{Column, Format, Limit, Out, Output, Row, Sheet, list, read, show};
use super::text::{Time, json_line, micros, printable, printable_lines, short, since};
use crate::exit::Failure;

const PATH: &str = "/api/v1/dead-letters";
const REASON_CHARS: usize = 80;
const SUBJECT_CHARS: usize = 40;

/// Look at dead letters; replay or delete them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime dlq                                          every dead letter, oldest first
  saf-runtime dlq list --channel printer --outcome trap    of one Channel, that trapped last
  saf-runtime dlq show events:3                            one: its event, every attempt, where it trapped
  saf-runtime dlq replay events:3                          hand it to its Channel again, and to no other
  saf-runtime dlq replay --channel printer --rate 10       all that are there now, ten a second
  saf-runtime dlq delete events:3                          for good
  saf-runtime dlq delete --channel printer --count 12      only when exactly twelve match")]
pub(crate) struct DeadLetters {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List dead letters, oldest first (the same as no command).
    List(ListArgs),
    /// Show one dead letter: why, its event, and every attempt with its backtrace.
    Show(Named),
    /// Hand dead letters to their Channels again, as new events with fresh attempts.
    Replay(Replay),
    /// Remove dead letters for good.
    Delete(Delete),
}

/// Which dead letters; what is given must all fit.
#[derive(Clone, Debug, Default, clap::Args, Serialize)]
#[group(id = "filter", multiple = true)]
struct Filter {
    /// Of events of this stream.
    #[arg(long, value_name = "STREAM")]
    #[serde(skip_serializing_if = "Option::is_none")]
    stream: Option<String>,
    /// Of this Channel.
    #[arg(long, value_name = "CHANNEL")]
    #[serde(skip_serializing_if = "Option::is_none")]
    channel: Option<String>,
    /// Whose last attempt ended so: retry, reject, trap, fuel, timeout, memory, output or expired.
    #[arg(long, value_name = "OUTCOME")]
    #[serde(skip_serializing_if = "Option::is_none")]
    outcome: Option<String>,
    /// Whose reason holds this text.
    #[arg(long, value_name = "TEXT")]
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<String>,
    /// Stored since: a time (2026-01-31T12:00:00Z), or how long ago (10m).
    #[arg(long, value_name = "TIME", value_parser = since)]
    #[serde(skip_serializing_if = "Option::is_none")]
    since: Option<String>,
    /// Stored before: a time, or how long ago.
    #[arg(long, value_name = "TIME", value_parser = since)]
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<String>,
}

impl Filter {
    fn query(self) -> Query {
        Query::default()
            .with("stream", self.stream)
            .with("channel", self.channel)
            .with("outcome", self.outcome)
            .with("reason", self.reason)
            .with("since", self.since)
            .with("until", self.until)
    }
}

#[derive(Debug, Default, clap::Args)]
struct ListArgs {
    #[command(flatten)]
    filter: Filter,
    /// Go on behind this dead letter.
    #[arg(long, value_name = "ID")]
    after: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The dead letter's id, such as events:3.
    id: String,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "saf-runtime dead-letters replay <ID>\n       \
                            saf-runtime dead-letters replay --channel <CHANNEL> [more filters] [--rate <N>] [--stop-after <N>]")]
struct Replay {
    /// The dead letter's id, such as events:3.
    #[arg(conflicts_with_all = ["filter", "rate", "stop_after", "limit"], required_unless_present = "filter")]
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// Most replays a second.
    #[arg(long, value_name = "N", default_value_t = 100)]
    rate: u32,
    /// Stop when so many new dead letters of the same Channels turn up.
    #[arg(long, value_name = "N", default_value_t = 10)]
    stop_after: u64,
    /// Most dead letters to replay.
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Debug, clap::Args)]
#[command(override_usage = "saf-runtime dead-letters delete <ID>\n       \
                            saf-runtime dead-letters delete --channel <CHANNEL> [more filters] --count <N>")]
struct Delete {
    /// The dead letter's id, such as events:3.
    #[arg(conflicts_with_all = ["filter", "count"], required_unless_present = "filter")]
    id: Option<String>,
    #[command(flatten)]
    filter: Filter,
    /// How many the filter must match; with any other number nothing is deleted.
    #[arg(long, value_name = "N", required_unless_present = "id")]
    count: Option<u64>,
}

impl DeadLetters {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = self.server.admin()?;
        let format = self.output.format;
        match self.action.unwrap_or_else(|| Action::List(ListArgs::default())) {
            Action::List(ListArgs { filter, after, limit }) => {
                list::<Letter>(&client, PATH, &filter.query(), after, limit, format)
            }
            Action::Show(named) => show(&client, &one(&named.id), &Query::default(), format, Letter::print),
            Action::Replay(replay) => replay.run(&client, format),
            Action::Delete(delete) => delete.run(&client, format),
        }
    }
}

fn one(id: &str) -> String {
    format!("{PATH}/{}", encoded(id))
}

/// What a replay by filter came to.
#[derive(Debug, Deserialize)]
struct Came {
    #[serde(rename = "replayed")]
    done: u64,
    failed: u64,
    #[serde(default)]
    first_failure: Option<String>,
    stopped: Option<String>,
}

impl Replay {
    fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        match &self.id {
            Some(id) => {
                let path = format!("{}/replay", one(id));
                client.ask(&Ask::new(Method::POST, &path))?;
                said(format, &format!("replayed {}", printable(id)), &serde_json::json!({ "replayed": 1 }))
            }
            None => self.filtered(client, format),
        }
    }

    /// Lasts as long as the rate makes it; Ctrl-C stops the router's replay too.
    fn filtered(self, client: &Client, format: Format) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Request {
            filter: Filter,
            rate: u32,
            stop_after: u64,
            #[serde(skip_serializing_if = "Option::is_none")]
            limit: Option<u64>,
        }
        let Self { id: _, filter, rate, stop_after, limit } = self;
        let request = Request { filter, rate, stop_after, limit };
        let body = serde_json::to_vec(&request).map_err(Failure::internal)?;
        let json = [("content-type", "application/json")];
        let path = format!("{PATH}/replay");
        let ask = Ask::new(Method::POST, &path).headers(&json).body(&body).patience(Patience::Endless);
        let raw: Box<RawValue> = client.ask(&ask)?.json()?;
        let came: Came = read(&raw)?;
        said(format, &format!("replayed {}, failed {}", came.done, came.failed), &raw)?;
        match came {
            Came { stopped: Some(reason), .. } => {
                Err(Failure::Check(format!("the replay was stopped: {}", printable(&reason))))
            }
            Came { failed: 1.., first_failure, .. } => Err(Failure::Check(format!(
                "{} could not be replayed and are still listed; the first: {}",
                came.failed,
                printable(&first_failure.unwrap_or_default())
            ))),
            Came { stopped: None, failed: 0, .. } => Ok(()),
        }
    }
}

impl Delete {
    fn run(self, client: &Client, format: Format) -> Result<(), Failure> {
        if let Some(id) = &self.id {
            client.ask(&Ask::new(Method::DELETE, &one(id)))?;
            return said(format, &format!("deleted {}", printable(id)), &serde_json::json!({ "deleted": 1 }));
        }
        #[derive(Deserialize)]
        struct Deleted {
            deleted: u64,
        }
        let query = self.filter.query().with("count", self.count);
        let raw: Box<RawValue> = client.ask(&Ask::new(Method::DELETE, PATH).query(&query))?.json()?;
        let Deleted { deleted } = read(&raw)?;
        said(format, &format!("deleted {deleted}"), &raw)
    }
}

/// One line about what was done.
fn said(format: Format, text: &str, json: &impl Serialize) -> Result<(), Failure> {
    let mut out = Out::new();
    match format {
        Format::Table => out.line(text)?,
        Format::Json | Format::Ndjson => {
            out.line(&json_line(&serde_json::to_string(json).map_err(Failure::internal)?))?;
        }
    }
    out.flush()
}

/// A dead letter as the admin API answers it, as far as it is shown.
#[derive(Debug, Deserialize)]
struct Letter {
    id: String,
    time: Time,
    stream: String,
    channel: String,
    outcome: String,
    reason: String,
    #[serde(default)]
    digest: String,
    #[serde(default)]
    attempts: Vec<Attempt>,
    event: Item,
    #[serde(default)]
    data_omitted: bool,
}

#[derive(Debug, Deserialize)]
struct Attempt {
    number: u32,
    outcome: String,
    at: Time,
    #[serde(default)]
    micros: u64,
    #[serde(default)]
    fuel: u64,
    #[serde(default)]
    memory: u64,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    backtrace: Option<String>,
    #[serde(default)]
    stderr: Option<String>,
}

impl Letter {
    fn print(&self, out: &mut Out) -> Result<(), Failure> {
        let omitted =
            if self.data_omitted { "too large to be kept here; see `saf-runtime events data`" } else { "" };
        Sheet::default()
            .with("dead letter", printable(&self.id))
            .with("time", self.time.to_string())
            .with("channel", printable(&self.channel))
            .with("outcome", printable(&self.outcome))
            .with("reason", printable_lines(&self.reason))
            .with("component", printable(self.digest.get(..12).unwrap_or(&self.digest)))
            .print(out)?;
        out.line(&format!("\nevent of stream {}", printable(&self.stream)))?;
        self.event.sheet().with("data", omitted).print(out)?;
        let mut before = None;
        for attempt in &self.attempts {
            attempt.print(before, out)?;
            before = Some(attempt);
        }
        out.line(&format!("\nReplay it: saf-runtime dead-letters replay {}", printable(&self.id)))
    }
}

impl Attempt {
    /// A backtrace that is the one before is not repeated.
    fn print(&self, before: Option<&Self>, out: &mut Out) -> Result<(), Failure> {
        let same =
            self.backtrace.is_some() && before.is_some_and(|before| before.backtrace == self.backtrace);
        out.line(&format!("\nattempt {}", self.number))?;
        let block = |text: &Option<String>| {
            text.as_deref().map(|text| printable_lines(text.trim_matches('\n'))).unwrap_or_default()
        };
        Sheet::default()
            .with("outcome", printable(&self.outcome))
            .with("at", self.at.to_string())
            .with(
                "used",
                format!(
                    "{}, fuel {}, {} of memory",
                    micros(self.micros),
                    self.fuel,
                    saf_event::Size(self.memory)
                ),
            )
            .with("reason", block(&self.reason))
            .with("place", self.place().map(|place| printable(&place)).unwrap_or_default())
            .with("backtrace", if same { "as before".to_owned() } else { block(&self.backtrace) })
            .with("stderr", block(&self.stderr))
            .print(out)
    }
}

impl Attempt {
    /// Where in the author's own sources it was, as far as its language says.
    fn place(&self) -> Option<String> {
        let last_words = self.stderr.as_deref().filter(|_| self.outcome == saf_event::Outcome::Trap.as_str());
        Stopped::of(self.reason.as_deref().unwrap_or_default(), self.backtrace.as_deref(), last_words).place
    }
}

impl Row for Letter {
    const COLUMNS: &'static [Column] = &[
        Column::Text("ID"),
        Column::Text("TIME"),
        Column::Text("CHANNEL"),
        Column::Text("OUTCOME"),
        Column::Number("ATTEMPTS"),
        Column::Text("SUBJECT"),
        Column::Number("SEQUENCE"),
        Column::Text("REASON"),
    ];
    const NONE: &'static str = "no dead letters match";

    fn cells(&self) -> Vec<String> {
        vec![
            printable(&self.id),
            self.time.to_string(),
            printable(&self.channel),
            printable(&self.outcome),
            self.attempts.len().to_string(),
            short(&self.event.subject, SUBJECT_CHARS),
            self.event.sequence.to_string(),
            short(&self.reason, REASON_CHARS),
        ]
    }
}
