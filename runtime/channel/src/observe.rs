//! Watching a Channel's attempts as they settle: for `send --wait`, the tap and a terminal. Lossy, and free while nobody looks.

use saf_broker::Settlement;
use saf_event::{ChannelName, Outcome};
use saf_host::Usage;
use tokio::sync::broadcast;

use crate::traces::Storing;

/// Attempts that a slow observer may be behind before it misses some.
const BACKLOG: usize = 1024;

/// One attempt, after its settlement was stored.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Observed {
    /// The Channel.
    pub channel: ChannelName,
    /// The event.
    pub sequence: u64,
    /// The event's subject.
    pub subject: String,
    /// 1 for the first.
    pub attempt: u32,
    /// What became of the attempt.
    pub outcome: Outcome,
    /// What became of the event.
    pub next: Next,
    /// Wall-clock microseconds in the guest.
    pub micros: u64,
    /// Units of fuel.
    pub fuel: u64,
    /// How many events it emitted.
    pub emissions: usize,
    /// Why, when it was not done.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where the guest stopped, innermost frame first; for a terminal, the admin API has it in the dead letter.
    #[serde(skip)]
    pub backtrace: Option<String>,
    /// The last that the guest wrote to stderr.
    #[serde(skip)]
    pub stderr: Option<String>,
}

/// What is told of settlements once they are stored; empty while nobody looks and nothing is traced.
#[derive(Debug, Default)]
pub(crate) struct Told {
    pub(crate) observed: Vec<Observed>,
    pub(crate) storing: Vec<Storing>,
}

impl Told {
    /// What is told of one more.
    pub(crate) fn add(&mut self, observed: Option<Observed>, storing: Option<Storing>) {
        self.observed.extend(observed);
        self.storing.extend(storing);
    }

    /// Nothing of this event: it is called again.
    pub(crate) fn forget(&mut self, sequence: u64) {
        self.observed.retain(|observed| observed.sequence != sequence);
        self.storing.retain(|storing| storing.sequence != sequence);
    }
}

/// Why an attempt failed, in the words of its dead letter.
#[derive(Default)]
pub(crate) struct Because {
    pub(crate) reason: Option<String>,
    pub(crate) backtrace: Option<String>,
    pub(crate) stderr: Option<String>,
}

/// What became of an event after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Next {
    /// Handled; its emissions are stored.
    Done,
    /// Another attempt, after so many milliseconds.
    Retry(u64),
    /// A dead letter.
    DeadLetter,
    /// Given back, not the event's fault.
    Released,
}

impl From<&Settlement> for Next {
    fn from(settlement: &Settlement) -> Self {
        match settlement {
            Settlement::Done { .. } | Settlement::Packed(_) => Self::Done,
            Settlement::Retry { after } => Self::Retry(after.as_millis() as u64),
            Settlement::Dead(_) => Self::DeadLetter,
            Settlement::Release => Self::Released,
        }
    }
}

/// Where a Channel's attempts can be watched.
#[derive(Clone)]
pub(crate) struct Observers(broadcast::Sender<Observed>);

impl Observers {
    pub(crate) fn new() -> Self {
        Self(broadcast::Sender::new(BACKLOG))
    }

    pub(crate) fn subscribe(&self) -> broadcast::Receiver<Observed> {
        self.0.subscribe()
    }

    /// Whether somebody looks.
    pub(crate) fn any(&self) -> bool {
        self.0.receiver_count() > 0
    }

    /// Everybody who looks may have left meanwhile: that is no error.
    pub(crate) fn send(&self, observed: Vec<Observed>) {
        for observed in observed {
            let _ = self.0.send(observed);
        }
    }
}

impl Observed {
    pub(crate) fn new(
        channel: &ChannelName,
        settling: &saf_broker::Settling,
        outcome: Outcome,
        usage: &Usage,
        because: Because,
    ) -> Self {
        let Because { reason, backtrace, stderr } = because;
        let (delivery, settlement) = (&settling.delivery, &settling.settlement);
        Self {
            channel: channel.clone(),
            sequence: delivery.event.sequence,
            subject: delivery.event.subject.to_string(),
            attempt: delivery.attempt,
            outcome,
            next: settlement.into(),
            micros: usage.micros,
            fuel: usage.fuel,
            emissions: settlement.emissions(),
            reason,
            backtrace,
            stderr,
        }
    }
}
