//! `wasi:http/incoming-handler` 0.2: an event is a POST, and the response says what becomes of it.
//!
//! | response | the event |
//! | --- | --- |
//! | 2xx | is done; a body with a content type is one emission |
//! | 408, 429, 5xx, or an error code in a response's place | comes again; after `Retry-After` where there is one |
//! | anything else | becomes a dead letter |
//! | none | is a trap |
//!
//! The request is a CloudEvent in binary mode, with the event's own headers beside it, to `/` or to `path` of the Channel's `config`. The
//! emission goes to the subject of the response's `ce-type`, or to the one subject that `emit.subjects` names. What the guest sends is
//! read while it runs, up to `limits.output`; nothing is read after it has returned, because then nothing more can come.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use futures::FutureExt as _;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, Uri, response};
use http_body_util::{BodyExt as _, Full};
use saf_event::Event;
use tokio::sync::oneshot;
use wasmtime::{Store, bail, format_err};
use wasmtime_wasi_http::WasiHttpView as _;
use wasmtime_wasi_http::p2::bindings::Proxy;
use wasmtime_wasi_http::p2::bindings::http::types::{ErrorCode, Scheme};
use wasmtime_wasi_http::p2::body::HyperOutgoingBody;

use crate::adapter::Reply;
use crate::capability::config::Table;
use crate::fault::cut;
use crate::verdict::Emission;
use crate::world::World;

/// Where the guest finds itself; `.internal` names belong to nobody on the Internet.
const AUTHORITY: &str = "saf.internal";
/// How much of a refusing response's body goes into the reason.
const EXCERPT_BYTES: usize = 256;
/// The request's attributes that come from the event and not from its sender.
const SPECVERSION: &str = "ce-specversion";

/// An instance, and where its requests go.
pub(crate) struct Proxied {
    proxy: Proxy,
    uri: Uri,
}

impl Proxied {
    pub(crate) fn new(proxy: Proxy) -> Self {
        Self { proxy, uri: Uri::default() }
    }

    /// Reads the path from the Channel's `config`.
    pub(crate) fn configure(&mut self, config: &Table) -> Result<(), String> {
        let path = config.get("path").unwrap_or_else(|| "/".to_owned());
        let uri = Uri::builder().scheme("http").authority(AUTHORITY).path_and_query(&*path).build();
        match uri {
            Ok(uri) if path.starts_with('/') => self.uri = uri,
            Ok(_) | Err(_) => {
                return Err(format!("config.path = {path:?} is no path: write one such as \"/events\""));
            }
        }
        Ok(())
    }
}

/// Hands the guest an event. `max_body_bytes` is `limits.output`; `answers_to` is the Channel's one literal subject to emit to.
pub(crate) async fn call(
    guest: &Proxied,
    store: &mut Store<World>,
    event: &Event,
    attempt: u32,
    max_body_bytes: usize,
    answers_to: Option<&str>,
) -> wasmtime::Result<Reply> {
    let request = request(guest.uri.clone(), event, attempt)?;
    let (sender, receiver) = oneshot::channel();
    let mut view = store.data_mut().http();
    let request = view.new_incoming_request(Scheme::Http, request)?;
    let outparam = view.new_response_outparam(sender)?;

    let mut collected = Collected::default();
    {
        let mut collecting = Box::pin(collect(receiver, max_body_bytes, &mut collected));
        let handling = guest.proxy.wasi_http_incoming_handler().call_handle(&mut *store, request, outparam);
        let mut handling = std::pin::pin!(handling);
        tokio::select! {
            handled = &mut handling => {
                handled?;
                // What the guest sent is here by now. Not to be held up by the scheduler's fairness: a second look would be too late.
                let _ = tokio::task::unconstrained(collecting).now_or_never();
            }
            () = &mut collecting => handling.await?,
        }
    }
    reply(collected, answers_to, SystemTime::now())
}

fn request(uri: Uri, event: &Event, attempt: u32) -> wasmtime::Result<Request<Full<Bytes>>> {
    let mut request =
        Request::post(uri).body(Full::new(event.data.clone())).map_err(|error| format_err!("{error}"))?;
    let headers = request.headers_mut();
    for (name, value) in &event.headers {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_bytes(value.as_bytes()))
        {
            headers.append(name, value);
        }
    }
    headers.insert(CONTENT_LENGTH, event.data.len().into());
    if let Some(content_type) = &event.content_type
        && let Ok(value) = HeaderValue::from_bytes(content_type.as_bytes())
    {
        headers.insert(CONTENT_TYPE, value);
    }
    let time = humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(event.time)).to_string();
    let own = [
        (SPECVERSION, "1.0"),
        ("ce-id", event.id.as_str()),
        ("ce-type", event.subject.as_str()),
        ("ce-source", "saf"),
        ("ce-time", &time),
    ];
    for (name, value) in own {
        if !headers.contains_key(name) {
            headers.insert(name, attribute(value)?);
        }
    }
    // A CloudEvent's `type` may be another than its subject here, when its sender named one in the path.
    headers.insert("saf-subject", attribute(event.subject.as_str())?);
    headers.insert("saf-sequence", event.sequence.into());
    headers.insert("saf-attempt", attempt.into());
    Ok(request)
}

