//! A span in OpenTelemetry's words: names and attributes of its conventions for messaging, and `saf.*` for what is the router's own.
//! `docs/traces.md` lists them; a test sends one of each and reads them back.

use opentelemetry::trace::{Link, SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanLinks};
use saf_event::{Outcome, TraceContext};
use saf_telemetry::{Became, Process, Settled, Span, Step};

const SYSTEM: &str = "saf";

/// What is sent of a span.
pub(super) fn data(span: Span, scope: &InstrumentationScope) -> SpanData {
    let Span { place, began, ended, step } = span;
    let mut links = SpanLinks::default();
    links.links.extend(place.link.map(|link| Link::new(context(link, true), Vec::new(), 0)));
    let Said { kind, name, attributes, status } = said(step);
    SpanData {
        span_context: context(place.context, false),
        parent_span_id: place
            .parent
            .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.to_be_bytes())),
        parent_span_is_remote: false,
        span_kind: kind,
        name: name.into(),
        start_time: began,
        end_time: ended,
        attributes,
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links,
        status,
        instrumentation_scope: scope.clone(),
    }
}

fn context(place: TraceContext, is_remote: bool) -> SpanContext {
    let (trace, span) = (place.trace().to_be_bytes(), place.span_id().to_be_bytes());
    let flags = TraceFlags::SAMPLED;
    SpanContext::new(TraceId::from_bytes(trace), SpanId::from_bytes(span), flags, is_remote, TraceState::NONE)
}

struct Said {
    kind: SpanKind,
    name: String,
    attributes: Vec<KeyValue>,
    status: Status,
}

fn said(step: Step) -> Said {
    match step {
        Step::Publish { stream, subject, id, bytes, became } => {
            let mut attributes = messaging("publish", "send", stream.to_string());
            attributes.push(KeyValue::new("messaging.message.id", id.to_string()));
            attributes.push(KeyValue::new("messaging.message.body.size", bytes as i64));
            attributes.push(KeyValue::new("saf.subject", subject.to_string()));
            let status = match became {
                Became::Stored(sequence) => {
                    attributes.push(KeyValue::new("saf.sequence", sequence as i64));
                    Status::Unset
                }
                Became::Duplicate(sequence) => {
                    attributes.push(KeyValue::new("saf.sequence", sequence as i64));
                    attributes.push(KeyValue::new("saf.duplicate", true));
                    Status::Unset
                }
                Became::Failed(kind) => {
                    attributes.push(KeyValue::new("error.type", kind));
                    Status::error(kind)
                }
            };
            Said { kind: SpanKind::Producer, name: format!("publish {stream}"), attributes, status }
        }
        Step::Process(process) => process_said(*process),
        Step::Settle { channel, stream, sequence, settled, emissions } => {
            let kind = if emissions > 0 { SpanKind::Producer } else { SpanKind::Client };
            let mut attributes = messaging("settle", "settle", stream.to_string());
            attributes.push(KeyValue::new("messaging.destination.subscription.name", channel.to_string()));
            attributes.push(KeyValue::new("saf.channel", channel.to_string()));
            attributes.push(KeyValue::new("saf.sequence", sequence as i64));
            attributes.push(KeyValue::new("saf.settlement", settled.as_str()));
            if emissions > 0 {
                attributes.push(KeyValue::new("messaging.batch.message_count", emissions as i64));
            }
            let status = match settled {
                Settled::Done | Settled::Retry | Settled::Release => Status::Unset,
                Settled::DeadLetter => Status::error("dead letter"),
            };
            Said { kind, name: format!("settle {channel}"), attributes, status }
        }
    }
}

fn process_said(process: Process) -> Said {
    let Process {
        channel,
        stream,
        digest,
        sequence,
        subject,
        id,
        bytes,
        attempt,
        outcome,
        reason,
        fuel,
        peak_memory,
    } = process;
    let mut attributes = messaging("process", "process", stream.to_string());
    attributes.extend([
        KeyValue::new("messaging.destination.subscription.name", channel.to_string()),
        KeyValue::new("messaging.message.id", id.to_string()),
        KeyValue::new("messaging.message.body.size", bytes as i64),
        KeyValue::new("saf.subject", subject.to_string()),
        KeyValue::new("saf.sequence", sequence as i64),
        KeyValue::new("saf.channel", channel.to_string()),
        KeyValue::new("saf.component.digest", digest),
        KeyValue::new("saf.attempt", i64::from(attempt)),
        KeyValue::new("saf.outcome", outcome.as_str()),
        KeyValue::new("saf.fuel", fuel as i64),
        KeyValue::new("saf.memory.peak", peak_memory as i64),
    ]);
    let status = if outcome == Outcome::Done {
        Status::Unset
    } else {
        attributes.push(KeyValue::new("error.type", outcome.as_str()));
        Status::error(reason.unwrap_or_default())
    };
    Said { kind: SpanKind::Consumer, name: format!("process {channel}"), attributes, status }
}

fn messaging(operation: &'static str, kind: &'static str, stream: String) -> Vec<KeyValue> {
    vec![
        KeyValue::new("messaging.system", SYSTEM),
        KeyValue::new("messaging.operation.name", operation),
        KeyValue::new("messaging.operation.type", kind),
        KeyValue::new("messaging.destination.name", stream),
    ]
}
