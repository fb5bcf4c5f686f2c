//! Which spans are recorded, and where they wait until they are sent.
//!
//! The decision is made once, where a trace begins, and travels in the flags of `traceparent`: whoever comes later follows it. Spans
//! wait in a list of fixed size that a thread empties at an interval; what finds no room is counted and forgotten. So tracing holds up no
//! event, and a collector that is away costs nothing but spans.
//!
//! Off, and for an event that is not sampled, a step costs a look at one byte of its `traceparent`.

use std::mem;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use saf_event::TraceContext;

use crate::Span;

/// Where a span stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place {
    /// The span's own ids.
    pub context: TraceContext,
    /// The span that it is part of; `None` at the root of a trace.
    pub parent: Option<u64>,
    /// A span that it came from without being part of it.
    pub link: Option<TraceContext>,
}

impl Place {
    /// A part of this one.
    #[must_use]
    pub fn child(&self) -> Self {
        Self { context: self.context.child(), parent: Some(self.context.span_id()), link: None }
    }
}

/// How many of the traces that begin here are recorded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Ratio(f64);

impl Ratio {
    /// Between 0 and 1; what is outside is cut.
    pub fn new(ratio: f64) -> Self {
        Self(if ratio.is_nan() { 0.0 } else { ratio.clamp(0.0, 1.0) })
    }

    fn chance(self) -> bool {
        self.0 >= 1.0 || self.0 > 0.0 && fastrand::f64() < self.0
    }
}

/// Spans since the start, by what became of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// The collector took them.
    pub sent: u64,
    /// They found no room.
    pub dropped: u64,
    /// The collector was away, or did not take them.
    pub failed: u64,
}

/// Decides and keeps. Cheap to clone; all clones share one list.
#[derive(Clone, Default)]
pub struct Tracer(Option<Arc<Inner>>);

struct Inner {
    ratio: Ratio,
    capacity: usize,
    spans: Mutex<Vec<Span>>,
    /// As many as there are in `spans`, readable without its lock.
    waiting: AtomicUsize,
    sent: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

impl Tracer {
    /// Records nothing; contexts that come in are passed on as they are.
    pub const fn off() -> Self {
        Self(None)
    }

    /// Records, and keeps `capacity` spans at most between two calls of [`Tracer::take`].
    pub fn new(ratio: Ratio, capacity: usize) -> Self {
        Self(Some(Arc::new(Inner {
            ratio,
            capacity,
            spans: Mutex::default(),
            waiting: AtomicUsize::new(0),
            sent: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        })))
    }

    /// Whether any span is recorded.
    pub fn is_on(&self) -> bool {
        self.0.is_some()
    }

    /// The place of an event that comes in from `parent`: what its `traceparent` says, and where its span stands when one is to be
    /// recorded.
    pub fn posted(&self, parent: Option<TraceContext>) -> (TraceContext, Option<Place>) {
        let Some(inner) = &self.0 else {
            // A span that nobody records must not stand between two that somebody does.
            let passed_on = |parent: TraceContext| if parent.is_sampled() { parent } else { parent.child() };
            return (parent.map_or_else(TraceContext::root, passed_on), None);
        };
        let context = match parent {
            Some(parent) => parent.child(),
            None if inner.ratio.chance() => TraceContext::root().sampled(),
            None => TraceContext::root(),
        };
        let place = Place { context, parent: parent.map(|parent| parent.span_id()), link: None };
        (context, inner.wanted(place))
    }

    /// Where the span of an attempt stands, when one is to be recorded. `traceparent` is the event's; `replayed` was, before it was
    /// handed over again.
    pub fn attempt(&self, traceparent: Option<&str>, replayed: Option<&str>, attempt: u32) -> Option<Place> {
        let inner = self.0.as_ref()?;
        let header = traceparent.or(replayed);
        if !header.map_or_else(|| inner.ratio.chance(), TraceContext::says_sampled) {
            return None;
        }
        let origin = header.and_then(TraceContext::parse);
        let first = attempt <= 1 && traceparent.is_some();
        let place = match origin {
            Some(origin) if first => {
                Place { context: origin.child(), parent: Some(origin.span_id()), link: Some(origin) }
            }
            origin => Place { context: TraceContext::root().sampled(), parent: None, link: origin },
        };
        inner.wanted(place)
    }

    /// Keeps a span until it is sent.
    pub fn record(&self, span: Span) {
        let Some(inner) = &self.0 else { return };
        let mut spans = inner.spans.lock().unwrap_or_else(PoisonError::into_inner);
        if spans.len() >= inner.capacity {
            drop(spans);
            inner.dropped.fetch_add(1, Relaxed);
            return;
        }
        spans.push(span);
        inner.waiting.store(spans.len(), Relaxed);
    }

    /// Takes what waits; makes room for as much again.
    pub fn take(&self) -> Vec<Span> {
        let Some(inner) = &self.0 else { return Vec::new() };
        let mut spans = inner.spans.lock().unwrap_or_else(PoisonError::into_inner);
        inner.waiting.store(0, Relaxed);
        let next = Vec::with_capacity(spans.len());
        mem::replace(&mut spans, next)
    }

