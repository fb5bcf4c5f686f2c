//! Reading a stream without a consumer: message by message through the JSON API, so that neither a malformed message nor a
//! reader that hangs can hurt anybody else.
//!
//! Replays and due retries stand under private subjects and are shown under their own. A tail polls; it is for people, and
//! lossy by contract. Deliberately absent: direct gets and ordered consumers, which are faster and bring messages as they are.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream;
use saf_event::{ByteString, Event, Filter, StreamName};
use tokio::time::sleep;

use super::api::{Failure, RawMessage, StreamState};
use super::codec::{self, Stored};
use super::names::Route;
use super::{Core, JetStream, raw};
use crate::{Error, From, Journal, Page, Summary, Tail, Tailed};

/// Most messages that a page, or one look of a tail, reads in vain: private ones of other subjects. The cursor goes on behind them.
const VAIN_MESSAGES: usize = 5_000;
/// How often a tail looks for new events.
const TAIL_POLL_MILLIS: u64 = 50;
/// How far a tail may fall behind before it skips.
const TAIL_BEHIND_EVENTS: u64 = 1_000;
/// How many events a tail yields between two looks at how far behind it is.
const TAIL_CHECK_EVENTS: usize = 100;

/// The matching events of a stream from a sequence on: its own subjects and the private ones, merged.
struct Reader {
    core: Arc<Core>,
    route: Arc<Route>,
    filter: Filter,
    /// On the server: the filter itself, and every private subject.
    sides: Vec<Side>,
}

struct Side {
    filter: String,
    next: u64,
    head: VecDeque<RawMessage>,
    /// Nothing more at `next` when last asked.
    dry: bool,
}

/// What reading on brought.
enum Found {
    Event(Box<Event>),
    /// Nothing more, for now.
    End,
    /// Too much was read in vain; the next matching event has this sequence or a higher one.
    NotYet(u64),
}

impl Reader {
    fn new(core: Arc<Core>, route: Arc<Route>, filter: &Filter, from: u64) -> Self {
        let mut filters = vec![route.subject(filter.as_str())];
        if route.managed {
            filters.push(route.to_any());
        }
        let side = |filter| Side { filter, next: from.max(1), head: VecDeque::new(), dry: false };
        Self { core, route, filter: filter.clone(), sides: filters.into_iter().map(side).collect() }
    }

    /// The next matching event. Counts in `vain` what was read besides.
    async fn next(&mut self, vain: &mut usize) -> Result<Found, Failure> {
        while *vain < VAIN_MESSAGES {
            for side in &mut self.sides {
                if side.head.is_empty() && !side.dry {
                    let found = self
                        .core
                        .api
                        .message_from(self.route.stream.as_str(), side.next, &side.filter)
                        .await?;
                    side.dry = found.is_none();
                    side.head.extend(found);
                }
            }
            let first = self.sides.iter_mut().filter(|side| !side.head.is_empty());
            let first = first.min_by_key(|side| side.head.front().map(|message| message.sequence));
            let Some((side, message)) =
                first.and_then(|side| side.head.pop_front().map(|message| (side, message)))
            else {
                return Ok(Found::End);
            };
            side.next = message.sequence + 1;
            let event = event(&self.route, message);
            match event.filter(|event| self.filter.matches(event.subject.as_str())) {
                Some(event) => return Ok(Found::Event(Box::new(event))),
                None => *vain += 1,
            }
        }
        Ok(Found::NotYet(self.resume()))
    }

    /// Where to go on: the first message that was not read yet.
    fn resume(&self) -> u64 {
        let open = self.sides.iter().filter(|side| !side.dry || !side.head.is_empty());
        let first = open.map(|side| side.head.front().map_or(side.next, |message| message.sequence)).min();
        first.unwrap_or_else(|| self.position())
    }

    /// Looks again where there was nothing.
    fn look_again(&mut self) {
        for side in &mut self.sides {
            side.dry = false;
        }
    }

    fn skip_to(&mut self, sequence: u64) {
        for side in &mut self.sides {
            side.head.clear();
            side.next = sequence;
        }
    }

    fn position(&self) -> u64 {
        self.sides.iter().map(|side| side.next).max().unwrap_or(1)
    }
}

/// A stored message as an event, under the place it has; `None` for one that can be none.
fn event(route: &Route, message: RawMessage) -> Option<Event> {
    let block = raw::parse_block(&message.headers);
    let stored = Stored {
        subject: ByteString::from(message.subject.as_str()),
        sequence: message.sequence,
        time: message.time,
        pairs: block.pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect(),
        data: message.data,
    };
    let event = codec::decode(route, stored).ok()?.event;
    Some(Event { sequence: message.sequence, time: message.time, ..event })
}

impl JetStream {
    fn reading(&self, stream: &StreamName) -> Result<Arc<Route>, Error> {
        self.core.route(stream).ok_or_else(|| Error::NotFound(format!("stream {stream}")))
    }

    async fn state(&self, stream: &StreamName) -> Result<StreamState, Error> {
        let info = self
            .core
            .api
            .stream(stream.as_str())
            .await
            .map_err(|failure| failure.about("reading a stream"))?;
        info.map(|info| info.state).ok_or_else(|| Error::NotFound(format!("stream {stream}")))
    }

