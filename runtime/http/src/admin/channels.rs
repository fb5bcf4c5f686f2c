//! `/channels`: how Channels are, and their switch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use futures::stream::{self, StreamExt as _};
use http::{Method, Uri};
use saf_broker::{From, Lag, Switch};
use saf_channel::{Channel, Config, State as Condition};
use saf_event::{Filter, Outcome, unix_millis};
use saf_telemetry::Settled;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answered, json};
use crate::admin::desk::Desk;
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::page::{self, Page};
use crate::admin::query::{Form, Named, Parameter, Parameters};
use crate::admin::time::Time;
use crate::problem::Problem;

/// Channels that a broker is asked about at the same time.
const MAX_LOOKS: usize = 32;
/// A broker that does not say so soon how far a Channel is behind is not waited for: the last look is shown.
const LOOK_TIMEOUT: Duration = Duration::from_secs(1);

const HOW: &[Parameter] = &[Parameter::new(
    "lag",
    Form::Text,
    "`now` asks the broker how far each Channel is behind, and since when; the last look is shown when absent.",
)];

/// A Channel. Counts are this process's, since it started.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Channel")]
struct ChannelView {
    /// Its name.
    name: String,
    /// What it is doing: `starting`, `running`, `paused`, `sick`, `faulted` or `stopped`.
    #[schemars(with = "String")]
    state: Condition,
    /// Why, when it is not simply running.
    reason: Option<String>,
    /// Since when.
    since: Time,
    /// What a person told it.
    switch: Switch,
    /// The stream that it reads, and emits into.
    stream: String,
    /// What it subscribes to.
    #[schemars(with = "Vec<String>")]
    subjects: Vec<Filter>,
    /// Subjects that it may emit to.
    #[schemars(with = "Vec<String>")]
    emit: Vec<Filter>,
    /// What it runs.
    component: ComponentView,
    /// Most events at once.
    concurrency: usize,
    /// An event that failed so often becomes a dead letter.
    max_attempts: u32,
    /// What one event may use.
    limits: LimitsView,
    /// How many attempts ended so, by outcome.
    attempts: BTreeMap<&'static str, u64>,
    /// Units of fuel that they used.
    fuel: u64,
    /// Largest linear memory of one event, in bytes.
    peak_memory: u64,
    /// Attempts by their time in the guest: pairs of the longest time in a class, in microseconds, and how many were in it. Classes
    /// without attempts are left out; the bounds of a class are an eighth apart.
    durations: Vec<(u64, u64)>,
    /// Events that it emitted.
    emissions: u64,
    /// Dead letters that it caused.
    dead_letters: u64,
    /// Deliveries that it gave back without a verdict.
    released: u64,
    /// Deliveries that it holds now.
    held: usize,
    /// Events that failed and wait for a retry.
    waiting: usize,
    /// How far it is behind: seconds ago at most, or now when `?lag=now` asked for that.
    lag: Lag,
    /// How long ago the oldest event was stored that it has not settled, in milliseconds; 0 when it has settled all. `null` unless
    /// `?lag=now` asked for it.
    behind_ms: Option<u64>,
}

/// A Channel's component.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Component")]
struct ComponentView {
    /// The file it came from.
    path: String,
    /// Its SHA-256, in hexadecimal.
    digest: String,
    /// Its size, in bytes.
    size: usize,
}

/// What one event may use: plain numbers, for machines.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Limits")]
struct LimitsView {
    /// Units of fuel.
    fuel: u64,
    /// Wall-clock milliseconds.
    timeout_ms: u64,
    /// Bytes of linear memory.
    memory_bytes: u64,
    /// Emissions.
    emissions: u32,
    /// Bytes of all emissions together.
    output_bytes: u64,
    /// Bytes that are logged.
    log_bytes: u64,
    /// Calls out of the guest's code.
    host_calls: u64,
}

impl LimitsView {
    fn of(Config { limits, .. }: &Config) -> Self {
        Self {
            fuel: limits.fuel,
            timeout_ms: limits.timeout.0.as_millis() as u64,
            memory_bytes: limits.memory.0,
            emissions: limits.emissions,
            output_bytes: limits.output.0,
            log_bytes: limits.log.0,
            host_calls: limits.host_calls,
        }
    }
}

impl ChannelView {
    fn of(channel: &Channel, switch: Switch, Look { lag, behind_ms }: Look) -> Self {
        let (status, config, component) = (channel.status(), channel.config(), channel.component());
        let (counters, (held, waiting)) = (channel.counters(), channel.in_flight());
        let outcomes = Outcome::ALL.into_iter();
        Self {
            name: channel.name().to_string(),
            state: status.state,
            reason: status.reason,
            since: Time(status.since),
            switch,
            stream: config.stream.to_string(),
            subjects: config.subjects.clone(),
            emit: config.emit.subjects.clone(),
            component: ComponentView {
                path: config.component.display().to_string(),
                digest: component.digest().to_owned(),
                size: component.size(),
            },
            concurrency: config.concurrency,
            max_attempts: config.max_attempts,
            limits: LimitsView::of(&config),
            attempts: outcomes.map(|outcome| (outcome.as_str(), counters.outcome(outcome))).collect(),
            fuel: counters.fuel.load(Ordering::Relaxed),
            peak_memory: counters.peak_memory.load(Ordering::Relaxed),
            durations: counters.durations.read(),
            emissions: counters.emissions.load(Ordering::Relaxed),
            dead_letters: counters.settled(Settled::DeadLetter),
            released: counters.settled(Settled::Release),
            held,
            waiting,
            lag,
            behind_ms,
        }
    }
}