    /// Counts what the collector took.
    pub fn sent(&self, spans: usize) {
        self.0.iter().for_each(|inner| _ = inner.sent.fetch_add(spans as u64, Relaxed));
    }

    /// Counts what it did not.
    pub fn failed(&self, spans: usize) {
        self.0.iter().for_each(|inner| _ = inner.failed.fetch_add(spans as u64, Relaxed));
    }

    /// What became of spans.
    pub fn counts(&self) -> Counts {
        let Some(inner) = &self.0 else { return Counts::default() };
        Counts {
            sent: inner.sent.load(Relaxed),
            dropped: inner.dropped.load(Relaxed),
            failed: inner.failed.load(Relaxed),
        }
    }
}

impl Inner {
    /// Nothing is made of a span that would find no room.
    fn wanted(&self, place: Place) -> Option<Place> {
        if !place.context.is_sampled() {
            return None;
        }
        if self.waiting.load(Relaxed) >= self.capacity {
            self.dropped.fetch_add(1, Relaxed);
            return None;
        }
        Some(place)
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use saf_event::{ChannelName, StreamName};

    use super::*;
    use crate::{Settled, Step};

    const SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const NOT_SAMPLED: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";

    fn context(header: &str) -> TraceContext {
        TraceContext::parse(header).expect("valid")
    }

    fn all(capacity: usize) -> Tracer {
        Tracer::new(Ratio::new(1.0), capacity)
    }

    fn span(place: Place) -> Span {
        let (channel, stream) = (ChannelName::parse("c"), StreamName::parse("s"));
        let step = Step::Settle {
            channel: channel.expect("valid"),
            stream: stream.expect("valid"),
            sequence: 1,
            settled: Settled::Done,
            emissions: 0,
        };
        Span { place, began: SystemTime::now(), ended: SystemTime::now(), step }
    }

    #[test]
    fn a_parent_decides_and_the_ratio_where_there_is_none() {
        let none = Tracer::new(Ratio::new(0.0), 10);
        for (tracer, parent, recorded) in [
            (&all(10), None, true),
            (&none, None, false),
            (&none, Some(SAMPLED), true),
            (&all(10), Some(NOT_SAMPLED), false),
            (&Tracer::off(), Some(SAMPLED), false),
            (&Tracer::off(), None, false),
        ] {
            let (event, place) = tracer.posted(parent.map(context));
            assert_eq!(place.is_some(), recorded, "{parent:?}");
            let Some(place) = place else { continue };
            assert_eq!(place.context, event);
            assert!(event.is_sampled());
            assert_eq!(place.parent, parent.map(|parent| context(parent).span_id()));
        }
        let thousand = Tracer::new(Ratio::new(0.1), 10);
        let sampled = (0..10_000).filter(|_| thousand.posted(None).1.is_some()).count();
        assert!((500..2_000).contains(&sampled), "{sampled} of 10,000 at 0.1");
    }

    #[test]
    fn without_a_recorder_somebody_elses_trace_keeps_its_last_span() {
        let (event, _) = Tracer::off().posted(Some(context(SAMPLED)));
        assert_eq!(event, context(SAMPLED));
    }

    #[test]
    fn the_first_attempt_is_part_of_its_events_trace_and_others_are_linked_to_it() {
        let tracer = all(10);
        let origin = context(SAMPLED);
        let first = tracer.attempt(Some(SAMPLED), None, 1).expect("sampled");
        assert_eq!((first.parent, first.link), (Some(origin.span_id()), Some(origin)));
        assert_eq!(first.context.trace(), origin.trace());
        for place in [tracer.attempt(Some(SAMPLED), None, 2), tracer.attempt(None, Some(SAMPLED), 1)] {
            let place = place.expect("sampled");
            assert_eq!((place.parent, place.link), (None, Some(origin)));
            assert_ne!(place.context.trace(), origin.trace());
            assert!(place.context.is_sampled());
        }
        assert_eq!(tracer.attempt(Some(NOT_SAMPLED), None, 1), None);
        assert_eq!(tracer.attempt(None, Some(NOT_SAMPLED), 1), None);
        let raw = tracer.attempt(None, None, 1).expect("a trace of its own");
        assert_eq!((raw.parent, raw.link), (None, None));
        assert_eq!(Tracer::off().attempt(Some(SAMPLED), None, 1), None);
        let below = first.child();
        assert_eq!((below.parent, below.link), (Some(first.context.span_id()), None));
    }

    #[test]
    fn what_finds_no_room_is_counted_and_room_comes_back() {
        let tracer = all(2);
        let place = tracer.posted(None).1.expect("room");
        (0..3).for_each(|_| tracer.record(span(place)));
        assert_eq!(tracer.counts().dropped, 1);
        assert_eq!(tracer.posted(None).1, None, "nothing is begun that would find no room");
        assert_eq!(tracer.counts().dropped, 2);
        assert_eq!(tracer.take().len(), 2);
        assert!(tracer.posted(None).1.is_some());
        tracer.sent(2);
        tracer.failed(1);
        assert_eq!(tracer.counts(), Counts { sent: 2, dropped: 2, failed: 1 });
        assert!(Tracer::off().take().is_empty());
    }
}
