//! Many dead letters at once. What is meant is settled first: the ids of those that match when the request comes, and no other. So a
//! replay never meets the dead letters that it causes, and a deletion counts before it deletes.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::State;
use http::{Method, Uri};
use saf_broker::{DeadLetterFilter, Error};
use saf_channel::Channel;
use saf_event::{ChannelName, Outcome, StreamName};
use saf_telemetry::Settled;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::time::{MissedTickBehavior, interval};

use crate::admin::answer::{Answered, json, read};
use crate::admin::dead_letters::{self, FILTER};
use crate::admin::desk::Desk;
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::query::{Form, Parameter, Parameters};
use crate::admin::time::Time;
use crate::problem::{Kind, Problem};

/// Most dead letters of one request.
const MAX_LETTERS: usize = 100_000;
/// Dead letters asked of the broker at once while they are counted; each may have its event's data with it.
const STEP_LETTERS: usize = 64;
const DEFAULT_RATE_PER_SECOND: u32 = 100;
const MAX_RATE_PER_SECOND: u32 = 10_000;
const DEFAULT_STOP_AFTER: u64 = 10;

const DELETE: &[&[Parameter]] = &[FILTER, COUNT];
const COUNT: &[Parameter] = &[Parameter::new(
    "count",
    Form::Integer,
    "Needed: how many there are to be deleted, at most 100000. When another number matches, none is.",
)];

/// Which dead letters; every field that is set must fit.
#[derive(Debug, Default, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Filter {
    /// Of this stream.
    stream: Option<StreamName>,
    /// Of this Channel.
    channel: Option<ChannelName>,
    /// With this last outcome.
    outcome: Option<Outcome>,
    /// With a reason that holds this text.
    reason: Option<String>,
    /// Stored at or after this time.
    since: Option<Time>,
    /// Stored before this time.
    until: Option<Time>,
}

/// What is to be replayed, and how carefully.
#[derive(Debug, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
struct Replay {
    /// Which dead letters; all when absent.
    filter: Filter,
    /// Most a second.
    #[schemars(range(min = 1, max = 10000), extend("default" = DEFAULT_RATE_PER_SECOND))]
    rate: u32,
    /// Stops when the Channels meant have written so many new dead letters here since the start.
    #[schemars(range(min = 1), extend("default" = DEFAULT_STOP_AFTER))]
    stop_after: u64,
    /// Most in all, the oldest first; 100000 when absent.
    #[schemars(range(min = 1, max = 100_000))]
    limit: Option<usize>,
}

impl Default for Replay {
    fn default() -> Self {
        Self {
            filter: Filter::default(),
            rate: DEFAULT_RATE_PER_SECOND,
            stop_after: DEFAULT_STOP_AFTER,
            limit: None,
        }
    }
}

/// What became of a replay.
#[derive(Debug, Default, Serialize, JsonSchema)]
struct ReplayReport {
    /// Handed to their Channels, and removed.
    replayed: usize,
    /// Not handed over; they stay.
    failed: usize,
    /// Why the first of these was not.
    first_failure: Option<String>,
    /// Why it ended before all were through.
    stopped: Option<String>,
}

/// What became of a deletion.
#[derive(Debug, Serialize, JsonSchema)]
struct Deleted {
    /// How many were removed.
    deleted: usize,
}

pub(super) fn routes(api: Api) -> Api {
    api.route(
        &Method::POST,
        "/dead-letters/replay",
        replay,
        &Operation {
            summary: "Replays the dead letters that match now, oldest first. Answers when it is through; hanging up stops it.",
            parameters: &[],
            body: Some(of::<Replay>),
            answer: Answer::Json(of::<ReplayReport>),
        },
    )
    .route(
        &Method::DELETE,
        "/dead-letters",
        delete,
        &Operation {
            summary: "Deletes the dead letters that match, when they are exactly as many as the client says.",
            parameters: DELETE,
            body: None,
            answer: Answer::Json(of::<Deleted>),
        },
    )
}

/// Dropped when the client hangs up: what was handed over by then stays handed over.
async fn replay(State(desk): State<Arc<Desk>>, uri: Uri, body: Body) -> Answered {
    Parameters::read(&uri, &[])?;
    let wanted: Replay = read(body).await?;
    check(&wanted)?;
    let filter = meant(&desk, wanted.filter)?;
    let limit = wanted.limit.unwrap_or(MAX_LETTERS);
    let Found { ids, more } = find(&desk, &filter, limit).await?;
    let fuse = Fuse::new(&desk, &filter, wanted.stop_after);
    let mut replayed = hand_over(&desk, &ids, wanted.rate, &fuse).await?;
    if more == More::Yes && wanted.limit.is_none() && replayed.stopped.is_none() {
        replayed.stopped =
            Some(format!("{MAX_LETTERS} at once are the most: repeat the request for the rest"));
    }
    json(&replayed)
}

fn check(wanted: &Replay) -> Result<(), Problem> {
    let wrong = |detail: String| Err(Problem::new(Kind::InvalidRequest, detail));
    if !(1..=MAX_RATE_PER_SECOND).contains(&wanted.rate) {
        return wrong(format!("`rate` is {}: write a number from 1 to {MAX_RATE_PER_SECOND}", wanted.rate));
    }
    if wanted.stop_after == 0 {
        return wrong("`stop_after` is 0: write at least 1".to_owned());
    }
    match wanted.limit {
        Some(limit) if !(1..=MAX_LETTERS).contains(&limit) => {
            wrong(format!("`limit` is {limit}: write a number from 1 to {MAX_LETTERS}"))
        }
        _ => Ok(()),
    }
}

