//! `/dead-letters`: events that a Channel could not handle, one by one. Many at once: `bulk.rs`.

use std::sync::Arc;

use axum::extract::State;
use axum::response::IntoResponse;
use http::{Method, StatusCode, Uri};
use saf_broker::{Attempt, DeadLetterFilter, StoredDeadLetter};
use saf_event::{ChannelName, Outcome, StreamName};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answered, json};
use crate::admin::desk::Desk;
use crate::admin::event::{self, EventView};
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::page::{self, Filling, Page, Wants};
use crate::admin::query::{self, Form, Named, Parameter, Parameters};
use crate::admin::time::Time;
use crate::problem::Problem;

/// Which dead letters.
pub(super) const FILTER: &[Parameter] = &[
    Parameter::new("stream", Form::Text, "Only of this stream."),
    Parameter::new("channel", Form::Text, "Only of this Channel."),
    Parameter::new("outcome", Form::Text, "Only with this last outcome, such as `trap`."),
    Parameter::new("reason", Form::Text, "Only with a reason that holds this text."),
    Parameter::new("since", Form::Time, "Only those stored at or after this time."),
    Parameter::new("until", Form::Time, "Only those stored before this time."),
];

const LIST: &[&[Parameter]] = &[FILTER, page::PARAMETERS];

/// A dead letter.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "DeadLetter")]
pub(super) struct DeadLetterView<'a> {
    /// Its id.
    id: &'a str,
    /// When it was stored.
    time: Time,
    /// The stream of its event.
    stream: &'a str,
    /// The Channel that could not handle it.
    channel: &'a str,
    /// The last outcome.
    outcome: Outcome,
    /// One line for a person.
    reason: &'a str,
    /// The component's SHA-256, in hexadecimal.
    digest: &'a str,
    /// What was tried, oldest first; attempts before a restart may be missing.
    attempts: Vec<AttemptView<'a>>,
    /// The event as it was.
    event: EventView<'a>,
    /// The event was too large to carry: its data is only in its stream, as long as that keeps it.
    data_omitted: bool,
}

/// One attempt.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Attempt")]
struct AttemptView<'a> {
    /// 1 for the first.
    number: u32,
    /// What became of it.
    outcome: Outcome,
    /// When the call began.
    at: Time,
    /// Wall-clock microseconds in the guest.
    micros: u64,
    /// Units of fuel.
    fuel: u64,
    /// Peak linear memory, in bytes.
    memory: u64,
    /// The guest's reason, or the trap's message.
    reason: Option<&'a str>,
    /// Where it trapped, innermost frame first.
    backtrace: Option<&'a str>,
    /// The end of what the guest wrote to stderr.
    stderr: Option<&'a str>,
}

impl<'a> From<&'a Attempt> for AttemptView<'a> {
    fn from(attempt: &'a Attempt) -> Self {
        Self {
            number: attempt.number,
            outcome: attempt.outcome,
            at: Time(attempt.at),
            micros: attempt.micros,
            fuel: attempt.fuel,
            memory: attempt.memory,
            reason: attempt.reason.as_deref(),
            backtrace: attempt.backtrace.as_deref(),
            stderr: attempt.stderr.as_deref(),
        }
    }
}

impl<'a> From<&'a StoredDeadLetter> for DeadLetterView<'a> {
    fn from(dead: &'a StoredDeadLetter) -> Self {
        Self {
            id: &dead.id,
            time: Time(dead.time),
            stream: dead.stream.as_str(),
            channel: dead.letter.channel.as_str(),
            outcome: dead.letter.outcome,
            reason: &dead.letter.reason,
            digest: &dead.letter.digest,
            attempts: dead.letter.attempts.iter().map(AttemptView::from).collect(),
            event: EventView::from(&dead.event),
            data_omitted: dead.data_omitted,
        }
    }
}

