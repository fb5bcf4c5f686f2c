//! One event through one fresh instance, without broker or HTTP: what the `test` command, replay on a new build and fuzzing share.
//! Production's limits hold. The guest sees a wall clock that stands at the event's time, a monotonic clock that moves a microsecond
//! a reading, and random bytes that repeat, so that a case comes out the same every time.
//!
//! Requests over wasi:http get the case's own answers, in order; without them, as every connection over TCP, they are denied.
//!
//! What is deliberately not fixed: real waiting (`wasi:io/poll` on a timer sleeps) and the deadline, which is the wall clock's.

use std::sync::Arc;

use saf_event::Event;

use crate::Host;
use crate::capability::http::{Client, HttpRequest, HttpScript, Stage};
use crate::component::Component;
use crate::config::Limits;
use crate::console::{LogLine, Sink};
use crate::instance::{Instance, Seed, StartError};
use crate::kit::Kit;
use crate::roster::{Grant, PoolId};
use crate::verdict::Call;
use crate::world::Nature;

/// Where the response of a wasi:http component goes that names no subject: a case has no `emit.subjects`.
const CASE_ANSWERS_TO: &str = "answer";

/// An event and what a component meets it with.
#[derive(Clone, Debug)]
pub struct Case {
    /// The event.
    pub event: Event,
    /// 1 for the first attempt.
    pub attempt: u32,
    /// The Channel's `config` table as JSON.
    pub config_json: String,
    /// What the event may use.
    pub limits: Limits,
    /// What requests over wasi:http are answered with; `None`: every one is denied, as without a grant.
    pub http: Option<HttpScript>,
}

/// What came of a case.
#[derive(Clone, Debug)]
pub struct CaseReport {
    /// The call, or why there was none.
    pub call: Result<Call, StartError>,
    /// What the guest logged in `init` and in the call; empty when it did not start (see the error's stderr).
    pub log: Vec<LogLine>,
    /// The requests that [`Case::http`] grants, answered or not, in order.
    pub requests: Vec<HttpRequest>,
}

/// Runs a case. It reaches nothing outside the guest (requests are answered by the case itself), so it may be run again and again. Takes one
/// of the host's instances for its time, waits while all are in use; dropping the future ends it.
pub async fn run_case(host: &Arc<Host>, component: &Component, case: &Case) -> CaseReport {
    let slot = match host.roster().acquire(PoolId::NONE).await {
        Grant::Place(slot) => slot,
        Grant::Instance(instance) => instance.into_slot(),
    };
    let stage = case.http.clone().map(|script| Arc::new(Stage::new(script)));
    let mut kit = Kit::offline(&case.config_json);
    if let Some(stage) = &stage {
        kit.http = Client::scripted(Arc::clone(stage));
    }
    let requests = || stage.as_ref().map(|stage| stage.requests()).unwrap_or_default();
    let seed = Seed {
        engine: host.engine(),
        clock: host.clock(),
        component,
        limits: &case.limits,
        config_json: &case.config_json,
        kit: &kit,
        nature: Nature::fixed_at(&case.event),
        sink: Sink::Kept(Vec::new()),
    };
    let mut instance = match Instance::start(seed, slot).await {
        Ok(instance) => instance,
        Err(error) => return CaseReport { call: Err(error), log: Vec::new(), requests: requests() },
    };
    let call = instance.handle(&case.event, case.attempt, &case.limits, Some(CASE_ANSWERS_TO)).await;
    CaseReport { call: Ok(call), log: instance.take_lines(), requests: requests() }
}
