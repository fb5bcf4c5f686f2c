//! What the routes answer with, and how a small JSON body is read.

use std::time::Duration;

use axum::body::{Body, to_bytes};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderValue};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::time::timeout;

use crate::problem::{Kind, Problem};

/// Largest body of an admin request.
const MAX_BODY_BYTES: usize = 64 << 10;
/// How long it may take.
const BODY_TIMEOUT: Duration = Duration::from_secs(30);

pub(super) type Answered = Result<Response, Problem>;

/// 200 with JSON.
pub(super) fn json(value: &impl Serialize) -> Answered {
    let body = serde_json::to_vec(value)
        .map_err(|error| Problem::new(Kind::Failed, format!("the answer cannot be written: {error}")))?;
    Ok(([(CONTENT_TYPE, HeaderValue::from_static("application/json"))], body).into_response())
}

/// What an admin answer says was true a moment ago.
pub(super) async fn not_stored(mut response: Response) -> Response {
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    response
}

/// Reads a JSON body. Cancel-safe.
pub(super) async fn read<T: DeserializeOwned>(body: Body) -> Result<T, Problem> {
    let body = match timeout(BODY_TIMEOUT, to_bytes(body, MAX_BODY_BYTES)).await {
        Ok(Ok(body)) => body,
        Ok(Err(_)) => return Err(too_large()),
        Err(_) => {
            return Err(Problem::new(
                Kind::BodyTimeout,
                "the body did not arrive within 30 s: send it at once",
            ));
        }
    };
    parse(&body)
}

fn too_large() -> Problem {
    Problem::new(
        Kind::BodyTooLarge,
        format!("the body is larger than {MAX_BODY_BYTES} bytes, or broke off: send less"),
    )
}

fn parse<T: DeserializeOwned>(body: &Bytes) -> Result<T, Problem> {
    // No body stands for no wishes.
    let body: &[u8] = if body.is_empty() { b"{}" } else { body };
    serde_json::from_slice(body)
        .map_err(|error| Problem::new(Kind::MalformedBody, format!("the body: {error}")))
}
