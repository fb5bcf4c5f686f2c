//! How often an event was given back without a verdict. The server counts every delivery and has no word for "not this one", so
//! releases are counted here and taken off: attempts are counted by verdicts (DESIGN rule 4).
//!
//! The counts outlive the process, since what one gives back when it stops the next one would take for failed attempts. They are
//! stored when the broker is closed, for each Channel under a key of the switches' bucket, and read when its feed is opened.
//! Deliberately absent: counts that survive a kill, and those of a replica that runs at the same time. There a release counts as
//! an attempt, as does every delivery that was lost on its way.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_nats::header;
use futures::{StreamExt, stream};
use saf_event::{ChannelName, StreamName};
use serde::{Deserialize, Serialize};

use super::Core;
use super::api::{ConsumerInfo, Failure};
use super::codec::Head;
use super::names::{SWITCH_BUCKET, SWITCH_STREAM};
use super::publisher::Outgoing;
use crate::PublishError;

/// Most events whose releases are remembered; of one that is not, a release counts as an attempt.
const RELEASED_EVENTS: usize = 65_536;
/// Most events whose releases are stored, the newest; 15 bytes each.
const STORED_EVENTS: usize = 10_000;
/// How often storing is tried again after another replica was faster.
const STORE_ATTEMPTS: usize = 5;
/// How many Channels' counts are stored at once.
const STORE_AT_ONCE: usize = 32;

/// One Channel's counts.
pub(super) struct Releases {
    stream: StreamName,
    channel: ChannelName,
    /// When the server made the consumer: another one's deliveries count from 1 again.
    consumer: String,
    counts: Mutex<Counts>,
}

#[derive(Default)]
struct Counts {
    /// By this process.
    ours: HashMap<u64, u32>,
    /// By those before it.
    theirs: BTreeMap<u64, u32>,
}

/// As it is stored.
#[derive(Default, Serialize, Deserialize)]
struct Stored {
    consumer: String,
    released: BTreeMap<u64, u32>,
}

impl Releases {
    /// How often an event was given back without a verdict.
    pub(super) fn of(&self, sequence: u64) -> u32 {
        let counts = self.lock();
        let count = |found: Option<&u32>| found.copied().unwrap_or(0);
        count(counts.ours.get(&sequence)) + count(counts.theirs.get(&sequence))
    }

    pub(super) fn note(&self, sequence: u64) {
        let mut counts = self.lock();
        if counts.ours.len() < RELEASED_EVENTS || counts.ours.contains_key(&sequence) {
            *counts.ours.entry(sequence).or_default() += 1;
        }
    }

    /// An event that is settled does not come again.
    pub(super) fn forget(&self, sequence: u64) {
        let mut counts = self.lock();
        if !counts.ours.is_empty() {
            counts.ours.remove(&sequence);
        }
        if !counts.theirs.is_empty() {
            counts.theirs.remove(&sequence);
        }
    }

    /// Nothing here panics while it holds the lock, so a poisoned one is whole.
    fn lock(&self) -> MutexGuard<'_, Counts> {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is stored and what this process adds, without what is settled.
fn merged(mut stored: BTreeMap<u64, u32>, ours: &HashMap<u64, u32>, floor: u64) -> BTreeMap<u64, u32> {
    for (&sequence, &count) in ours {
        *stored.entry(sequence).or_default() += count;
    }
    let surplus = stored.len().saturating_sub(STORED_EVENTS);
    stored.into_iter().skip(surplus).filter(|&(sequence, _)| sequence > floor).collect()
}

impl Core {
    /// A Channel's counts, those of the processes before this one included.
    pub(super) async fn releases(
        &self,
        stream: &StreamName,
        channel: &ChannelName,
        info: &ConsumerInfo,
    ) -> Arc<Releases> {
        let known = self.known_releases().get(channel).cloned();
        if let Some(known) = known.filter(|known| known.consumer == info.created) {
            return known;
        }
        let theirs = match self.stored_releases(channel, &info.created).await {
            Ok((_, theirs)) => theirs,
            Err(failure) => {
                tracing::warn!(%channel, ?failure, "what was given back before counts as attempts: it cannot be read");
                BTreeMap::new()
            }
        };
        let releases = Arc::new(Releases {
            stream: stream.clone(),
            channel: channel.clone(),
            consumer: info.created.clone(),
            counts: Mutex::new(Counts { ours: HashMap::new(), theirs }),
        });
        self.known_releases().insert(channel.clone(), releases.clone());
        releases
    }

