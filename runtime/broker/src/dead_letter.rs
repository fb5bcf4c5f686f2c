//! Dead letters: an event that a Channel could not handle, with the reason and every attempt, until somebody replays or
//! deletes it. Stored before the delivery is settled, under the key `d/<channel>/<sequence>`.

use futures::future::BoxFuture;
use saf_event::{ChannelName, Event, Outcome, StreamName, unix_millis};

use crate::{Account, Error, Page};

/// One attempt, as a dead letter keeps it.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Attempt {
    /// 1 for the first.
    pub number: u32,
    /// What became of it.
    pub outcome: Outcome,
    /// When the call began, in milliseconds since the Unix epoch.
    pub at: u64,
    /// Wall-clock microseconds in the guest.
    pub micros: u64,
    /// Units of fuel.
    pub fuel: u64,
    /// Peak linear memory, in bytes.
    pub memory: u64,
    /// The guest's reason, or the trap's message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it trapped, innermost frame first, with file and line when the component has them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backtrace: Option<String>,
    /// The end of what the guest wrote to stderr.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stderr: Option<String>,
}

/// Why an event is dead for a Channel; the event itself comes from the delivery.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct DeadLetter {
    /// The Channel that could not handle it.
    pub channel: ChannelName,
    /// The component's SHA-256, in hexadecimal.
    pub digest: String,
    /// The last outcome.
    pub outcome: Outcome,
    /// One line for a person.
    pub reason: String,
    /// Every attempt that this process knows of, oldest first; attempts before a restart may be missing on JetStream.
    pub attempts: Vec<Attempt>,
}

impl DeadLetter {
    /// What the history says when a person did something to it, now.
    pub(crate) fn account(&self) -> Account {
        Account {
            digest: digest_bytes(&self.digest),
            outcome: self.outcome,
            started: unix_millis(),
            queued_millis: 0,
            micros: 0,
            fuel: 0,
            memory: 0,
            reason: None,
        }
    }
}

/// The first bytes of a digest in hexadecimal; zeros for what is none.
pub fn digest_bytes(digest: &str) -> [u8; 8] {
    let number = digest.get(..16).and_then(|head| u64::from_str_radix(head, 16).ok());
    number.unwrap_or(0).to_be_bytes()
}

/// A dead letter as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredDeadLetter {
    /// Its id: its place in the dead-letter log of its stream, as `<stream>:<sequence>`.
    pub id: String,
    /// When it was stored, in milliseconds since the Unix epoch.
    pub time: u64,
    /// The stream of the event.
    pub stream: StreamName,
    /// The event as it was; its `data` is empty with [`Self::data_omitted`] set when it was too large to carry.
    pub event: Event,
    /// The payload is only in the event's own stream.
    pub data_omitted: bool,
    /// Why.
    pub letter: DeadLetter,
}

/// Which dead letters; every field that is set must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeadLetterFilter {
    /// Of this stream.
    pub stream: Option<StreamName>,
    /// Of this Channel.
    pub channel: Option<ChannelName>,
    /// With this last outcome.
    pub outcome: Option<Outcome>,
    /// With a reason that holds this text.
    pub reason: Option<String>,
    /// Stored at or after this time, in milliseconds since the Unix epoch.
    pub since: Option<u64>,
    /// Stored before this time.
    pub until: Option<u64>,
}

impl DeadLetterFilter {
    /// Whether a dead letter is one of those meant.
    pub fn matches(&self, dead: &StoredDeadLetter) -> bool {
        self.stream.as_ref().is_none_or(|s| *s == dead.stream)
            && self.channel.as_ref().is_none_or(|c| *c == dead.letter.channel)
            && self.outcome.is_none_or(|o| o == dead.letter.outcome)
            && self.reason.as_ref().is_none_or(|r| dead.letter.reason.contains(r.as_str()))
            && self.since.is_none_or(|t| dead.time >= t)
            && self.until.is_none_or(|t| dead.time < t)
    }
}

/// Lists, shows, replays and deletes dead letters.
pub trait DeadLetters: Send + Sync {
    /// Oldest first; `after` is the cursor that the page before returned.
    fn list<'a>(
        &'a self,
        filter: &'a DeadLetterFilter,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<StoredDeadLetter>, Error>>;

    /// One dead letter.
    fn show<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<StoredDeadLetter, Error>>;

    /// Hands the event to its Channel again, and to no other, as a new event with a fresh attempt count; then removes the
    /// dead letter. Repeating it after a crash hands it over once within the duplicate window.
    fn replay<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Error>>;

    /// Removes it for good.
    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Error>>;
}
