//! One request and its response under the caps of their event: bytes in both directions, open exchanges, and the event's end.
//!
//! Bytes are those of addresses, header names and values, and bodies; what TLS and the protocol's framing add is not counted.

use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderMap;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::OwnedSemaphorePermit;
use tokio::time::{Instant, Sleep};
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody};

use super::Way;
use super::connect::ConnectError;
use crate::console::Console;

/// What all exchanges of one event share.
pub(super) struct Session {
    bytes_left: AtomicU64,
    max_bytes: saf_event::Size,
    /// Cancelled when the event ends: no exchange outlives it.
    over: CancellationToken,
    console: Console,
}

/// More bytes than `limits.http_bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Spent;

impl Session {
    pub(super) fn new(max_bytes: saf_event::Size, console: Console) -> Self {
        Self { bytes_left: AtomicU64::new(max_bytes.0), max_bytes, over: CancellationToken::new(), console }
    }

    pub(super) fn end(&self) {
        self.over.cancel();
    }

    fn spend(&self, bytes: usize) -> Result<(), Spent> {
        let spent = self.bytes_left.fetch_update(Relaxed, Relaxed, |left| left.checked_sub(bytes as u64));
        if spent.is_ok() {
            return Ok(());
        }
        if self.bytes_left.swap(0, Relaxed) > 0 {
            let limit = self.max_bytes;
            self.console
                .note(&format!("… http: an exchange was cut off; limits.http_bytes is {limit} an event"));
        }
        Err(Spent)
    }
}

/// Sends a request and brings the response's head; the body is read as the guest reads it.
pub(super) async fn run(
    way: Way,
    request: http::Request<WasiBody>,
    options: Option<RequestOptions>,
    session: Arc<Session>,
    permit: OwnedSemaphorePermit,
) -> Result<http::Response<WasiBody>, Error> {
    let (parts, body) = request.into_parts();
    let head = parts.uri.to_string().len() + header_bytes(&parts.headers);
    session.spend(head).map_err(|Spent| Error::HttpRequestBodySize(Some(head as u64)))?;
    let body = Metered::new(body, Direction::Out, Arc::clone(&session), None, None).boxed_unsync();
    let options = options.unwrap_or_default();
    let send = way.send(http::Request::from_parts(parts, body));
    let patience = match (options.connect_timeout, options.first_byte_timeout) {
        (Some(connect), Some(first)) => Some(connect.saturating_add(first)),
        (_, Some(first)) => Some(first),
        (_, None) => None,
    };
    let sent = async {
        match patience {
            Some(patience) => {
                tokio::time::timeout(patience, send).await.map_err(|_| Error::ConnectionReadTimeout)?
            }
            None => send.await,
        }
    };
    let response = tokio::select! {
        biased;
        () = session.over.cancelled() => return Err(Error::ConnectionTerminated),
        response = sent => response?,
    };
    let head = header_bytes(response.headers());
    session.spend(head).map_err(|Spent| Error::HttpResponseHeaderSectionSize(u32::try_from(head).ok()))?;
    let pause = options.between_bytes_timeout;
    Ok(response.map(|body| {
        Metered::new(body, Direction::In, Arc::clone(&session), pause, Some(permit)).boxed_unsync()
    }))
}

impl Way {
    async fn send(self, request: http::Request<WasiBody>) -> Result<http::Response<WasiBody>, Error> {
        match self {
            Self::Network(wires) => {
                let response = wires.request(request).await.map_err(|error| in_wasi(&error))?;
                Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
            }
            Self::Script(stage, n, answer) => stage.answer(n, answer, request.into_body()).await,
        }
    }
}

fn header_bytes(headers: &HeaderMap) -> usize {
    headers.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// The innermost cause decides: hyper's own words say only where it was noticed.
fn in_wasi(error: &hyper_util::client::legacy::Error) -> Error {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = Some(error);
    while let Some(error) = cause {
        if let Some(error) = error.downcast_ref::<ConnectError>() {
            return error.to_wasi();
        }
        if let Some(error) = error.downcast_ref::<hyper::Error>() {
            if error.is_parse_too_large() {
                return Error::HttpResponseHeaderSectionSize(None);
            }
            if error.is_incomplete_message() || error.is_closed() || error.is_canceled() {
                return Error::HttpResponseIncomplete;
            }
        }
        if let Some(Error::HttpRequestBodySize(size)) = error.downcast_ref::<Error>() {
            return Error::HttpRequestBodySize(*size);
        }
        if let Some(error) = error.downcast_ref::<std::io::Error>()
            && error.kind() != std::io::ErrorKind::Other
        {
            return Error::ConnectionTerminated;
        }
        cause = error.source();
    }
    Error::HttpProtocolError
}

#[derive(Clone, Copy)]
enum Direction {
    Out,
    In,
}

impl Direction {
    fn too_large(self) -> Error {
        match self {
            Self::Out => Error::HttpRequestBodySize(None),
            Self::In => Error::HttpResponseBodySize(None),
        }
    }
}

/// A body that ends with an error at the cap, at the end of its event, and after a pause that is too long.
struct Metered<B> {
    body: Pin<Box<B>>,
    direction: Direction,
    session: Arc<Session>,
    over: Pin<Box<WaitForCancellationFutureOwned>>,
    pause: Option<(Duration, Pin<Box<Sleep>>)>,
    /// Held as long as the response may still be read.
    _permit: Option<OwnedSemaphorePermit>,
}

impl<B> Metered<B> {
    fn new(
        body: B,
        direction: Direction,
        session: Arc<Session>,
        pause: Option<Duration>,
        permit: Option<OwnedSemaphorePermit>,
    ) -> Self {
        Self {
            body: Box::pin(body),
            direction,
            over: Box::pin(session.over.clone().cancelled_owned()),
            session,
            pause: pause.map(|pause| (pause, Box::pin(tokio::time::sleep(pause)))),
            _permit: permit,
        }
    }
}

impl<B: Body<Data = Bytes, Error = Error>> Body for Metered<B> {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        if this.over.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Some(Err(Error::ConnectionTerminated)));
        }
        let frame = match this.body.as_mut().poll_frame(cx) {
            Poll::Ready(Some(Ok(frame))) => frame,
            Poll::Ready(end) => return Poll::Ready(end),
            Poll::Pending => {
                let late = this.pause.as_mut().is_some_and(|(_, alarm)| pin!(alarm).poll(cx).is_ready());
                return if late {
                    Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
                } else {
                    Poll::Pending
                };
            }
        };
        if let Some((pause, alarm)) = &mut this.pause {
            alarm.as_mut().reset(Instant::now() + *pause);
        }
        let bytes = match (frame.data_ref(), frame.trailers_ref()) {
            (Some(data), _) => data.len(),
            (None, trailers) => trailers.map_or(0, header_bytes),
        };
        match this.session.spend(bytes) {
            Ok(()) => Poll::Ready(Some(Ok(frame))),
            Err(Spent) => Poll::Ready(Some(Err(this.direction.too_large()))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
