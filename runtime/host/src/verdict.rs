//! What came of a call: the guest's own answer, or why it was stopped, and what it used. These are the host's words towards
//! the `channel` crate; nothing in here knows wasmtime.

use std::fmt;
use std::time::Duration;

use bytes::Bytes;
use saf_event::Outcome;

use crate::state::Change;

/// One call of a guest with one event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What came of it.
    pub verdict: Verdict,
    /// What it changed in its Channel's state; nothing unless it is done.
    pub state: Vec<Change>,
    /// What it used.
    pub usage: Usage,
}

/// What came of a call.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The guest handled the event and wants these stored, all or none. Subjects and headers are unchecked.
    Done(Vec<Emission>),
    /// The guest wants the event again.
    Retry {
        /// The guest's reason, cut at 4 KiB; may hold anything.
        reason: String,
        /// How long to wait, when the guest said so.
        after: Option<Duration>,
    },
    /// The guest can never handle the event.
    Reject {
        /// The guest's reason, cut at 4 KiB; may hold anything.
        reason: String,
    },
    /// It trapped, panicked, or exited.
    Trap(Fault),
    /// It used up its fuel, or its host calls.
    Fuel(Fault),
    /// It ran into its deadline.
    Timeout(Fault),
    /// It died after a growth of its memory was refused.
    Memory(Fault),
    /// It returned, published, or handed to the host in one call, more than it may, or something that has no place to go.
    Output(Fault),
}

impl Verdict {
    /// The same as the one word used everywhere.
    pub const fn outcome(&self) -> Outcome {
        match self {
            Self::Done(_) => Outcome::Done,
            Self::Retry { .. } => Outcome::Retry,
            Self::Reject { .. } => Outcome::Reject,
            Self::Trap(_) => Outcome::Trap,
            Self::Fuel(_) => Outcome::Fuel,
            Self::Timeout(_) => Outcome::Timeout,
            Self::Memory(_) => Outcome::Memory,
            Self::Output(_) => Outcome::Output,
        }
    }

    /// Why the guest was stopped; `None` when it answered.
    pub const fn fault(&self) -> Option<&Fault> {
        match self {
            Self::Done(_) | Self::Retry { .. } | Self::Reject { .. } => None,
            Self::Trap(fault)
            | Self::Fuel(fault)
            | Self::Timeout(fault)
            | Self::Memory(fault)
            | Self::Output(fault) => Some(fault),
        }
    }

    pub(crate) fn stopped(cause: Cause, fault: Fault) -> Self {
        match cause {
            Cause::Trap => Self::Trap(fault),
            Cause::Fuel => Self::Fuel(fault),
            Cause::Timeout => Self::Timeout(fault),
            Cause::Memory => Self::Memory(fault),
            Cause::Output => Self::Output(fault),
        }
    }
}

/// Why a guest was stopped, for a caller that branches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// See [`Verdict::Trap`].
    Trap,
    /// See [`Verdict::Fuel`].
    Fuel,
    /// See [`Verdict::Timeout`].
    Timeout,
    /// See [`Verdict::Memory`].
    Memory,
    /// See [`Verdict::Output`].
    Output,
}

impl Cause {
    /// The same as the one word used everywhere.
    pub const fn outcome(self) -> Outcome {
        match self {
            Self::Trap => Outcome::Trap,
            Self::Fuel => Outcome::Fuel,
            Self::Timeout => Outcome::Timeout,
            Self::Memory => Outcome::Memory,
            Self::Output => Outcome::Output,
        }
    }
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.outcome().fmt(f)
    }
}

/// Why a guest was stopped, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// One line.
    pub message: String,
    /// Where it was, innermost frame first, demangled, with file and line when the component has them.
    pub backtrace: Option<String>,
    /// The end of what it wrote to stderr for this event, at most [`crate::STDERR_TAIL_BYTES`]: where panics and tracebacks are.
    pub stderr: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// What a call used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Units of fuel.
    pub fuel: u64,
    /// Wall-clock microseconds.
    pub micros: u64,
    /// Linear memory of the instance at the end, in bytes: it never shrinks, so this is its peak.
    pub peak_memory: u64,
    /// Calls out of the guest's code, see [`crate::Limits::host_calls`].
    pub host_calls: u64,
}

/// An event that a guest wants stored; its texts and headers are unchecked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Emission {
    /// Where it wants it.
    pub subject: String,
    /// The payload, the very bytes that were copied out of the guest.
    pub data: Bytes,
    /// The media type of `data`.
    pub content_type: Option<String>,
    /// In the guest's order.
    pub headers: Vec<(String, String)>,
    /// Normally `None`: the router makes one.
    pub id: Option<String>,
}

impl Emission {
    /// What counts against `limits.output`, in bytes.
    pub fn size(&self) -> usize {
        let headers: usize = self.headers.iter().map(|(name, value)| name.len() + value.len()).sum();
        let texts =
            self.content_type.as_ref().map_or(0, String::len) + self.id.as_ref().map_or(0, String::len);
        self.subject.len() + self.data.len() + texts + headers
    }
}
