//! A Channel's state: a NATS key-value bucket, `saf-state-<channel>`, that people can look into with their own tools.
//!
//! An atomic batch is one stream's, so a bucket cannot be in the batch of the emissions: state is stored first, then the emissions,
//! then the delivery is acked. What a crash after the first step leads to depends on who comes next. Each value says which event wrote
//! it and what was there before, so the same event, handed out again, reads the value before its own: with strict order that is
//! exactly once. When another event changed the key in between, nobody can tell any more, and the event counts twice.
//!
//! The settlements of a Channel go through here one batch at a time, because a change is stored on a revision that only the answer to
//! the one before tells. Changes of one batch to the same key become one message. Deliberately absent: a cache for reads (another
//! replica may have written) and the removal of the markers that deleted keys leave.

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::{HeaderName, header};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::FutureExt;
use futures::future::BoxFuture;
use saf_event::{ByteString, ChannelName, StreamName};
use tokio::time::sleep;

use super::answer::{Answer, Settled};
use super::api::{Failure, RawMessage};
use super::codec::Head;
use super::connection::backoff;
use super::publisher::{Answers, Outgoing};
use super::units::{BATCH_MESSAGES, as_batch};
use super::{Core, raw};
use crate::{
    Error, MAX_STATE_KEY_BYTES, Refusal, SettleError, Settlement, Settling, StateChange, StateChanges,
    StateKeys, StateReader, StateValue, Unsettled,
};

/// Which settlement wrote a value.
const VERSION: HeaderName = HeaderName::from_static("Saf-Version");
/// Which event wrote it: `<stream>:<sequence>`.
const EVENT: HeaderName = HeaderName::from_static("Saf-Event");
/// The value before it, in base64; absent when there was none.
const BEFORE: HeaderName = HeaderName::from_static("Saf-Before");
/// The value before it was too large to keep.
const BEFORE_LOST: HeaderName = HeaderName::from_static("Saf-Before-Lost");
/// As NATS' own clients mark a key that was deleted.
const OPERATION: HeaderName = HeaderName::from_static("KV-Operation");

/// Largest value that is kept beside its successor, in bytes: headers may have 64 KiB.
const BEFORE_BYTES_MAX: usize = 16 << 10;
/// Most values remembered as the base of the next change, in bytes; over it, all are forgotten and read again.
const KNOWN_BYTES_MAX: usize = 16 << 20;
/// What remembering a key costs beside it and its value, in bytes.
const KNOWN_OVERHEAD_BYTES: usize = 128;
/// How often changes are looked at again when somebody else's came in between.
const ROUNDS: usize = 8;
/// Messages looked at for one key on a page: the rest are markers of deleted ones.
const LOOKS_A_KEY: usize = 4;
/// "wrong last sequence", with the number and without.
const WRONG_LAST_SEQUENCE: [u32; 2] = [10071, 10164];

/// The bucket's stream, as NATS names it.
pub(super) fn stream_of(channel: &ChannelName) -> String {
    format!("KV_saf-state-{channel}")
}

/// The subjects of a bucket.
pub(super) fn subjects_of(channel: &ChannelName) -> String {
    format!("$KV.saf-state-{channel}.>")
}

/// One Channel's bucket.
pub(super) struct Bucket {
    core: Arc<Core>,
    channel: ChannelName,
    /// Whose sequences events have.
    events: StreamName,
    stream: String,
    known: Mutex<Known>,
    /// One batch at a time.
    turn: tokio::sync::Mutex<()>,
}

/// The newest revisions that were seen.
#[derive(Default)]
struct Known {
    keys: HashMap<ByteString, Revision>,
    bytes: usize,
}

/// What a key holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Revision {
    /// 0 for a key that is not there.
    version: u64,
    /// The message's sequence in the bucket; 0 for none.
    sequence: u64,
    value: Option<Bytes>,
    /// The sequence of the event that wrote it; 0 when it was none of this Channel's stream.
    event: u64,
    /// What was there before that event; the value itself when that was too large to keep.
    before: Option<Bytes>,
}

impl Known {
    fn put(&mut self, key: ByteString, revision: Revision) {
        self.forget(&key);
        if self.bytes > KNOWN_BYTES_MAX {
            *self = Self::default();
        }
        self.bytes += cost(&key, &revision);
        self.keys.insert(key, revision);
    }

    fn forget(&mut self, key: &str) {
        if let Some((key, old)) = self.keys.remove_entry(key) {
            self.bytes -= cost(&key, &old);
        }
    }
}

fn cost(key: &str, revision: &Revision) -> usize {
    let Revision { value, before, .. } = revision;
    let values = [value, before].into_iter().flatten().map(Bytes::len).sum::<usize>();
    key.len() + values + KNOWN_OVERHEAD_BYTES
}

