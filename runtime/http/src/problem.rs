//! What goes wrong for a client, and the status each case has: the only file that turns errors into statuses. The answers are
//! RFC 9457 problem documents (`application/problem+json`).
//!
//! The `type` of a problem is `urn:saf:problem:<name>`: stable, and no host's. `detail` says what to do next. `stored` is there
//! when a client may ask itself whether the event exists: `false`, or `"unknown"`, in which case `id` is the id to repeat with.

use std::borrow::Cow;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{Response, StatusCode};
use http_body_util::Full;
use saf_broker::{Error, PublishError, Refusal};
use saf_event::EventId;
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

const PROBLEM_JSON: HeaderValue = HeaderValue::from_static("application/problem+json");

/// A kind of problem: one `type`, one status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The body is not what its content type says.
    MalformedBody,
    /// The body was read, and the event in it cannot be taken: an unknown key, a bad subject, id or header.
    InvalidEvent,
    /// The query, or a header of the request, cannot be used.
    InvalidRequest,
    /// The broker does not take the event as it is.
    Refused,
    /// No bearer token, or one that is not known.
    Unauthorized,
    /// The request comes from a web page, or names a host that is not this one.
    Forbidden,
    /// No such path.
    NotFound,
    /// No such stream.
    NoStream,
    /// Admin: no such event, dead letter or Channel.
    Missing,
    /// The path exists, for other methods.
    MethodNotAllowed,
    /// The body did not arrive in time.
    BodyTimeout,
    /// Admin: it cannot be done as things are; the detail says what to change.
    Conflict,
    /// The body is larger than `http.max_body`.
    BodyTooLarge,
    /// The batch has more events than `http.max_batch`.
    BatchTooLarge,
    /// The event is larger than the broker takes.
    EventTooLarge,
    /// The content type is none that the path takes.
    UnsupportedMediaType,
    /// The body is compressed.
    UnsupportedEncoding,
    /// The id was used before, for an event with another body.
    IdReused,
    /// Admin: the broker failed and will not work before a restart, or answered what it may not.
    Failed,
    /// The router holds as many requests as it may; nothing was stored.
    Overloaded,
    /// The broker cannot be reached; nothing was stored.
    Unavailable,
    /// The broker was asked and did not answer; the event may be stored.
    Unknown,
    /// The stream has no room; nothing was stored.
    Full,
}

impl Kind {
    /// Every kind, in the order of their statuses.
    pub const ALL: [Self; 23] = [
        Self::MalformedBody,
        Self::InvalidEvent,
        Self::InvalidRequest,
        Self::Refused,
        Self::Unauthorized,
        Self::Forbidden,
        Self::NotFound,
        Self::NoStream,
        Self::Missing,
        Self::MethodNotAllowed,
        Self::BodyTimeout,
        Self::Conflict,
        Self::BodyTooLarge,
        Self::BatchTooLarge,
        Self::EventTooLarge,
        Self::UnsupportedMediaType,
        Self::UnsupportedEncoding,
        Self::IdReused,
        Self::Failed,
        Self::Overloaded,
        Self::Unavailable,
        Self::Unknown,
        Self::Full,
    ];

