//! Server-sent events without an end of their own: the tap and the attempts.
//!
//! Nothing is queued here: the next event is taken from its source when the connection has room, and a reader that is too slow makes
//! its source skip, which is told. A comment now and then shows that the stream lives; a draining listener ends it.

use std::convert::Infallible;
use std::future::poll_fn;
use std::task::Poll;
use std::time::Duration;

use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use futures::stream::{BoxStream, StreamExt as _, unfold};
use http::header::{CONTENT_TYPE, HeaderName, HeaderValue};
use schemars::JsonSchema;
use serde::Serialize;
use tokio::time::timeout;

use crate::server::Draining;

/// How often a silent stream says that it lives.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// Bytes of events after which they are handed to the connection, however many more are at hand.
const CHUNK_BYTES: usize = 64 << 10;

/// Something to be sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Message {
    /// JSON under this name.
    Event(&'static str, Vec<u8>),
    /// So many were left out here.
    Skipped(u64),
}

/// How many were left out.
#[derive(Debug, Serialize, JsonSchema)]
pub(super) struct Skipped {
    /// Since the event before.
    pub(super) skipped: u64,
}

impl Message {
    /// An event whose data is this as JSON.
    pub(super) fn of(name: &'static str, value: &impl Serialize) -> Self {
        // Writing strings and numbers to memory cannot fail.
        Self::Event(name, serde_json::to_vec(value).unwrap_or_default())
    }

    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Event(name, json) => write(name, json, out),
            Self::Skipped(skipped) => {
                write("skipped", format!("{{\"skipped\":{skipped}}}").as_bytes(), out);
            }
        }
    }
}

/// A line break in JSON stands between tokens, where any white space is the same: each line becomes one of the event's.
fn write(name: &str, json: &[u8], out: &mut Vec<u8>) {
    out.extend_from_slice(b"event: ");
    out.extend_from_slice(name.as_bytes());
    for line in json.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"\ndata: ");
        out.extend_from_slice(line);
    }
    out.extend_from_slice(b"\n\n");
}

/// 200 with what the source yields, until it ends or the listener drains.
pub(super) fn response(draining: Draining, source: BoxStream<'static, Message>) -> Response {
    // It is asked again after its end, by `chunk` and then by `next`.
    let source = source.fuse().boxed();
    let live = Live { source, draining, begun: Begun::No };
    let body = Body::from_stream(unfold(live, Live::next).map(Ok::<_, Infallible>));
    let headers = [
        (CONTENT_TYPE, HeaderValue::from_static("text/event-stream")),
        // A proxy that collects answers would hold the stream back.
        (HeaderName::from_static("x-accel-buffering"), HeaderValue::from_static("no")),
    ];
    (headers, body).into_response()
}

struct Live {
    source: BoxStream<'static, Message>,
    draining: Draining,
    begun: Begun,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Begun {
    No,
    Yes,
}

impl Live {
    async fn next(mut self) -> Option<(Bytes, Self)> {
        if self.begun == Begun::No {
            self.begun = Begun::Yes;
            return Some((Bytes::from_static(b": everything from here on\n\n"), self));
        }
        let message = tokio::select! {
            biased;
            () = self.draining.begun() => return None,
            message = timeout(HEARTBEAT, self.source.next()) => message,
        };
        let chunk = match message {
            Ok(message) => self.chunk(&message?).await,
            Err(_) => Bytes::from_static(b": alive\n\n"),
        };
        Some((chunk, self))
    }

    /// One message, and those that are at hand with it.
    async fn chunk(&mut self, first: &Message) -> Bytes {
        let mut out = Vec::with_capacity(1024);
        first.write(&mut out);
        while out.len() < CHUNK_BYTES {
            let at_hand = poll_fn(|cx| match self.source.poll_next_unpin(cx) {
                Poll::Ready(message) => Poll::Ready(message),
                Poll::Pending => Poll::Ready(None),
            });
            let Some(message) = at_hand.await else { break };
            message.write(&mut out);
        }
        out.into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn json_with_line_breaks_stays_one_event() {
        let mut out = Vec::new();
        Message::Event("event", b"{\"a\":\r\n1}".to_vec()).write(&mut out);
        Message::Skipped(3).write(&mut out);
        let expected =
            "event: event\ndata: {\"a\":\ndata: \ndata: 1}\n\nevent: skipped\ndata: {\"skipped\":3}\n\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
