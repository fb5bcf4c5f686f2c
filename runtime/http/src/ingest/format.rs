//! What a request is, by its path and headers, and the events in its body.

use bytes::Bytes;
use bytestring::ByteString;
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE};
use saf_event::{NewEvent, Subject};
use saf_telemetry::{Place, Tracer};

use crate::ingest::raw::{self, HeaderRules};
use crate::ingest::rules::Trace;
use crate::ingest::{cloudevents, envelope, json};
use crate::problem::{Kind, Problem};

/// How a body is to be read.
#[derive(Debug)]
pub(super) enum Format {
    /// An envelope, or an array of them.
    Envelope,
    /// An envelope a line.
    Lines,
    /// A CloudEvent in the JSON format.
    Structured,
    /// An array of them.
    StructuredBatch,
    /// A CloudEvent's payload, its attributes in headers; the path may give the subject.
    Binary(Option<Subject>),
    /// The payload of an event with this subject.
    Raw(Subject),
}

/// The events of one request.
#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "lives for one call; a box would be an allocation an event")]
pub(super) enum Posted {
    One(NewEvent),
    Many(Vec<Result<NewEvent, Problem>>),
}

impl Format {
    /// Of `POST /api/event`.
    pub(super) fn of(headers: &HeaderMap) -> Result<Self, Problem> {
        plain(headers)?;
        let content_type = match headers.get(CONTENT_TYPE) {
            Some(value) => value.to_str().map_err(|_| unsupported("that is not text"))?,
            None => "",
        };
        let essence = content_type.split(';').next().unwrap_or_default().trim();
        let is = |name: &str| essence.eq_ignore_ascii_case(name);
        if is("application/cloudevents+json") {
            return Ok(Self::Structured);
        }
        if is("application/cloudevents-batch+json") {
            return Ok(Self::StructuredBatch);
        }
        if headers.contains_key(cloudevents::SPECVERSION) {
            return Ok(Self::Binary(None));
        }
        if essence.is_empty() || is("application/json") {
            return Ok(Self::Envelope);
        }
        if is("application/x-ndjson") || is("application/ndjson") {
            return Ok(Self::Lines);
        }
        Err(unsupported(essence))
    }

    /// Of `POST /api/event/{subject}`.
    pub(super) fn of_subject(segment: &str, headers: &HeaderMap) -> Result<Self, Problem> {
        plain(headers)?;
        let subject = raw::subject(segment)?;
        if headers.contains_key(cloudevents::SPECVERSION) {
            return Ok(Self::Binary(Some(subject)));
        }
        Ok(Self::Raw(subject))
    }

    /// Reads a body. The error is the whole request's; a batch has one for each event beside it.
    pub(super) fn read(
        self,
        headers: &HeaderMap,
        body: Bytes,
        max_batch: usize,
        header_rules: &HeaderRules,
    ) -> Result<Posted, Problem> {
        Ok(match self {
            Self::Raw(subject) => Posted::One(raw::event(subject, headers, body, header_rules)?),
            Self::Binary(subject) => {
                Posted::One(cloudevents::CloudEvent::binary(headers, body)?.into_event(subject)?)
            }
            Self::Structured => {
                let body = text(body)?;
                Posted::One(json::parse(&body, cloudevents::Reader(&body))?.into_event(None)?)
            }
            Self::StructuredBatch => {
                let body = text(body)?;
                let events = json::array(&body, max_batch, cloudevents::Reader(&body))?;
                batch(headers, events.into_iter().map(|event| event?.into_event(None)))?
            }
            Self::Lines => {
                let body = text(body)?;
                let events = json::lines(&body, max_batch, envelope::Reader(&body))?;
                batch(headers, events.into_iter().map(|event| event?.into_event(None)))?
            }
            Self::Envelope => {
                let body = text(body)?;
                if body.trim_ascii_start().starts_with('[') {
                    let events = json::array(&body, max_batch, envelope::Reader(&body))?;
                    batch(headers, events.into_iter().map(|event| event?.into_event(None)))?
                } else {
                    let envelope = json::parse(&body, envelope::Reader(&body))?;
                    Posted::One(envelope.into_event(raw::idempotency_key(headers)?)?)
                }
            }
        })
    }
}

impl Posted {
    /// Gives each event its place in a trace; says where the spans stand that are to be recorded.
    pub(super) fn stamp(&mut self, trace: &Trace, tracer: &Tracer) -> Places {
        match self {
            Self::One(event) => Places::One(trace.stamp(tracer, &mut event.headers)),
            Self::Many(events) => {
                let stamp = |event: &mut Result<NewEvent, Problem>| {
                    event.as_mut().ok().and_then(|event| trace.stamp(tracer, &mut event.headers))
                };
                let mut places = Vec::new();
                for (n, event) in events.iter_mut().enumerate() {
                    places.extend(stamp(event).map(|place| (n, place)));
                }
                Places::Some(places)
            }
        }
    }
}