    /// The problem's `type`.
    pub const fn urn(self) -> &'static str {
        self.row().0
    }

    /// The status.
    pub const fn status(self) -> StatusCode {
        self.row().1
    }

    /// The problem's `title`.
    pub const fn title(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> (&'static str, StatusCode, &'static str) {
        use StatusCode as S;
        match self {
            Self::MalformedBody => ("urn:saf:problem:malformed-body", S::BAD_REQUEST, "Malformed body"),
            Self::InvalidEvent => ("urn:saf:problem:invalid-event", S::BAD_REQUEST, "Invalid event"),
            Self::InvalidRequest => ("urn:saf:problem:invalid-request", S::BAD_REQUEST, "Invalid request"),
            Self::Refused => ("urn:saf:problem:refused", S::BAD_REQUEST, "Refused by the broker"),
            Self::Unauthorized => ("urn:saf:problem:unauthorized", S::UNAUTHORIZED, "Token needed"),
            Self::Forbidden => ("urn:saf:problem:forbidden", S::FORBIDDEN, "Not from here"),
            Self::NotFound => ("urn:saf:problem:not-found", S::NOT_FOUND, "No such path"),
            Self::NoStream => ("urn:saf:problem:no-stream", S::NOT_FOUND, "No such stream"),
            Self::Missing => ("urn:saf:problem:missing", S::NOT_FOUND, "Not there"),
            Self::Conflict => ("urn:saf:problem:conflict", S::CONFLICT, "Cannot be done now"),
            Self::Failed => ("urn:saf:problem:failed", S::INTERNAL_SERVER_ERROR, "Broker failed"),
            Self::MethodNotAllowed => {
                ("urn:saf:problem:method-not-allowed", S::METHOD_NOT_ALLOWED, "Method not allowed")
            }
            Self::BodyTimeout => ("urn:saf:problem:body-timeout", S::REQUEST_TIMEOUT, "Body too slow"),
            Self::BodyTooLarge => ("urn:saf:problem:body-too-large", S::PAYLOAD_TOO_LARGE, "Body too large"),
            Self::BatchTooLarge => {
                ("urn:saf:problem:batch-too-large", S::PAYLOAD_TOO_LARGE, "Batch too large")
            }
            Self::EventTooLarge => {
                ("urn:saf:problem:event-too-large", S::PAYLOAD_TOO_LARGE, "Event too large")
            }
            Self::UnsupportedMediaType => (
                "urn:saf:problem:unsupported-media-type",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported content type",
            ),
            Self::UnsupportedEncoding => (
                "urn:saf:problem:unsupported-encoding",
                S::UNSUPPORTED_MEDIA_TYPE,
                "Unsupported content encoding",
            ),
            Self::IdReused => {
                ("urn:saf:problem:id-reused", S::UNPROCESSABLE_ENTITY, "Id used for another event")
            }
            Self::Overloaded => ("urn:saf:problem:overloaded", S::SERVICE_UNAVAILABLE, "Router overloaded"),
            Self::Unavailable => {
                ("urn:saf:problem:unavailable", S::SERVICE_UNAVAILABLE, "Broker unavailable")
            }
            Self::Unknown => ("urn:saf:problem:unknown", S::SERVICE_UNAVAILABLE, "Broker did not answer"),
            Self::Full => ("urn:saf:problem:full", S::INSUFFICIENT_STORAGE, "Stream full"),
        }
    }

    /// What the document says about whether the event exists; nothing where the status alone says that it does not.
    fn stored(self) -> Option<Value> {
        match self {
            Self::Unknown => Some(Value::from("unknown")),
            // Nobody posted anything.
            Self::Failed => None,
            other => other.status().is_server_error().then_some(Value::Bool(false)),
        }
    }
}

/// What an answer says beside the document, in a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    None,
    /// `Allow`.
    Allow(&'static str),
    /// `Retry-After`.
    Retry(Duration),
    /// `WWW-Authenticate`.
    Authenticate,
}

/// One problem, for one request or one event of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    kind: Kind,
    detail: Cow<'static, str>,
    id: Option<EventId>,
    hint: Hint,
    concerns: Concerns,
    count: Option<usize>,
}

/// Whom a problem is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Concerns {
    /// Who sent an event, and asks himself whether it is stored.
    Event,
    /// Who looks at the router.
    Admin,
}

/// A problem as JSON.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "Problem")]
pub(crate) struct Document<'a> {
    /// Which kind of problem: `urn:saf:problem:<name>`.
    r#type: &'static str,
    /// The kind in words.
    title: &'static str,
    /// The answer's status.
    status: u16,
    /// What happened, and what to do next.
    detail: &'a str,
    /// The id of the event that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    /// Whether the event is stored: `false`, or `"unknown"`.
    #[serde(skip_serializing_if = "Option::is_none")]
    stored: Option<Value>,
    /// How many there are in truth.
    #[serde(skip_serializing_if = "Option::is_none")]
    count: Option<usize>,
    /// Seconds after which to try again.
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after: Option<u64>,
}

