//! Reading what became of deliveries: messages of the history's stream, one after another through the JSON API. What this process
//! has settled and not stored yet is stored first.
//!
//! A cursor is a message's sequence and a place in it, as one number. Deliberately absent: an index; an event's history is looked for from
//! its own time on, in a bounded number of messages.

use futures::future::BoxFuture;
use saf_event::{ChannelName, StreamName};

use super::JetStream;
use super::api::Failure;
use super::names::{HISTORY_STREAM, history_of};
use crate::history::codec::EntryRecord;
use crate::{Entry, Error, History, HistoryFilter, Page};

/// Most messages that one look reads; a full one holds some 800 entries.
const SCAN_MESSAGES: usize = 500;
/// Most entries on a page, whatever the caller asks for.
const PAGE_ENTRIES: usize = 1_000;
/// In a cursor: bits of the place in a message.
const PLACE_BITS: u32 = 16;

fn about(failure: Failure) -> Error {
    failure.about("reading the history")
}

impl JetStream {
    async fn entries(
        &self,
        subject: &str,
        (from, place): (u64, u64),
        limit: usize,
        fits: impl Fn(EntryRecord<'_>) -> bool,
    ) -> Result<Page<Entry>, Error> {
        let (mut items, mut next, mut skip) = (Vec::new(), from, place);
        for _ in 0..SCAN_MESSAGES {
            let message = self.core.api.message_from(HISTORY_STREAM, next, subject).await.map_err(about)?;
            let Some(message) = message else { return Ok(Page { items, next: None }) };
            let skipped = if message.sequence == from { std::mem::take(&mut skip) } else { 0 };
            for (at, entry) in (1..).zip(EntryRecord::all(&message.data)).skip(skipped as usize) {
                if !fits(entry) {
                    continue;
                }
                items.extend(entry.read());
                if items.len() == limit {
                    return Ok(Page { items, next: Some(cursor(message.sequence, at)) });
                }
            }
            next = message.sequence + 1;
        }
        Ok(Page { items, next: Some(cursor(next, 0)) })
    }

    /// The first message of the history that may speak of something that happened at a time.
    async fn history_from(&self, time: u64) -> Result<u64, Error> {
        self.core.scribe.flush().await;
        let info = self.core.api.stream(HISTORY_STREAM).await.map_err(about)?;
        let Some(state) = info.map(|info| info.state).filter(|state| state.messages > 0) else {
            return Ok(1);
        };
        self.core.first_between(HISTORY_STREAM, (state.first_seq, state.last_seq), time).await
    }

    async fn history_of(
        &self,
        stream: &StreamName,
        sequence: u64,
        channel: Option<&ChannelName>,
    ) -> Result<Page<Entry>, Error> {
        let event = self.core.api.message(stream.as_str(), sequence).await.map_err(about)?;
        let from = self.history_from(event.map_or(0, |event| event.time)).await?;
        let subject = history_of(stream, channel);
        self.entries(&subject, (from, 0), PAGE_ENTRIES, |entry| entry.sequence() == sequence).await
    }

    async fn history_page(
        &self,
        stream: &StreamName,
        filter: &HistoryFilter,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Page<Entry>, Error> {
        let from = match after {
            Some(after) => {
                self.core.scribe.flush().await;
                (after >> PLACE_BITS, after & ((1 << PLACE_BITS) - 1))
            }
            None => (self.history_from(filter.since.unwrap_or(0)).await?, 0),
        };
        let subject = history_of(stream, filter.channel.as_ref());
        let limit = limit.clamp(1, PAGE_ENTRIES);
        self.entries(&subject, from, limit, |entry| entry.fits(filter)).await
    }
}

fn cursor(sequence: u64, place: u64) -> String {
    (sequence << PLACE_BITS | place).to_string()
}

impl History for JetStream {
    fn of<'a>(
        &'a self,
        stream: &'a StreamName,
        sequence: u64,
        channel: Option<&'a ChannelName>,
    ) -> BoxFuture<'a, Result<Page<Entry>, Error>> {
        Box::pin(self.history_of(stream, sequence, channel))
    }

    fn list<'a>(
        &'a self,
        stream: &'a StreamName,
        filter: &'a HistoryFilter,
        after: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Entry>, Error>> {
        Box::pin(self.history_page(stream, filter, after, limit))
    }

    fn dropped(&self) -> u64 {
        self.core.scribe.dropped()
    }
}