pub(super) fn routes(api: Api) -> Api {
    let one = |summary, parameters| Operation {
        summary,
        parameters,
        body: None,
        answer: Answer::Json(of::<ChannelView>),
    };
    api.route(
        &Method::GET,
        "/channels",
        list,
        &Operation {
            summary: "Lists the Channels by name.",
            parameters: &[page::PARAMETERS, HOW],
            body: None,
            answer: Answer::Json(of::<Page<ChannelView>>),
        },
    )
    .route(&Method::GET, "/channels/{name}", show, &one("Shows one Channel.", &[HOW]))
    .route(
        &Method::POST,
        "/channels/{name}/pause",
        pause,
        &one("Hands a Channel no more events, over restarts and replicas, until it is resumed; they wait in the stream.", &[]),
    )
    .route(&Method::POST, "/channels/{name}/resume", resume, &one("Hands a paused Channel its events again.", &[]))
}

/// When the broker was asked how far a Channel is behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Looked {
    /// Some seconds ago at most.
    Lately,
    /// For this answer.
    Now,
}

impl Looked {
    fn read(query: &mut Parameters) -> Result<Self, Problem> {
        let now = query.take("lag", |text| match text {
            "now" => Ok(Self::Now),
            _ => Err("write now, or leave it out"),
        })?;
        Ok(now.unwrap_or(Self::Lately))
    }

    async fn at(self, desk: &Desk, channel: &Channel) -> Look {
        let look = match self {
            Self::Lately => None,
            Self::Now => tokio::time::timeout(LOOK_TIMEOUT, Look::now(desk, channel)).await.ok().flatten(),
        };
        look.unwrap_or_else(|| Look { lag: channel.lag(), behind_ms: None })
    }
}

/// How far a Channel is behind.
#[derive(Clone, Copy, Debug)]
struct Look {
    lag: Lag,
    behind_ms: Option<u64>,
}

impl Look {
    /// What the broker says; `None` when it does not answer.
    async fn now(desk: &Desk, channel: &Channel) -> Option<Self> {
        let lag = channel.look().await?;
        if lag.pending == 0 && lag.unsettled == 0 {
            return Some(Self { lag, behind_ms: Some(0) });
        }
        let config = channel.config();
        let journal = desk.broker.journal()?;
        let mut oldest = None;
        for filter in &config.subjects {
            let page = journal.read(&config.stream, From::Sequence(lag.floor + 1), filter, 1).await.ok()?;
            oldest = page.items.first().map(|event| event.time).into_iter().chain(oldest).min();
        }
        Some(Self { lag, behind_ms: oldest.map(|time| unix_millis().saturating_sub(time)) })
    }
}

async fn list(State(desk): State<Arc<Desk>>, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, &[page::PARAMETERS, HOW])?;
    let after = query.text("after");
    let limit = page::limit(&mut query)?;
    let looked = Looked::read(&mut query)?;
    let channels = desk.channels.borrow().clone();
    let page = page::of_names(channels, |channel| channel.name().as_str(), after.as_deref(), limit);
    let views = page.items.into_iter().map(|channel| view(desk.clone(), channel, looked));
    let items = stream::iter(views).buffered(MAX_LOOKS).collect::<Vec<_>>().await;
    json(&Page { items, next: page.next })
}

async fn show(State(desk): State<Arc<Desk>>, Named(name): Named, uri: Uri) -> Answered {
    let looked = Looked::read(&mut Parameters::read(&uri, &[HOW])?)?;
    let channel = desk.channel(&name)?;
    json(&view(desk, channel, looked).await)
}

async fn pause(State(desk): State<Arc<Desk>>, Named(name): Named, uri: Uri) -> Answered {
    switch(&desk, &name, &uri, Switch::Paused).await
}

async fn resume(State(desk): State<Arc<Desk>>, Named(name): Named, uri: Uri) -> Answered {
    switch(&desk, &name, &uri, Switch::Running).await
}

/// The answer shows the new switch; the Channel's state follows when what it has begun is through.
async fn switch(desk: &Desk, name: &str, uri: &Uri, to: Switch) -> Answered {
    Parameters::read(uri, &[])?;
    let channel = desk.channel(name)?;
    desk.broker.switch(channel.name(), to).await.map_err(Problem::broker)?;
    json(&ChannelView::of(&channel, to, Looked::Lately.at(desk, &channel).await))
}

async fn view(desk: Arc<Desk>, channel: Arc<Channel>, looked: Looked) -> ChannelView {
    let switch = desk.broker.switches().borrow().get(channel.name()).copied().unwrap_or_default();
    ChannelView::of(&channel, switch, looked.at(&desk, &channel).await)
}
