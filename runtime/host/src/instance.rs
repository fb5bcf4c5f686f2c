//! One instance of a component: a store with fuel, meter and console, and the calls into it under limits.
//!
//! A call costs about a microsecond, all limits together 155 ns of it: `set_fuel`, one load of the coarse clock at every host call
//! (`call_hook`) and at every yield, and a timer that is armed only for a call that is still pending after its first poll. Fuel and
//! a tokio time-out alone would not stop a guest that loops over a host call (58 s instead of 100 ms, measured). What nothing can
//! interrupt is one bulk memory instruction: some milliseconds for 32 MiB.
//!
//! Deliberately absent: what happens between calls; that is `pool`'s. An instance that failed is dead and must be dropped.

use std::fmt;
use std::time::{Duration, Instant};

use bytes::Bytes;
use saf_event::{ByteString, Event, TRACEPARENT, TraceContext};
use wasmtime::{CallHook, Engine, PoolConcurrencyLimitError, Store};

use crate::adapter::{self, Guest, Reply};
use crate::bindings::Channel;
use crate::bindings::exports::saf::channel::handler::Failure as Refusal;
use crate::bindings::saf::channel::types as wit;
use crate::bounded::bounded;
use crate::clock::Clock;
use crate::component::Component;
use crate::config::Limits;
use crate::console::{Console, LogLine, Sink};
use crate::fault::{Failure, MAX_REASON_BYTES, cut, examine};
use crate::kit::Kit;
use crate::roster::Slot;
use crate::verdict::{Call, Cause, Emission, Fault, Usage, Verdict};
use crate::world::{MAX_COMPONENT_HANDLES, Nature, World};

/// A guest yields after so much fuel, 10 to 15 us of a plain loop; between 100,000 and never the cost is the same (measured).
const FUEL_A_YIELD: u64 = 200_000;
/// Lifting costs wasmtime's hostcall fuel by the size of Rust's types, so an emission of few bytes costs more than its bytes.
const LIFT_SLACK_BYTES: usize = 64 << 10;
/// Up to so many headers are lent from the stack.
const FEW_HEADERS: usize = 8;

/// What an instance is made of.
pub(crate) struct Seed<'a> {
    pub(crate) engine: &'a Engine,
    pub(crate) clock: &'a Clock,
    pub(crate) component: &'a Component,
    pub(crate) limits: &'a Limits,
    pub(crate) config_json: &'a str,
    pub(crate) kit: &'a Kit,
    pub(crate) nature: Nature,
    pub(crate) sink: Sink,
}

/// What an instance was doing when it failed to start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    /// Instantiating: memories, tables, start functions.
    Instantiate,
    /// Calling `init`.
    Init,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Instantiate => "instantiation",
            Self::Init => "init",
        })
    }
}

/// Why there is no instance. No event is to blame: no attempt is counted.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum StartError {
    /// `init` returned an error: usually the Channel's `config` is wrong.
    #[error("init refused the configuration: {reason}")]
    Refused {
        /// The guest's reason, cut at 4 KiB; may hold anything.
        reason: String,
        /// The end of what it wrote to stderr.
        stderr: String,
    },
    /// A trap or a limit.
    #[error("{stage} failed ({cause}): {fault}")]
    Stopped {
        /// What it was doing.
        stage: Stage,
        /// Why it was stopped.
        cause: Cause,
        /// The same for a person.
        fault: Fault,
    },
    /// The engine has no room: components with very many modules, tables or memories.
    #[error(
        "the sandbox has no room for another instance ({0}): raise host.max_instances, or lower concurrency"
    )]
    NoRoom(String),
}

/// One instance.
pub(crate) struct Instance {
    store: Store<World>,
    guest: Guest,
    clock: Clock,
    events: u64,
    slot: Slot,
}

