//! The guest side of a Channel: takes a hop of deliveries, calls the guest with each, and says what is to become of them.
//! Runs on the guest runtime, so that no guest can hold up the network.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use arc_swap::ArcSwap;
use bytes::BytesMut;
use saf_broker::{Account, Attempt, Delivery, MAX_REASON_BYTES, Settlement, Settler, Settling};
use saf_event::{NewEvent, Outcome, TRACEPARENT, TraceContext, unix_millis};
use saf_host::{Call, Change, Fault, Lease, Usage, Verdict};
use saf_telemetry::Tracer;
use tokio::sync::{Mutex, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::attempts::{Ask, Attempts};
use crate::build::Build;
use crate::emit::{Emitter, Refused};
use crate::held::Hop;
use crate::metrics::Timings;
use crate::observe::{Because, Next, Observed, Observers, Told};
use crate::pace::Pace;
use crate::state::{InFlight, NotYet, Passed};
use crate::status::{Counters, Supply};
use crate::traces::{Traced, put_back};

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
    /// What to tell once the batch is settled.
    pub(crate) told: Told,
}

/// What is known of a call beside its verdict.
struct Ran {
    usage: Usage,
    /// When it began, in milliseconds since the Unix epoch.
    started: u64,
    traced: Option<Traced>,
}

/// What a call of the guest came to.
enum Judged {
    /// Its settlement is on its way.
    Settling,
    /// Another event changed the same state meanwhile.
    Again(Delivery),
}

impl Part {
    fn of(hop: &Arc<Hop>, deliveries: usize) -> Self {
        Self { hop: hop.clone(), batch: Vec::with_capacity(deliveries), told: Told::default() }
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
    pub(crate) tracer: Tracer,
    pub(crate) observers: Observers,
    pub(crate) supply: watch::Sender<Supply>,
    pub(crate) stop: CancellationToken,
    pub(crate) work: Mutex<mpsc::Receiver<Work>>,
    pub(crate) parts: mpsc::Sender<Part>,
    pub(crate) state: Option<Arc<InFlight>>,
    /// Whether the broker keeps what is told of attempts.
    pub(crate) history: bool,
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
        let began = unix_millis();
        // Asking takes a lock that all workers share, so it is asked when time has passed, not for every event.
        let mut stopping = self.stop.is_cancelled();
        for mut delivery in deliveries {
            let mut conflicts = 0;
            loop {
                if stopping {
                    part.batch.push(delivery.into(Settlement::Release));
                    break;
                }
                let Some(instance) = self.instance(&build, lease.take()).await else {
                    part.batch.push(delivery.into(Settlement::Release));
                    break;
                };
                let turn = match &self.state {
                    Some(state) => Some(state.turn(conflicts).await),
                    None => None,
                };
                // The clock is read once a hop: calls say themselves how long they took.
                let started = began + micros / 1_000;
                if delivery.attempt == 1 && conflicts == 0 {
                    self.timings.queued(started.saturating_sub(delivery.event.time));
                }
                let traced = Traced::of(&self.tracer, &delivery);
                let untraced = traced.map(|traced| traced.show(&mut delivery.event));
                let (call, kept) = instance.call(&delivery.event, delivery.attempt).await;
                if let Some(header) = untraced {
                    put_back(&mut delivery.event, header);
                }
                lease = kept;
                (events, micros, unflushed) =
                    (events + 1, micros + call.usage.micros, unflushed + call.usage.micros);
                let judged = self.judge(&build, delivery, call, (traced, started), (&mut part, &mut room));
                drop(turn);
                if unflushed >= FLUSH_MICROS {
                    unflushed = 0;
                    stopping = self.stop.is_cancelled();
                    self.send(std::mem::replace(&mut part, Part::of(&hop, 0))).await?;
                }
                match judged {
                    Judged::Settling => break,
                    Judged::Again(again) => (delivery, conflicts) = (again, conflicts + 1),
                }
            }
        }
        drop(lease);
        self.pace.record(events, micros);
        self.send(part).await
    }

