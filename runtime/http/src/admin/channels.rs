//! `/channels`: how Channels are, and their switch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::extract::State;
use http::{Method, Uri};
use saf_broker::{Lag, Switch};
use saf_channel::{Channel, Config, State as Condition};
use saf_event::{Filter, Outcome};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answered, json};
use crate::admin::desk::Desk;
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::page::{self, Page};
use crate::admin::query::{Named, Parameters};
use crate::admin::time::Time;
use crate::problem::Problem;

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
    /// How far it is behind, some seconds ago at most.
    lag: Lag,
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
    fn of(channel: &Channel, switch: Switch) -> Self {
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
            emissions: counters.emissions.load(Ordering::Relaxed),
            dead_letters: counters.dead_letters.load(Ordering::Relaxed),
            released: counters.released.load(Ordering::Relaxed),
            held,
            waiting,
            lag: channel.lag(),
        }
    }
}

pub(super) fn routes(api: Api) -> Api {
    let one =
        |summary| Operation { summary, parameters: &[], body: None, answer: Answer::Json(of::<ChannelView>) };
    api.route(
        &Method::GET,
        "/channels",
        list,
        &Operation {
            summary: "Lists the Channels by name.",
            parameters: &[page::PARAMETERS],
            body: None,
            answer: Answer::Json(of::<Page<ChannelView>>),
        },
    )
    .route(&Method::GET, "/channels/{name}", show, &one("Shows one Channel."))
    .route(
        &Method::POST,
        "/channels/{name}/pause",
        pause,
        &one("Hands a Channel no more events, over restarts and replicas, until it is resumed; they wait in the stream."),
    )
    .route(&Method::POST, "/channels/{name}/resume", resume, &one("Hands a paused Channel its events again."))
}

async fn list(State(desk): State<Arc<Desk>>, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, &[page::PARAMETERS])?;
    let after = query.text("after");
    let limit = page::limit(&mut query)?;
    let channels = desk.channels.borrow().clone();
    let page = page::of_names(channels, |channel| channel.name().as_str(), after.as_deref(), limit);
    let items = page.items.iter().map(|channel| view(&desk, channel)).collect::<Vec<_>>();
    json(&Page { items, next: page.next })
}

async fn show(State(desk): State<Arc<Desk>>, Named(name): Named, uri: Uri) -> Answered {
    Parameters::read(&uri, &[])?;
    let channel = desk.channel(&name)?;
    json(&view(&desk, &channel))
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
    json(&ChannelView::of(&channel, to))
}

fn view(desk: &Desk, channel: &Channel) -> ChannelView {
    let switch = desk.broker.switches().borrow().get(channel.name()).copied().unwrap_or_default();
    ChannelView::of(channel, switch)
}