/// A value as CloudEvents writes it into a header: everything but printable ASCII, and space, `"` and `%`, percent-encoded.
fn attribute(value: &str) -> wasmtime::Result<HeaderValue> {
    use std::fmt::Write as _;
    let mut encoded = String::with_capacity(value.len());
    for byte in value.bytes() {
        if byte.is_ascii_graphic() && !matches!(byte, b'"' | b'%') {
            encoded.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    HeaderValue::try_from(encoded).map_err(|error| format_err!("{error}"))
}

/// What a guest sent so far.
#[derive(Default)]
struct Collected {
    head: Option<Result<response::Parts, ErrorCode>>,
    body: BytesMut,
    end: End,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum End {
    #[default]
    Open,
    Whole,
    TooLarge,
    Broken,
}

async fn collect(
    receiver: oneshot::Receiver<Result<http::Response<HyperOutgoingBody>, ErrorCode>>,
    max_bytes: usize,
    into: &mut Collected,
) {
    let response = match receiver.await {
        Ok(Ok(response)) => response,
        Ok(Err(code)) => {
            into.head = Some(Err(code));
            return;
        }
        // The guest dropped what it should have set; once it has returned, that is a trap.
        Err(_) => return,
    };
    let (head, mut body) = response.into_parts();
    into.head = Some(Ok(head));
    while let Some(frame) = body.frame().await {
        let Ok(frame) = frame else {
            into.end = End::Broken;
            return;
        };
        let Some(data) = frame.data_ref() else { continue };
        if data.len() > max_bytes - into.body.len() {
            into.end = End::TooLarge;
            return;
        }
        into.body.extend_from_slice(data);
    }
    into.end = End::Whole;
}

fn reply(collected: Collected, answers_to: Option<&str>, now: SystemTime) -> wasmtime::Result<Reply> {
    let Collected { head, body, end } = collected;
    let head = match head {
        Some(Ok(head)) => head,
        Some(Err(code)) => {
            let reason = format!("the guest gave an error in the response's place: {code:?}");
            return Ok(Reply::Retry { reason, after: None });
        }
        None => bail!("the guest returned without setting a response"),
    };
    match (head.status, end) {
        (status, End::TooLarge) if status.is_success() => {
            Ok(Reply::Output { problem: "the response's body is larger than limits.output allows".into() })
        }
        (status, End::Open | End::Broken) if status.is_success() => {
            bail!("the guest returned without finishing the response's body")
        }
        (status, _) if status.is_success() => done(&head.headers, body.freeze(), answers_to),
        (status, _) => Ok(refusal(status, &head.headers, &body, now)),
    }
}

fn done(headers: &HeaderMap, body: Bytes, answers_to: Option<&str>) -> wasmtime::Result<Reply> {
    let text = |name: &str| headers.get(name).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let Some(content_type) = headers.get(CONTENT_TYPE).filter(|_| !body.is_empty()) else {
        return Ok(Reply::Done(Vec::new()));
    };
    let content_type =
        content_type.to_str().map_err(|_| format_err!("the response's content type is no text"))?;
    let cloud_event = headers.contains_key(SPECVERSION);
    let named = if cloud_event { text("ce-type") } else { None };
    let Some(subject) = named.or_else(|| answers_to.map(str::to_owned)) else {
        let problem = "the response has a body, and no subject to emit it to: name exactly one subject, without wildcards, in the \
                       Channel's emit.subjects, or answer with a CloudEvent (ce-specversion, ce-type)";
        return Ok(Reply::Output { problem: problem.into() });
    };
    let attributes = headers.iter().filter(|(name, _)| cloud_event && name.as_str().starts_with("ce-"));
    let attributes =
        attributes.filter_map(|(name, value)| Some((name.to_string(), value.to_str().ok()?.to_owned())));
    Ok(Reply::Done(vec![Emission {
        subject,
        data: body,
        content_type: Some(content_type.to_owned()),
        headers: attributes.collect(),
        id: if cloud_event { text("ce-id") } else { None },
    }]))
}

fn refusal(status: StatusCode, headers: &HeaderMap, body: &[u8], now: SystemTime) -> Reply {
    let excerpt = String::from_utf8_lossy(&body[..body.len().min(4 * EXCERPT_BYTES)]);
    let reason = match excerpt.trim() {
        "" => format!("the guest answered {status}"),
        excerpt => format!("the guest answered {status}: {}", cut(excerpt.to_owned(), EXCERPT_BYTES)),
    };
    let again = status.is_server_error()
        || matches!(status, StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS);
    if !again {
        return Reply::Reject { reason };
    }
    let after = headers.get(RETRY_AFTER).and_then(|value| wait(value.to_str().ok()?, now));
    Reply::Retry { reason, after }
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests;
