//! Reading streams without consuming them. A page looks at a bounded part of the log, so that a rare subject in a long stream
//! costs the caller more pages, not the router a long read; a tail reads the newest frames in memory and leaves out what
//! it was too slow for.

use std::sync::Arc;

use futures::future::BoxFuture;
use futures::{FutureExt, StreamExt, stream};
use saf_event::{Event, Filter, StreamName};
use tokio::sync::watch;

use super::Embedded;
use super::fault::Fault;
use super::feed::blocking;
use super::frame::Frame;
use super::log::Log;
use super::record;
use super::segment::event_records;
use super::stream::Stream;
use super::vitals::Vitals;
use super::wanted::Wanted;
use crate::{Error, From, Journal, Page, Summary, Tail, Tailed};

/// Most bytes of frames that one page looks through.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// Most events on a page, whatever the caller asks for.
const PAGE_EVENTS_MAX: usize = 1000;
/// Most bytes of frames that a tail takes from memory at once.
const TAIL_STEP_BYTES: usize = 1 << 20;

impl Journal for Embedded {
    fn get<'a>(&'a self, stream: &'a StreamName, sequence: u64) -> BoxFuture<'a, Result<Event, Error>> {
        async move {
            let opened = self.stream(stream)?;
            let log = opened.log.clone();
            let found =
                blocking(move || log.get(sequence)).await.map_err(|fault| unreadable(&opened, fault))?;
            let event = found.and_then(|(time, record)| record::decode_event(&record, sequence, time));
            event.ok_or_else(|| Error::NotFound(format!("event {sequence} in stream {stream}")))
        }
        .boxed()
    }

    fn read<'a>(
        &'a self,
        stream: &'a StreamName,
        from: From,
        filter: &'a Filter,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Event>, Error>> {
        async move {
            let opened = self.stream(stream)?;
            let (log, wanted) = (opened.log.clone(), Wanted::journal(filter));
            let limit = limit.clamp(1, PAGE_EVENTS_MAX);
            blocking(move || page(&log, from, &wanted, limit))
                .await
                .map_err(|fault| unreadable(&opened, fault))
        }
        .boxed()
    }

    fn tail<'a>(&'a self, stream: &'a StreamName, filter: &'a Filter) -> BoxFuture<'a, Result<Tail, Error>> {
        let opened = self.stream(stream);
        let tail = opened.map(|stream| {
            let state = Tailing {
                growth: stream.log.growth(),
                next: stream.log.last() + 1,
                wanted: Wanted::journal(filter),
                vitals: stream.vitals.clone(),
                log: stream.log.clone(),
            };
            stream::unfold(state, Tailing::step).flat_map(stream::iter).boxed()
        });
        futures::future::ready(tail).boxed()
    }

    fn summary<'a>(&'a self, stream: &'a StreamName) -> BoxFuture<'a, Result<Summary, Error>> {
        let summary = self.stream(stream).map(|stream| {
            let (first, last) = (stream.log.first(), stream.log.last());
            Summary { first, last, events: (last + 1).saturating_sub(first), bytes: stream.log.bytes() }
        });
        futures::future::ready(summary).boxed()
    }
}

fn unreadable(stream: &Stream, fault: Fault) -> Error {
    stream.vitals.damaged(&fault);
    fault.into()
}

fn page(log: &Log, from: From, wanted: &Wanted, limit: usize) -> Result<Page<Event>, Fault> {
    let mut at = match from {
        From::Sequence(sequence) => sequence.max(log.first()),
        From::Time(time) => log.at_time(time)?,
    };
    let (mut items, mut hint, mut bytes) = (Vec::new(), None, 0);
    while bytes < PAGE_BYTES_MAX && at <= log.last() {
        let frames = if let Some(frames) = log.newest(at, TAIL_STEP_BYTES) {
            frames
        } else {
            let chunk = log.read(at, wanted, hint)?;
            (at, hint) = (chunk.from, chunk.hint);
            chunk.frames
        };
        if frames.is_empty() {
            break;
        }
        let start = at;
        for frame in frames.iter().filter(|frame| frame.head.next() > start) {
            bytes += frame.bytes.len();
            for event in matching(frame, at, wanted) {
                at = event.sequence + 1;
                items.push(event);
                if items.len() == limit {
                    return Ok(Page { items, next: (at <= log.last()).then(|| at.to_string()) });
                }
            }
            at = frame.head.next();
        }
    }
    Ok(Page { items, next: (at <= log.last()).then(|| at.to_string()) })
}

fn matching<'a>(frame: &'a Frame, from: u64, wanted: &'a Wanted) -> impl Iterator<Item = Event> + 'a {
    event_records(frame, from).filter(|(_, _, record)| wanted.event(record)).filter_map(
        |(sequence, range, _)| record::decode_event(&frame.bytes.slice(range), sequence, frame.head.time),
    )
}

/// One reader of the tail.
struct Tailing {
    growth: watch::Receiver<u64>,
    next: u64,
    wanted: Wanted,
    vitals: Vitals,
    log: Arc<Log>,
}

impl Tailing {
    async fn step(mut self) -> Option<(Vec<Tailed>, Self)> {
        loop {
            self.growth.borrow_and_update();
            if self.vitals.over().is_some() {
                return None;
            }
            if self.next > self.log.last() {
                self.growth.changed().await.ok()?;
                continue;
            }
            let oldest = self.log.newest_first();
            if self.next < oldest {
                let skipped = oldest - self.next;
                self.next = oldest;
                return Some((vec![Tailed::Skipped(skipped)], self));
            }
            let Some(frames) = self.log.newest(self.next, TAIL_STEP_BYTES) else { continue };
            let mut found = Vec::new();
            for frame in &frames {
                found.extend(
                    matching(frame, self.next, &self.wanted).map(|event| Tailed::Event(Box::new(event))),
                );
                self.next = frame.head.next();
            }
            if !found.is_empty() {
                return Some((found, self));
            }
        }
    }
}
