//! A consumer as `state.log` keeps it: cursor, lease, what is pending with its attempts, and what is settled ahead of the cursor.
//!
//! ```text
//! 1, cursor, lease, expired, pending (4), ahead (4); each pending: sequence, attempt (4), deliveries (4), due (ms, 0 = at once)
//! ```

use std::time::{Duration, Instant};

use saf_event::{ChannelName, unix_millis};

use super::{Careful, Change, Consumer, Inner, Pending, Phase, Stopped};
use crate::embedded::frame::{u32_at, u64_at};

const VERSION: u8 = 1;
const FIXED_BYTES: usize = 33;
const PENDING_BYTES: usize = 24;

impl Consumer {
    /// Restores a consumer on a log that ends with `last`. `None` when the snapshot is not one of this version.
    pub(crate) fn restore(
        name: ChannelName,
        bytes: &[u8],
        last: u64,
        stopped: Stopped,
        now: Instant,
    ) -> Option<Self> {
        if bytes.first() != Some(&VERSION) {
            return None;
        }
        let mut inner = Inner::at(u64_at(bytes, 1)?);
        (inner.lease, inner.expired, inner.change) = (u64_at(bytes, 9)?, u64_at(bytes, 17)?, Change::Saved);
        let (pending, ahead) = (u32_at(bytes, 25)? as usize, u32_at(bytes, 29)? as usize);
        let mut suspects = std::collections::BTreeSet::new();
        for n in 0..pending {
            let at = FIXED_BYTES + n * PENDING_BYTES;
            let (sequence, due) = (u64_at(bytes, at)?, u64_at(bytes, at + 16)?);
            if sequence > last {
                continue;
            }
            let (attempt, deliveries) = (u32_at(bytes, at + 8)?, u32_at(bytes, at + 12)?);
            let phase = Phase::Ready;
            let pending = Pending { attempt, deliveries, released: 0, phase, queued: None, claimed: false };
            inner.pending.get_or_insert(sequence, pending);
            let wait = Duration::from_millis(due.saturating_sub(unix_millis()));
            if wait.is_zero() {
                // It may have been handed out before the stop, whatever the snapshot knew.
                suspects.insert(sequence);
                inner.ready.insert(sequence);
            } else {
                inner.wait(sequence, Phase::Waiting(now + wait));
            }
        }
        for n in 0..ahead {
            let sequence = u64_at(bytes, FIXED_BYTES + pending * PENDING_BYTES + n * 8)?;
            inner.ahead.insert(sequence);
        }
        if stopped == Stopped::Unclean {
            inner.careful = Some(Careful { until: inner.lease.min(last), suspects });
        }
        Some(Self::with(name, inner))
    }

    /// After a cut: the log ends with `last`, and what comes behind it is new.
    pub(crate) fn rewind(&self, last: u64) {
        let mut inner = self.lock();
        inner.cursor = inner.cursor.min(last + 1);
        inner.lease = inner.lease.min(last);
        inner.ahead.split_off(&(last + 1));
        inner.pending.cut(last + 1);
        inner.ready.split_off(&(last + 1));
    }
}

impl Inner {
    pub(super) fn snapshot(&self, now: Instant, dispatched: u64) -> Vec<u8> {
        let cursor = self.effective(dispatched);
        let ahead = self.ahead.range(cursor..);
        let mut bytes = vec![VERSION];
        for number in [cursor, self.lease, self.expired] {
            bytes.extend_from_slice(&number.to_le_bytes());
        }
        bytes.extend_from_slice(&(self.pending.len() as u32).to_le_bytes());
        bytes.extend_from_slice(&(ahead.clone().count() as u32).to_le_bytes());
        let wall = unix_millis();
        for (sequence, pending) in self.pending.iter() {
            let due = match pending.phase {
                Phase::Waiting(until) => wall + until.saturating_duration_since(now).as_millis() as u64,
                Phase::Out(_) | Phase::Ready => 0,
            };
            bytes.extend_from_slice(&sequence.to_le_bytes());
            bytes.extend_from_slice(&pending.attempt.to_le_bytes());
            bytes.extend_from_slice(&(pending.deliveries - pending.released).to_le_bytes());
            bytes.extend_from_slice(&due.to_le_bytes());
        }
        for sequence in ahead {
            bytes.extend_from_slice(&sequence.to_le_bytes());
        }
        bytes
    }
}