/// Where the spans stand of a request's events.
#[derive(Debug)]
pub(super) enum Places {
    /// Of its only event.
    One(Option<Place>),
    /// Of these of its events, counted from 0.
    Some(Vec<(usize, Place)>),
}

impl Places {
    pub(super) fn all(self) -> Vec<(usize, Place)> {
        match self {
            Self::One(place) => place.into_iter().map(|place| (0, place)).collect(),
            Self::Some(places) => places,
        }
    }

    pub(super) fn one(&self) -> Option<Place> {
        match self {
            Self::One(place) => *place,
            Self::Some(places) => places.first().map(|(_, place)| *place),
        }
    }
}

fn batch(
    headers: &HeaderMap,
    events: impl Iterator<Item = Result<NewEvent, Problem>>,
) -> Result<Posted, Problem> {
    if raw::idempotency_key(headers)?.is_some() {
        return Err(Problem::new(
            Kind::InvalidRequest,
            "an Idempotency-Key names one event: give each event of a batch an id of its own instead",
        ));
    }
    Ok(Posted::Many(events.collect()))
}

fn text(body: Bytes) -> Result<ByteString, Problem> {
    if body.is_empty() {
        return Err(Problem::new(
            Kind::MalformedBody,
            "the body is empty: send an event, such as {\"subject\": \"hello\"}",
        ));
    }
    ByteString::try_from(body)
        .map_err(|_| Problem::new(Kind::MalformedBody, "the body is not UTF-8, as JSON is"))
}

/// A compressed payload would be stored without anybody knowing that it is.
fn plain(headers: &HeaderMap) -> Result<(), Problem> {
    match headers.get(CONTENT_ENCODING) {
        Some(encoding) if encoding != "identity" => Err(Problem::new(
            Kind::UnsupportedEncoding,
            "bodies are taken uncompressed only: leave Content-Encoding out",
        )),
        _ => Ok(()),
    }
}

fn unsupported(content_type: &str) -> Problem {
    Problem::new(
        Kind::UnsupportedMediaType,
        format!(
            "content type {content_type:?} is not taken here: add the header \"Content-Type: application/json\" (or \
             application/x-ndjson, application/cloudevents+json, application/cloudevents-batch+json), or post the bytes as they \
             are to /api/event/{{subject}}"
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (n.parse().expect("name"), v.parse().expect("value"))).collect()
    }

    fn read(pairs: &[(&str, &str)], body: &'static str) -> Result<Posted, Problem> {
        let headers = headers(pairs);
        let rules = HeaderRules { id: None, forward: Vec::new() };
        Format::of(&headers)?.read(&headers, Bytes::from_static(body.as_bytes()), 10, &rules)
    }

    #[test]
    fn the_content_type_decides_how_a_body_is_read() {
        let version = ("ce-specversion", "1.0");
        let cases: [(&[(&str, &str)], &str); 12] = [
            (&[], "Envelope"),
            (&[("content-type", "application/json")], "Envelope"),
            (&[("content-type", "Application/JSON; charset=utf-8")], "Envelope"),
            (&[("content-type", "application/x-ndjson")], "Lines"),
            (&[("content-type", "application/cloudevents+json; charset=UTF-8")], "Structured"),
            (&[("content-type", "application/cloudevents-batch+json")], "StructuredBatch"),
            (&[("content-type", "application/cloudevents+json"), version], "Structured"),
            (&[("content-type", "text/plain"), version], "Binary(None)"),
            (&[version], "Binary(None)"),
            (&[("content-type", "application/x-www-form-urlencoded")], "UnsupportedMediaType"),
            (&[("content-type", "text/plain")], "UnsupportedMediaType"),
            (&[("content-encoding", "gzip")], "UnsupportedEncoding"),
        ];
        for (pairs, expected) in cases {
            let format = Format::of(&headers(pairs));
            let said =
                format.map_or_else(|problem| format!("{:?}", problem.kind()), |format| format!("{format:?}"));
            assert_eq!(said, expected, "{pairs:?}");
        }
    }

    #[test]
    fn an_idempotency_key_is_the_id_of_one_event_without_one() {
        let key = [("idempotency-key", "k")];
        let id = |body| match read(&key, body) {
            Ok(Posted::One(event)) => event.id.to_string(),
            other => panic!("{other:?}"),
        };
        assert_eq!(id(r#"{"subject":"a"}"#), "k");
        assert_eq!(id(r#"{"subject":"a","id":"1"}"#), "1");
        assert!(read(&key, r#"[{"subject":"a"}]"#).is_err_and(|p| p.kind() == Kind::InvalidRequest));
    }

    #[test]
    fn a_body_that_is_no_text_or_none_at_all_is_malformed() {
        let rules = HeaderRules { id: None, forward: Vec::new() };
        for body in [&b""[..], b"\xff\xfe", b"[", b"[1", b"{}{}"] {
            let problem = Format::Envelope
                .read(&HeaderMap::new(), Bytes::from_static(body), 10, &rules)
                .expect_err("not an event");
            assert_eq!(problem.kind(), Kind::MalformedBody, "{body:?}");
        }
    }
}
