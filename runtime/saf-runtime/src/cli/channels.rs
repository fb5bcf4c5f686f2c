//! `saf-runtime channels`: how Channels are, and their switch.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Deserialize;
use serde_json::value::RawValue;
use ureq::http::Method;

use super::client::{Ask, Client, Query, Server, encoded};
use super::live::percentile;
use super::table::{Column, Format, Limit, Listing, Output, Row, Sheet, list, show};
use super::text::{Time, micros, printable, short};
use crate::exit::Failure;

const SUBJECTS_CHARS: usize = 40;
const REASON_CHARS: usize = 100;

/// See how Channels are; pause and resume them.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime channels                   every Channel, its state and what became of its attempts
  saf-runtime channels inspect printer   everything about one
  saf-runtime channels pause printer     it takes no more events; they wait in the stream, also over a restart
  saf-runtime channels resume printer    it goes on where it was

States: starting, running, paused (by a person), sick (every event fails: it takes probes only), faulted (no instance can be
had; see the reason), stopped.")]
pub(crate) struct Channels {
    #[command(flatten)]
    server: Server,
    #[command(flatten)]
    output: Output,
    #[command(subcommand)]
    action: Option<Action>,
}

#[derive(Debug, clap::Subcommand)]
enum Action {
    /// List the Channels (the same as no command).
    List(Limit),
    /// Show one Channel: configuration, component, limits, attempts, how far it is behind.
    Inspect(Named),
    /// Stop handing events to a Channel; what runs finishes, the rest waits in the stream.
    Pause(Named),
    /// Hand events to a paused Channel again.
    Resume(Named),
}

#[derive(Debug, clap::Args)]
struct Named {
    /// The Channel.
    name: String,
}

impl Channels {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let client = self.server.admin()?;
        let format = self.output.format;
        match self.action.unwrap_or_else(|| Action::List(Limit::default())) {
            Action::List(limit) => {
                list::<Channel>(&client, "/api/v1/channels", &behind_now(), None, limit, format)
            }
            Action::Inspect(named) => named.inspect(&client, format),
            Action::Pause(named) => named.switch(&client, "pause", format),
            Action::Resume(named) => named.switch(&client, "resume", format),
        }
    }
}

/// A person wants to see how far a Channel is behind now, not at the router's last look.
fn behind_now() -> Query {
    Query::default().with("lag", Some("now"))
}

impl Named {
    fn path(&self) -> String {
        format!("/api/v1/channels/{}", encoded(&self.name))
    }

    fn inspect(&self, client: &Client, format: Format) -> Result<(), Failure> {
        show(client, &self.path(), &behind_now(), format, |channel: &Channel, out| channel.sheet().print(out))
    }

    fn switch(&self, client: &Client, verb: &str, format: Format) -> Result<(), Failure> {
        let path = format!("{}/{verb}", self.path());
        let raw: Box<RawValue> = client.ask(&Ask::new(Method::POST, &path))?.json()?;
        let mut listing = Listing::<Channel>::new(format);
        listing.page(&[raw])?;
        listing.end(None)
    }
}

