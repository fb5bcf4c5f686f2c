//! The rules that every way in shares: ids, content types, the trace. Subjects and headers have theirs in `saf-event`.

use std::borrow::Cow;

use bytestring::ByteString;
use http::header::{HeaderMap, HeaderValue};
use saf_event::{EventId, Headers, MAX_ID_BYTES, TRACEPARENT, TraceContext};
use saf_telemetry::{Place, Tracer};

use crate::problem::{Kind, Problem};

pub(super) const APPLICATION_JSON: ByteString = ByteString::from_static("application/json");

/// Longest content type, in bytes; RFC 6838 allows 127 on each side of the slash, parameters not counted.
const MAX_CONTENT_TYPE_BYTES: usize = 512;
/// Longest `tracestate`, in bytes, that the specification asks to pass on.
const MAX_TRACESTATE_BYTES: usize = 512;

pub(super) fn invalid(detail: impl Into<Cow<'static, str>>) -> Problem {
    Problem::new(Kind::InvalidEvent, detail)
}

/// An event id; `what` names its place for the sender.
pub(super) fn id(what: &str, text: ByteString) -> Result<EventId, Problem> {
    EventId::parse(text).ok_or_else(|| {
        invalid(format!("{what} must be 1 to {MAX_ID_BYTES} bytes without control characters"))
    })
}

/// A media type that is safe in a protocol line: printable ASCII with a slash.
pub(super) fn content_type(text: ByteString) -> Result<ByteString, Problem> {
    let valid = text.len() <= MAX_CONTENT_TYPE_BYTES
        && text.contains('/')
        && text.bytes().all(|b| b == b' ' || b.is_ascii_graphic());
    if valid {
        return Ok(text);
    }
    Err(invalid(format!(
        "the content type is not a media type of at most {MAX_CONTENT_TYPE_BYTES} bytes; write one such as \"text/plain\""
    )))
}

/// The value of a request header as text. HTTP allows bytes that are not; an event does not.
pub(super) fn text(name: &str, value: &HeaderValue) -> Result<ByteString, Problem> {
    ByteString::try_from(value.as_bytes())
        .map_err(|_| Problem::new(Kind::InvalidRequest, format!("the value of header {name} is not UTF-8")))
}

/// The trace that a request belongs to.
pub(super) struct Trace {
    context: Option<TraceContext>,
    state: Option<ByteString>,
}

impl Trace {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
        let context = header(TRACEPARENT).and_then(TraceContext::parse);
        let state = context.and_then(|_| header("tracestate"));
        Self { context, state: state.filter(|s| s.len() <= MAX_TRACESTATE_BYTES).map(ByteString::from) }
    }

    /// Gives an event its place in a trace: a child of its own `traceparent`, else of the request's, else of the CloudEvents
    /// extension's, else the root of a new trace. Says where its span stands, when one is to be recorded.
    pub(super) fn stamp(&self, tracer: &Tracer, headers: &mut Headers) -> Option<Place> {
        let parse = |name| headers.get(name).and_then(|value| TraceContext::parse(value));
        let parent = match (parse(TRACEPARENT), self.context) {
            (Some(own), _) => Some(own),
            (None, Some(request)) => {
                if let Some(state) = &self.state {
                    headers.set("tracestate", state.clone());
                }
                Some(request)
            }
            (None, None) => parse("ce-traceparent"),
        };
        let (context, place) = tracer.posted(parent);
        headers.set(TRACEPARENT, context.header());
        place
    }
}

#[cfg(test)]
mod tests {
    use saf_telemetry::Ratio;

    use super::*;

    const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    const OTHER: &str = "00-aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa-bbbbbbbbbbbbbbbb-00";

    fn stamped(request: &[(&'static str, &'static str)], event: &[(&'static str, &'static str)]) -> Headers {
        let request =
            request.iter().map(|(n, v)| (n.parse().expect("name"), HeaderValue::from_static(v))).collect();
        let mut headers = Headers::new();
        for (name, value) in event {
            headers.push(*name, *value).expect("valid");
        }
        let tracer = Tracer::new(Ratio::new(0.0), 1);
        let place = Trace::of(&request).stamp(&tracer, &mut headers);
        let context = TraceContext::parse(headers.get(TRACEPARENT).expect("always there")).expect("valid");
        assert_eq!(place.map(|place| place.context), context.is_sampled().then_some(context));
        headers
    }

    #[test]
    fn an_event_is_a_child_of_the_nearest_trace_or_starts_one() {
        let state = ("tracestate", "v=1");
        let cases: [(&[_], &[_], Option<&str>, Option<&str>); 6] = [
            (&[], &[], None, None),
            (&[state], &[], None, None),
            (&[("traceparent", PARENT), state], &[], Some(PARENT), Some("v=1")),
            (&[("traceparent", PARENT), state], &[("traceparent", OTHER)], Some(OTHER), None),
            (&[("traceparent", "nonsense"), state], &[], None, None),
            (&[], &[("ce-traceparent", PARENT)], Some(PARENT), None),
        ];
        for (request, event, parent, state) in cases {
            let headers = stamped(request, event);
            let written = headers.get("traceparent").expect("always there");
            let context = TraceContext::parse(written).expect("valid");
            if let Some(parent) = parent {
                assert_eq!(&written[..35], &parent[..35], "{request:?} {event:?}");
                assert_ne!(&**written, parent, "a child has a span of its own");
            } else {
                assert_ne!(context.trace_id().to_string(), &PARENT[3..35]);
            }
            assert_eq!(headers.get("tracestate").map(|v| &**v), state, "{request:?} {event:?}");
        }
    }

    #[test]
    fn ids_and_content_types_are_safe_in_a_protocol_line() {
        for (text, valid) in [
            ("text/plain", true),
            ("text/plain; charset=utf-8", true),
            ("text", false),
            ("text/\r\nplain", false),
            ("text/plän", false),
            (&format!("a/{}", "x".repeat(511)), false),
        ] {
            assert_eq!(content_type(text.into()).is_ok(), valid, "{text:?}");
        }
        assert!(id("x", "a\r\nb".into()).is_err());
    }
}
