//! The guest side of a Channel: takes a hop of deliveries, calls the guest with each, and says what is to become of them.
//! Runs on the guest runtime, so that no guest can hold up the network.

use std::sync::Arc;

use arc_swap::ArcSwap;
use saf_broker::{Attempt, Delivery, Settlement, Settling};
use saf_event::{Outcome, TraceContext, unix_millis};
use saf_host::{Call, Fault, Lease, Usage, Verdict};
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::attempts::{Ask, Attempts};
use crate::build::Build;
use crate::emit::{Emitter, Refused};
use crate::held::Hop;
use crate::metrics::Timings;
use crate::pace::Pace;
use crate::status::Counters;

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
}

/// What the workers of a Channel share.
pub(crate) struct Worker {
    pub(crate) build: Arc<ArcSwap<Build>>,
    pub(crate) emitter: Emitter,
    pub(crate) attempts: Arc<Attempts>,
    pub(crate) pace: Arc<Pace>,
    pub(crate) counters: Arc<Counters>,
    pub(crate) timings: Timings,
    pub(crate) fault: watch::Sender<Option<String>>,
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
        let mut part = Vec::with_capacity(deliveries.len());
        let (mut events, mut micros, mut unflushed) = (0, 0, 0);
        for delivery in deliveries {
            if self.stop.is_cancelled() {
                part.push(delivery.into(Settlement::Release));
                continue;
            }
            let Some(instance) = self.instance(&build).await else {
                part.push(delivery.into(Settlement::Release));
                continue;
            };
            let at = unix_millis();
            let call = instance.call(&delivery.event, delivery.attempt).await;
            (events, micros, unflushed) =
                (events + 1, micros + call.usage.micros, unflushed + call.usage.micros);
            part.push(self.judge(&build, delivery, call, at));
            if unflushed >= FLUSH_MICROS {
                unflushed = 0;
                self.send(&hop, std::mem::take(&mut part)).await?;
            }
        }
        self.pace.record(events, micros);
        self.send(&hop, part).await
    }

    async fn send(&self, hop: &Arc<Hop>, batch: Vec<Settling>) -> Option<()> {
        if batch.is_empty() {
            return Some(());
        }
        self.parts.send(Part { hop: hop.clone(), batch }).await.ok()
    }

    /// An instance. `None` when none can be had: not the events' fault, so they go back, and the feed pulls no more until one
    /// can.
    async fn instance(&self, build: &Build) -> Option<Lease> {
        match build.pool.acquire().await {
            Ok(lease) => Some(lease),
            Err(error) => {
                self.fault.send_replace(Some(error.to_string()));
                None
            }
        }
    }

    /// From what the guest did to what becomes of the event.
    fn judge(&self, build: &Build, delivery: Delivery, call: Call, at: u64) -> Settling {
        let (config, usage) = (&build.config, call.usage);
        let outcome = call.verdict.outcome();
        let report = match call.verdict {
            Verdict::Done(emissions) => match self.emitter.events(config, &delivery.event, emissions) {
                Ok(emit) => return self.done(delivery, emit, &usage),
                Err(Refused::Output(reason)) => {
                    Report { ask: Ask::Backoff, outcome: Outcome::Output, ..Report::plain(reason) }
                }
                Err(Refused::Loop(reason)) => {
                    Report { ask: Ask::Never, outcome: Outcome::Output, ..Report::plain(reason) }
                }
            },
            Verdict::Retry { reason, after } => {
                Report { ask: after.map_or(Ask::Backoff, Ask::After), outcome, ..Report::plain(reason) }
            }
            Verdict::Reject { reason } => Report { ask: Ask::Never, outcome, ..Report::plain(reason) },
            Verdict::Trap(fault)
            | Verdict::Fuel(fault)
            | Verdict::Timeout(fault)
            | Verdict::Memory(fault)
            | Verdict::Output(fault) => Report { outcome, ..Report::fault(fault) },
        };
        self.failed(build, delivery, report, &usage, at)
    }

    fn done(&self, delivery: Delivery, emit: Vec<saf_event::NewEvent>, usage: &Usage) -> Settling {
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
        delivery.into(Settlement::Done { emit })
    }

    fn failed(&self, build: &Build, delivery: Delivery, report: Report, usage: &Usage, at: u64) -> Settling {
        let Report { ask, outcome, reason, backtrace, stderr } = report;
        let (sequence, number) = (delivery.event.sequence, delivery.attempt);
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
        let next = match &settlement {
            Settlement::Retry { after } => format!("retry in {} ms", after.as_millis()),
            Settlement::Dead(_) => "dead letter".to_owned(),
            Settlement::Done { .. } | Settlement::Release => String::new(),
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
        delivery.into(settlement)
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
    fn plain(reason: String) -> Self {
        Self { ask: Ask::Backoff, outcome: Outcome::Output, reason, backtrace: None, stderr: None }
    }

    fn fault(fault: Fault) -> Self {
        let stderr = (!fault.stderr.is_empty()).then_some(fault.stderr);
        Self { backtrace: fault.backtrace, stderr, ..Self::plain(fault.message) }
    }
}