    async fn send(&self, part: Part) -> Option<()> {
        if let Some(state) = &self.state {
            state.flush(&self.parts).await?;
        }
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
    fn judge(
        &self,
        build: &Build,
        delivery: Delivery,
        call: Call,
        (traced, started): (Option<Traced>, u64),
        (part, room): (&mut Part, &mut BytesMut),
    ) -> Judged {
        let (config, ran) = (&build.config, Ran { usage: call.usage, started, traced });
        let outcome = call.verdict.outcome();
        let place = traced.map(|traced| traced.settle.context);
        let report = match call.verdict {
            Verdict::Done(emissions) => {
                match self.emitter.events(config, &delivery.event, emissions, place) {
                    Ok(emit) => return self.done(build, delivery, (emit, call.state), &ran, (part, room)),
                    Err(Refused::Output(reason)) => Report::new(Ask::Backoff, reason).of(Outcome::Output),
                    Err(Refused::Loop(reason)) => Report::new(Ask::Never, reason).of(Outcome::Output),
                }
            }
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
        self.failed(build, delivery, report, &ran, part);
        Judged::Settling
    }

    fn done(
        &self,
        build: &Build,
        delivery: Delivery,
        (emit, changes): (Vec<NewEvent>, Vec<Change>),
        ran: &Ran,
        (part, room): (&mut Part, &mut BytesMut),
    ) -> Judged {
        let usage = &ran.usage;
        let passed = match &self.state {
            Some(state) if !changes.is_empty() => match state.pass(delivery.event.sequence, changes) {
                Ok(passed) => Some(passed),
                Err(NotYet::Conflict) => {
                    self.counters.conflicts.fetch_add(1, Ordering::Relaxed);
                    return Judged::Again(delivery);
                }
                Err(NotYet::UnderWay) => {
                    part.batch.push(delivery.into(Settlement::Release));
                    return Judged::Settling;
                }
            },
            Some(_) | None => None,
        };
        self.attempts.done(delivery.event.sequence);
        self.count(build, &delivery, Outcome::Done, None, ran);
        if tracing::enabled!(tracing::Level::DEBUG) {
            tracing::debug!(
                channel = %self.emitter.channel,
                sequence = delivery.event.sequence,
                attempt = delivery.attempt,
                outcome = Outcome::Done.as_str(),
                emissions = emit.len(),
                micros = usage.micros,
                fuel = usage.fuel,
                trace_id = trace_id(&delivery, ran),
                span_id = span_id(ran),
                "attempt"
            );
        }
        let state = passed.as_ref().map(Passed::changes).unwrap_or_default();
        let account = self.account(build, &delivery, Outcome::Done, ran, None);
        let settling = self.settler.pack(delivery.told(Settlement::Done { emit, state }, account), room);
        match passed {
            None => self.settle(build, part, settling, (Outcome::Done, ran, Because::default())),
            Some(passed) => {
                let observed = self.observed(&settling, Outcome::Done, usage, Because::default());
                let storing = ran.traced.map(|traced| traced.storing(build, &settling));
                passed.queue(&part.hop, settling, observed, storing);
            }
        }
        Judged::Settling
    }

    fn failed(&self, build: &Build, delivery: Delivery, report: Report, ran: &Ran, part: &mut Part) {
        let usage = &ran.usage;
        let at = unix_millis().saturating_sub(usage.micros / 1_000);
        let Report { ask, outcome, reason, backtrace, stderr } = report;
        let (sequence, number) = (delivery.event.sequence, delivery.attempt);
        let mut because = Because { reason: Some(reason.clone()), ..Because::default() };
        if self.observers.any() {
            (because.backtrace, because.stderr) = (backtrace.clone(), stderr.clone());
        }
        self.count(build, &delivery, outcome, Some(&reason), ran);
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
            trace_id = trace_id(&delivery, ran),
            span_id = span_id(ran),
            "attempt"
        );
        let account = self.account(build, &delivery, outcome, ran, Some(&reason));
        self.settle(build, part, delivery.told(settlement, account), (outcome, ran, because));
    }

    /// What the history is to say of an attempt.
    fn account(
        &self,
        build: &Build,
        delivery: &Delivery,
        outcome: Outcome,
        ran: &Ran,
        reason: Option<&str>,
    ) -> Option<Account> {
        let kept = |reason: &str| reason[..reason.floor_char_boundary(2 * MAX_REASON_BYTES)].into();
        let queued = ran.started.saturating_sub(delivery.event.time);
        self.history.then(|| Account {
            digest: build.digest_bytes,
            outcome,
            started: ran.started,
            queued_millis: u32::try_from(queued).unwrap_or(u32::MAX),
            micros: ran.usage.micros,
            fuel: ran.usage.fuel,
            memory: ran.usage.peak_memory,
            reason: reason.map(kept),
        })
    }

    /// Counts an attempt that is over, and records its span.
    fn count(&self, build: &Build, delivery: &Delivery, outcome: Outcome, reason: Option<&str>, ran: &Ran) {
        self.counters.count(outcome, &ran.usage);
        self.timings.record(outcome, &ran.usage);
        if let Some(traced) = ran.traced {
            let channel = &self.emitter.channel;
            traced.attempted(&self.tracer, channel, build, delivery, (outcome, reason, &ran.usage));
        }
    }

    fn settle(
        &self,
        build: &Build,
        part: &mut Part,
        settling: Settling,
        (outcome, ran, because): (Outcome, &Ran, Because),
    ) {
        let observed = self.observed(&settling, outcome, &ran.usage, because);
        part.told.add(observed, ran.traced.map(|traced| traced.storing(build, &settling)));
        part.batch.push(settling);
    }

    fn observed(
        &self,
        settling: &Settling,
        outcome: Outcome,
        usage: &Usage,
        because: Because,
    ) -> Option<Observed> {
        let observe = || Observed::new(&self.emitter.channel, settling, outcome, usage, because);
        self.observers.any().then(observe)
    }
}

fn trace_id(delivery: &Delivery, ran: &Ran) -> String {
    let own = ran.traced.map(|traced| traced.process.context);
    let event = || delivery.event.headers.get(TRACEPARENT).and_then(|header| TraceContext::parse(header));
    own.or_else(event).map(|trace| trace.trace_id().to_string()).unwrap_or_default()
}

/// Of the attempt; nothing where no span is recorded.
fn span_id(ran: &Ran) -> Option<String> {
    ran.traced.map(|traced| format!("{:016x}", traced.process.context.span_id()))
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
