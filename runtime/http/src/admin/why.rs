//! `/events/{sequence}/why?channel=`: why a Channel did, or did not, handle an event. One answer out of a closed list, with a sentence
//! for people.
//!
//! What the history says last decides, if it is a last word; else where the Channel's consumer stands, and what keeps the Channel from
//! taking more. Deliberately absent: answers about the past (a subject is compared with today's subscription).

use std::fmt;
use std::sync::Arc;

use axum::extract::State;
use http::{Method, Uri};
use saf_broker::{Entry, Fate, Place};
use saf_channel::{Channel, State as Condition};
use saf_event::{ChannelName, Event, StreamName, unix_millis};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answered, json};
use crate::admin::delivery::letter_id;
use crate::admin::desk::{self, Desk};
use crate::admin::events::sequence_in;
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::query::{Form, Named, Parameter, Parameters};
use crate::admin::time::Time;
use crate::problem::{Kind, Problem};

/// A replay that is dead again may be replayed again: so many are followed.
const MAX_REPLAYS: usize = 8;

const WHOM: &[Parameter] = &[desk::STREAM, Parameter::new("channel", Form::Text, "The Channel; required.")];

/// Why a Channel did, or did not, handle an event.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "WhyAnswer")]
struct WhyView {
    /// The stream.
    stream: String,
    /// The event's sequence.
    sequence: u64,
    /// The Channel.
    channel: String,
    /// Whether it handled the event, itself or its replay.
    handled: bool,
    /// The answer, for machines.
    why: Why,
    /// The answer, for people.
    sentence: String,
}

/// The answers that there are.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "answer", rename_all = "snake_case")]
enum Why {
    /// It handled the event.
    Handled {
        /// With this attempt.
        attempt: u32,
        /// Then.
        at: Time,
        /// And emitted so many events.
        emitted: u32,
    },
    /// It failed, became a dead letter, and was replayed and handled.
    HandledByReplay {
        /// The event that it was replayed as.
        replay: u64,
    },
    /// It was replayed, and the replay is not handled yet.
    Replayed {
        /// The event that it was replayed as.
        replay: u64,
        /// What became of that one.
        then: String,
    },
    /// It is a dead letter.
    DeadLetter {
        /// Its id.
        id: Option<String>,
        /// Why.
        reason: String,
    },
    /// It was a dead letter, and somebody deleted it.
    DeadLetterDeleted {
        /// When.
        at: Time,
    },
    /// It was a dead letter, which is not there any more: older than `dead_letter_max_age`.
    DeadLetterGone {
        /// Its id.
        id: String,
    },
    /// It failed, and is tried again.
    Retry {
        /// When.
        at: Time,
        /// With which attempt.
        attempt: u32,
        /// At most so many are made.
        of: u32,
        /// Why the last one failed.
        reason: Option<String>,
    },
    /// It is being handled now.
    Handling {
        /// With which attempt.
        attempt: u32,
    },
    /// It waits for its turn.
    Waiting {
        /// So many events come first, at most.
        ahead: u64,
    },
    /// It waits, because somebody paused the Channel.
    Paused {
        /// Since when.
        since: Time,
    },
    /// It waits, because the Channel has no instance.
    Faulted {
        /// Since when.
        since: Time,
        /// Why it has none.
        reason: String,
    },
    /// It waits, because the Channel fails too often and takes probes only.
    Sick {
        /// Since when.
        since: Time,
        /// What is known of it.
        reason: String,
    },
    /// It waits, because the Channel is stopped.
    Stopped,
    /// The Channel does not subscribe to its subject.
    SubjectDiffers {
        /// The event's.
        subject: String,
        /// What the Channel subscribes to.
        subscribed: Vec<String>,
    },
    /// The Channel began behind it (`start`).
    BeforeStart,
    /// Retention removed it before the Channel handled it.
    Expired,
    /// Retention removed it, and nothing is known of what the Channel did with it.
    Removed,
    /// There never was such an event.
    NoEvent {
        /// The newest sequence there is.
        last: u64,
    },
    /// There is no such Channel.
    NoChannel,
    /// The Channel reads another stream.
    OtherStream {
        /// That one.
        reads: String,
    },
    /// The Channel has it behind it, and the history has no record of it: too old, from before there was one, or lost in a crash.
    Unrecorded,
}

impl Why {
    fn is_handled(&self) -> bool {
        matches!(self, Self::Handled { .. } | Self::HandledByReplay { .. })
    }
}