impl Instance {
    /// Instantiates and calls `init`, each with an event's budget. Dropping the future drops the half-made instance.
    pub(crate) async fn start(seed: Seed<'_>, slot: Slot) -> Result<Self, StartError> {
        let Seed { engine, clock, component, limits, config_json, kit, nature, sink } = seed;
        let console = Console::new(sink, limits.log.bytes());
        let mut store = Store::new(engine, World::new(clock.clone(), limits, console, nature, kit));
        store.limiter(|world| &mut world.meter);
        store.call_hook(|mut store, hook| match hook {
            CallHook::CallingHost => store.data_mut().meter.host_call().map_err(Into::into),
            CallHook::ReturningFromHost | CallHook::CallingWasm | CallHook::ReturningFromWasm => Ok(()),
        });
        store.set_max_component_handles(MAX_COMPONENT_HANDLES);
        store.set_hostcall_fuel(lift_fuel(limits));

        let instantiated = async {
            let deadline = begin(&mut store, clock, limits)?;
            store.fuel_async_yield_interval(Some(FUEL_A_YIELD))?;
            bounded(component.pre().instantiate(&mut store), clock, deadline).await
        };
        let mut guest = match instantiated.await {
            Ok(guest) => guest,
            Err(failure) => return Err(stopped(Stage::Instantiate, &failure, &store, limits)),
        };
        let init = async {
            let deadline = begin(&mut store, clock, limits)?;
            bounded(guest.init(&mut store, config_json), clock, deadline).await
        };
        let refused = match init.await {
            Ok(Ok(())) => None,
            Ok(Err(reason)) => {
                let (reason, stderr) = (cut(reason, MAX_REASON_BYTES), store.data().console.stderr_tail());
                Some(StartError::Refused { reason, stderr })
            }
            Err(failure) => Some(stopped(Stage::Init, &failure, &store, limits)),
        };
        store.data_mut().finish();
        match refused {
            None => Ok(Self { store, guest, clock: clock.clone(), events: 0, slot }),
            Some(error) => Err(error),
        }
    }

    /// Hands the guest an event. After a fault, or when the future was dropped, the instance is dead.
    pub(crate) async fn handle(
        &mut self,
        event: &Event,
        attempt: u32,
        limits: &Limits,
        answers_to: Option<&str>,
    ) -> Call {
        let Self { store, guest, clock, events, slot: _ } = self;
        let began = Instant::now();
        *events += 1;
        store.data_mut().keyvalue.begin_event(event.sequence);
        if let Some(traceparent) = event.headers.get(TRACEPARENT)
            && TraceContext::says_sampled(traceparent)
        {
            store.data().console.trace(traceparent);
        }
        let answer = match begin(store, clock, limits) {
            Err(error) => Err(error.into()),
            Ok(deadline) => match guest {
                Guest::Channel(channel) => handle(channel, store, event, attempt, clock, deadline).await,
                // Boxed, because they are large, and every call of our own contract would carry them.
                Guest::Messaging(guest) => {
                    Box::pin(bounded(adapter::messaging::call(guest, store, event), clock, deadline)).await
                }
                Guest::Http(guest) => {
                    let max_bytes = limits.output.bytes();
                    let call = adapter::http::call(guest, store, event, attempt, max_bytes, answers_to);
                    Box::pin(bounded(call, clock, deadline)).await
                }
            },
        };
        let micros = began.elapsed().as_micros() as u64;
        let verdict = judge(answer, store, limits);
        let usage = Usage {
            fuel: limits.fuel.saturating_sub(store.get_fuel().unwrap_or(0)),
            micros,
            peak_memory: store.data().meter.memory_bytes() as u64,
            host_calls: store.data().meter.host_calls(),
        };
        let state = match verdict {
            Verdict::Done(_) => store.data_mut().keyvalue.take(),
            _ => Vec::new(),
        };
        store.data_mut().finish();
        Call { verdict, state, usage }
    }

    /// Events that it was handed.
    pub(crate) fn events(&self) -> u64 {
        self.events
    }

    /// What it logged, when it was started with [`Sink::Kept`].
    pub(crate) fn take_lines(&self) -> Vec<LogLine> {
        self.store.data().console.take_lines()
    }

    /// Tears the instance down and keeps its place.
    pub(crate) fn into_slot(self) -> Slot {
        let Self { store, slot, .. } = self;
        drop(store);
        slot
    }
}

/// A fresh budget; returns the clock's reading at which it ends.
fn begin(store: &mut Store<World>, clock: &Clock, limits: &Limits) -> wasmtime::Result<u64> {
    store.set_fuel(limits.fuel)?;
    let deadline = clock.after(limits.timeout.0);
    store.data_mut().meter.begin(deadline);
    Ok(deadline)
}

