//! The answers of the ingest routes.

use std::io::Write as _;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use http::{Response, StatusCode};
use http_body_util::Full;
use saf_broker::{Durability, Receipt};
use saf_event::{EventId, Subject};

use crate::metrics::Outcome;
use crate::problem::Problem;

const JSON: HeaderValue = HeaderValue::from_static("application/json");
/// `{"id":"<36>","subject":"…","sequence":…,"duplicate":false}` without its subject and id.
const FRAME_BYTES: usize = 80;

/// An event that the broker took.
#[derive(Debug)]
pub(super) struct Stored {
    pub(super) id: EventId,
    pub(super) subject: Subject,
    pub(super) receipt: Receipt,
}

/// What became of each event of a batch.
pub(super) type Results = Vec<Result<Stored, Problem>>;

impl Stored {
    pub(super) fn outcome(&self) -> Outcome {
        if self.receipt.duplicate { Outcome::Duplicate } else { Outcome::Stored }
    }

    /// By hand, because a batch has an object for each of its events.
    fn write(&self, status: Option<u16>, durability: &Durability, out: &mut Vec<u8>) {
        let Receipt { sequence, duplicate } = self.receipt;
        out.push(b'{');
        // Writing to memory cannot fail.
        if let Some(status) = status {
            let _ = write!(out, "\"status\":{status},");
        }
        out.extend_from_slice(b"\"id\":");
        write_text(self.id.as_str(), out);
        out.extend_from_slice(b",\"subject\":");
        write_text(self.subject.as_str(), out);
        let _ = write!(out, ",\"sequence\":{sequence},\"duplicate\":{duplicate}");
        if *durability == Durability::None {
            out.extend_from_slice(b",\"stored\":false");
        }
        out.push(b'}');
    }

    fn len(&self) -> usize {
        FRAME_BYTES + self.id.as_str().len() + self.subject.as_str().len()
    }
}

/// A JSON string. Nearly no id and no subject needs an escape.
fn write_text(text: &str, out: &mut Vec<u8>) {
    // All of it is looked at, because that is what a vector unit does at once.
    let escaped = |byte: u8| u8::from(byte < b' ') | u8::from(byte == b'"') | u8::from(byte == b'\\');
    if text.bytes().fold(0, |seen, byte| seen | escaped(byte)) > 0 {
        let _ = serde_json::to_writer(out, text);
        return;
    }
    out.push(b'"');
    out.extend_from_slice(text.as_bytes());
    out.push(b'"');
}

/// 202 for one event.
pub(super) fn one(stored: &Stored, durability: &Durability) -> Response<Full<Bytes>> {
    let mut body = Vec::with_capacity(stored.len());
    stored.write(None, durability, &mut body);
    response(StatusCode::ACCEPTED, body)
}

/// The answer to a batch: an object for each event, and the status that fits them all.
pub(super) fn many(results: &Results, durability: &Durability) -> Response<Full<Bytes>> {
    const COMMA_AND_STATUS_BYTES: usize = 16;
    const PROBLEM_BYTES: usize = 256;
    let size =
        |r: &Result<Stored, Problem>| COMMA_AND_STATUS_BYTES + r.as_ref().map_or(PROBLEM_BYTES, Stored::len);
    let mut body = Vec::with_capacity(2 + results.iter().map(size).sum::<usize>());
    body.push(b'[');
    for result in results {
        if body.len() > 1 {
            body.push(b',');
        }
        match result {
            Ok(stored) => stored.write(Some(StatusCode::ACCEPTED.as_u16()), durability, &mut body),
            Err(problem) => problem.write(&mut body),
        }
    }
    body.push(b']');
    let mut response = response(overall(results), body);
    if let Some(secs) = results.iter().filter_map(|r| r.as_ref().err()?.retry_after_secs()).max() {
        response.headers_mut().insert(RETRY_AFTER, HeaderValue::from(secs));
    }
    response
}

/// What became of a batch as a whole.
pub(super) fn outcome(results: &Results) -> Outcome {
    Outcome::shared(results.iter().map(of))
}

pub(super) fn of(result: &Result<Stored, Problem>) -> Outcome {
    match result {
        Ok(stored) => stored.outcome(),
        Err(problem) => Outcome::of(problem),
    }
}

fn overall(results: &Results) -> StatusCode {
    let status =
        |r: &Result<Stored, Problem>| r.as_ref().map_or_else(|p| p.kind().status(), |_| StatusCode::ACCEPTED);
    let mut statuses = results.iter().map(status);
    let first = statuses.next().unwrap_or(StatusCode::ACCEPTED);
    if statuses.all(|status| status == first) { first } else { StatusCode::MULTI_STATUS }
}

fn response(status: StatusCode, body: Vec<u8>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, JSON);
    response
}

#[cfg(test)]
mod tests {
    use saf_broker::PublishError;

    use super::*;
    use crate::problem::Kind;

    fn stored(id: &str, duplicate: bool) -> Stored {
        Stored {
            id: EventId::parse(id).expect("valid"),
            subject: Subject::parse("a\"b").expect("valid"),
            receipt: Receipt { sequence: 7, duplicate },
        }
    }

    fn text(stored: &Stored, durability: &Durability) -> String {
        let mut out = Vec::new();
        stored.write(None, durability, &mut out);
        String::from_utf8(out).expect("UTF-8")
    }

    #[test]
    fn an_answer_is_escaped_and_says_when_nothing_is_stored() {
        assert_eq!(
            text(&stored("1\\\"", false), &Durability::Synced),
            r#"{"id":"1\\\"","subject":"a\"b","sequence":7,"duplicate":false}"#
        );
        assert!(
            text(&stored("1", true), &Durability::None).ends_with(r#","duplicate":true,"stored":false}"#)
        );
    }

    #[test]
    fn the_status_of_a_batch_fits_all_of_its_events() {
        let fine = || Ok(stored("1", false));
        let again = || Ok(stored("1", true));
        let invalid = || Err(Problem::new(Kind::InvalidEvent, "no"));
        let away = || {
            let error = PublishError::Unavailable { retry_after: std::time::Duration::from_secs(9) };
            Err(Problem::publish(error, EventId::parse("1").expect("valid")))
        };
        let cases: [(Results, u16, Option<&str>, Outcome); 7] = [
            (vec![], 202, None, Outcome::Stored),
            (vec![fine(), fine()], 202, None, Outcome::Stored),
            (vec![fine(), again()], 202, None, Outcome::Mixed),
            (vec![fine(), invalid()], 207, None, Outcome::Mixed),
            (vec![invalid(), invalid()], 400, None, Outcome::Refused),
            (vec![away(), away()], 503, Some("9"), Outcome::Unavailable),
            (vec![away(), fine(), invalid()], 207, Some("9"), Outcome::Mixed),
        ];
        for (results, status, retry_after, became) in cases {
            let response = many(&results, &Durability::Synced);
            assert_eq!(response.status().as_u16(), status, "{results:?}");
            assert_eq!(response.headers().get(RETRY_AFTER).map(|v| v.to_str().expect("text")), retry_after);
            assert_eq!(outcome(&results), became, "{results:?}");
        }
    }
}
