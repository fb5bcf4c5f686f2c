//! From events to receipts. A publish that has begun goes on to its end: a client that hangs up cancels nothing.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waker, Poll, ready};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use saf_broker::{PublishError, Receipt};
use saf_event::{EventId, NewEvent, StreamName, Subject};
use tokio::runtime::Handle;

use crate::ingest::Context;
use crate::ingest::answer::{Results, Stored};
use crate::ingest::body::Lease;
use crate::problem::Problem;
use crate::server::Tasks;

/// Stored events that one batch's duplicates are compared with at a time; a repeated batch is nothing but duplicates.
const MAX_COMPARISONS_AT_ONCE: usize = 16;

/// Stores one event. Dropping the future does not cancel what it does.
pub(super) fn one(
    cx: &Arc<Context>,
    stream: Option<StreamName>,
    event: NewEvent,
    lease: Lease,
) -> impl Future<Output = Result<Stored, Problem>> + use<> {
    let context = Arc::clone(cx);
    ToTheEnd::new(&cx.tasks, async move {
        let _held_until_stored = lease;
        let stream = stream.as_ref().unwrap_or(&context.stream);
        let posted = Posted::of(&event);
        let result = context.broker.publish(stream, event).await;
        posted.became(&context, stream, result).await
    })
}

/// Stores the events of a batch, pipelined; one result for each, in order. Dropping the future does not cancel what it does.
pub(super) fn many(
    cx: &Arc<Context>,
    stream: Option<StreamName>,
    events: Vec<Result<NewEvent, Problem>>,
    lease: Lease,
) -> impl Future<Output = Results> + use<> {
    let context = Arc::clone(cx);
    ToTheEnd::new(&cx.tasks, async move {
        let _held_until_stored = lease;
        let stream = stream.as_ref().unwrap_or(&context.stream);
        let mut valid = Vec::with_capacity(events.len());
        let mut posted = Vec::with_capacity(events.len());
        for event in events {
            posted.push(event.map(|event| {
                let posted = Posted::of(&event);
                valid.push(event);
                posted
            }));
        }
        let receipts =
            if valid.is_empty() { Vec::new() } else { context.broker.publish_all(stream, valid).await };
        let mut receipts = receipts.into_iter();
        let mut results: Results = Vec::with_capacity(posted.len());
        let mut duplicates = Vec::new();
        for posted in posted {
            let result = posted.map(|posted| (posted, receipts.next().unwrap_or_else(unanswered)));
            results.push(result.and_then(|(posted, result)| match result {
                Ok(receipt) if receipt.duplicate => {
                    duplicates.push((results.len(), posted.clone(), receipt));
                    Ok(posted.stored(receipt))
                }
                Ok(receipt) => Ok(posted.stored(receipt)),
                Err(error) => Err(Problem::publish(error, posted.id)),
            }));
        }
        let context = &context;
        let compared = duplicates.into_iter().map(|(at, posted, receipt)| async move {
            (at, posted.duplicated(context, stream, receipt).await)
        });
        let mut compared = futures::stream::iter(compared).buffer_unordered(MAX_COMPARISONS_AT_ONCE);
        while let Some((at, result)) = compared.next().await {
            results[at] = result;
        }
        drop(compared);
        results
    })
}

/// A broker that answers less than it was asked breaks its contract; then nothing is known about the rest.
fn unanswered() -> Result<Receipt, PublishError> {
    Err(PublishError::Unknown { waited: std::time::Duration::ZERO })
}

/// What an answer needs of an event that was handed to the broker.
#[derive(Clone)]
struct Posted {
    id: EventId,
    subject: Subject,
    data: Bytes,
}

impl Posted {
    fn of(event: &NewEvent) -> Self {
        Self { id: event.id.clone(), subject: event.subject.clone(), data: event.data.clone() }
    }

    async fn became(
        self,
        cx: &Context,
        stream: &StreamName,
        result: Result<Receipt, PublishError>,
    ) -> Result<Stored, Problem> {
        match result {
            Ok(receipt) if receipt.duplicate => self.duplicated(cx, stream, receipt).await,
            Ok(receipt) => Ok(self.stored(receipt)),
            Err(error) => Err(Problem::publish(error, self.id)),
        }
    }

    fn stored(self, receipt: Receipt) -> Stored {
        Stored { id: self.id, subject: self.subject, receipt }
    }

    /// The same key means the same event, or a sender's mistake.
    async fn duplicated(
        self,
        cx: &Context,
        stream: &StreamName,
        receipt: Receipt,
    ) -> Result<Stored, Problem> {
        if self.differs_from_first(cx, stream, receipt.sequence).await {
            return Err(Problem::id_reused(self.id, receipt.sequence));
        }
        Ok(self.stored(receipt))
    }

    /// Whether the event that was stored under the same key has another payload. One that cannot be read (retention took it,
    /// the broker is away) counts as the same: that the key was stored is certain.
    async fn differs_from_first(&self, cx: &Context, stream: &StreamName, sequence: u64) -> bool {
        let Some(journal) = cx.broker.journal() else { return false };
        match journal.get(stream, sequence).await {
            Ok(first) => first.data != self.data,
            Err(error) => {
                tracing::debug!(%stream, sequence, %error, "a duplicate could not be compared with the first event");
                false
            }
        }
    }
}

/// Polls a future where it is awaited, which costs no task and no wake-up; when it is dropped before its end, it goes on as a
/// task of its own, and draining waits for it.
struct ToTheEnd<T: Send + 'static> {
    future: Option<BoxFuture<'static, T>>,
    tasks: Tasks,
}

impl<T: Send + 'static> ToTheEnd<T> {
    fn new(tasks: &Tasks, future: impl Future<Output = T> + Send + 'static) -> Self {
        Self { future: Some(Box::pin(future)), tasks: tasks.clone() }
    }
}

impl<T: Send + 'static> Future for ToTheEnd<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, waker: &mut Waker<'_>) -> Poll<T> {
        let Some(future) = &mut self.future else { return Poll::Pending };
        let output = ready!(future.as_mut().poll(waker));
        self.future = None;
        Poll::Ready(output)
    }
}

impl<T: Send + 'static> Drop for ToTheEnd<T> {
    fn drop(&mut self) {
        if let Some(future) = self.future.take()
            && let Ok(runtime) = Handle::try_current()
        {
            self.tasks.spawn_on(async move { drop(future.await) }, &runtime);
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_is_dropped_before_its_end_goes_on_and_draining_waits_for_it() {
        let tasks = Tasks::new();
        let (go, gate) = oneshot::channel::<()>();
        let (done, finished) = oneshot::channel();
        let mut publish = Box::pin(ToTheEnd::new(&tasks, async move {
            gate.await.expect("sent");
            done.send(()).expect("waited for");
        }));
        assert!(futures::poll!(&mut publish).is_pending());
        assert!(tasks.is_empty(), "no task while somebody waits");
        drop(publish);
        assert_eq!(tasks.len(), 1);
        go.send(()).expect("still running");
        finished.await.expect("ran to its end");
        tasks.close();
        tasks.wait().await;
    }

    #[tokio::test]
    async fn what_ended_is_not_run_again() {
        let tasks = Tasks::new();
        assert_eq!(ToTheEnd::new(&tasks, async { 7 }).await, 7);
        assert!(tasks.is_empty());
    }
}
