//! From events to receipts. A publish that has begun goes on to its end: a client that hangs up cancels nothing.

use std::collections::BTreeSet;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context as Waker, Poll, ready};
use std::time::{Instant, SystemTime};

use bytes::Bytes;
use futures::StreamExt as _;
use futures::future::BoxFuture;
use saf_broker::{PublishError, Receipt};
use saf_event::{EventId, NewEvent, StreamName, Subject};
use saf_telemetry::{Became, Place, Span, Step};
use tokio::runtime::Handle;

use crate::ingest::Context;
use crate::ingest::answer::{Results, Stored};
use crate::ingest::body::Lease;
use crate::ingest::format::Places;
use crate::metrics::Outcome;
use crate::problem::Problem;
use crate::server::Tasks;

/// Stored events that one batch's duplicates are compared with at a time; a repeated batch is nothing but duplicates.
const MAX_COMPARISONS_AT_ONCE: usize = 16;

/// Stores one event. Dropping the future does not cancel what it does.
pub(super) fn one(
    cx: &Arc<Context>,
    stream: Option<StreamName>,
    event: NewEvent,
    place: Option<Place>,
    lease: Lease,
) -> impl Future<Output = Result<Stored, Problem>> + use<> {
    let context = Arc::clone(cx);
    ToTheEnd::new(&cx.tasks, async move {
        let _held_until_stored = lease;
        let stream = stream.as_ref().unwrap_or(&context.stream);
        let posted = Posted::of(&event);
        let handing = Handing::over(place.is_some());
        let result = context.broker.publish(stream, event).await;
        context.metrics.publish(handing.began.elapsed(), Outcome::published(&result));
        if let Some(place) = place {
            handing.record(&context, place, stream, &posted, &result);
        }
        let Posted { id, subject, data } = posted;
        let receipt = match result {
            Ok(receipt) => receipt,
            Err(error) => return Err(Problem::publish(error, id)),
        };
        // The same key means the same event, or a sender's mistake.
        if receipt.duplicate && differs_from_first(&context, stream, &data, receipt.sequence).await {
            return Err(Problem::id_reused(id, receipt.sequence));
        }
        Ok(Stored { id, subject, receipt })
    })
}

/// Stores the events of a batch, pipelined; one result for each, in order. Dropping the future does not cancel what it does.
pub(super) fn many(
    cx: &Arc<Context>,
    stream: Option<StreamName>,
    events: Vec<Result<NewEvent, Problem>>,
    places: Places,
    lease: Lease,
) -> impl Future<Output = Results> + use<> {
    let context = Arc::clone(cx);
    ToTheEnd::new(&cx.tasks, async move {
        let _held_until_stored = lease;
        let stream = stream.as_ref().unwrap_or(&context.stream);
        let mut valid = Vec::with_capacity(events.len());
        let refused: Vec<Option<Problem>> =
            events.into_iter().map(|event| event.map(|event| valid.push(event)).err()).collect();
        let places = places.all();
        let handing = Handing::over(!places.is_empty());
        let mut receipts = match valid.as_slice() {
            [] => Vec::new(),
            valid => context.broker.publish_all(stream, valid).await,
        };
        receipts.resize_with(valid.len(), unanswered);
        if !receipts.is_empty() {
            let outcome = Outcome::shared(receipts.iter().map(Outcome::published));
            context.metrics.publish(handing.began.elapsed(), outcome);
        }
        handing.record_all(&context, places, stream, &refused, &valid, &receipts);
        let reused = reused(&context, stream, &valid, &receipts).await;
        let mut stored =
            valid.into_iter().zip(receipts).enumerate().map(|(n, (event, receipt))| match receipt {
                Ok(receipt) if reused.contains(&n) => Err(Problem::id_reused(event.id, receipt.sequence)),
                Ok(receipt) => Ok(Stored { id: event.id, subject: event.subject, receipt }),
                Err(error) => Err(Problem::publish(error, event.id)),
            });
        refused.into_iter().filter_map(|refused| refused.map(Err).or_else(|| stored.next())).collect()
    })
}

/// Which of these events have the key of another one.
async fn reused(
    cx: &Context,
    stream: &StreamName,
    events: &[NewEvent],
    receipts: &[Result<Receipt, PublishError>],
) -> BTreeSet<usize> {
    let mut duplicates = Vec::new();
    for (n, receipt) in receipts.iter().enumerate() {
        if let Ok(Receipt { sequence, duplicate: true }) = receipt {
            duplicates.push((n, *sequence));
        }
    }
    let compared = duplicates.into_iter().map(|(n, sequence)| async move {
        differs_from_first(cx, stream, &events[n].data, sequence).await.then_some(n)
    });
    let compared = futures::stream::iter(compared).buffer_unordered(MAX_COMPARISONS_AT_ONCE);
    compared.filter_map(std::future::ready).collect().await
}

/// A broker that answers less than it was asked breaks its contract; then nothing is known about the rest.
fn unanswered() -> Result<Receipt, PublishError> {
    Err(PublishError::Unknown { waited: std::time::Duration::ZERO })
}

/// Events that are handed to the broker together.
struct Handing {
    began: Instant,
    /// The clock on the wall; not read when no span needs it.
    at: Option<SystemTime>,
}

impl Handing {
    fn over(traced: bool) -> Self {
        Self { began: Instant::now(), at: traced.then(SystemTime::now) }
    }

    fn record(
        &self,
        cx: &Context,
        place: Place,
        stream: &StreamName,
        posted: &Posted,
        result: &Result<Receipt, PublishError>,
    ) {
        let ended = SystemTime::now();
        let became = match result {
            Ok(receipt) if receipt.duplicate => Became::Duplicate(receipt.sequence),
            Ok(receipt) => Became::Stored(receipt.sequence),
            Err(_) => Became::Failed(Outcome::published(result).as_str()),
        };
        let step = Step::Publish {
            stream: stream.clone(),
            subject: posted.subject.clone(),
            id: posted.id.clone(),
            bytes: posted.data.len(),
            became,
        };
        cx.tracer.record(Span { place, began: self.at.unwrap_or(ended), ended, step });
    }

    /// Of a batch: a place stands at the position of its event among all, the refused ones included.
    fn record_all(
        &self,
        cx: &Context,
        places: Vec<(usize, Place)>,
        stream: &StreamName,
        refused: &[Option<Problem>],
        valid: &[NewEvent],
        receipts: &[Result<Receipt, PublishError>],
    ) {
        let mut places = places.into_iter().peekable();
        if places.peek().is_none() {
            return;
        }
        let mut handed = valid.iter().zip(receipts);
        for (n, _) in refused.iter().enumerate().filter(|(_, refused)| refused.is_none()) {
            let Some((event, receipt)) = handed.next() else { return };
            if let Some((_, place)) = places.next_if(|(at, _)| *at == n) {
                self.record(cx, place, stream, &Posted::of(event), receipt);
            }
        }
    }
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
}

/// Whether the event that was stored under the same key has another payload. One that cannot be read (retention took it, the broker
/// is away) counts as the same: that the key was stored is certain.
async fn differs_from_first(cx: &Context, stream: &StreamName, data: &Bytes, sequence: u64) -> bool {
    let Some(journal) = cx.broker.journal() else { return false };
    match journal.get(stream, sequence).await {
        Ok(first) => first.data != *data,
        Err(error) => {
            tracing::debug!(%stream, sequence, %error, "a duplicate could not be compared with the first event");
            false
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