impl Problem {
    pub(crate) fn new(kind: Kind, detail: impl Into<Cow<'static, str>>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            id: None,
            hint: Hint::None,
            concerns: Concerns::Event,
            count: None,
        }
    }

    pub(crate) fn method_not_allowed(allow: &'static str) -> Self {
        let detail = format!("use {allow} here");
        Self { hint: Hint::Allow(allow), ..Self::new(Kind::MethodNotAllowed, detail) }
    }

    pub(crate) fn unauthorized(detail: &'static str) -> Self {
        Self { hint: Hint::Authenticate, ..Self::new(Kind::Unauthorized, detail) }
    }

    pub(crate) fn overloaded(detail: impl Into<Cow<'static, str>>) -> Self {
        Self { hint: Hint::Retry(Duration::from_secs(1)), ..Self::new(Kind::Overloaded, detail) }
    }

    pub(crate) fn id_reused(id: EventId, sequence: u64) -> Self {
        let detail = format!(
            "the id was used before for an event with another body, stored with sequence {sequence}: give a new event a new id"
        );
        Self { id: Some(id), ..Self::new(Kind::IdReused, detail) }
    }

    /// What became of an event that the broker did not take.
    pub(crate) fn publish(error: PublishError, id: EventId) -> Self {
        let (kind, detail, hint) = match error {
            PublishError::Refused(refusal) => {
                let (kind, detail) = refused(&refusal);
                (kind, detail, Hint::None)
            }
            PublishError::Full { limit } => (
                Kind::Full,
                format!("the stream is full ({limit}); nothing was stored: repeat later, or make room"),
                Hint::None,
            ),
            PublishError::Unavailable { retry_after } => {
                let detail = "the broker cannot be reached and nothing was stored: repeat after Retry-After"
                    .to_owned();
                (Kind::Unavailable, detail, Hint::Retry(retry_after))
            }
            PublishError::Unknown { waited } => {
                let detail = format!(
                    "the broker did not answer within {} ms and the event may be stored: repeat it with this id, and it is stored \
                     once",
                    waited.as_millis()
                );
                (Kind::Unknown, detail, Hint::Retry(Duration::from_secs(1)))
            }
        };
        Self { id: Some(id), hint, ..Self::new(kind, detail) }
    }

    /// What a broker answered to an operator.
    pub(crate) fn broker(error: Error) -> Self {
        let (kind, detail, hint) = match error {
            Error::Unavailable(_) => (
                Kind::Unavailable,
                format!("{error}: repeat after Retry-After"),
                Hint::Retry(Duration::from_secs(1)),
            ),
            Error::Config(text) => (Kind::Conflict, text, Hint::None),
            Error::NotFound(_) => (Kind::Missing, error.to_string(), Hint::None),
            Error::Failed(_) => {
                (Kind::Failed, format!("{error}: see the log, then restart the router"), Hint::None)
            }
        };
        Self { hint, concerns: Concerns::Admin, ..Self::new(kind, detail) }
    }

    /// Something was to be done to another number of things than there are.
    pub(crate) fn count_differs(count: usize, detail: String) -> Self {
        Self { count: Some(count), ..Self::new(Kind::Conflict, detail) }
    }

    pub(crate) fn kind(&self) -> Kind {
        self.kind
    }

    /// Seconds, rounded up: a client that comes back too early comes back twice.
    pub(crate) fn retry_after_secs(&self) -> Option<u64> {
        match self.hint {
            Hint::Retry(after) => Some(after.as_millis().div_ceil(1000).max(1) as u64),
            Hint::None | Hint::Allow(_) | Hint::Authenticate => None,
        }
    }

    /// Appends the document, as an answer's body or as an item of a batch's.
    pub(crate) fn write(&self, out: &mut Vec<u8>) {
        let document = Document {
            r#type: self.kind.urn(),
            title: self.kind.title(),
            status: self.kind.status().as_u16(),
            detail: &self.detail,
            id: self.id.as_ref().map(EventId::as_str),
            stored: match self.concerns {
                Concerns::Event => self.kind.stored(),
                Concerns::Admin => None,
            },
            count: self.count,
            retry_after: self.retry_after_secs(),
        };
        // Writing strings and numbers to memory cannot fail.
        let _ = serde_json::to_writer(out, &document);
    }

    pub(crate) fn response(&self) -> Response<Full<Bytes>> {
        let mut body = Vec::with_capacity(256);
        self.write(&mut body);
        let mut response = Response::new(Full::new(body.into()));
        *response.status_mut() = self.kind.status();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, PROBLEM_JSON);
        match self.hint {
            Hint::None | Hint::Retry(_) => {}
            Hint::Allow(methods) => drop(headers.insert(ALLOW, HeaderValue::from_static(methods))),
            Hint::Authenticate => drop(headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"))),
        }
        if let Some(secs) = self.retry_after_secs() {
            headers.insert(RETRY_AFTER, HeaderValue::from(secs));
        }
        response
    }
}