/// The sentence, about "it": the event.
impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Handled { attempt, at, emitted } => {
                write!(f, "handled at {at} by attempt {attempt}, which emitted {emitted} events")
            }
            Self::HandledByReplay { replay } => write!(f, "handled by a replay of its dead letter: event {replay}"),
            Self::Replayed { replay, then } => write!(f, "its dead letter was replayed as event {replay}: {then}"),
            Self::DeadLetter { id, reason } => {
                let id = id.as_deref().unwrap_or("see /api/v1/dead-letters");
                write!(f, "dead letter {id}: {reason}; replay it once the Channel is mended, or delete it")
            }
            Self::DeadLetterDeleted { at } => write!(f, "it was a dead letter, and somebody deleted it at {at}"),
            Self::DeadLetterGone { id } => {
                write!(f, "it was dead letter {id}, which is not there any more: older than dead_letter_max_age")
            }
            Self::Retry { at, attempt, of, reason } => {
                let reason = reason.as_deref().unwrap_or("no reason is known");
                write!(f, "it failed ({reason}) and is tried again at {at}: attempt {attempt} of {of}")
            }
            Self::Handling { attempt } => write!(f, "it is being handled now: attempt {attempt}"),
            Self::Waiting { ahead: 0 } => f.write_str("it waits to be handed out: nothing comes first"),
            Self::Waiting { ahead } => write!(f, "it waits at place {}: at most {ahead} events come first", ahead + 1),
            Self::Paused { since } => write!(f, "it waits: the Channel is paused since {since}; resume it"),
            Self::Faulted { since, reason } => {
                write!(f, "it waits: the Channel is faulted since {since} and has no instance: {reason}")
            }
            Self::Sick { since, reason } => {
                write!(f, "it waits: the Channel is sick since {since} and takes probes only: {reason}")
            }
            Self::Stopped => f.write_str("it waits: the Channel is stopped"),
            Self::SubjectDiffers { subject, subscribed } => {
                write!(f, "its subject {subject} matches none of {}", subscribed.join(", "))
            }
            Self::BeforeStart => f.write_str("the Channel began behind it: see `start` in its configuration"),
            Self::Expired => f.write_str("retention removed it before the Channel handled it: see max_age, max_bytes and retain"),
            Self::Removed => f.write_str("retention removed it, and nothing is known of what the Channel did with it"),
            Self::NoEvent { last } => write!(f, "there is no such event; the newest has sequence {last}"),
            Self::NoChannel => f.write_str("there is no such Channel: see /api/v1/channels"),
            Self::OtherStream { reads } => write!(f, "the Channel reads stream {reads}, not this one"),
            Self::Unrecorded => f.write_str(
                "the Channel has it behind it, and the history has no record: it is too old, from before there was one, or was lost in a crash",
            ),
        }
    }
}

pub(super) fn routes(api: Api) -> Api {
    api.route(
        &Method::GET,
        "/events/{sequence}/why",
        why,
        &Operation {
            summary: "Says why a Channel did, or did not, handle an event.",
            parameters: &[WHOM],
            body: None,
            answer: Answer::Json(of::<WhyView>),
        },
    )
}

async fn why(State(desk): State<Arc<Desk>>, Named(sequence): Named, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, &[WHOM])?;
    let (stream, sequence) = (desk.stream(&mut query)?, sequence_in(&sequence)?);
    let name = query.take("channel", ChannelName::parse)?.ok_or_else(|| {
        Problem::new(Kind::InvalidRequest, "?channel= is missing: name a Channel, see /api/v1/channels")
    })?;
    let why = match desk.channel(name.as_str()) {
        Err(_) => Why::NoChannel,
        Ok(channel) if channel.config().stream != stream => {
            Why::OtherStream { reads: channel.config().stream.to_string() }
        }
        Ok(channel) => Asking { desk: &desk, stream: &stream, channel: &channel }.follow(sequence).await?,
    };
    json(&WhyView {
        stream: stream.to_string(),
        sequence,
        channel: name.to_string(),
        handled: why.is_handled(),
        sentence: why.to_string(),
        why,
    })
}

/// A question about events of one Channel.
struct Asking<'a> {
    desk: &'a Desk,
    stream: &'a StreamName,
    channel: &'a Channel,
}