/// A Channel as the admin API answers it, as far as it is shown.
#[derive(Debug, Deserialize)]
pub(crate) struct Channel {
    pub(crate) name: String,
    pub(crate) state: String,
    #[serde(default)]
    reason: Option<String>,
    #[serde(default)]
    since: Option<Time>,
    #[serde(default)]
    pub(crate) switch: String,
    pub(crate) stream: String,
    pub(crate) subjects: Vec<String>,
    #[serde(default)]
    emit: Vec<String>,
    #[serde(default)]
    component: Component,
    #[serde(default)]
    concurrency: Option<u64>,
    #[serde(default)]
    max_attempts: Option<u64>,
    #[serde(default)]
    limits: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    attempts: BTreeMap<String, u64>,
    #[serde(default)]
    fuel: u64,
    #[serde(default)]
    peak_memory: u64,
    #[serde(default)]
    durations: Vec<(u64, u64)>,
    #[serde(default)]
    emissions: u64,
    #[serde(default)]
    dead_letters: u64,
    #[serde(default)]
    released: u64,
    #[serde(default)]
    held: u64,
    #[serde(default)]
    waiting: u64,
    #[serde(default)]
    lag: Lag,
    #[serde(default)]
    behind_ms: Option<u64>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Component {
    path: String,
    digest: String,
    size: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Lag {
    pending: u64,
    unsettled: u64,
    floor: u64,
    expired: u64,
}

impl Channel {
    fn done(&self) -> u64 {
        self.attempts.get("done").copied().unwrap_or(0)
    }

    fn failed(&self) -> u64 {
        self.attempts.values().sum::<u64>() - self.done()
    }

    /// What it is doing, and where a person's switch is taking it.
    fn state(&self) -> String {
        let state = printable(&self.state);
        match (self.switch.as_str(), self.state.as_str()) {
            ("running", "paused") => format!("{state} (resuming)"),
            ("paused", "starting" | "running" | "sick" | "faulted") => format!("{state} (pausing)"),
            _ => state,
        }
    }

    /// What an attempt took, since the Channel started.
    fn attempt(&self) -> String {
        let (Some(p50), Some(p99)) = (percentile(&self.durations, 0.5), percentile(&self.durations, 0.99))
        else {
            return String::new();
        };
        let fuel = self.fuel.checked_div(self.attempts.values().sum()).unwrap_or(0);
        let peak = saf_event::Size(self.peak_memory);
        format!("p50 {}, p99 {}, fuel {fuel}, at most {peak} of memory", micros(p50), micros(p99))
    }

    fn sheet(&self) -> Sheet {
        let lines =
            |texts: &[String]| texts.iter().map(|text| printable(text)).collect::<Vec<_>>().join("\n");
        let counts = |counts: &BTreeMap<String, u64>| {
            let some = counts.iter().filter(|(_, n)| **n > 0);
            some.map(|(name, n)| format!("{n} {}", printable(name))).collect::<Vec<_>>().join(", ")
        };
        let limits: Vec<_> = self.limits.iter().map(|(name, value)| limit(name, value)).collect();
        let size = saf_event::Size(self.component.size);
        let digest = self.component.digest.get(..12).unwrap_or(&self.component.digest);
        let lag = &self.lag;
        Sheet::default()
            .with("name", printable(&self.name))
            .with("state", self.state())
            .with("reason", self.reason.as_deref().map(printable).unwrap_or_default())
            .with("since", self.since.as_ref().map(ToString::to_string).unwrap_or_default())
            .with("stream", printable(&self.stream))
            .with("subjects", lines(&self.subjects))
            .with("may emit", if self.emit.is_empty() { "nothing".to_owned() } else { lines(&self.emit) })
            .with("component", format!("{} ({size}, {})", printable(&self.component.path), printable(digest)))
            .with("concurrency", self.concurrency.map(|n| n.to_string()).unwrap_or_default())
            .with("max attempts", self.max_attempts.map(|n| n.to_string()).unwrap_or_default())
            .with("limits", limits.join("\n"))
            .with("attempts", counts(&self.attempts))
            .with("an attempt", self.attempt())
            .with("emissions", self.emissions.to_string())
            .with("dead letters", self.dead_letters.to_string())
            .with("given back", self.released.to_string())
            .with("in flight", format!("{} held, {} wait for a retry", self.held, self.waiting))
            .with(
                "behind",
                format!("{} not handed out, {} not settled, floor {}", lag.pending, lag.unsettled, lag.floor),
            )
            .with(
                "oldest",
                match self.behind_ms {
                    None | Some(0) => String::new(),
                    Some(millis) => {
                        format!("stored {} ago, not settled", saf_event::Span(Duration::from_millis(millis)))
                    }
                },
            )
            .with("expired", if lag.expired == 0 { String::new() } else { lag.expired.to_string() })
    }
}

/// A limit as a person reads it: the router answers plain numbers with the unit in the name.
fn limit(name: &str, value: &serde_json::Value) -> String {
    let text = match (value.as_u64(), name.rsplit_once('_')) {
        (Some(n), Some((name, "bytes"))) => format!("{name} {}", saf_event::Size(n)),
        (Some(n), Some((name, "ms"))) => format!("{name} {}", saf_event::Span(Duration::from_millis(n))),
        _ => format!("{name} {value}"),
    };
    printable(&text)
}

impl Row for Channel {
    const COLUMNS: &'static [Column] = &[
        Column::Text("CHANNEL"),
        Column::Text("STATE"),
        Column::Text("STREAM"),
        Column::Text("SUBJECTS"),
        Column::Number("DONE"),
        Column::Number("FAILED"),
        Column::Number("DEAD"),
        Column::Number("HELD"),
        Column::Number("PENDING"),
        Column::Text("REASON"),
    ];
    const NONE: &'static str = "the router has no Channels: add [channels.<name>] to its configuration";

    fn cells(&self) -> Vec<String> {
        vec![
            printable(&self.name),
            self.state(),
            printable(&self.stream),
            short(&self.subjects.join(" "), SUBJECTS_CHARS),
            self.done().to_string(),
            self.failed().to_string(),
            self.dead_letters.to_string(),
            self.held.to_string(),
            self.lag.pending.to_string(),
            short(self.reason.as_deref().unwrap_or_default(), REASON_CHARS),
        ]
    }
}