fn refused(refusal: &Refusal) -> (Kind, String) {
    match refusal {
        Refusal::TooLarge { .. } => (
            Kind::EventTooLarge,
            format!("{refusal}: send less, or store the data elsewhere and post where it is"),
        ),
        Refusal::NoStream(_) => {
            (Kind::NoStream, format!("{refusal}: leave ?stream= out, or add the stream to the configuration"))
        }
        Refusal::TooMany { .. } | Refusal::Broker(_) => (Kind::Refused, refusal.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_kind_has_a_type_of_its_own_and_an_error_status() {
        let urns: HashSet<_> = Kind::ALL.iter().map(|kind| kind.urn()).collect();
        assert_eq!(urns.len(), Kind::ALL.len());
        for kind in Kind::ALL {
            assert!(kind.urn().starts_with("urn:saf:problem:"), "{kind:?}");
            assert!(kind.status().is_client_error() || kind.status().is_server_error(), "{kind:?}");
        }
        assert!(Kind::ALL.is_sorted_by_key(|kind| kind.status().as_u16()));
    }

    #[test]
    fn publish_errors_say_whether_the_event_is_stored_and_when_to_come_back() {
        let cases = [
            (PublishError::Full { limit: "max_bytes".into() }, 507, Some(Value::Bool(false)), None),
            (
                PublishError::Unavailable { retry_after: Duration::from_millis(1500) },
                503,
                Some(Value::Bool(false)),
                Some("2"),
            ),
            (
                PublishError::Unavailable { retry_after: Duration::ZERO },
                503,
                Some(Value::Bool(false)),
                Some("1"),
            ),
            (
                PublishError::Unknown { waited: Duration::from_secs(5) },
                503,
                Some(Value::from("unknown")),
                Some("1"),
            ),
            (Refusal::TooLarge { size: 2, limit: 1 }.into(), 413, None, None),
            (Refusal::NoStream("x".into()).into(), 404, None, None),
            (Refusal::Broker("no".into()).into(), 400, None, None),
        ];
        for (error, status, stored, retry_after) in cases {
            let problem = Problem::publish(error.clone(), EventId::parse("7").expect("valid"));
            let response = problem.response();
            assert_eq!(response.status(), status, "{error}");
            assert_eq!(
                response.headers().get(RETRY_AFTER).map(|v| v.to_str().expect("text")),
                retry_after,
                "{error}"
            );
            let mut body = Vec::new();
            problem.write(&mut body);
            let document: Value = serde_json::from_slice(&body).expect("JSON");
            assert_eq!(document.get("stored").cloned(), stored, "{error}");
            assert_eq!(document["id"], "7");
            assert_eq!(document["status"], status);
        }
    }
}
