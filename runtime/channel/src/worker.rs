//! The guest side of a Channel: takes a hop of deliveries, calls the guest with each, and says what is to become of them.
//! Runs on the guest runtime, so that no guest can hold up the network.

use std::sync::Arc;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use saf_broker::{Attempt, Delivery, Settlement, Settler, Settling};
use saf_event::{NewEvent, Outcome, TraceContext, unix_millis};
use saf_host::{Call, Fault, Lease, Usage, Verdict};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::attempts::{Ask, Attempts};
use crate::build::Build;
use crate::emit::{Emitter, Refused};
use crate::held::Hop;
use crate::metrics::Timings;
use crate::observe::{Because, Next, Observed, Observers};
use crate::pace::Pace;
use crate::status::{Counters, Supply};

/// What was handled goes on to the settler once this much guest time has gone into it, whether the hop is over or not.
const FLUSH_MICROS: u64 = 1_000;

/// Deliveries on their way to a guest.
pub(crate) struct Work {
    pub(crate) hop: Arc<Hop>,
    pub(crate) deliveries: Vec<Delivery>,
}

/// Deliveries on their way to the settler.
pub(crate) struct Part {
    pub(crate) hop: Arc<Hop>,
    pub(crate) batch: Vec<Settling>,
    /// What to tell observers once the batch is settled; empty while nobody looks.
    pub(crate) observed: Vec<Observed>,
}

impl Part {
    fn of(hop: &Arc<Hop>, deliveries: usize) -> Self {
        Self { hop: hop.clone(), batch: Vec::with_capacity(deliveries), observed: Vec::new() }
    }
}

/// What the workers of a Channel share.
pub(crate) struct Worker {
    pub(crate) build: Arc<ArcSwap<Build>>,
    pub(crate) emitter: Emitter,
    pub(crate) settler: Arc<dyn Settler>,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timings: Timings,
    pub(crate) observers: Observers,
    pub(crate) supply: watch::Sender<Supply>,
    pub(crate) stop: CancellationToken,
    pub(crate) work: Mutex<mpsc::Receiver<Work>>,
    pub(crate) parts: mpsc::Sender<Part>,
}

impl Worker {
    /// Works until the queue is closed and empty, or the settler is gone.
    pub(crate) async fn run(self: Arc<Self>) {
        loop {
            let next = self.work.lock().await.recv().await;
            let Some(work) = next else { return };
            if self.hop(work).await.is_none() {
                return;
            }
        }
    }

    /// `None` when the settler is gone; what it did not take is given back.
    async fn hop(&self, work: Work) -> Option<()> {
        let build = self.build.load_full();
        let Work { hop, deliveries } = work;
        let mut part = Part::of(&hop, deliveries.len());
        let mut room = BytesMut::new();
        let mut lease = None;
        let (mut events, mut micros, mut unflushed) = (0, 0, 0);
        // Asking takes a lock that all workers share, so it is asked when time has passed, not for every event.
        let mut stopping = self.stop.is_cancelled();
        for delivery in deliveries {
            if stopping {
                part.batch.push(delivery.into(Settlement::Release));
                continue;
            }
            let Some(instance) = self.instance(&build, lease.take()).await else {
                part.batch.push(delivery.into(Settlement::Release));
                continue;
            };
            let (call, kept) = instance.call(&delivery.event, delivery.attempt).await;
            lease = kept;
            (events, micros, unflushed) =
                (events + 1, micros + call.usage.micros, unflushed + call.usage.micros);
            self.judge(&build, delivery, call, &mut part, &mut room);
            if unflushed >= FLUSH_MICROS {
                unflushed = 0;
                stopping = self.stop.is_cancelled();
                self.send(std::mem::replace(&mut part, Part::of(&hop, 0))).await?;
            }
        }
        drop(lease);
        self.pace.record(events, micros);
        self.send(part).await
    }

    async fn send(&self, part: Part) -> Option<()> {
        if part.batch.is_empty() {
            return Some(());
        }
        self.parts.send(part).await.ok()
    }

    /// The hop's instance, or another one. `None` when none can be had: not the events' fault, so they go back, and the feed
    /// pulls no more until one can.
    async fn instance(&self, build: &Build, kept: Option<Lease>) -> Option<Lease> {
        if kept.is_some() {
            return kept;
        }
        match build.pool.acquire().await {
            Ok(lease) => Some(lease),
            Err(error) => {
                self.supply.send_replace(Supply::Faulted(error.to_string()));
                None
            }
        }
    }

