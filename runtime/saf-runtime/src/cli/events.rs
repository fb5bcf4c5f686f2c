//! `saf-runtime events`: what streams hold, read without consuming it.

use std::io::Read;

use ureq::http::Method;

use super::client::{Ask, Client, Patience, Query, Server, broke_off};
use super::item::Item;
use super::table::{Format, Limit, Out, Output, list, show};
use super::text::since;
use crate::exit::Failure;

const COPY_BYTES: usize = 64 << 10;

/// Look at stored events.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime events                                      the oldest events
  saf-runtime events list --subject 'ride.>' --since 10m  rides of the last ten minutes
  saf-runtime events show 12                              one event: headers, where it came from, data
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
    /// Show one event with its headers and data.
    Show(One),
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
    /// Only events stored since: a time (2026-01-31T12:00:00Z), or how long ago (10m).
    #[arg(long, value_name = "TIME", value_parser = since)]
    since: Option<String>,
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

impl Events {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = self.server.admin()?;
        let format = self.output.format;
        match self.action.unwrap_or_else(|| Action::List(ListArgs::default())) {
            Action::List(args) => args.list(&client, format),
            Action::Show(one) => one.show(&client, format),
            Action::Data(one) => one.data(&client),
        }
    }
}

impl ListArgs {
    fn list(self, client: &Client, format: Format) -> Result<(), Failure> {
        let query = Query::default()
            .with("stream", self.stream)
            .with("subject", self.subject)
            .with("since", self.since);
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
        show(client, &self.path(), &self.query(), format, |event: &Item, out| event.sheet().print(out))
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
