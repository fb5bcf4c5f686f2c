//! How a stream's memory comes back: consumers from their snapshots, settlements from the frames behind the mark, the duplicate
//! window from the frames in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use saf_event::ChannelName;

use super::consumer::{CONSUMERS, Consumer, Stopped};
use super::dedupe::{Dedupe, Key, KeyMaker};
use super::fault::Fault;
use super::frame::FRAME_HEAD_BYTES;
use super::log::Log;
use super::marks::Mark;
use super::record::{EventRecord, Record};
use super::roster::Roster;
use super::state::State;

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

/// Applies settlements behind the mark, fills the dedupe window, and returns the dead letters that were replayed.
pub(crate) fn recover(
    log: &Log,
    mark: Mark,
    roster: &Roster,
    keys: &KeyMaker,
    dedupe: &mut Dedupe,
    window_millis: u64,
) -> Result<BTreeSet<u64>, Fault> {
    let consumers = roster.all();
    let mut replayed = BTreeSet::new();
    let mut newest = 0;
    log.walk(log.last(), |frame| newest = frame.head.time)?;
    // Measured from the newest frame, not from now: so that a replay just before a stop is always seen.
    let window = log.at_time(newest.saturating_sub(window_millis))?;
    log.walk(window.min(mark.applied + 1), |frame| {
        let mut sequence = frame.head.first;
        for range in frame.records_from(FRAME_HEAD_BYTES) {
            match Record::parse(&frame.bytes[range]) {
                Some(Record::Event(event)) => {
                    replayed.extend(event.replays());
                    if let Some(key) = key_of(keys, &event) {
                        dedupe.insert(key, sequence, frame.head.time);
                    }
                    sequence += 1;
                }
                Some(Record::Settled { channel, sequence }) if frame.head.next() > mark.applied + 1 => {
                    if let Some(consumer) = consumers.iter().find(|c| c.name.as_str() == channel) {
                        consumer.replay_done(sequence);
                    }
                }
                _ => {}
            }
        }
    })?;
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
