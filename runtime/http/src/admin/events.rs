//! `/events`: what streams hold, read without consuming it.

use std::sync::Arc;

use axum::body::Body;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use http::header::{CONTENT_TYPE, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::{Method, Uri};
use saf_broker::{Entry, From as Start, HistoryFilter};
use saf_event::{ChannelName, Event, Filter, StreamName};

use crate::admin::answer::{Answered, json};
use crate::admin::dead_letters;
use crate::admin::delivery::DeliveryView;
use crate::admin::desk::{self, Desk};
use crate::admin::event::{self, EventView};
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::page::{self, Filling, Page, Wants};
use crate::admin::query::{Form, Named, Parameter, Parameters};
use crate::admin::time::Time;
use crate::problem::{Kind, Problem};

const OF_STREAM: &[Parameter] = &[desk::STREAM];
const WHICH: &[Parameter] = &[
    desk::STREAM,
    Parameter::new(
        "subject",
        Form::Text,
        "Only subjects that match: `*` is one token, `>` one or more at the end.",
    ),
    Parameter::new("since", Form::Time, "Only events stored at or after this time."),
    Parameter::new(
        "after",
        Form::Integer,
        "Only events behind this sequence; also the `next` of the page before.",
    ),
    Parameter::new(
        "until",
        Form::Time,
        "Only events stored before this time; with `outcome` or `channel`, handled before.",
    ),
    Parameter::new(
        "outcome",
        Form::Text,
        "Only events with an attempt that ended so (`done`, `retry`, `trap` and so on), as they were handled; `since` and `until` then \
         mean when that was, and `after` is the `next` of the page before. Events that retention removed are left out.",
    ),
    Parameter::new(
        "channel",
        Form::Text,
        "Only events that this Channel handled, or tried to; otherwise as `outcome`.",
    ),
];

pub(super) fn routes(api: Api) -> Api {
    let one = |summary, answer| Operation { summary, parameters: &[OF_STREAM], body: None, answer };
    api.route(
        &Method::GET,
        "/events",
        list,
        &Operation {
            summary: "Lists events of a stream, oldest first.",
            parameters: LIST,
            body: None,
            answer: Answer::Json(of::<Page<EventView<'static>>>),
        },
    )
    .route(
        &Method::GET,
        "/events/{sequence}",
        show,
        &one("Shows one event.", Answer::Json(of::<EventView<'static>>)),
    )
    .route(
        &Method::GET,
        "/events/{sequence}/data",
        data,
        &one(
            "The data of one event.",
            Answer::Bytes("The bytes as they were posted, under the event's content type."),
        ),
    )
}

const LIMIT: &[Parameter] = &[page::LIMIT];
const LIST: &[&[Parameter]] = &[WHICH, LIMIT];

async fn list(State(desk): State<Arc<Desk>>, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, LIST)?;
    let stream = desk.stream(&mut query)?;
    let filter = query.take("subject", |text| Filter::parse(text.to_owned()))?.unwrap_or_else(Filter::all);
    let since = query.take("since", str::parse::<Time>)?;
    let after = query.number("after", 0..=u64::MAX - 1)?;
    let until = query.take("until", str::parse::<Time>)?;
    let told = HistoryFilter {
        channel: query.take("channel", ChannelName::parse)?,
        outcome: query.take("outcome", dead_letters::outcome)?,
        since: since.map(|time| time.0),
        until: until.map(|time| time.0),
    };
    let limit = page::limit(&mut query)?;
    if told.channel.is_some() || told.outcome.is_some() {
        let (found, next) = find_told(&desk, &stream, &filter, &told, after, limit).await?;
        let items = found.iter().map(|told| told_view(&stream, told)).collect();
        return json(&Page { items, next });
    }
    let (events, next) = find(&desk, &stream, &filter, since, after, limit).await?;
    let before = events.iter().take_while(|event| until.is_none_or(|until| event.time < until.0)).count();
    let next = next.filter(|_| before == events.len());
    let items = events[..before].iter().map(EventView::from).collect();
    // The broker names the sequence to go on with, a client the one that it has seen.
    let next = next.map(|next| next.saturating_sub(1).to_string());
    json(&Page { items, next })
}

/// A page of events, and the sequence to go on with.
async fn find(
    desk: &Desk,
    stream: &StreamName,
    filter: &Filter,
    since: Option<Time>,
    after: Option<u64>,
    limit: usize,
) -> Result<(Vec<Event>, Option<u64>), Problem> {
    let journal = desk.journal()?;
    let mut from = match (after, since) {
        (Some(after), _) => Start::Sequence(after + 1),
        (None, Some(since)) => Start::Time(since.0),
        (None, None) => Start::Sequence(1),
    };
    let mut filling = Filling::new(limit);
    loop {
        let found = journal.read(stream, from, filter, filling.step()).await.map_err(Problem::broker)?;
        let next = found.next.map(|cursor| cursor.parse::<u64>());
        let next =
            next.transpose().map_err(|_| Problem::new(Kind::Failed, "the broker's cursor is no sequence"))?;
        let mut events = found.items;
        let wants = match (next, events.is_empty()) {
            (None, _) | (_, true) => Wants::Nothing,
            (Some(_), false) => Wants::More,
        };
        // With both given, what lies behind `after` may be older than `since`.
        events.retain(|event| since.is_none_or(|since| event.time >= since.0));
        match (filling.add(events, event::bytes), wants, next) {
            (Wants::More, Wants::More, Some(next)) => from = Start::Sequence(next),
            _ => return Ok((filling.items, next)),
        }
    }
}

fn told_view<'a>(stream: &StreamName, (event, deliveries): &'a (Event, Vec<Entry>)) -> EventView<'a> {
    EventView::from(event).with(deliveries.iter().map(|entry| DeliveryView::of(stream, entry)).collect())
}

/// A page of events by what became of them, each with the deliveries that match, and the history's own cursor.
async fn find_told(
    desk: &Desk,
    stream: &StreamName,
    filter: &Filter,
    told: &HistoryFilter,
    after: Option<u64>,
    limit: usize,
) -> Result<(Vec<(Event, Vec<Entry>)>, Option<String>), Problem> {
    let (history, journal) = (desk.history()?, desk.journal()?);
    let mut filling = Filling::new(limit);
    let mut cursor = after;
    loop {
        let page = history.list(stream, told, cursor, filling.step()).await.map_err(Problem::broker)?;
        let mut found: Vec<(Event, Vec<Entry>)> = Vec::new();
        for entry in page.items {
            if let Some((_, deliveries)) =
                found.iter_mut().find(|(event, _)| event.sequence == entry.sequence)
            {
                deliveries.push(entry);
                continue;
            }
            match journal.get(stream, entry.sequence).await {
                Ok(event) if filter.matches(event.subject.as_str()) => found.push((event, vec![entry])),
                Ok(_) | Err(saf_broker::Error::NotFound(_)) => {}
                Err(error) => return Err(Problem::broker(error)),
            }
        }
        let wants = filling.add(found, |(event, _)| event::bytes(event));
        cursor = page.next.as_deref().and_then(|next| next.parse().ok());
        if wants == Wants::Nothing || cursor.is_none() {
            return Ok((filling.items, page.next));
        }
    }
}

async fn show(State(desk): State<Arc<Desk>>, Named(sequence): Named, uri: Uri) -> Answered {
    let event = one(&desk, &sequence, &uri).await?;
    json(&EventView::from(&event))
}

async fn data(State(desk): State<Arc<Desk>>, Named(sequence): Named, uri: Uri) -> Answered {
    let event = one(&desk, &sequence, &uri).await?;
    let stored = event.content_type.as_ref().and_then(|text| HeaderValue::from_str(text).ok());
    let kind = stored.unwrap_or_else(|| HeaderValue::from_static("application/octet-stream"));
    // Somebody posted it: a browser is not to take it for a page of this listener.
    let headers = [
        (CONTENT_TYPE, kind),
        (X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (http::header::CONTENT_SECURITY_POLICY, HeaderValue::from_static("sandbox; default-src 'none'")),
    ];
    Ok::<Response, _>((headers, Body::from(event.data)).into_response())
}

async fn one(desk: &Desk, sequence: &str, uri: &Uri) -> Result<Event, Problem> {
    let mut query = Parameters::read(uri, &[OF_STREAM])?;
    let stream = desk.stream(&mut query)?;
    let sequence = sequence_in(sequence)?;
    desk.journal()?.get(&stream, sequence).await.map_err(Problem::broker)
}

/// The sequence that a path names.
pub(super) fn sequence_in(path: &str) -> Result<u64, Problem> {
    path.parse().map_err(|_| {
        Problem::new(
            Kind::InvalidRequest,
            "the sequence in the path is not a number: write one such as /api/v1/events/1",
        )
    })
}
