//! Messages that no client can read (DESIGN rule 11).
//!
//! A peer may store a message whose header value is not UTF-8, whose header name holds a space, or whose subject is not
//! UTF-8. async-nats drops the connection that such a message arrives on; the server delivers it again after the ack wait,
//! for ever. So when the consuming connection breaks while the publishing one holds, or for the third time without a
//! settled delivery in between, the pending messages of every Channel are read as base64 through the JSON API; the bad
//! one becomes a dead letter, byte for byte, and is deleted from its stream. Deliberately absent: telling apart U+FFFD in a
//! subject from bytes that are not UTF-8, which JSON cannot; only messages that are pending at a break are judged so.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use futures::stream::{self, StreamExt, TryStreamExt};
use saf_event::{ByteString, Event, EventId, Filter, Headers, Outcome, StreamName, Subject};
use tokio::sync::watch;
use tokio::time::sleep;

use super::api::{Failure, RawMessage};
use super::codec::{self, Stored};
use super::connection::{LinkState, backoff};
use super::names::Route;
use super::settler::ChannelSettler;
use super::{Core, letter, raw};
use crate::{DeadLetter, Ticket};

/// Breaks of the consuming connection without a settled delivery that count as poison whatever else happens.
const BREAKS: u32 = 3;
/// Most messages of one Channel that one inspection reads.
const INSPECT_MESSAGES: u64 = 20_000;
/// How many of them at once.
const INSPECT_AT_ONCE: usize = 32;
/// How often an inspection that the API cut short is begun again.
const INSPECT_ATTEMPTS: usize = 10;

/// The sequences of a stream that were found to be readable: stored messages do not change.
type Inspected = HashMap<StreamName, (u64, u64)>;

/// Watches the consuming connection; ends when it is closed.
pub(super) async fn watch(core: Arc<Core>) {
    let mut consuming = core.consuming.watch();
    let mut before = Seen::now(&core, *consuming.borrow_and_update());
    let mut breaks = 0;
    let mut inspected = Inspected::new();
    while let Some(connects) = reconnected(&mut consuming, before.consuming).await {
        let mut now = Seen::now(&core, LinkState { up: true, connects });
        breaks = if now.settled == before.settled { breaks + 1 } else { 1 };
        // The publishing connection may not have noticed yet that the server is gone: it answers first.
        let alone = core.api.level().await.is_ok() && core.publishing.state().connects == before.publishing;
        if alone || breaks >= BREAKS {
            tracing::warn!(
                breaks,
                "the consuming connection broke: looking for a message that no client can read"
            );
            inspect_all(&core, &mut inspected).await;
        }
        now.publishing = core.publishing.state().connects;
        before = now;
    }
}

/// What the counters stood at.
struct Seen {
    consuming: u64,
    publishing: u64,
    settled: u64,
}

impl Seen {
    fn now(core: &Core, consuming: LinkState) -> Self {
        Self {
            consuming: consuming.connects,
            publishing: core.publishing.state().connects,
            settled: core.settled.load(Ordering::Relaxed),
        }
    }
}

async fn reconnected(link: &mut watch::Receiver<LinkState>, before: u64) -> Option<u64> {
    link.wait_for(|state| state.up && state.connects != before).await.ok().map(|state| state.connects)
}

async fn inspect_all(core: &Core, inspected: &mut Inspected) {
    for feed in core.feeds() {
        for attempt in 1..=INSPECT_ATTEMPTS {
            match inspect(core, &feed, inspected).await {
                Ok(()) => break,
                Err(Failure::Unavailable(reason)) => {
                    tracing::debug!(channel = %feed.channel, reason, "an inspection was cut short");
                    sleep(backoff(attempt)).await;
                }
                Err(Failure::Server(error)) => {
                    tracing::warn!(channel = %feed.channel, %error, "an inspection was refused");
                    break;
                }
            }
        }
    }
}

/// Reads what is pending for a Channel and was not read before.
async fn inspect(core: &Core, feed: &ChannelSettler, inspected: &mut Inspected) -> Result<(), Failure> {
    let stream = &feed.route.stream;
    let Some(info) = core.api.consumer(stream.as_str(), feed.channel.as_str()).await? else { return Ok(()) };
    let (mut first, last) = (info.ack_floor.stream_seq + 1, info.delivered.stream_seq);
    first = first.max((last + 1).saturating_sub(INSPECT_MESSAGES));
    let (low, high) = inspected.get(stream).copied().unwrap_or((first, first - 1));
    let from = if low <= first && first <= high + 1 { high + 1 } else { first };
    let bad: Vec<(RawMessage, String)> = stream::iter(from..=last)
        .map(|sequence| core.api.message(stream.as_str(), sequence))
        .buffered(INSPECT_AT_ONCE)
        .try_filter_map(async |message| {
            Ok(message.and_then(|message| unreadable(&message).map(|why| (message, why))))
        })
        .try_collect()
        .await?;
    for (message, reason) in bad {
        remove(core, feed, message, &reason).await?;
    }
    let low = if from == first { first } else { low };
    inspected.insert(stream.clone(), (low, last.max(high)));
    Ok(())
}

