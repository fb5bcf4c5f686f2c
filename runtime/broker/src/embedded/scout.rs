//! Looks ahead for consumers that are behind and may have no source that asks: a paused Channel would otherwise hold back (and
//! count as expired) events that it does not even want. A bounded part of the log each round.

use super::consumer::Consumer;
use super::fault::Fault;
use super::log::Log;
use super::segment::event_records;
use super::wanted::Wanted;

/// Most bytes of frames that one round looks through, for all consumers of a stream.
const ROUND_BYTES_MAX: usize = 32 << 20;
/// How much is taken from memory at once, in bytes.
const STEP_BYTES: usize = 1 << 20;

/// Moves each consumer to the next event that it wants, as far as the round goes. Blocks.
pub(crate) fn look_ahead<'a>(log: &Log, consumers: impl Iterator<Item = &'a Consumer>) -> Result<(), Fault> {
    let mut bytes = 0;
    for consumer in consumers {
        while bytes < ROUND_BYTES_MAX
            && let Some((from, wanted)) = consumer.looks_from()
        {
            let (to, found) = next_wanted(log, from, &wanted, &mut bytes)?;
            consumer.pass_over(from, to);
            if found == Found::Something {
                consumer.scouted(to);
            } else if to > log.last() {
                consumer.go_live(log);
                break;
            }
        }
    }
    Ok(())
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Found {
    Something,
    Nothing,
}

fn next_wanted(log: &Log, from: u64, wanted: &Wanted, bytes: &mut usize) -> Result<(u64, Found), Fault> {
    let (from, frames) = if let Some(frames) = log.newest(from, STEP_BYTES) {
        (from, frames)
    } else {
        let chunk = log.read(from, wanted, None)?;
        (chunk.from, chunk.frames)
    };
    let mut to = from;
    for frame in &frames {
        *bytes += frame.bytes.len();
        let found = event_records(frame, from).find(|(_, _, record)| wanted.event(record));
        if let Some((sequence, ..)) = found {
            return Ok((sequence, Found::Something));
        }
        to = to.max(frame.head.next());
    }
    Ok((to, Found::Nothing))
}