fn lift_fuel(limits: &Limits) -> usize {
    let emissions = (limits.emissions as usize).saturating_mul(size_of::<wit::Emission>());
    limits.output.bytes().saturating_mul(2).saturating_add(emissions).saturating_add(LIFT_SLACK_BYTES)
}

fn pair(header: &(ByteString, ByteString)) -> (&str, &str) {
    (&header.0, &header.1)
}

/// Hands an event to a guest of our own contract.
async fn handle(
    channel: &Channel,
    store: &mut Store<World>,
    event: &Event,
    attempt: u32,
    clock: &Clock,
    deadline: u64,
) -> Result<Reply, Failure> {
    let mut few = [("", ""); FEW_HEADERS];
    let many: Vec<(&str, &str)>;
    let headers = if event.headers.len() <= FEW_HEADERS {
        for (lent, header) in few.iter_mut().zip(&event.headers) {
            *lent = pair(header);
        }
        &few[..event.headers.len()]
    } else {
        many = event.headers.iter().map(pair).collect();
        &many
    };
    let call = channel.saf_channel_handler().call_handle(store, lend(event, headers, attempt));
    bounded(call, clock, deadline).await.map(answered)
}

fn lend<'a>(event: &'a Event, headers: &'a [(&'a str, &'a str)], attempt: u32) -> wit::Event<'a> {
    wit::Event {
        id: event.id.as_str(),
        subject: event.subject.as_str(),
        time: event.time,
        content_type: event.content_type.as_deref(),
        headers,
        data: &event.data,
        sequence: event.sequence,
        attempt,
    }
}

/// The guest's answer in the host's words; moves, copies nothing.
fn answered(answer: Result<Vec<wit::Emission>, Refusal>) -> Reply {
    match answer {
        Ok(emissions) => Reply::Done(emissions.into_iter().map(take).collect()),
        Err(Refusal::Retry(wit::Retry { reason, after_ms })) => {
            Reply::Retry { reason, after: after_ms.map(|ms| Duration::from_millis(ms.into())) }
        }
        Err(Refusal::Reject(reason)) => Reply::Reject { reason },
    }
}

fn take(emission: wit::Emission) -> Emission {
    let wit::Emission { subject, data, content_type, headers, id } = emission;
    Emission { subject, data: Bytes::from(data), content_type, headers, id }
}

fn judge(answer: Result<Reply, Failure>, store: &Store<World>, limits: &Limits) -> Verdict {
    let problem = match answer {
        Ok(Reply::Done(emissions)) => match excess(&emissions, limits) {
            None => return Verdict::Done(emissions),
            Some(problem) => problem,
        },
        Ok(Reply::Output { problem }) => problem,
        Ok(Reply::Retry { reason, after }) => {
            return Verdict::Retry { reason: cut(reason, MAX_REASON_BYTES), after };
        }
        Ok(Reply::Reject { reason }) => return Verdict::Reject { reason: cut(reason, MAX_REASON_BYTES) },
        Err(failure) => {
            let (cause, fault) = examine(&failure, store, limits);
            return Verdict::stopped(cause, fault);
        }
    };
    let stderr = store.data().console.stderr_tail();
    Verdict::Output(Fault { message: problem, backtrace: None, stderr })
}

fn excess(emissions: &[Emission], limits: &Limits) -> Option<String> {
    if emissions.len() > limits.emissions as usize {
        return Some(format!("{} emissions; limits.emissions is {}", emissions.len(), limits.emissions));
    }
    let bytes: usize = emissions.iter().map(Emission::size).sum();
    (bytes > limits.output.bytes())
        .then(|| format!("{bytes} bytes of emissions; limits.output is {}", limits.output))
}

fn stopped(stage: Stage, failure: &Failure, store: &Store<World>, limits: &Limits) -> StartError {
    if let Failure::Error(error) = failure
        && error.is::<PoolConcurrencyLimitError>()
    {
        return StartError::NoRoom(error.root_cause().to_string());
    }
    let (cause, fault) = examine(failure, store, limits);
    StartError::Stopped { stage, cause, fault }
}
