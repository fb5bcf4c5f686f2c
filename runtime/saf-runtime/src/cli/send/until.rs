//! `send --until`: watches the stream for an event that came of the one sent. Any router of a NATS will do, whichever ran the Channels:
//! it is stored emissions that are watched, not attempts. The tap is opened before the post, so that nothing is missed.

use std::io::Read;
use std::time::Instant;

use serde_json::value::RawValue;

use super::wait::emitted;
use super::{Receipt, Report};
use crate::cli::client::{Client, Patience, Query};
use crate::cli::item::Item;
use crate::cli::sse::{Messages, Next};
use crate::cli::table::read;
use crate::cli::tap::skipped;
use crate::exit::Failure;

/// Events on one filter, from before the post on.
pub(super) struct Descent<R> {
    filter: String,
    events: Messages<R>,
}

impl Descent<()> {
    /// Begins to watch; it ends at `until`.
    pub(super) fn open(
        admin: &Client,
        filter: &str,
        stream: Option<&str>,
        until: Instant,
    ) -> Result<Descent<impl Read + use<>>, Failure> {
        let left = until.saturating_duration_since(Instant::now());
        let query = Query::default().with("stream", stream).with("subject", Some(filter));
        let events = admin.messages("/api/v1/tap", &query, Patience::For(left))?;
        Ok(Descent { filter: filter.to_owned(), events })
    }
}

impl<R: Read> Descent<R> {
    /// Tells the first event whose chain began with the one sent.
    pub(super) fn follow(mut self, receipt: &Receipt, report: &mut Report) -> Result<(), Failure> {
        loop {
            let message = match self.events.next()? {
                Next::Message(message) => message,
                Next::TimedOut => return Err(self.too_late(receipt)),
                Next::Ended => {
                    return Err(Failure::Unreachable(
                        "the router is stopping; the event is stored and handled after a restart".to_owned(),
                    ));
                }
            };
            if let Some(text) = skipped(&message) {
                report.note(&text)?;
            }
            if message.kind != "event" {
                continue;
            }
            let raw: &RawValue = serde_json::from_str(&message.data).map_err(|error| {
                Failure::Check(format!("the router sent an event that is no JSON ({error})"))
            })?;
            let item: Item = read(raw)?;
            if comes_of(&item, receipt.sequence) {
                return emitted(raw, &item, report);
            }
        }
    }

    fn too_late(&self, receipt: &Receipt) -> Failure {
        Failure::Check(format!(
            "sequence {} is stored, but nothing on {} came of it in time. Give it longer with --timeout, or look at saf-runtime \
             channels",
            receipt.sequence, self.filter
        ))
    }
}

/// An emission names where its chain began: `<stream>:<sequence>`.
fn comes_of(item: &Item, sequence: u64) -> bool {
    let root = item.root.as_deref().and_then(|root| root.rsplit_once(':'));
    root.is_some_and(|(_, root)| root.parse() == Ok(sequence))
}