    /// Stores every Channel's counts for the next process.
    pub(super) async fn store_releases(&self) {
        let all: Vec<_> = self.known_releases().values().cloned().collect();
        let store = async |releases: Arc<Releases>| {
            if let Err(failure) = self.store_ours(&releases).await {
                tracing::warn!(channel = %releases.channel, ?failure, "what is given back counts as attempts: it cannot be stored");
            }
        };
        stream::iter(all).for_each_concurrent(STORE_AT_ONCE, store).await;
    }

    async fn store_ours(&self, releases: &Releases) -> Result<(), Failure> {
        let ours = std::mem::take(&mut releases.lock().ours);
        if ours.is_empty() {
            return Ok(());
        }
        let (stream, channel) = (&releases.stream, &releases.channel);
        let Some(info) = self.api.consumer(stream.as_str(), channel.as_str()).await? else { return Ok(()) };
        for _ in 0..STORE_ATTEMPTS {
            let (revision, theirs) = self.stored_releases(channel, &releases.consumer).await?;
            let released = merged(theirs, &ours, info.ack_floor.stream_seq);
            let stored = Stored { consumer: releases.consumer.clone(), released };
            let data =
                serde_json::to_vec(&stored).map_err(|error| Failure::Unavailable(error.to_string()))?;
            let mut head = Head::new();
            head.set(header::NATS_EXPECTED_LAST_SUBJECT_SEQUENCE, revision.to_string());
            match self.store(Outgoing { subject: key(channel), head, data: data.into() }).await {
                Ok(_) => return Ok(()),
                // Another replica stored its own meanwhile.
                Err(PublishError::Refused(_)) => {}
                Err(error) => return Err(Failure::Unavailable(error.to_string())),
            }
        }
        Err(Failure::Unavailable("other replicas were faster each time".into()))
    }

    /// What is stored of a consumer, and its revision; nothing, of another one.
    async fn stored_releases(
        &self,
        channel: &ChannelName,
        consumer: &str,
    ) -> Result<(u64, BTreeMap<u64, u32>), Failure> {
        let Some(message) = self.api.last_message(SWITCH_STREAM, &key(channel)).await? else {
            return Ok((0, BTreeMap::new()));
        };
        let stored: Stored = serde_json::from_slice(&message.data).unwrap_or_default();
        let of_it = stored.consumer == consumer;
        Ok((message.sequence, if of_it { stored.released } else { BTreeMap::new() }))
    }

    fn known_releases(&self) -> MutexGuard<'_, BTreeMap<ChannelName, Arc<Releases>>> {
        self.releases.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Two tokens, so that it is no Channel's switch.
fn key(channel: &ChannelName) -> String {
    format!("$KV.{SWITCH_BUCKET}.released.{channel}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_several_processes_add_up_and_what_is_settled_is_left_out() {
        let stored = BTreeMap::from([(1, 1), (5, 2), (7, 1)]);
        let ours = HashMap::from([(5, 1), (9, 3)]);
        assert_eq!(merged(stored, &ours, 4), BTreeMap::from([(5, 3), (7, 1), (9, 3)]));
    }

    #[test]
    fn what_is_stored_is_bounded_and_the_newest() {
        let ours = (1..=STORED_EVENTS as u64 + 5).map(|sequence| (sequence, 1)).collect();
        let kept = merged(BTreeMap::new(), &ours, 0);
        assert_eq!((kept.len(), kept.keys().next()), (STORED_EVENTS, Some(&6)));
    }
}