    /// From what the guest did to what becomes of the event.
    fn judge(&self, build: &Build, delivery: Delivery, call: Call, part: &mut Part, room: &mut BytesMut) {
        let (config, usage) = (&build.config, call.usage);
        let outcome = call.verdict.outcome();
        let report = match call.verdict {
            Verdict::Done(emissions) => match self.emitter.events(config, &delivery.event, emissions) {
                Ok(emit) => return self.done(delivery, emit, &usage, part, room),
                Err(Refused::Output(reason)) => Report::new(Ask::Backoff, reason).of(Outcome::Output),
                Err(Refused::Loop(reason)) => Report::new(Ask::Never, reason).of(Outcome::Output),
            },
            Verdict::Retry { reason, after } => {
                Report::new(after.map_or(Ask::Backoff, Ask::After), reason).of(outcome)
            }
            Verdict::Reject { reason } => Report::new(Ask::Never, reason).of(outcome),
            Verdict::Trap(fault)
            | Verdict::Fuel(fault)
            | Verdict::Timeout(fault)
            | Verdict::Memory(fault)
            | Verdict::Output(fault) => Report::fault(fault).of(outcome),
        };
        self.failed(build, delivery, report, &usage, part);
    }

    fn done(
        &self,
        delivery: Delivery,
        emit: Vec<NewEvent>,
        usage: &Usage,
        part: &mut Part,
        room: &mut BytesMut,
    ) {
        self.attempts.done(delivery.event.sequence);
        self.counters.count(Outcome::Done, usage);
        self.timings.record(Outcome::Done, usage);
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(
                channel = %self.emitter.channel,
                sequence = delivery.event.sequence,
                attempt = delivery.attempt,
                outcome = Outcome::Done.as_str(),
                emissions = emit.len(),
                micros = usage.micros,
                fuel = usage.fuel,
                trace_id = trace_id(&delivery),
                "attempt"
            );
        }
        let settling = delivery.into(Settlement::Done { emit });
        let settling = self.settler.pack(settling, room);
        self.settle(part, settling, Outcome::Done, usage, Because::default());
    }

    fn failed(&self, build: &Build, delivery: Delivery, report: Report, usage: &Usage, part: &mut Part) {
        let at = unix_millis().saturating_sub(usage.micros / 1_000);
        let Report { ask, outcome, reason, backtrace, stderr } = report;
        let (sequence, number) = (delivery.event.sequence, delivery.attempt);
        let mut because = Because { reason: Some(reason.clone()), ..Because::default() };
        if self.observers.any() {
            (because.backtrace, because.stderr) = (backtrace.clone(), stderr.clone());
        }
        self.counters.count(outcome, usage);
        self.timings.record(outcome, usage);
        let attempt = Attempt {
            number,
            outcome,
            at,
            micros: usage.micros,
            fuel: usage.fuel,
            memory: usage.peak_memory,
            reason: Some(reason.clone()),
            backtrace,
            stderr,
        };
        let settlement =
            self.attempts.failed(&build.config, sequence, build.component.digest(), attempt, ask);
        let next = match Next::from(&settlement) {
            Next::Retry(millis) => format!("retry in {millis} ms"),
            Next::Done | Next::DeadLetter | Next::Released => "dead letter".to_owned(),
        };
        tracing::warn!(
            channel = %self.emitter.channel,
            sequence,
            attempt = number,
            of = build.config.max_attempts,
            outcome = outcome.as_str(),
            next,
            reason,
            trace_id = trace_id(&delivery),
            "attempt"
        );
        self.settle(part, delivery.into(settlement), outcome, usage, because);
    }

    fn settle(&self, part: &mut Part, settling: Settling, outcome: Outcome, usage: &Usage, because: Because) {
        if self.observers.any() {
            part.observed.push(Observed::new(&self.emitter.channel, &settling, outcome, usage, because));
        }
        part.batch.push(settling);
    }
}

fn trace_id(delivery: &Delivery) -> String {
    let header = delivery.event.headers.get("traceparent");
    header
        .and_then(|header| TraceContext::parse(header))
        .map(|trace| trace.trace_id().to_string())
        .unwrap_or_default()
}

/// A failed attempt, in words.
struct Report {
    ask: Ask,
    outcome: Outcome,
    reason: String,
    backtrace: Option<String>,
    stderr: Option<String>,
}

impl Report {
    fn new(ask: Ask, reason: String) -> Self {
        Self { ask, outcome: Outcome::Retry, reason, backtrace: None, stderr: None }
    }

    fn fault(fault: Fault) -> Self {
        let stderr = (!fault.stderr.is_empty()).then_some(fault.stderr);
        Self { backtrace: fault.backtrace, stderr, ..Self::new(Ask::Backoff, fault.message) }
    }

    fn of(self, outcome: Outcome) -> Self {
        Self { outcome, ..self }
    }
}
