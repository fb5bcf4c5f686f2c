//! A Channel's part of a trace: a span for each attempt, and one for the storing of what became of it, which is the parent of what was
//! emitted. Guests see the attempt's `traceparent`. Nothing of it is there for an event that is not sampled.

use std::time::{Duration, SystemTime};

use saf_broker::{Delivery, Settlement, Settling};
use saf_event::{ByteString, ChannelName, Event, Outcome, REPLAYED, StreamName, TRACEPARENT};
use saf_host::Usage;
use saf_telemetry::{Place, Process, Settled, Span, Step, Tracer};

use crate::build::Build;

/// An attempt whose spans are recorded.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Traced {
    pub(crate) process: Place,
    pub(crate) settle: Place,
}

/// A settlement on its way, whose span is recorded once it is stored.
#[derive(Debug)]
pub(crate) struct Storing {
    pub(crate) sequence: u64,
    pub(crate) settled: Settled,
    place: Place,
    stream: StreamName,
    began: SystemTime,
    emissions: usize,
}

impl Traced {
    /// Whether the spans of a delivery's attempt are recorded, and where they stand.
    pub(crate) fn of(tracer: &Tracer, delivery: &Delivery) -> Option<Self> {
        if !tracer.is_on() {
            return None;
        }
        let header = |name| delivery.event.headers.get(name).map(|value| &**value);
        let process = tracer.attempt(header(TRACEPARENT), header(REPLAYED), delivery.attempt)?;
        Some(Self { process, settle: process.child() })
    }

    /// Shows the guest the attempt's place; what stood there is to be given back by [`put_back`].
    pub(crate) fn show(&self, event: &mut Event) -> Option<ByteString> {
        event.headers.swap(TRACEPARENT, self.process.context.header())
    }

    /// Records an attempt that ended just now.
    pub(crate) fn attempted(
        &self,
        tracer: &Tracer,
        channel: &ChannelName,
        build: &Build,
        delivery: &Delivery,
        (outcome, reason, usage): (Outcome, Option<&str>, &Usage),
    ) {
        let ended = SystemTime::now();
        let event = &delivery.event;
        let process = Process {
            channel: channel.clone(),
            stream: build.config.stream.clone(),
            digest: build.digest.clone(),
            sequence: event.sequence,
            subject: event.subject.clone(),
            id: event.id.clone(),
            bytes: event.data.len(),
            attempt: delivery.attempt,
            outcome,
            reason: reason.map(str::to_owned),
            fuel: usage.fuel,
            peak_memory: usage.peak_memory,
        };
        tracer.record(Span {
            place: self.process,
            began: ended.checked_sub(Duration::from_micros(usage.micros)).unwrap_or(ended),
            ended,
            step: Step::Process(Box::new(process)),
        });
    }

    /// Its settlement is on its way from now on.
    pub(crate) fn storing(&self, build: &Build, settling: &Settling) -> Storing {
        Storing {
            sequence: settling.delivery.event.sequence,
            settled: settled(&settling.settlement),
            place: self.settle,
            stream: build.config.stream.clone(),
            began: SystemTime::now(),
            emissions: settling.settlement.emissions(),
        }
    }
}

impl Storing {
    /// Records that it is stored.
    pub(crate) fn stored(self, tracer: &Tracer, channel: &ChannelName) {
        let Self { sequence, settled, place, stream, began, emissions } = self;
        let step = Step::Settle { channel: channel.clone(), stream, sequence, settled, emissions };
        tracer.record(Span { place, began, ended: SystemTime::now(), step });
    }
}

/// The event as it was before [`Traced::show`].
pub(crate) fn put_back(event: &mut Event, traceparent: Option<ByteString>) {
    match traceparent {
        Some(traceparent) => _ = event.headers.swap(TRACEPARENT, traceparent),
        None => _ = event.headers.take(TRACEPARENT),
    }
}

/// The same in telemetry's words.
pub(crate) fn settled(settlement: &Settlement) -> Settled {
    match settlement {
        Settlement::Done { .. } | Settlement::Packed(_) => Settled::Done,
        Settlement::Retry { .. } => Settled::Retry,
        Settlement::Dead(_) => Settled::DeadLetter,
        Settlement::Release => Settled::Release,
    }
}