/// What a key is to hold when a batch is stored.
struct Planned {
    /// The revision that it is put on; `None` for whatever is there.
    on: Option<u64>,
    before: Option<Bytes>,
    value: Option<Bytes>,
    version: u64,
    event: u64,
}

/// Changes that fit one batch, and the deliveries that they settle.
#[derive(Default)]
struct Round {
    planned: BTreeMap<ByteString, Planned>,
    settlings: Vec<Settling>,
}

impl Bucket {
    pub(super) fn new(core: Arc<Core>, channel: ChannelName, events: StreamName) -> Self {
        let stream = stream_of(&channel);
        Self { core, channel, events, stream, known: Mutex::default(), turn: tokio::sync::Mutex::new(()) }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn subject(&self, key: &str) -> String {
        let mut subject = format!("$KV.saf-state-{}.", self.channel);
        encode_key(key, &mut subject);
        subject
    }

    /// Reads a key's newest message.
    async fn look(&self, key: &str) -> Result<Revision, Failure> {
        let message = self.core.api.last_message(&self.stream, &self.subject(key)).await?;
        let revision = message.map(|message| revision(&message, &self.events)).unwrap_or_default();
        self.known().put(key.into(), revision.clone());
        Ok(revision)
    }

    /// What a key holds as far as this process knows, which the server then confirms or not.
    async fn base(&self, key: &str) -> Result<Revision, Failure> {
        let known = self.known().keys.get(key).cloned();
        match known {
            Some(revision) => Ok(revision),
            None => self.look(key).await,
        }
    }

    async fn read(&self, event: u64, key: &str) -> Result<StateValue, Failure> {
        let Revision { version, value, event: writer, before, .. } = self.look(key).await?;
        // An earlier attempt of this event stored it, and its settlement did not get further.
        let value = if writer == event { before } else { value };
        Ok(StateValue { value, version })
    }

    async fn page(&self, after: Option<&str>, limit: usize) -> Result<StateKeys, Error> {
        let about = |failure: Failure| failure.about(&format!("the state of channel {}", self.channel));
        let mut at: u64 = after
            .map_or(Ok(0), str::parse)
            .map_err(|_| Error::Config("this is no cursor of list-keys".to_owned()))?;
        let filter = subjects_of(&self.channel);
        let mut keys = Vec::new();
        for _ in 0..limit.saturating_mul(LOOKS_A_KEY) {
            let message = self.core.api.message_from(&self.stream, at.saturating_add(1), &filter).await;
            let Some(message) = message.map_err(about)? else { return Ok(StateKeys { keys, next: None }) };
            at = message.sequence;
            let key = message.subject.rsplit('.').next().and_then(decode_key);
            if revision(&message, &self.events).value.is_some() {
                keys.extend(key.map(ByteString::from));
            }
            if keys.len() >= limit {
                break;
            }
        }
        Ok(StateKeys { keys, next: Some(at.to_string()) })
    }

    /// Stores what a batch changes; returns what goes on to its emissions and acks.
    pub(super) async fn store(&self, batch: Vec<Settling>, unsettled: &mut Vec<Unsettled>) -> Vec<Settling> {
        let _turn = self.turn.lock().await;
        let mut through = Vec::with_capacity(batch.len());
        let mut waiting = std::collections::VecDeque::from(batch);
        let mut round = Round::default();
        while let Some(settling) = waiting.pop_front() {
            let Settlement::Done { state, .. } = &settling.settlement else {
                through.push(settling);
                continue;
            };
            if state.is_empty() {
                through.push(settling);
                continue;
            }
            if round.planned.len() + state.all.len() > BATCH_MESSAGES && !round.settlings.is_empty() {
                self.store_round(std::mem::take(&mut round), &mut through, unsettled).await;
            }
            self.admit(settling, &mut round, unsettled).await;
        }
        self.store_round(round, &mut through, unsettled).await;
        through
    }

    /// Takes a settlement's changes into a round, all or none.
    async fn admit(&self, settling: Settling, round: &mut Round, unsettled: &mut Vec<Unsettled>) {
        let Settlement::Done { state, .. } = &settling.settlement else { return };
        match self.plan(settling.delivery.event.sequence, state, round).await {
            Ok(planned) => {
                round.planned.extend(planned);
                round.settlings.push(settling);
            }
            Err(error) => unsettled.push(Unsettled { settling, error }),
        }
    }

    /// What the changes of an event come to on top of a round.
    async fn plan(
        &self,
        event: u64,
        state: &StateChanges,
        round: &Round,
    ) -> Result<Vec<(ByteString, Planned)>, SettleError> {
        if state.all.len() > BATCH_MESSAGES {
            let (count, limit) = (state.all.len(), BATCH_MESSAGES);
            return Err(Refusal::Broker(format!(
                "{count} changed keys are more than the {limit} that are stored together"
            ))
            .into());
        }
        let mut planned = Vec::with_capacity(state.all.len());
        for change in &state.all {
            let StateChange { key, value, read } = change;
            if key.is_empty() || key.len() > MAX_STATE_KEY_BYTES {
                return Err(Refusal::Broker("a key of the state has 1 to 255 bytes".to_owned()).into());
            }
            let version = if value.is_some() { state.version } else { 0 };
            let (base, on, before) = if let Some(other) = round.planned.get(key) {
                (if other.value.is_some() { other.version } else { 0 }, other.on, other.value.clone())
            } else {
                let base = self.base(key).await;
                let base = base.map_err(|failure| SettleError::Unavailable(format!("{failure:?}")))?;
                let before = if base.event == event { base.before } else { base.value };
                (base.version, read.map(|_| base.sequence), before)
            };
            // Stored already, by an earlier try to settle this.
            if version != 0 && base == version {
                continue;
            }
            if read.is_some_and(|read| read != base) {
                return Err(SettleError::Conflict);
            }
            planned.push((
                key.clone(),
                Planned { on, before, value: value.clone(), version: state.version, event },
            ));
        }
        Ok(planned)
    }

    /// Stores a round. What somebody else's change came in between is looked at again, with what is there now.
    async fn store_round(&self, round: Round, through: &mut Vec<Settling>, unsettled: &mut Vec<Unsettled>) {
        let mut round = round;
        for attempt in 0..ROUNDS {
            let error = match self.send(&round).await {
                Outcome::Stored => return through.extend(round.settlings),
                Outcome::Failed(error) => {
                    let failed = round.settlings.into_iter();
                    unsettled.extend(failed.map(|settling| Unsettled { settling, error: error.clone() }));
                    return;
                }
                Outcome::Changed => Changed::ByOthers,
                Outcome::Busy => Changed::Nothing,
            };
            if matches!(error, Changed::Nothing) {
                sleep(backoff(attempt)).await;
            }
            let settlings = std::mem::take(&mut round).settlings;
            for settling in settlings {
                self.admit(settling, &mut round, unsettled).await;
            }
        }
        let conflicts = round.settlings.into_iter();
        unsettled.extend(conflicts.map(|settling| Unsettled { settling, error: SettleError::Conflict }));
    }

    async fn send(&self, round: &Round) -> Outcome {
        if round.planned.is_empty() {
            return Outcome::Stored;
        }
        let messages: Vec<Outgoing> =
            round.planned.iter().map(|(key, planned)| self.message(key, planned)).collect();
        let answers = Answers::new(1);
        self.core.publisher.send_together(as_batch(messages), &answers, 0).await;
        let mut came = Vec::with_capacity(1);
        answers.take(&mut came).await;
        let answer = came.pop().map_or(Answer::NotSent, |(_, answer)| answer);
        match answer {
            Answer::Stored(receipt) => {
                self.remember(round, receipt.sequence);
                Outcome::Stored
            }
            answer => {
                // Whatever it is, what is there now is not known any more.
                let mut known = self.known();
                round.planned.keys().for_each(|key| known.forget(key));
                drop(known);
                outcome(answer)
            }
        }
    }

    /// A batch's messages have neighbouring sequences, of which the answer names the last.
    fn remember(&self, round: &Round, last: u64) {
        let first = (last + 1).saturating_sub(round.planned.len() as u64);
        let mut known = self.known();
        for (sequence, (key, planned)) in (first..).zip(&round.planned) {
            let version = if planned.value.is_some() { planned.version } else { 0 };
            let Planned { value, before, event, .. } = planned;
            let (value, before) = (value.clone(), before.clone());
            known.put(key.clone(), Revision { version, sequence, value, event: *event, before });
        }
    }

    fn message(&self, key: &str, planned: &Planned) -> Outgoing {
        let Planned { on, before, value, version, event } = planned;
        let mut head = Head::new();
        head.set(VERSION, version.to_string());
        head.set(EVENT, format!("{}:{event}", self.events));
        match before {
            Some(before) if before.len() <= BEFORE_BYTES_MAX => head.set(BEFORE, STANDARD.encode(before)),
            Some(_) => head.set(BEFORE_LOST, "1"),
            None => {}
        }
        if let Some(on) = on {
            head.set(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, on.to_string());
        }
        if value.is_none() {
            head.set(OPERATION, "DEL");
        }
        Outgoing { subject: self.subject(key), head, data: value.clone().unwrap_or_default() }
    }
}

/// Why a round is looked at again.
enum Changed {
    ByOthers,
    Nothing,
}

enum Outcome {
    Stored,
    Changed,
    Busy,
    Failed(SettleError),
}

fn outcome(answer: Answer) -> Outcome {
    if matches!(&answer, Answer::Refused(error) if WRONG_LAST_SEQUENCE.contains(&error.err_code)) {
        return Outcome::Changed;
    }
    match answer.settled() {
        Settled::Stored(_) => Outcome::Stored,
        Settled::Busy | Settled::Duplicate => Outcome::Busy,
        // Waiting would not help: the bucket takes no more before the guest deletes something.
        Settled::Failed(SettleError::Full(limit)) => Outcome::Failed(
            Refusal::Broker(format!("the Channel's state is full, see limits.state_max: {limit}")).into(),
        ),
        Settled::Failed(error) => Outcome::Failed(error),
    }
}

/// What a message of a bucket says. One that somebody else put has no version of ours: its sequence is as good.
fn revision(message: &RawMessage, events: &StreamName) -> Revision {
    let headers = raw::parse_block(&message.headers).pairs;
    let sequence = message.sequence;
    let value = find(&headers, &OPERATION).is_none().then(|| message.data.clone());
    let version = match &value {
        Some(_) => find(&headers, &VERSION).and_then(|text| text.parse().ok()).unwrap_or(sequence),
        None => 0,
    };
    let writer = find(&headers, &EVENT).and_then(|place| place.split_once(':'));
    let writer = writer.filter(|(stream, _)| *stream == events.as_str()).and_then(|(_, n)| n.parse().ok());
    let before = match find(&headers, &BEFORE_LOST) {
        Some(_) => value.clone(),
        None => find(&headers, &BEFORE).and_then(|text| STANDARD.decode(text).ok()).map(Bytes::from),
    };
    Revision { version, sequence, value, event: writer.unwrap_or(0), before }
}

fn find<'a>(headers: &'a [(String, String)], name: &HeaderName) -> Option<&'a str> {
    let name: &str = name.as_ref();
    headers.iter().find(|(found, _)| found == name).map(|(_, value)| &**value)
}

