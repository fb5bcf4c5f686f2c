//! The request itself, in wasi:http's words. Nothing in here decides anything.

use wasip2::http::outgoing_handler;
use wasip2::http::types::{
    ErrorCode, Fields, IncomingResponse, Method, OutgoingBody, OutgoingRequest, Scheme as WasiScheme,
};
use wasip2::io::streams::{InputStream, OutputStream, StreamError};

use crate::answer::Answered;
use crate::request::{Scheme, Url};

/// How much of an answer's body goes into a reason.
const EXCERPT_BYTES: usize = 256;

/// Sends and waits for the answer; an error says why there is none.
pub(crate) fn post(url: &Url, headers: &[(String, String)], data: &[u8]) -> Result<Answered, String> {
    let entries: Vec<_> =
        headers.iter().map(|(name, value)| (name.clone(), value.clone().into_bytes())).collect();
    let fields = Fields::from_list(&entries).map_err(|error| format!("a header is not allowed: {error}"))?;
    let request = OutgoingRequest::new(fields);
    let scheme = match url.scheme {
        Scheme::Http => WasiScheme::Http,
        Scheme::Https => WasiScheme::Https,
    };
    let accepted = request
        .set_method(&Method::Post)
        .and_then(|()| request.set_scheme(Some(&scheme)))
        .and_then(|()| request.set_authority(Some(&url.authority)))
        .and_then(|()| request.set_path_with_query(Some(&url.path_with_query)));
    accepted.map_err(|()| "config.url is no valid address".to_owned())?;
    let body = request.body().map_err(|()| "the request has no body".to_owned())?;
    let pending = outgoing_handler::handle(request, None).map_err(|code| denied(&code))?;
    {
        let stream = body.write().map_err(|()| "the request's body cannot be written".to_owned())?;
        // An endpoint may answer before it has read everything; what it answered is looked at below.
        let _ = write(&stream, data);
    }
    let _ = OutgoingBody::finish(body, None);
    pending.subscribe().block();
    match pending.get() {
        Some(Ok(Ok(response))) => Ok(read(&response)),
        Some(Ok(Err(code))) => Err(denied(&code)),
        Some(Err(())) | None => Err("the answer was taken twice".to_owned()),
    }
}

fn denied(code: &ErrorCode) -> String {
    match code {
        ErrorCode::HttpRequestDenied => {
            "the router denied the request: name the URL's origin in the Channel's grants.http".to_owned()
        }
        code => format!("no answer ({code:?})"),
    }
}

fn write(stream: &OutputStream, mut data: &[u8]) -> Result<(), StreamError> {
    let ready = stream.subscribe();
    while !data.is_empty() {
        ready.block();
        let room = usize::try_from(stream.check_write()?).unwrap_or(usize::MAX);
        let (now, later) = data.split_at(room.min(data.len()));
        stream.write(now)?;
        data = later;
    }
    Ok(())
}

fn read(response: &IncomingResponse) -> Answered {
    let retry_after = response.headers().get("retry-after").into_iter().next();
    let retry_after = retry_after.and_then(|value| String::from_utf8(value).ok());
    let mut excerpt = Vec::new();
    if let Ok(body) = response.consume()
        && let Ok(stream) = body.stream()
    {
        fill(&stream, &mut excerpt);
    }
    Answered {
        status: response.status(),
        retry_after,
        excerpt: String::from_utf8_lossy(&excerpt).into_owned(),
    }
}

/// Until the end, an error, or [`EXCERPT_BYTES`]. A short answer is read to its end, which keeps the connection for the next event.
fn fill(stream: &InputStream, excerpt: &mut Vec<u8>) {
    while excerpt.len() < EXCERPT_BYTES {
        let Ok(bytes) = stream.blocking_read((EXCERPT_BYTES - excerpt.len()) as u64) else { return };
        excerpt.extend(bytes);
    }
}
