//! How far a log is known to reach, in `state.log`: what makes a missing tail damage, and where recovery begins.

use std::sync::{Arc, Mutex, PoisonError};

use super::fault::Fault;
use super::frame::u64_at;
use super::log::Evidence;
use super::state::State;
use super::values::PROMISED;

/// One log's mark.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Mark {
    /// Settlements in frames up to this sequence are in the consumers' snapshots.
    pub(crate) applied: u64,
    /// What was durable.
    pub(crate) evidence: Evidence,
}

/// The mark as it moves; never backwards.
pub(crate) struct Marks {
    state: Arc<State>,
    key: &'static str,
    mark: Mutex<Mark>,
}

impl Marks {
    /// `None` when the state has no mark for this log, which every log has from its beginning.
    pub(crate) fn load(state: &Arc<State>, key: &'static str) -> Option<Self> {
        let mark = decode(&state.get(key)?)?;
        Some(Self { state: state.clone(), key, mark: Mutex::new(mark) })
    }

    /// For a new log.
    pub(crate) fn create(state: &Arc<State>, key: &'static str) -> Result<Self, Fault> {
        let marks = Self { state: state.clone(), key, mark: Mutex::default() };
        let first = Mark { applied: 0, evidence: Evidence { first: 1, last: 0 } };
        marks.advance(first)?;
        Ok(marks)
    }

    pub(crate) fn get(&self) -> Mark {
        *self.mark.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the mark up; not synced.
    pub(crate) fn advance(&self, to: Mark) -> Result<(), Fault> {
        let mut mark = self.mark.lock().unwrap_or_else(PoisonError::into_inner);
        mark.applied = mark.applied.max(to.applied);
        mark.evidence.first = mark.evidence.first.max(to.evidence.first);
        mark.evidence.last = mark.evidence.last.max(to.evidence.last);
        self.state.put(self.key, &encode(*mark))
    }

    /// Says that `values.log` is durable up to a sequence; not synced.
    pub(crate) fn promise_values(&self, mark: u64) -> Result<(), Fault> {
        self.state.put(PROMISED, &mark.to_le_bytes())
    }

    /// Makes a floor durable.
    pub(crate) fn keep_floor(&self, first: u64) -> Result<(), Fault> {
        self.advance(Mark { applied: 0, evidence: Evidence { first, last: 0 } })?;
        self.state.sync()
    }
}

pub(crate) fn encode(mark: Mark) -> [u8; 24] {
    let mut bytes = [0; 24];
    for (n, number) in [mark.applied, mark.evidence.first, mark.evidence.last].into_iter().enumerate() {
        bytes[n * 8..n * 8 + 8].copy_from_slice(&number.to_le_bytes());
    }
    bytes
}

pub(crate) fn decode(bytes: &[u8]) -> Option<Mark> {
    let evidence = Evidence { first: u64_at(bytes, 8)?, last: u64_at(bytes, 16)? };
    Some(Mark { applied: u64_at(bytes, 0)?, evidence })
}