    async fn get_one(&self, stream: &StreamName, sequence: u64) -> Result<Event, Error> {
        let route = self.reading(stream)?;
        let message = self.core.api.message(stream.as_str(), sequence).await;
        let message = message.map_err(|failure| failure.about("reading a stream"))?;
        let event = message.and_then(|message| event(&route, message));
        event.ok_or_else(|| Error::NotFound(format!("event {stream}:{sequence}")))
    }

    async fn read_page(
        &self,
        stream: &StreamName,
        from: From,
        filter: &Filter,
        limit: usize,
    ) -> Result<Page<Event>, Error> {
        let route = self.reading(stream)?;
        let about = |failure: Failure| failure.about("reading a stream");
        let from = match from {
            From::Sequence(sequence) => sequence,
            From::Time(time) => self.first_at(stream, time).await?,
        };
        let mut reader = Reader::new(self.core.clone(), route, filter, from);
        let mut items = Vec::with_capacity(limit.min(1_024));
        let mut vain = 0;
        loop {
            let next = match reader.next(&mut vain).await.map_err(about)? {
                Found::Event(event) if items.len() < limit => {
                    items.push(*event);
                    continue;
                }
                Found::Event(event) => Some(event.sequence),
                Found::NotYet(sequence) => Some(sequence),
                Found::End => None,
            };
            return Ok(Page { items, next: next.map(|sequence| sequence.to_string()) });
        }
    }

    /// The first sequence stored at or after a time; one past the last when there is none. Times grow with sequences.
    async fn first_at(&self, stream: &StreamName, time: u64) -> Result<u64, Error> {
        let state = self.state(stream).await?;
        self.core.first_between(stream.as_str(), (state.first_seq, state.last_seq), time).await
    }

    async fn open_tail(&self, stream: &StreamName, filter: &Filter) -> Result<Tail, Error> {
        let route = self.reading(stream)?;
        let last = self.state(stream).await?.last_seq;
        let reader = Reader::new(self.core.clone(), route, filter, last + 1);
        let tail = stream::unfold(Follow { reader, yielded: 0 }, Follow::next);
        Ok(Box::pin(tail))
    }
}

impl Core {
    /// The first message of a stream stored at or after a time; one past the last when there is none.
    pub(super) async fn first_between(
        &self,
        stream: &str,
        (first, last): (u64, u64),
        time: u64,
    ) -> Result<u64, Error> {
        let (mut low, mut high) = (first.max(1), last + 1);
        while low < high {
            let middle = low + (high - low) / 2;
            let message = self.api.message_from(stream, middle, ">").await;
            match message.map_err(|failure| failure.about("reading a stream"))? {
                Some(message) if message.time < time => low = message.sequence + 1,
                _ => high = middle,
            }
        }
        Ok(low)
    }
}

/// A tail under way.
struct Follow {
    reader: Reader,
    yielded: usize,
}

impl Follow {
    /// The next thing to show; `None` when the broker is closed. Fails over: a broker that is away is looked for again.
    async fn next(mut self) -> Option<(Tailed, Self)> {
        let mut closed = self.reader.core.closed.subscribe();
        loop {
            if *closed.borrow() {
                return None;
            }
            if self.yielded.is_multiple_of(TAIL_CHECK_EVENTS)
                && let Some(left_out) = self.fall_behind().await
            {
                return Some((Tailed::Skipped(left_out), self));
            }
            if let Ok(Found::Event(event)) = self.reader.next(&mut 0).await {
                self.yielded += 1;
                return Some((Tailed::Event(event), self));
            }
            self.reader.look_again();
            tokio::select! {
                () = sleep(Duration::from_millis(TAIL_POLL_MILLIS)) => {}
                _ = closed.changed() => {}
            }
        }
    }

    /// Skips to the end when the reader is too far behind; how many sequences that left out.
    async fn fall_behind(&mut self) -> Option<u64> {
        let stream = self.reader.route.stream.clone();
        let last = self.reader.core.api.stream(stream.as_str()).await.ok()??.state.last_seq;
        let behind = (last + 1).saturating_sub(self.reader.position());
        if behind <= TAIL_BEHIND_EVENTS {
            return None;
        }
        // Not to the very end: a reader that is only just too slow would never see anything.
        let target = last + 1 - TAIL_BEHIND_EVENTS / 2;
        let left_out = target - self.reader.position();
        self.reader.skip_to(target);
        Some(left_out)
    }
}

impl Journal for JetStream {
    fn get<'a>(&'a self, stream: &'a StreamName, sequence: u64) -> BoxFuture<'a, Result<Event, Error>> {
        Box::pin(self.get_one(stream, sequence))
    }

    fn read<'a>(
        &'a self,
        stream: &'a StreamName,
        from: From,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Event>, Error>> {
        Box::pin(self.read_page(stream, from, filter, limit))
    }

    fn tail<'a>(&'a self, stream: &'a StreamName, filter: &'a Filter) -> BoxFuture<'a, Result<Tail, Error>> {
        Box::pin(self.open_tail(stream, filter))
    }

    fn summary<'a>(&'a self, stream: &'a StreamName) -> BoxFuture<'a, Result<Summary, Error>> {
        Box::pin(async move {
            self.reading(stream)?;
            let state = self.state(stream).await?;
            let first = if state.messages == 0 { state.last_seq + 1 } else { state.first_seq };
            Ok(Summary { first, last: state.last_seq, events: state.messages, bytes: state.bytes })
        })
    }
}
