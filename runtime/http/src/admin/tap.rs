//! `/tap`: what is stored from now on, as it is stored, for people and for tools that may miss some.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::State;
use futures::stream::{StreamExt as _, unfold};
use http::{Method, Uri};
use saf_broker::{Tail, Tailed};
use saf_event::Filter;
use tokio::time::{Instant, sleep_until};

use crate::admin::answer::Answered;
use crate::admin::desk::{self, Desk};
use crate::admin::event::EventView;
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::query::{Form, Parameter, Parameters};
use crate::admin::sse::{self, Message, Skipped};
use crate::problem::Problem;

const SECOND: Duration = Duration::from_secs(1);
/// Highest `max_rate`, in events a second.
const MAX_RATE: u64 = 1_000_000;

const TAP: &[Parameter] = &[
    desk::STREAM,
    Parameter::new(
        "subject",
        Form::Text,
        "Only subjects that match: `*` is one token, `>` one or more at the end.",
    ),
    Parameter::new(
        "sample",
        Form::Number,
        "Shows this share of the events, 0 to 1, picked at random; 1 when absent.",
    ),
    Parameter::new(
        "max_rate",
        Form::Integer,
        "Most events a second, 1 to 1000000; the rest is skipped. No limit when absent.",
    ),
];

pub(super) fn routes(api: Api) -> Api {
    api.route(
        &Method::GET,
        "/tap",
        tap,
        &Operation {
            summary: "Shows events as they are stored, from now on. Lossy: a reader that is too slow is told how many it missed.",
            parameters: &[TAP],
            body: None,
            answer: Answer::Stream(&[("event", of::<EventView<'static>>), ("skipped", of::<Skipped>)]),
        },
    )
}

async fn tap(State(desk): State<Arc<Desk>>, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, &[TAP])?;
    let stream = desk.stream(&mut query)?;
    let filter = query.take("subject", |text| Filter::parse(text.to_owned()))?.unwrap_or_else(Filter::all);
    let sample = query.number("sample", 0.0..=1.0)?.unwrap_or(1.0);
    let max_rate = query.number("max_rate", 1..=MAX_RATE)?;
    let tail = desk.journal()?.tail(&stream, &filter).await.map_err(Problem::broker)?;
    let thinned = unfold(Thinned { tail, sample, pace: max_rate.map(Pace::new), skipped: 0 }, Thinned::next);
    Ok(sse::response(desk.draining.clone(), thinned.boxed()))
}

/// A tail of which some events are left out.
struct Thinned {
    tail: Tail,
    sample: f64,
    pace: Option<Pace>,
    skipped: u64,
}

impl Thinned {
    /// What is left out by `sample` was not wanted; what is left out otherwise is told before the next event, and within a second.
    async fn next(mut self) -> Option<(Message, Self)> {
        loop {
            let tailed = match self.pace.as_ref().filter(|_| self.skipped > 0) {
                None => self.tail.next().await?,
                Some(pace) => tokio::select! {
                    biased;
                    () = sleep_until(pace.end) => {
                        let skipped = std::mem::take(&mut self.skipped);
                        self.pace = self.pace.map(|pace| Pace::new(pace.max));
                        return Some((Message::Skipped(skipped), self));
                    }
                    tailed = self.tail.next() => tailed?,
                },
            };
            match tailed {
                Tailed::Skipped(skipped) => {
                    let skipped = std::mem::take(&mut self.skipped) + skipped;
                    return Some((Message::Skipped(skipped), self));
                }
                Tailed::Event(_) if self.sample < 1.0 && fastrand::f64() >= self.sample => {}
                Tailed::Event(event) if self.pace.as_mut().is_none_or(Pace::allows) => {
                    return Some((Message::of("event", &EventView::from(&*event)), self));
                }
                Tailed::Event(_) => self.skipped += 1,
            }
        }
    }
}

/// At most so many in each second.
struct Pace {
    max: u64,
    left: u64,
    end: Instant,
}

impl Pace {
    fn new(max: u64) -> Self {
        Self { max, left: max, end: Instant::now() + SECOND }
    }

    fn allows(&mut self) -> bool {
        if Instant::now() >= self.end {
            *self = Self::new(self.max);
        }
        let allowed = self.left > 0;
        self.left = self.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use futures::stream;
    use saf_event::{Event, EventId, Headers, Subject};

    use super::*;

    fn tailed(sequence: u64) -> Tailed {
        Tailed::Event(Box::new(Event {
            sequence,
            id: EventId::parse("1").expect("an id"),
            subject: Subject::parse("a").expect("a subject"),
            time: 0,
            content_type: None,
            headers: Headers::new(),
            data: bytes::Bytes::new(),
            lineage: None,
        }))
    }

    /// What a tail becomes: `e` for an event, a number for so many skipped.
    async fn shown(tail: Tail, sample: f64, max_rate: Option<u64>) -> String {
        let thinned = Thinned { tail, sample, pace: max_rate.map(Pace::new), skipped: 0 };
        let messages: Vec<_> = unfold(thinned, Thinned::next).collect().await;
        let word = |message: &Message| match message {
            Message::Event(..) => "e".to_owned(),
            Message::Skipped(skipped) => skipped.to_string(),
        };
        messages.iter().map(word).collect::<Vec<_>>().join(" ")
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_left_out_is_counted_and_told_within_a_second() {
        let open = || stream::pending();
        let three = || stream::iter([tailed(1), tailed(2), tailed(3)]);
        assert_eq!(shown(three().boxed(), 1.0, None).await, "e e e");
        assert_eq!(shown(three().boxed(), 0.0, None).await, "");
        let gap = stream::iter([tailed(1), Tailed::Skipped(7), tailed(9)]);
        assert_eq!(shown(gap.boxed(), 1.0, None).await, "e 7 e");
        // One in a second: two are left out, and told though nothing follows for a long time.
        let later = open().take_until(tokio::time::sleep(2 * SECOND));
        assert_eq!(shown(three().chain(later).boxed(), 1.0, Some(1)).await, "e 2");
    }
}
