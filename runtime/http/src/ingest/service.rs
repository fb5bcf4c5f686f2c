//! The routes of the ingest listener, matched by hand, and the way of a post through them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use http::request::Parts;
use http::{Method, Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use saf_event::StreamName;

use crate::health::Probe;
use crate::ingest::format::{Format, Posted};
use crate::ingest::rules::Trace;
use crate::ingest::{Context, answer, body, publish};
use crate::metrics::Outcome;
use crate::problem::{Kind, Problem};

const EVENT: &str = "/api/event";

/// Answers one request. Dropping the future cancels the reading of a body, but no publish that has begun.
pub(super) async fn handle(
    cx: Arc<Context>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(match request.uri().path() {
        EVENT => post(&cx, request).await,
        path if path.starts_with("/api/event/") => post(&cx, request).await,
        "/livez" => health(request.method(), Probe::livez),
        "/readyz" => health(request.method(), || cx.probe.readyz()),
        _ => {
            Problem::new(Kind::NotFound, "events are posted to /api/event or /api/event/{subject}").response()
        }
    })
}

fn health(method: &Method, answer: impl FnOnce() -> Response<Full<Bytes>>) -> Response<Full<Bytes>> {
    match *method {
        Method::GET | Method::HEAD => answer(),
        _ => Problem::method_not_allowed("GET, HEAD").response(),
    }
}

async fn post(cx: &Arc<Context>, request: Request<Incoming>) -> Response<Full<Bytes>> {
    let started = Instant::now();
    let (response, outcome) = match store(cx, request).await {
        Ok(answered) => answered,
        Err(problem) => {
            let outcome = Outcome::of(&problem);
            cx.metrics.events(1, outcome);
            (problem.response(), outcome)
        }
    };
    cx.metrics.request(started.elapsed(), outcome);
    response
}

async fn store(
    cx: &Arc<Context>,
    request: Request<Incoming>,
) -> Result<(Response<Full<Bytes>>, Outcome), Problem> {
    let (head, body) = request.into_parts();
    let (format, stream) = admit(cx, &head)?;
    let (body, lease) = body::read(body, cx.limits, &cx.budget).await?;
    let mut posted = format.read(&head.headers, body, cx.max_batch, &cx.headers)?;
    let places = posted.stamp(&Trace::of(&head.headers), &cx.tracer);
    match posted {
        Posted::One(event) => {
            let stored = publish::one(cx, stream, event, places.one(), lease).await?;
            cx.metrics.events(1, stored.outcome());
            Ok((answer::one(&stored, &cx.durability), stored.outcome()))
        }
        Posted::Many(events) => {
            let results = publish::many(cx, stream, events, places, lease).await;
            for same in results.chunk_by(|a, b| answer::of(a) == answer::of(b)) {
                cx.metrics.events(same.len() as u64, answer::of(&same[0]));
            }
            Ok((answer::many(&results, &cx.durability), answer::outcome(&results)))
        }
    }
}

/// Everything that can be said before the body is read.
fn admit(cx: &Context, head: &Parts) -> Result<(Format, Option<StreamName>), Problem> {
    let segment = head.uri.path().strip_prefix("/api/event/");
    if segment.is_some_and(|segment| segment.contains('/')) {
        return Err(Problem::new(
            Kind::NotFound,
            "a subject is one segment of the path: join its tokens by dots, such as /api/event/ride.accepted",
        ));
    }
    if head.method != Method::POST {
        return Err(Problem::method_not_allowed("POST"));
    }
    cx.origin.check(&head.headers)?;
    if let Some(tokens) = &cx.tokens {
        tokens.check(&head.headers)?;
    }
    let stream = head.uri.query().map_or(Ok(None), stream)?;
    let format = match segment {
        Some(segment) => Format::of_subject(segment, &head.headers)?,
        None => Format::of(&head.headers)?,
    };
    Ok((format, stream))
}

/// `?stream=<name>`; a misspelt parameter must not send events to the default stream.
fn stream(query: &str) -> Result<Option<StreamName>, Problem> {
    let mut stream = None;
    for pair in query.split('&').filter(|pair| !pair.is_empty()) {
        let Some(name) = pair.strip_prefix("stream=") else {
            return Err(Problem::new(
                Kind::InvalidRequest,
                format!("the query has {pair:?}: only stream=<name> is known here"),
            ));
        };
        let name =
            StreamName::parse(name).map_err(|error| Problem::new(Kind::InvalidRequest, error.to_string()))?;
        if stream.replace(name).is_some() {
            return Err(Problem::new(Kind::InvalidRequest, "?stream= is there twice: give it once"));
        }
    }
    Ok(stream)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_query_names_a_stream_or_nothing() {
        for (query, expected) in [("", Ok(None)), ("stream=other", Ok(Some("other"))), ("&", Ok(None))] {
            let expected: Result<Option<&str>, Problem> = expected;
            let found = stream(query);
            assert_eq!(
                found.as_ref().map(|s| s.as_ref().map(StreamName::as_str)),
                expected.as_ref().copied(),
                "{query}"
            );
        }
        for query in
            ["steam=other", "stream", "stream=", "stream=No%20Name", "stream=a&x=1", "stream=a&stream=b"]
        {
            assert!(stream(query).is_err_and(|p| p.kind() == Kind::InvalidRequest), "{query}");
        }
    }
}