pub(super) fn routes(api: Api) -> Api {
    let one = |summary, answer| Operation { summary, parameters: &[], body: None, answer };
    api.route(
        &Method::GET,
        "/dead-letters",
        list,
        &Operation {
            summary: "Lists dead letters, oldest first, stream by stream.",
            parameters: LIST,
            body: None,
            answer: Answer::Json(of::<Page<DeadLetterView<'static>>>),
        },
    )
    .route(
        &Method::GET,
        "/dead-letters/{id}",
        show,
        &one("Shows one dead letter.", Answer::Json(of::<DeadLetterView<'static>>)),
    )
    .route(
        &Method::POST,
        "/dead-letters/{id}/replay",
        replay,
        &one(
            "Hands the event to its Channel again, and to no other, and removes the dead letter.",
            Answer::Nothing,
        ),
    )
    .route(
        &Method::DELETE,
        "/dead-letters/{id}",
        delete,
        &one("Removes a dead letter for good.", Answer::Nothing),
    )
}

/// Takes the parameters of [`FILTER`].
pub(super) fn filter(desk: &Desk, query: &mut Parameters) -> Result<DeadLetterFilter, Problem> {
    let stream = query.take("stream", StreamName::parse)?;
    Ok(DeadLetterFilter {
        stream: stream.map(|stream| desk.known(stream)).transpose()?,
        channel: query.take("channel", ChannelName::parse)?,
        outcome: query.take("outcome", outcome)?,
        reason: query.text("reason"),
        since: query.take("since", str::parse::<Time>)?.map(|time| time.0),
        until: query.take("until", str::parse::<Time>)?.map(|time| time.0),
    })
}

pub(super) fn outcome(text: &str) -> Result<Outcome, String> {
    let found = Outcome::ALL.into_iter().find(|outcome| outcome.as_str() == text);
    found.ok_or_else(|| format!("write one of {}", Outcome::ALL.map(Outcome::as_str).join(", ")))
}

async fn list(State(desk): State<Arc<Desk>>, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, LIST)?;
    let filter = filter(&desk, &mut query)?;
    let after = query.text("after");
    let limit = page::limit(&mut query)?;
    let (letters, next) = find(&desk, &filter, after, limit).await?;
    json(&Page { items: letters.iter().map(DeadLetterView::from).collect(), next })
}

async fn find(
    desk: &Desk,
    filter: &DeadLetterFilter,
    after: Option<String>,
    limit: usize,
) -> Result<(Vec<StoredDeadLetter>, Option<String>), Problem> {
    let dead_letters = desk.dead_letters()?;
    let mut filling = Filling::new(limit);
    let mut cursor = after.clone();
    loop {
        let found = dead_letters.list(filter, cursor.as_deref(), filling.step()).await;
        let found =
            found.map_err(|error| about_cursor(error, cursor.as_deref().filter(|_| cursor == after)))?;
        let wants = filling.add(found.items, |dead| event::bytes(&dead.event) + detail_bytes(dead));
        match (wants, found.next) {
            (Wants::More, Some(next)) => cursor = Some(next),
            (_, next) => return Ok((filling.items, next)),
        }
    }
}

/// What a broker says of a cursor that it did not make is the client's mistake.
fn about_cursor(error: saf_broker::Error, cursor: Option<&str>) -> Problem {
    match (error, cursor) {
        (saf_broker::Error::Config(_) | saf_broker::Error::NotFound(_), Some(cursor)) => {
            query::wrong("after", cursor, "write the `next` of the page before")
        }
        (error, _) => Problem::broker(error),
    }
}

fn detail_bytes(dead: &StoredDeadLetter) -> usize {
    let attempts = dead.letter.attempts.iter();
    let texts = attempts.flat_map(|a| [&a.reason, &a.backtrace, &a.stderr]).flatten().map(String::len);
    dead.letter.reason.len() + texts.sum::<usize>()
}

async fn show(State(desk): State<Arc<Desk>>, Named(id): Named, uri: Uri) -> Answered {
    Parameters::read(&uri, &[])?;
    let dead = desk.dead_letters()?.show(&id).await.map_err(Problem::broker)?;
    json(&DeadLetterView::from(&dead))
}

/// When the client hangs up it may have happened or not; the broker hands it over once however often it is repeated.
async fn replay(State(desk): State<Arc<Desk>>, Named(id): Named, uri: Uri) -> Answered {
    Parameters::read(&uri, &[])?;
    desk.dead_letters()?.replay(&id).await.map_err(Problem::broker)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}

async fn delete(State(desk): State<Arc<Desk>>, Named(id): Named, uri: Uri) -> Answered {
    Parameters::read(&uri, &[])?;
    desk.dead_letters()?.delete(&id).await.map_err(Problem::broker)?;
    Ok(StatusCode::NO_CONTENT.into_response())
}
