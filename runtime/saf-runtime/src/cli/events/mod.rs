//! `saf-runtime events`: what streams hold, read without consuming it, and what became of it.

mod told;

use std::io::Read;

use serde::Deserialize;
use serde_json::value::RawValue;

use ureq::http::Method;

use super::client::{Ask, Client, Patience, Query, Server, broke_off};
use super::item::Item;
use super::paint::Paint;
use super::table::{Format, Limit, Out, Output, Page, list, read, show};
use super::text::{json_line, printable, since};
use crate::exit::Failure;
use told::{Delivery, Tree};

const COPY_BYTES: usize = 64 << 10;

/// Look at stored events.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime events                                      the oldest events
  saf-runtime events list --subject 'ride.>' --since 10m  rides of the last ten minutes
  saf-runtime events list --outcome trap --channel printer   events that it trapped on
  saf-runtime events show 12                              one event: headers, where it came from, data, what became of it
  saf-runtime events tree 12                              what came of it, through all Channels
  saf-runtime events why 12 --channel printer             why that Channel did or did not handle it
  saf-runtime events data 12 > event.json                 its data, byte for byte
  saf-runtime events list --format ndjson | jq .data      for programs")]
pub(crate) struct Events {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List events, oldest first (the same as no command).
    List(ListArgs),
    /// Show one event with its headers and data, and what became of it.
    Show(One),
    /// Show what came of one event, through all Channels.
    Tree(TreeArgs),
    /// Say why a Channel did, or did not, handle an event; the exit code is 0 when it did.
    Why(WhyArgs),
    /// Write the data of one event to standard output, byte for byte.
    Data(One),
}

#[derive(Debug, Default, clap::Args)]
struct ListArgs {
    /// The stream; the router's default when absent.
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
    /// Only subjects that match: * stands for one token, > for one or more at the end.
    #[arg(long, value_name = "FILTER")]
    subject: Option<String>,
    /// Only events behind this sequence.
    #[arg(long, value_name = "SEQUENCE")]
    after: Option<u64>,
    /// Only events stored since: a time (2026-01-31T12:00:00Z), or how long ago (10m); with --outcome or --channel, handled since.
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
    /// Only events stored before: a time, or how long ago; with --outcome or --channel, handled before.
    #[arg(long, value_name = "TIME", value_parser = since)]
    until: Option<String>,
    /// Only events with an attempt that ended so: done, retry, reject, trap, fuel, timeout, memory, output or expired; in the order
    /// of the attempts.
    #[arg(long, value_name = "OUTCOME")]
    outcome: Option<String>,
    /// Only events that this Channel handled, or tried to; in the order of the attempts.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    #[command(flatten)]
    limit: Limit,
}

#[derive(Debug, clap::Args)]
struct One {
    /// The event's sequence.
    sequence: u64,
    /// The stream; the router's default when absent.
    #[arg(long, value_name = "STREAM")]
    stream: Option<String>,
}

#[derive(Debug, clap::Args)]
struct TreeArgs {
    #[command(flatten)]
    one: One,
    /// Most events to show, up to 1000.
    #[arg(long, value_name = "N", default_value_t = 200)]
    limit: usize,
}

#[derive(Debug, clap::Args)]
struct WhyArgs {
    #[command(flatten)]
    one: One,
    /// The Channel.
    #[arg(long, value_name = "CHANNEL")]
    channel: String,
}

impl Events {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = self.server.admin()?;
        let format = self.output.format;
        match self.action.unwrap_or_else(|| Action::List(ListArgs::default())) {
            Action::List(args) => args.list(&client, format),
            Action::Show(one) => one.show(&client, format),
            Action::Tree(args) => args.tree(&client, format),
            Action::Why(args) => args.why(&client, format),
            Action::Data(one) => one.data(&client),
        }
    }
}

impl ListArgs {
    fn list(self, client: &Client, format: Format) -> Result<(), Failure> {
        let query = Query::default()
            .with("stream", self.stream)
            .with("subject", self.subject)
            .with("since", self.since)
            .with("until", self.until)
            .with("outcome", self.outcome)
            .with("channel", self.channel);
        let from = self.after.map(|after| after.to_string());
        list::<Item>(client, "/api/v1/events", &query, from, self.limit, format)
    }
}

impl One {
    fn path(&self) -> String {
        format!("/api/v1/events/{}", self.sequence)
    }

    fn query(&self) -> Query {
        Query::default().with("stream", self.stream.as_ref())
    }

    fn show(&self, client: &Client, format: Format) -> Result<(), Failure> {
        show(client, &self.path(), &self.query(), format, |event: &Item, out| {
            event.sheet().print(out)?;
            // A router that keeps no history, or is older than it, says so in its own way: then there is nothing to add.
            let told = client.get::<Page>(&(self.path() + "/history"), &self.query());
            for raw in told.map(|page| page.items).unwrap_or_default() {
                let delivery: Delivery = read(&raw)?;
                out.line(&format!("──▶ {}", delivery.line(Paint::of_stdout())))?;
            }
            Ok(())
        })
    }

    fn data(&self, client: &Client) -> Result<(), Failure> {
        let path = self.path() + "/data";
        let ask = Ask::new(Method::GET, &path).query(&self.query()).patience(Patience::WhileAlive);
        let (mut reader, asked) = client.ask(&ask)?.into_reader();
        let mut out = Out::new();
        let mut buffer = vec![0; COPY_BYTES];
        loop {
            match reader.read(&mut buffer) {
                Ok(0) => return out.flush(),
                Ok(n) => out.copy(&buffer[..n])?,
                Err(error) => return Err(broke_off(&asked, &error.into())),
            }
        }
    }
}

impl TreeArgs {
    fn tree(&self, client: &Client, format: Format) -> Result<(), Failure> {
        let query = self.one.query().with("limit", Some(self.limit));
        let paint = Paint::of_stdout();
        show(client, &(self.one.path() + "/tree"), &query, format, |tree: &Tree, out| tree.print(out, paint))
    }
}

impl WhyArgs {
    /// Fails with 1 when the Channel did not handle it; the answer is printed all the same.
    fn why(&self, client: &Client, format: Format) -> Result<(), Failure> {
        #[derive(Deserialize)]
        struct Why {
            handled: bool,
            sentence: String,
        }
        let query = self.one.query().with("channel", Some(&self.channel));
        let raw: Box<RawValue> = client.get(&(self.one.path() + "/why"), &query)?;
        let why: Why = read(&raw)?;
        let mut out = Out::new();
        match format {
            Format::Table => out.line(&printable(&why.sentence))?,
            Format::Json | Format::Ndjson => out.line(&json_line(raw.get()))?,
        }
        out.flush()?;
        if why.handled {
            return Ok(());
        }
        let (channel, sequence) = (printable(&self.channel), self.one.sequence);
        Err(Failure::Check(format!("{channel} has not handled event {sequence}")))
    }
}
