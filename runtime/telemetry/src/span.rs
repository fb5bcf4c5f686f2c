//! A step of an event's way: what is known of it when it is over. Plain values, cheap to make on the event's way; what turns them into
//! OpenTelemetry's attributes runs on the thread that sends them.

use std::sync::Arc;
use std::time::SystemTime;

use saf_event::{ChannelName, EventId, Outcome, StreamName, Subject};

use crate::Place;

/// A step that is over.
#[derive(Clone, Debug)]
pub struct Span {
    /// Where it stands in its trace.
    pub place: Place,
    /// When it began.
    pub began: SystemTime,
    /// When it ended.
    pub ended: SystemTime,
    /// What it was.
    pub step: Step,
}

/// What a span is of.
#[derive(Clone, Debug)]
pub enum Step {
    /// A posted event was handed to the broker: a producer span.
    Publish {
        /// Where it was to be stored.
        stream: StreamName,
        /// Its subject.
        subject: Subject,
        /// Its id.
        id: EventId,
        /// Bytes of its payload.
        bytes: usize,
        /// What became of it.
        became: Became,
    },
    /// A guest was called with an event: a consumer span.
    Process(Box<Process>),
    /// What became of a delivery was stored, with the guest's emissions: their parent.
    Settle {
        /// The Channel.
        channel: ChannelName,
        /// Its stream.
        stream: StreamName,
        /// The event.
        sequence: u64,
        /// What became of it.
        settled: Settled,
        /// How many events were stored with it.
        emissions: usize,
    },
}

/// One attempt.
#[derive(Clone, Debug)]
pub struct Process {
    /// The Channel.
    pub channel: ChannelName,
    /// Its stream.
    pub stream: StreamName,
    /// The component's SHA-256.
    pub digest: Arc<str>,
    /// The event's place in its stream.
    pub sequence: u64,
    /// The event's subject.
    pub subject: Subject,
    /// The event's id.
    pub id: EventId,
    /// Bytes of its payload.
    pub bytes: usize,
    /// 1 for the first.
    pub attempt: u32,
    /// What became of the attempt.
    pub outcome: Outcome,
    /// Why, when it is not done.
    pub reason: Option<String>,
    /// Units of fuel.
    pub fuel: u64,
    /// Peak linear memory, in bytes.
    pub peak_memory: u64,
}

/// What became of a posted event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Became {
    /// Stored here.
    Stored(u64),
    /// Stored before, here.
    Duplicate(u64),
    /// Not stored, or not known to be; a word for the kind of trouble.
    Failed(&'static str),
}

/// What became of a delivery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Settled {
    /// Handled.
    Done,
    /// Another attempt comes.
    Retry,
    /// Given up.
    DeadLetter,
    /// Given back without a verdict.
    Release,
}

impl Settled {
    /// All of them, in the order that tables show them.
    pub const ALL: [Self; 4] = [Self::Done, Self::Retry, Self::DeadLetter, Self::Release];

    /// The word used in metrics and spans.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::DeadLetter => "dead_letter",
            Self::Release => "release",
        }
    }
}