/// Letters, digits, `-` and `_` stand for themselves, every other byte is `=` and two hexadecimal digits: one token of a subject
/// whatever the key, and readable where the key is.
fn encode_key(key: &str, subject: &mut String) {
    for byte in key.bytes() {
        if byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_' {
            subject.push(char::from(byte));
        } else {
            let _ = write!(subject, "={byte:02X}"); // a string takes everything
        }
    }
}

/// `None` for a key that somebody else put there under a name that is none of ours.
fn decode_key(token: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(token.len());
    let mut rest = token.as_bytes();
    while let Some((first, tail)) = rest.split_first() {
        rest = tail;
        if *first != b'=' {
            bytes.push(*first);
            continue;
        }
        let digits = std::str::from_utf8(rest.get(..2)?).ok()?;
        bytes.push(u8::from_str_radix(digits, 16).ok()?);
        rest = &rest[2..];
    }
    String::from_utf8(bytes).ok()
}

impl StateReader for Bucket {
    fn get<'a>(&'a self, event: u64, key: &'a str) -> BoxFuture<'a, Result<StateValue, Error>> {
        let about = |failure: Failure| failure.about(&format!("the state of channel {}", self.channel));
        async move { self.read(event, key).await.map_err(about) }.boxed()
    }

    fn keys<'a>(&'a self, after: Option<&'a str>, limit: usize) -> BoxFuture<'a, Result<StateKeys, Error>> {
        self.page(after, limit.clamp(1, PAGE_KEYS_MAX)).boxed()
    }

    fn bytes(&self) -> u64 {
        0
    }
}

/// Most keys on a page: each is a question to the server.
const PAGE_KEYS_MAX: usize = 100;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn any_key_is_one_token_of_a_subject_and_comes_back() {
        for (key, token) in [
            ("plain-1_A", "plain-1_A"),
            ("a.b", "a=2Eb"),
            ("=", "=3D"),
            ("ö ", "=C3=B6=20"),
            (">*\r\n", "=3E=2A=0D=0A"),
        ] {
            let mut subject = String::new();
            encode_key(key, &mut subject);
            assert_eq!(subject, token);
            assert_eq!(decode_key(&subject).as_deref(), Some(key));
        }
        for foreign in ["=", "=2", "=zz", "=FF"] {
            assert_eq!(decode_key(foreign), None, "{foreign}");
        }
    }
}
