//! `/attempts`: what Channels make of events, as it is settled. Lossy, like the tap.

use std::sync::Arc;

use axum::extract::State;
use futures::stream::{BoxStream, StreamExt as _, select_all, unfold};
use http::{Method, Uri};
use saf_channel::Observed;
use saf_event::Outcome;
use schemars::JsonSchema;
use serde::Serialize;
use tokio::sync::broadcast::Receiver;
use tokio::sync::broadcast::error::RecvError;

use crate::admin::answer::Answered;
use crate::admin::desk::Desk;
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::query::{Form, Parameter, Parameters};
use crate::admin::sse::{self, Message, Skipped};

const WHICH: &[Parameter] = &[
    Parameter::new("channel", Form::Text, "Only attempts of this Channel."),
    Parameter::new("sequence", Form::Integer, "Only attempts at the event with this sequence."),
];

/// An attempt of a Channel, after its settlement was stored.
#[derive(Serialize, JsonSchema)]
#[schemars(rename = "SettledAttempt")]
struct Settled<'a> {
    /// The Channel.
    channel: &'a str,
    /// The stream of the event.
    stream: &'a str,
    /// The event.
    sequence: u64,
    /// The event's subject.
    subject: &'a str,
    /// 1 for the first.
    attempt: u32,
    /// What became of the attempt.
    outcome: Outcome,
    /// What became of the event: `"done"`, `"dead_letter"`, `"released"`, or `{"retry": <milliseconds>}`.
    #[schemars(with = "serde_json::Value")]
    next: saf_channel::Next,
    /// Wall-clock microseconds in the guest.
    micros: u64,
    /// Units of fuel.
    fuel: u64,
    /// How many events it emitted.
    emissions: usize,
    /// Why, when it was not done.
    reason: Option<&'a str>,
}

impl<'a> Settled<'a> {
    fn new(stream: &'a str, observed: &'a Observed) -> Self {
        Self {
            channel: observed.channel.as_str(),
            stream,
            sequence: observed.sequence,
            subject: &observed.subject,
            attempt: observed.attempt,
            outcome: observed.outcome,
            next: observed.next,
            micros: observed.micros,
            fuel: observed.fuel,
            emissions: observed.emissions,
            reason: observed.reason.as_deref(),
        }
    }
}

pub(super) fn routes(api: Api) -> Api {
    api.route(
        &Method::GET,
        "/attempts",
        attempts,
        &Operation {
            summary: "Shows attempts of this router's Channels as they are settled, from now on. Lossy: a reader that is more than a \
                      thousand behind is told how many it missed.",
            parameters: &[WHICH],
            body: None,
            answer: Answer::Stream(&[("attempt", of::<Settled<'static>>), ("skipped", of::<Skipped>)]),
        },
    )
}

async fn attempts(State(desk): State<Arc<Desk>>, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, &[WHICH])?;
    let name = query.text("channel");
    let sequence = query.number("sequence", 0..=u64::MAX)?;
    let channels = match &name {
        Some(name) => vec![desk.channel(name)?],
        None => desk.channels.borrow().clone(),
    };
    let watched = channels.iter().map(|channel| {
        watch(Watched { stream: channel.config().stream.to_string(), sequence, attempts: channel.observe() })
    });
    let watched = select_all(watched.collect::<Vec<_>>());
    // Without a Channel there is nothing to see, which is no reason to end.
    Ok(sse::response(desk.draining.clone(), watched.chain(futures::stream::pending()).boxed()))
}

/// One Channel's attempts.
struct Watched {
    stream: String,
    sequence: Option<u64>,
    attempts: Receiver<Observed>,
}

fn watch(watched: Watched) -> BoxStream<'static, Message> {
    unfold(watched, Watched::next).boxed()
}

impl Watched {
    async fn next(mut self) -> Option<(Message, Self)> {
        loop {
            match self.attempts.recv().await {
                Ok(observed) if self.sequence.is_none_or(|sequence| observed.sequence == sequence) => {
                    let message = Message::of("attempt", &Settled::new(&self.stream, &observed));
                    return Some((message, self));
                }
                Ok(_) => {}
                Err(RecvError::Lagged(skipped)) => return Some((Message::Skipped(skipped), self)),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}