impl Asking<'_> {
    /// The answer, replays followed.
    async fn follow(&self, sequence: u64) -> Result<Why, Problem> {
        let (mut replays, mut at) = (Vec::new(), sequence);
        let mut last = loop {
            match self.about(at).await? {
                Said::Is(why) => break why,
                Said::Replayed(replay) if replays.len() == MAX_REPLAYS => {
                    let then = "it was replayed again and again: ask about that event".to_owned();
                    return Ok(Why::Replayed { replay, then });
                }
                Said::Replayed(replay) => {
                    replays.push(replay);
                    at = replay;
                }
            }
        };
        if let Some(replay) = replays.last().copied() {
            last = match last {
                Why::Handled { .. } => Why::HandledByReplay { replay },
                other => Why::Replayed { replay, then: other.to_string() },
            };
        }
        Ok(last)
    }

    async fn about(&self, sequence: u64) -> Result<Said, Problem> {
        let told = match self.desk.history() {
            Ok(history) => {
                let page = history.of(self.stream, sequence, Some(self.channel.name())).await;
                page.map_err(Problem::broker)?.items.pop()
            }
            Err(_) => None,
        };
        if let Some(said) = self.last_word(told.as_ref()).await? {
            return Ok(said);
        }
        match self.desk.journal()?.get(self.stream, sequence).await {
            Ok(event) => Ok(Said::Is(self.unsettled(&event, told.as_ref()).await?)),
            Err(saf_broker::Error::NotFound(_)) => Ok(Said::Is(self.missing(sequence).await?)),
            Err(error) => Err(Problem::broker(error)),
        }
    }

    /// What the history says, if that is the end of it.
    async fn last_word(&self, told: Option<&Entry>) -> Result<Option<Said>, Problem> {
        let Some(entry) = told else { return Ok(None) };
        let why = match &entry.fate {
            Fate::Done { emitted, .. } => {
                Why::Handled { attempt: entry.attempt, at: Time(entry.ended()), emitted: *emitted }
            }
            Fate::DeadLetter { letter } => self.letter(entry, *letter).await?,
            Fate::Deleted => Why::DeadLetterDeleted { at: Time(entry.ended()) },
            Fate::Replayed { sequence: 0 } => {
                Why::Replayed { replay: 0, then: "which one is not known".to_owned() }
            }
            Fate::Replayed { sequence } => return Ok(Some(Said::Replayed(*sequence))),
            Fate::Retry { .. } | Fate::Released => return Ok(None),
        };
        Ok(Some(Said::Is(why)))
    }

    async fn letter(&self, entry: &Entry, letter: u64) -> Result<Why, Problem> {
        let reason = entry.account.reason.as_deref().unwrap_or(entry.account.outcome.as_str()).to_owned();
        if letter == 0 {
            return Ok(Why::DeadLetter { id: None, reason });
        }
        let id = letter_id(self.stream, letter);
        match self.desk.dead_letters()?.show(&id).await {
            Ok(_) => Ok(Why::DeadLetter { id: Some(id), reason }),
            Err(saf_broker::Error::NotFound(_)) => Ok(Why::DeadLetterGone { id }),
            Err(error) => Err(Problem::broker(error)),
        }
    }

    /// An event that is not there.
    async fn missing(&self, sequence: u64) -> Result<Why, Problem> {
        let summary = self.desk.journal()?.summary(self.stream).await.map_err(Problem::broker)?;
        if sequence == 0 || sequence >= summary.first {
            return Ok(Why::NoEvent { last: summary.last });
        }
        Ok(match self.channel.place(sequence).await {
            Some(Place::Expired) => Why::Expired,
            _ => Why::Removed,
        })
    }

    /// An event that is there, and has no last word.
    async fn unsettled(&self, event: &Event, told: Option<&Entry>) -> Result<Why, Problem> {
        let config = self.channel.config();
        let subject = event.subject.as_str();
        if told.is_none() && !config.subjects.iter().any(|filter| filter.matches(subject)) {
            let subscribed = config.subjects.iter().map(ToString::to_string).collect();
            return Ok(Why::SubjectDiffers { subject: subject.to_owned(), subscribed });
        }
        let next = told.map_or(1, |entry| entry.attempt + 1);
        let place = self.channel.place(event.sequence).await;
        let retry = told.and_then(|entry| match entry.fate {
            Fate::Retry { after_millis } => Some((entry.ended() + after_millis, entry)),
            _ => None,
        });
        let again = |at: u64, attempt: u32| Why::Retry {
            at: Time(at),
            attempt,
            of: config.max_attempts,
            reason: retry.and_then(|(_, entry)| entry.account.reason.as_deref().map(str::to_owned)),
        };
        Ok(match place {
            None => {
                let detail =
                    "the broker does not say where the Channel stands, or the Channel has stopped: try again";
                return Err(Problem::new(Kind::Unavailable, detail));
            }
            Some(Place::BeforeStart) => Why::BeforeStart,
            Some(Place::Expired) => Why::Expired,
            Some(Place::Out { attempt }) => Why::Handling { attempt },
            Some(Place::Again { attempt, at }) if at > unix_millis() => again(at, attempt),
            Some(Place::Again { .. }) => self.waits(0),
            Some(Place::Waiting { ahead }) => self.waits(ahead),
            Some(Place::Open | Place::Unknown | Place::Passed) => match retry {
                Some((at, _)) if at > unix_millis() => again(at, next),
                _ if self.channel.holds(event.sequence) => Why::Handling { attempt: next },
                None if place == Some(Place::Passed) => Why::Unrecorded,
                Some(_) | None => self.waits(0),
            },
        })
    }

    /// Why an event that could be handed out is not.
    fn waits(&self, ahead: u64) -> Why {
        let status = self.channel.status();
        let since = Time(status.since);
        let reason = status.reason.unwrap_or_default();
        match status.state {
            Condition::Paused => Why::Paused { since },
            Condition::Faulted => Why::Faulted { since, reason },
            Condition::Sick => Why::Sick { since, reason },
            Condition::Stopped => Why::Stopped,
            Condition::Starting | Condition::Running => Why::Waiting { ahead },
        }
    }
}

/// What is known of one event.
enum Said {
    Is(Why),
    /// As this one.
    Replayed(u64),
}
