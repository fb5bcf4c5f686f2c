//! A delivery as the API shows it: what the history has of one attempt, or of what a person did to its dead letter.

use saf_broker::{Entry, Fate};
use saf_event::{Outcome, StreamName};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::time::Time;

/// One settled delivery.
#[derive(Clone, Debug, Serialize, JsonSchema)]
#[schemars(rename = "Delivery")]
pub(super) struct DeliveryView {
    /// The Channel.
    channel: String,
    /// 1 for the first; 0 where a person replayed or deleted the dead letter.
    attempt: u32,
    /// What became of the attempt; of the last one, where a person did something.
    outcome: Outcome,
    /// What became of the event.
    next: NextView,
    /// When the call began.
    started: Time,
    /// When it was over.
    ended: Time,
    /// From the storing of the event to the call, in milliseconds.
    queued_ms: u32,
    /// Wall-clock microseconds in the guest.
    micros: u64,
    /// Units of fuel.
    fuel: u64,
    /// Peak linear memory, in bytes.
    memory: u64,
    /// The beginning of the component's SHA-256, in hexadecimal.
    digest: String,
    /// How many events it emitted.
    emitted: u32,
    /// Their sequences, where they are known.
    emissions: Vec<u64>,
    /// When the next attempt is due, where there is one.
    retry_at: Option<Time>,
    /// The id of the dead letter, where it became one.
    dead_letter: Option<String>,
    /// The event that the dead letter was replayed as.
    replayed_as: Option<u64>,
    /// Why, when it was not done.
    reason: Option<String>,
}

/// What became of an event after an attempt.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(rename = "Next")]
pub(super) enum NextView {
    /// Handled.
    Done,
    /// Another attempt.
    Retry,
    /// A dead letter.
    DeadLetter,
    /// Given back, not the event's fault.
    Released,
    /// Its dead letter was replayed.
    Replayed,
    /// Its dead letter was deleted.
    Deleted,
}

/// The id of a dead letter.
pub(super) fn letter_id(stream: &StreamName, letter: u64) -> String {
    format!("{stream}:{letter}")
}

impl DeliveryView {
    pub(super) fn of(stream: &StreamName, entry: &Entry) -> Self {
        let account = &entry.account;
        let mut view = Self {
            channel: entry.channel.to_string(),
            attempt: entry.attempt,
            outcome: account.outcome,
            next: NextView::Released,
            started: Time(account.started),
            ended: Time(entry.ended()),
            queued_ms: account.queued_millis,
            micros: account.micros,
            fuel: account.fuel,
            memory: account.memory,
            digest: format!("{:016x}", u64::from_be_bytes(account.digest)),
            emitted: 0,
            emissions: Vec::new(),
            retry_at: None,
            dead_letter: None,
            replayed_as: None,
            reason: account.reason.as_deref().map(str::to_owned),
        };
        view.next = match &entry.fate {
            Fate::Done { emitted, sequences } => {
                (view.emitted, view.emissions) = (*emitted, sequences.clone());
                NextView::Done
            }
            Fate::Retry { after_millis } => {
                view.retry_at = Some(Time(entry.ended() + after_millis));
                NextView::Retry
            }
            Fate::DeadLetter { letter } => {
                view.dead_letter = (*letter > 0).then(|| letter_id(stream, *letter));
                NextView::DeadLetter
            }
            Fate::Released => NextView::Released,
            Fate::Replayed { sequence } => {
                view.replayed_as = (*sequence > 0).then_some(*sequence);
                NextView::Replayed
            }
            Fate::Deleted => NextView::Deleted,
        };
        view
    }
}
