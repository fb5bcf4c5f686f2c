//! From a stream's section of the configuration to the limits of its two logs.

use super::Tuning;
use super::append::Limits;
use super::writer::Configured;
use crate::{Discard, StreamConfig};

/// Most bytes that one settlement stores together, however large the segments are.
const UNIT_BYTES_MAX: usize = 16 << 20;

/// Of the events' log.
pub(crate) fn events_limits(config: &StreamConfig, tuning: Tuning) -> Configured {
    let segment_bytes = (config.max_bytes.0 / 16).clamp(tuning.segment_bytes_min, tuning.segment_bytes_max);
    let limits = Limits {
        max_bytes: config.max_bytes.0,
        max_events: config.max_messages.unwrap_or(u64::MAX),
        max_age_millis: config.max_age.0.as_millis() as u64,
        discard: config.discard,
        segment_bytes,
    };
    Configured { limits, window_millis: config.duplicate_window.0.as_millis() as u64 }
}

/// Of the dead letters' log: as large as the stream itself may be; never made room in by force.
pub(crate) fn dead_limits(config: &StreamConfig, tuning: Tuning) -> Configured {
    let events = events_limits(config, tuning);
    let limits = Limits {
        max_events: u64::MAX,
        max_age_millis: config.dead_letter_max_age.0.as_millis() as u64,
        discard: Discard::New,
        segment_bytes: events.limits.segment_bytes.min(tuning.dead_segment_bytes_max),
        ..events.limits
    };
    Configured { limits, window_millis: u64::MAX }
}

/// Most bytes that one settlement stores together.
pub(crate) fn unit_bytes_max(limits: Limits) -> usize {
    (limits.segment_bytes as usize / 2).min(UNIT_BYTES_MAX)
}
