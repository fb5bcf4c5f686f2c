//! `send --wait`: watches the attempts of every Channel until each that subscribes to the event has settled it, then finds what was
//! emitted. The stream of attempts is opened before the post, so that nothing is missed; it is lossy, and says so.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Instant;

use saf_event::Filter;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::{Receipt, Report};
use crate::cli::channels::Channel;
use crate::cli::client::{Client, Patience, Query};
use crate::cli::item::Item;
use crate::cli::sse::{Message, Messages, Next};
use crate::cli::table::{Page, read};
use crate::cli::tap::skipped;
use crate::cli::text::{micros, printable, short};
use crate::exit::Failure;

const PAGE_ITEMS: usize = 1000;
/// Channels that are looked at; a stream bears about a hundred.
const MAX_CHANNEL_PAGES: usize = 10;
/// Events behind the one sent, among which its emissions are looked for.
const MAX_EMISSION_PAGES: usize = 20;
const REASON_CHARS: usize = 200;

/// An attempt as the admin API tells it.
#[derive(Debug, Deserialize)]
struct Attempt {
    channel: String,
    sequence: u64,
    #[serde(rename = "attempt")]
    number: u32,
    outcome: String,
    next: Verdict,
    #[serde(default)]
    micros: u64,
    #[serde(default)]
    fuel: u64,
    #[serde(default)]
    emissions: u64,
    #[serde(default)]
    reason: Option<String>,
}

/// What became of the event.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Verdict {
    Done,
    /// After so many milliseconds.
    Retry(u64),
    DeadLetter,
    Released,
}

/// The attempts of all Channels, from before the post on.
pub(super) struct Watch<R> {
    admin: Client,
    attempts: Messages<R>,
}

/// What the Channels made of the event so far.
struct Progress {
    /// Channels that have not settled it, and what they said last.
    open: BTreeMap<String, String>,
    dead: BTreeSet<String>,
    emissions: u64,
}

impl Watch<()> {
    /// Begins to watch; it ends at `until`.
    pub(super) fn open(admin: Client, until: Instant) -> Result<Watch<impl std::io::Read>, Failure> {
        let left = until.saturating_duration_since(Instant::now());
        let attempts = admin.messages("/api/v1/attempts", &Query::default(), Patience::For(left))?;
        Ok(Watch { admin, attempts })
    }
}

impl<R: std::io::Read> Watch<R> {
    /// A broker that stores nothing numbers nothing: attempts cannot be told apart.
    pub(super) fn nothing_stored(self) -> Result<(), Failure> {
        drop(self);
        Err(Failure::Check(
            "the router's broker stores nothing, so there is nothing to wait for: leave --wait out"
                .to_owned(),
        ))
    }

    /// Tells every attempt and emission of the event until its Channels have settled it.
    pub(super) fn follow(
        mut self,
        receipt: &Receipt,
        stream: Option<&str>,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let stream = match stream {
            Some(stream) => stream.to_owned(),
            None => self.locate(receipt)?,
        };
        let mut progress = self.subscribers(receipt, &stream, report)?;
        while !progress.open.is_empty() {
            match self.attempts.next()? {
                Next::Message(message) => progress.take(&message, receipt, report)?,
                Next::TimedOut => return Err(progress.too_late(receipt)),
                Next::Ended => {
                    return Err(Failure::Unreachable(
                        "the router is stopping; the event is stored and handled after a restart".to_owned(),
                    ));
                }
            }
        }
        self.emissions(receipt, &stream, progress.emissions, report)?;
        progress.verdict()
    }

    /// The stream that holds the event: the receipt does not name the router's default.
    fn locate(&self, receipt: &Receipt) -> Result<String, Failure> {
        #[derive(Deserialize)]
        struct Stream {
            name: String,
        }
        let page: Page =
            self.admin.get("/api/v1/streams", &Query::default().with("limit", Some(PAGE_ITEMS)))?;
        let names = page.items.iter().map(|raw| read(raw).map(|stream: Stream| stream.name));
        let names: Vec<String> = names.collect::<Result<_, _>>()?;
        if let [only] = &names[..] {
            return Ok(only.clone());
        }
        let path = format!("/api/v1/events/{}", receipt.sequence);
        for name in names {
            match self.admin.get::<Item>(&path, &Query::default().with("stream", Some(&name))) {
                Ok(item) if item.id == receipt.id && item.subject == receipt.subject => return Ok(name),
                // Another stream has no such sequence, or another event there.
                Ok(_) | Err(Failure::Check(_)) => {}
                Err(failure) => return Err(failure),
            }
        }
        Err(Failure::Check("cannot tell which stream took the event: name it with --stream".to_owned()))
    }

