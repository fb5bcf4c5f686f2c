//! `saf-runtime send`: posts an event as any client would, over the ingest listener; with `--wait`, also watches what becomes of it.

mod data;
mod until;
mod wait;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use saf_event::{Filter, Subject};
use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::client::{Answer, Ask, Client, Door, Query, Server, encoded};
use super::table::{Format, Out, Output, read};
use super::text::{json_line, printable};
use crate::exit::Failure;
use data::Payload;
use until::Descent;
use wait::Watch;

/// Post an event, and see what becomes of it.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime send hello                                  an event without data
  saf-runtime send hello '{\"name\": \"world\"}' --wait       JSON; then what every Channel made of it
  saf-runtime send ride.accepted --file ride.json --id 7  a file; the same id is stored once
  echo hi | saf-runtime send hello --file -               standard input
  saf-runtime send push --raw --file push.json --content-type application/json --header x-github-event=push
                                                          as a webhook would post it

Data that is JSON is sent as JSON, byte for byte; other text as text/plain; anything else as bytes. With --wait the exit code is
1 when a Channel made it a dead letter, or did not settle it in time.")]
pub(crate) struct Send {
    /// The subject: tokens joined by dots.
    #[arg(value_parser = subject)]
    subject: String,
    /// The data.
    #[arg(conflicts_with = "file")]
    data: Option<String>,
    /// Read the data from a file, or from standard input (-).
    #[arg(long, value_name = "FILE")]
    file: Option<PathBuf>,
    /// The event's id; a repeated one is stored once. The router makes one when absent.
    #[arg(long)]
    id: Option<String>,
    /// A header of the event; may be repeated.
    #[arg(long = "header", value_name = "NAME=VALUE", value_parser = header)]
    headers: Vec<(String, String)>,
    /// The media type of the data.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Post the data as it is to /api/event/<subject>, headers as HTTP headers: the router keeps those that
    /// http.forward_headers names.
    #[arg(long)]
    raw: bool,
    /// The stream to post to; the router's default when absent.
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Wait until every Channel that subscribes to the subject has settled the event; show its attempts and emissions.
    #[arg(long, group = "waiting")]
    wait: bool,
    /// Wait until an event came of it whose subject matches this filter, whichever router ran the Channels.
    #[arg(long, value_name = "FILTER", value_parser = filter, group = "waiting")]
    until: Option<String>,
    /// How long --wait and --until wait, in all.
    #[arg(long, value_name = "TIME", default_value = "30s", value_parser = humantime::parse_duration, requires = "waiting")]
    timeout: Duration,
    /// The router's ingest listener.
    #[arg(
        long,
        env = "SAF_INGEST_URL",
        default_value = "http://127.0.0.1:1378",
        value_name = "URL",
        help_heading = "Router"
    )]
    ingest_url: String,
    /// The bearer token of the ingest listener; the admin listener's when absent.
    #[arg(
        long,
        env = "SAF_INGEST_TOKEN",
        hide_env_values = true,
        value_name = "TOKEN",
        help_heading = "Router"
    )]
    ingest_token: Option<String>,
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    output: Output,
}

fn subject(text: &str) -> Result<String, String> {
    Subject::parse(text).map(|subject| subject.to_string()).map_err(|error| error.to_string())
}

fn filter(text: &str) -> Result<String, String> {
    Filter::parse(text).map(|filter| filter.to_string()).map_err(|error| error.to_string())
}

fn header(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err("write NAME=VALUE, such as x-source=orders".to_owned()),
    }
}

/// What the router answers to a post.
#[derive(Debug, Deserialize)]
struct Receipt {
    id: String,
    subject: String,
    sequence: u64,
    duplicate: bool,
    #[serde(default = "yes")]
    stored: bool,
}

const fn yes() -> bool {
    true
}

impl Send {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let token = self.ingest_token.as_deref().filter(|token| !token.is_empty());
        let ingest = Client::new(Door::Ingest, &self.ingest_url, token.or(self.server.token()))?;
        let payload = data::payload(self.data.as_deref(), self.file.as_deref())?;
        let until = Instant::now() + self.timeout;
        // Watching begins before the post: an attempt may be over before the answer is read.
        let watch = if self.wait { Some(Watch::open(self.server.admin()?, until)?) } else { None };
        let descent = match &self.until {
            Some(filter) => {
                Some(Descent::open(&self.server.admin()?, filter, self.stream.as_deref(), until)?)
            }
            None => None,
        };
        let raw: Box<RawValue> = self.post(&ingest, payload)?.json()?;
        let receipt: Receipt = read(&raw)?;
        let mut report = Report::new(self.output.format);
        report.receipt(&raw, &receipt)?;
        if let Some(descent) = descent {
            return descent.follow(&receipt, &mut report);
        }
        match watch {
            Some(watch) if !receipt.stored => watch.nothing_stored(),
            Some(_) if receipt.duplicate => {
                report.note("stored before: its Channels have it already, nothing new to wait for")
            }
            Some(watch) => watch.follow(&receipt, self.stream.as_deref(), &mut report),
            None => Ok(()),
        }
    }

    fn post(&self, ingest: &Client, payload: Payload) -> Result<Answer, Failure> {
        let query = Query::default().with("stream", self.stream.as_ref());
        if self.raw {
            return self.post_raw(ingest, &payload.into_bytes(), &query);
        }
        let json = [("content-type", "application/json")];
        let body = data::envelope(
            &self.subject,
            self.id.as_deref(),
            &self.headers,
            self.content_type.as_deref(),
            payload,
        )?;
        let ask = Ask::new(Method::POST, "/api/event").query(&query).headers(&json).body(&body);
        ingest.ask(&ask)
    }

    fn post_raw(&self, ingest: &Client, body: &[u8], query: &Query) -> Result<Answer, Failure> {
        let path = format!("/api/event/{}", encoded(&self.subject));
        let pairs = self.headers.iter().map(|(name, value)| (name.as_str(), value.as_str()));
        let id = self.id.as_deref().map(|id| ("idempotency-key", id));
        let content_type = self.content_type.as_deref().map(|content_type| ("content-type", content_type));
        let headers: Vec<_> = pairs.chain(id).chain(content_type).collect();
        ingest.ask(&Ask::new(Method::POST, &path).query(query).headers(&headers).body(body))
    }
}

/// Tells what becomes of an event: lines for people, `{"<what>": …}` a line for programs.
struct Report {
    format: Format,
    out: Out,
}

impl Report {
    fn new(format: Format) -> Self {
        Self { format, out: Out::new() }
    }

    fn receipt(&mut self, raw: &RawValue, receipt: &Receipt) -> Result<(), Failure> {
        let Receipt { id, subject, sequence, duplicate, stored } = receipt;
        let what = match (stored, duplicate) {
            (false, _) => "sent, stored nowhere",
            (true, true) => "stored before",
            (true, false) => "stored",
        };
        let text = format!("{what}: {}, sequence {sequence}, id {}", printable(subject), printable(id));
        self.tell("receipt", &text, raw)
    }

    /// One step.
    fn tell(&mut self, what: &str, text: &str, raw: &RawValue) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.out.line(text)?,
            Format::Json | Format::Ndjson => {
                self.out.line(&format!("{{\"{what}\":{}}}", json_line(raw.get())))?;
            }
        }
        self.out.flush()
    }

    /// For people only.
    fn note(&mut self, text: &str) -> Result<(), Failure> {
        self.out.flush()?;
        eprintln!("{text}");
        Ok(())
    }
}