fn meant(desk: &Desk, filter: Filter) -> Result<DeadLetterFilter, Problem> {
    Ok(DeadLetterFilter {
        stream: filter.stream.map(|stream| desk.known(stream)).transpose()?,
        channel: filter.channel,
        outcome: filter.outcome,
        reason: filter.reason,
        since: filter.since.map(|time| time.0),
        until: filter.until.map(|time| time.0),
    })
}

async fn hand_over(
    desk: &Desk,
    ids: &[String],
    per_second: u32,
    fuse: &Fuse,
) -> Result<ReplayReport, Problem> {
    let dead_letters = desk.dead_letters()?;
    let mut pace = interval(Duration::from_secs(1) / per_second);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut done = ReplayReport::default();
    for id in ids {
        pace.tick().await;
        if let Some(reason) = fuse.blown() {
            done.stopped = Some(reason);
            break;
        }
        if desk.draining.has_begun() {
            done.stopped = Some("the router is stopping: repeat the request when it runs again".to_owned());
            break;
        }
        match dead_letters.replay(id).await {
            Ok(()) => done.replayed += 1,
            // Somebody else replayed or deleted it meanwhile; or its event is gone, and it stays.
            Err(Error::NotFound(_)) if matches!(dead_letters.show(id).await, Err(Error::NotFound(_))) => {}
            Err(error @ (Error::Unavailable(_) | Error::Failed(_))) => {
                done.stopped = Some(error.to_string());
                break;
            }
            Err(error @ (Error::Config(_) | Error::NotFound(_))) => {
                done.failed += 1;
                done.first_failure.get_or_insert_with(|| format!("{id}: {error}"));
            }
        }
    }
    Ok(done)
}

/// Stops a replay that makes matters no better: the Channels meant write dead letters again.
struct Fuse {
    /// With how many each had written at the start.
    channels: Vec<(Arc<Channel>, u64)>,
    stop_after: u64,
}

impl Fuse {
    fn new(desk: &Desk, filter: &DeadLetterFilter, stop_after: u64) -> Self {
        let channels = desk.channels.borrow();
        let meant = channels.iter().filter(|channel| {
            filter.channel.as_ref().is_none_or(|name| name == channel.name())
                && filter.stream.as_ref().is_none_or(|stream| *stream == channel.config().stream)
        });
        Self { channels: meant.map(|channel| (channel.clone(), written(channel))).collect(), stop_after }
    }

    fn blown(&self) -> Option<String> {
        let new: BTreeMap<_, _> = self
            .channels
            .iter()
            .map(|(channel, before)| (channel.name().as_str(), written(channel) - before))
            .filter(|(_, new)| *new > 0)
            .collect();
        let sum: u64 = new.values().sum();
        let names: Vec<_> = new.into_keys().collect();
        (sum >= self.stop_after)
            .then(|| format!("{sum} new dead letters of {} since the start (stop_after)", names.join(", ")))
    }
}

fn written(channel: &Channel) -> u64 {
    channel.counters().settled(Settled::DeadLetter)
}

async fn delete(State(desk): State<Arc<Desk>>, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, DELETE)?;
    let filter = dead_letters::filter(&desk, &mut query)?;
    let Some(count) = query.number("count", 0..=MAX_LETTERS)? else {
        let detail =
            "?count= is missing: say how many dead letters there are to be deleted; see GET on this path";
        return Err(Problem::new(Kind::InvalidRequest, detail));
    };
    let Found { ids, more } = find(&desk, &filter, MAX_LETTERS).await?;
    if ids.len() != count || more == More::Yes {
        let more = if more == More::Yes { "more than " } else { "" };
        let detail = format!(
            "{more}{} dead letters match, not {count}: none was deleted; look at them, then repeat with their number",
            ids.len()
        );
        return Err(Problem::count_differs(ids.len(), detail));
    }
    let dead_letters = desk.dead_letters()?;
    let mut deleted = 0;
    for id in &ids {
        match dead_letters.delete(id).await {
            Ok(()) => deleted += 1,
            // Somebody else deleted it meanwhile.
            Err(Error::NotFound(_)) => {}
            Err(error) => {
                tracing::warn!(deleted, of = count, %error, "a deletion of dead letters broke off");
                return Err(Problem::broker(error));
            }
        }
    }
    json(&Deleted { deleted })
}

/// The dead letters that match, by their ids.
struct Found {
    ids: Vec<String>,
    more: More,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum More {
    Yes,
    No,
}

async fn find(desk: &Desk, filter: &DeadLetterFilter, limit: usize) -> Result<Found, Problem> {
    let dead_letters = desk.dead_letters()?;
    let (mut ids, mut cursor) = (Vec::new(), None::<String>);
    loop {
        let found =
            dead_letters.list(filter, cursor.as_deref(), STEP_LETTERS).await.map_err(Problem::broker)?;
        ids.extend(found.items.into_iter().map(|dead| dead.id));
        if ids.len() > limit {
            ids.truncate(limit);
            return Ok(Found { ids, more: More::Yes });
        }
        match found.next {
            Some(next) => cursor = Some(next),
            None => return Ok(Found { ids, more: More::No }),
        }
    }
}