/// Why async-nats would drop the connection over a message.
fn unreadable(message: &RawMessage) -> Option<String> {
    if message.subject.contains(char::REPLACEMENT_CHARACTER) {
        return Some(format!("its subject {:?} is not UTF-8", message.subject));
    }
    if message.subject.contains(char::is_whitespace) {
        return Some(format!("its subject {:?} holds white space", message.subject));
    }
    raw::parse_block(&message.headers).malformed
}

/// Makes a dead letter of it for every Channel that would have been handed it, `pending` at least, then deletes it.
async fn remove(
    core: &Core,
    pending: &ChannelSettler,
    message: RawMessage,
    reason: &str,
) -> Result<(), Failure> {
    let (route, sequence) = (&pending.route, message.sequence);
    let meant = |feed: &ChannelSettler| {
        let matches = |f: &String| Filter::parse(f.as_str()).is_ok_and(|f| f.matches(&message.subject));
        feed.route.stream == route.stream
            && (feed.channel == pending.channel || feed.filters.iter().any(matches))
    };
    for feed in core.feeds().iter().filter(|feed| meant(feed)) {
        let stored = core.store(letter_of(core, feed, &message, reason)).await;
        stored.map_err(|error| Failure::Unavailable(error.to_string()))?;
    }
    core.api.delete(route.stream.as_str(), sequence).await?;
    tracing::error!(
        stream = %route.stream, sequence, reason,
        "removed a message that no client can read from the stream; it is among the dead letters"
    );
    Ok(())
}

fn letter_of(
    core: &Core,
    feed: &ChannelSettler,
    message: &RawMessage,
    reason: &str,
) -> super::publisher::Outgoing {
    let letter = DeadLetter {
        channel: feed.channel.clone(),
        digest: String::new(),
        outcome: Outcome::Reject,
        reason: format!("a message that cannot be an event: {reason}"),
        attempts: Vec::new(),
    };
    let event = salvage(&feed.route, message);
    letter::encode_raw(&feed.route, &event, &message.headers, &letter, core.publisher.max_bytes())
}

/// What can be said of it as an event; its headers travel raw.
fn salvage(route: &Route, message: &RawMessage) -> Event {
    let block = raw::parse_block(&message.headers);
    let stored = Stored {
        subject: ByteString::from(message.subject.as_str()),
        sequence: message.sequence,
        time: message.time,
        pairs: block.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        data: message.data.clone(),
    };
    match codec::decode(route, stored) {
        Ok(decoded) => Event { headers: Headers::new(), ..decoded.event },
        Err(_) => Event {
            sequence: message.sequence,
            id: EventId::parse(format!("{}:{}", route.stream, message.sequence))
                .unwrap_or_else(EventId::generate),
            subject: Subject::parse("unreadable")
                .unwrap_or_else(|_| unreachable!("a constant that is a subject")),
            time: message.time,
            content_type: None,
            headers: Headers::new(),
            data: message.data.clone(),
            lineage: None,
        },
    }
}

/// A message that arrived but can be no event, such as one with a subject of 300 bytes: a dead letter, then acked. When that
/// fails it is delivered again after the ack wait.
pub(super) async fn bury_delivered(core: &Core, feed: &ChannelSettler, ticket: Ticket, reason: &str) {
    let message = core.api.message(feed.route.stream.as_str(), ticket.sequence).await;
    let buried = match message {
        Ok(Some(message)) => core
            .store(letter_of(core, feed, &message, reason))
            .await
            .map(drop)
            .map_err(|error| error.to_string()),
        Ok(None) => Ok(()),
        Err(failure) => Err(format!("{failure:?}")),
    };
    match buried {
        Ok(()) => {
            tracing::error!(channel = %feed.channel, sequence = ticket.sequence, reason, "a message that cannot be an event");
            feed.acknowledge(&ticket).await;
        }
        Err(error) => {
            tracing::warn!(channel = %feed.channel, sequence = ticket.sequence, error, "no dead letter stored")
        }
    }
}
