//! How a stream's memory comes back: consumers and Channels' state from their snapshots, what settled and changed since from the frames
//! behind the marks, the duplicate window from the frames in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use saf_event::ChannelName;

use super::annals::{Annals, Behind};
use super::consumer::{CONSUMERS, Consumer, Stopped};
use super::dedupe::{Dedupe, Key, KeyMaker};
use super::fault::Fault;
use super::frame::FRAME_HEAD_BYTES;
use super::log::Log;
use super::marks::Mark;
use super::record::{EventRecord, Record};
use super::roster::Roster;
use super::state::State;
use super::values::Values;
use crate::history::codec::{EntryRecord, Pack};

/// The consumers as they were saved.
pub(crate) fn restore(state: &State, last: u64, stopped: Stopped) -> Result<Roster, Fault> {
    let roster = Roster::default();
    for (name, snapshot) in state.under(CONSUMERS) {
        let consumer = ChannelName::parse(&name)
            .ok()
            .and_then(|name| Consumer::restore(name, &snapshot, last, stopped, Instant::now()));
        let unknown = || {
            std::io::Error::other("its snapshot is not one of this version; use the version that wrote it")
        };
        let place = format!("state.log: channel {name}");
        roster.add(Arc::new(consumer.ok_or_else(unknown).map_err(Fault::at(Path::new(&place)))?));
    }
    Ok(roster)
}

/// What comes back from the log.
pub(crate) struct Recovery<'a> {
    pub(crate) log: &'a Log,
    pub(crate) mark: Mark,
    pub(crate) roster: &'a Roster,
    pub(crate) values: &'a Values,
    pub(crate) keys: &'a KeyMaker,
    pub(crate) annals: &'a Annals,
    /// What the history says of settlements that the snapshots may not know.
    pub(crate) behind: &'a Behind,
}

/// Applies settlements and changes of state behind their marks, fills the dedupe window, and returns the dead letters that were replayed.
pub(crate) fn recover(
    recovery: &Recovery<'_>,
    dedupe: &mut Dedupe,
    window_millis: u64,
) -> Result<BTreeSet<u64>, Fault> {
    let Recovery { log, mark, roster, values, keys, annals, behind } = *recovery;
    let consumers = roster.all();
    for (channel, sequence) in behind.settled.iter().filter(|(_, sequence)| *sequence <= log.last()) {
        if let Some(consumer) = consumers.iter().find(|c| c.name.as_str() == channel) {
            consumer.replay_done(*sequence);
        }
    }
    let mut replayed = BTreeSet::new();
    let mut history = Pack::default();
    let mut newest = 0;
    log.walk(log.last(), |frame| newest = frame.head.time)?;
    // Measured from the newest frame, not from now: so that a replay just before a stop is always seen.
    let window = log.at_time(newest.saturating_sub(window_millis))?;
    let changed = values.recovers_from().unwrap_or(u64::MAX);
    log.walk(window.min(mark.applied + 1).min(changed), |frame| {
        let mut sequence = frame.head.first;
        // Behind the emissions of a settlement stands what it changed in the state, if it did.
        let mut changes = 0;
        for range in frame.records_from(FRAME_HEAD_BYTES) {
            match Record::parse(&frame.bytes[range]) {
                Some(Record::Event(event)) => {
                    replayed.extend(event.replays());
                    if let Some(key) = key_of(keys, &event) {
                        dedupe.insert(key, sequence, frame.head.time);
                    }
                    sequence += 1;
                    changes = 0;
                }
                Some(Record::State(record)) => {
                    if sequence >= changed {
                        values.replay(&record);
                    }
                    sequence += 1;
                    changes = 1;
                }
                Some(Record::Settled { channel, sequence: settled, entry })
                    if frame.head.next() > mark.applied + 1 =>
                {
                    if let Some(consumer) = consumers.iter().find(|c| c.name.as_str() == channel) {
                        consumer.replay_done(settled);
                    }
                    if let Some(entry) = EntryRecord::first(entry).filter(|entry| !behind.knows(*entry)) {
                        let emitted = u64::from(entry.emitted());
                        history.add_encoded(entry.bytes(), sequence.saturating_sub(changes + emitted));
                    }
                    changes = 0;
                }
                _ => {}
            }
        }
    })?;
    annals.add(&history);
    Ok(replayed)
}

fn key_of(keys: &KeyMaker, event: &EventRecord<'_>) -> Option<Key> {
    match event.replays() {
        Some(letter) => Some(replay_key(keys, letter)),
        None => event.dedupe_parts().map(|parts| keys.key(&parts)),
    }
}

/// The dedupe key of a replay; no event's key has one part.
pub(crate) fn replay_key(keys: &KeyMaker, letter: u64) -> Key {
    keys.key(&[&letter.to_le_bytes()])
}