    fn subscribers(&self, receipt: &Receipt, stream: &str, report: &mut Report) -> Result<Progress, Failure> {
        let mut progress = Progress { open: BTreeMap::new(), dead: BTreeSet::new(), emissions: 0 };
        let mut cursor = None;
        for _ in 0..MAX_CHANNEL_PAGES {
            let query = Query::default().with("limit", Some(PAGE_ITEMS)).with("after", cursor.as_ref());
            let page: Page = self.admin.get("/api/v1/channels", &query)?;
            for raw in &page.items {
                let channel: Channel = read(raw)?;
                if !subscribes(&channel, stream, &receipt.subject) {
                    continue;
                }
                if channel.state != "running" {
                    let (name, state) = (printable(&channel.name), printable(&channel.state));
                    report.note(&format!("{name} is {state}: see saf-runtime channels inspect {name}"))?;
                }
                progress.open.insert(channel.name, "no attempt yet".to_owned());
            }
            cursor = page.next;
            if cursor.is_none() {
                break;
            }
        }
        if progress.open.is_empty() {
            let subject = printable(&receipt.subject);
            report.note(&format!("no Channel of stream {stream} subscribes to {subject}"))?;
        }
        Ok(progress)
    }

    /// Finds what was emitted, among the events behind the one that was sent.
    fn emissions(
        &self,
        receipt: &Receipt,
        stream: &str,
        wanted: u64,
        report: &mut Report,
    ) -> Result<(), Failure> {
        let parent = format!("{stream}:{}", receipt.sequence);
        let mut cursor = Some(receipt.sequence.to_string());
        let mut found = 0;
        for _ in 0..MAX_EMISSION_PAGES {
            if found >= wanted || cursor.is_none() {
                break;
            }
            let query = Query::default()
                .with("stream", Some(stream))
                .with("limit", Some(PAGE_ITEMS))
                .with("after", cursor.as_ref());
            let page: Page = self.admin.get("/api/v1/events", &query)?;
            for raw in &page.items {
                let item: Item = read(raw)?;
                if item.parent.as_deref() == Some(parent.as_str()) {
                    found += 1;
                    emitted(raw, &item, report)?;
                }
            }
            cursor = page.next;
        }
        if found < wanted {
            report.note(&format!(
                "{} more emissions are further behind, or were removed by retention",
                wanted - found
            ))?;
        }
        Ok(())
    }
}

pub(super) fn emitted(raw: &RawValue, item: &Item, report: &mut Report) -> Result<(), Failure> {
    let text =
        format!("emitted: {}, sequence {}  {}", short(&item.subject, 80), item.sequence, item.preview());
    report.tell("emission", text.trim_end(), raw)
}

fn subscribes(channel: &Channel, stream: &str, subject: &str) -> bool {
    let matches =
        |filter: &String| Filter::parse(filter.as_str()).is_ok_and(|filter| filter.matches(subject));
    channel.stream == stream && channel.subjects.iter().any(matches)
}

impl Progress {
    fn take(&mut self, message: &Message, receipt: &Receipt, report: &mut Report) -> Result<(), Failure> {
        if let Some(text) = skipped(message) {
            return report.note(&text);
        }
        let raw: &RawValue = serde_json::from_str(&message.data).map_err(|error| {
            Failure::Check(format!("the router sent an attempt that is no JSON ({error})"))
        })?;
        let attempt: Attempt = read(raw)?;
        if attempt.sequence != receipt.sequence || !self.open.contains_key(&attempt.channel) {
            return Ok(());
        }
        let (text, verdict) = (attempt.to_string(), attempt.next);
        report.tell("attempt", &text, raw)?;
        match verdict {
            Verdict::Done => {
                self.open.remove(&attempt.channel);
                self.emissions += attempt.emissions;
            }
            Verdict::DeadLetter => {
                self.open.remove(&attempt.channel);
                self.dead.insert(attempt.channel);
            }
            Verdict::Retry(_) | Verdict::Released => drop(self.open.insert(attempt.channel, text)),
        }
        Ok(())
    }

    fn too_late(&self, receipt: &Receipt) -> Failure {
        let open = self.open.iter().map(|(name, last)| format!("\n  {}: {last}", printable(name)));
        Failure::Check(format!(
            "sequence {} is stored, but not settled in time by{}\nGive it longer with --timeout, or look at saf-runtime channels",
            receipt.sequence,
            open.collect::<String>()
        ))
    }

    fn verdict(&self) -> Result<(), Failure> {
        if self.dead.is_empty() {
            return Ok(());
        }
        let names: Vec<_> = self.dead.iter().map(|name| printable(name)).collect();
        Err(Failure::Check(format!(
            "a dead letter of {}: see saf-runtime dead-letters list --channel {}",
            names.join(", "),
            names[0]
        )))
    }
}

/// One line.
impl fmt::Display for Attempt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (channel, outcome) = (printable(&self.channel), printable(&self.outcome));
        write!(
            f,
            "{channel}: attempt {} {outcome} in {}, fuel {}",
            self.number,
            micros(self.micros),
            self.fuel
        )?;
        match self.next {
            Verdict::Done => write!(f, ", {} emitted", self.emissions)?,
            Verdict::Retry(after) => write!(f, "; again in {after} ms")?,
            Verdict::DeadLetter => f.write_str("; a dead letter")?,
            Verdict::Released => f.write_str("; given back, not the event's fault")?,
        }
        self.reason.as_deref().map_or(Ok(()), |reason| write!(f, ": {}", short(reason, REASON_CHARS)))
    }
}
