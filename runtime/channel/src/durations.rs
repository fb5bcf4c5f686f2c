//! How long attempts took, counted in buckets that grow with the duration. The difference of two readings has percentiles of its own:
//! so a client says what was slow in the last second, which no percentile since the start would tell.
//!
//! Deliberately absent: percentiles. Who reads knows over which span he wants them.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets for each doubling: a bucket's bounds are at most an eighth apart.
const STEPS: usize = 8;
const STEP_BITS: u32 = STEPS.trailing_zeros();
/// The last one ends at 2^34 microseconds, almost five hours.
const BUCKETS: usize = 256;

/// Attempts by how long they took. An addition costs a shift and an atomic addition.
#[derive(Debug)]
pub struct Durations([AtomicU64; BUCKETS]);

impl Default for Durations {
    fn default() -> Self {
        Self([const { AtomicU64::new(0) }; BUCKETS])
    }
}

impl Durations {
    pub(crate) fn add(&self, micros: u64) {
        self.0[bucket(micros)].fetch_add(1, Ordering::Relaxed);
    }

    /// The buckets that hold attempts, shortest first: the longest that an attempt in it took, in microseconds, and how many there were
    /// since the process started.
    pub fn read(&self) -> Vec<(u64, u64)> {
        let counts = self.0.iter().map(|count| count.load(Ordering::Relaxed)).enumerate();
        counts.filter(|(_, count)| *count > 0).map(|(n, count)| (longest(n), count)).collect()
    }
}

fn bucket(micros: u64) -> usize {
    if micros < STEPS as u64 {
        return micros as usize;
    }
    let doubling = micros.ilog2() - STEP_BITS;
    let step = (micros >> doubling) as usize - STEPS;
    (((doubling as usize + 1) * STEPS) + step).min(BUCKETS - 1)
}

fn longest(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64;
    }
    let (doubling, step) = (bucket / STEPS - 1, bucket % STEPS);
    ((STEPS + step + 1) as u64) * (1 << doubling) - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_duration_has_a_bucket_that_is_at_most_an_eighth_too_long() {
        let mut before = None;
        for n in 0..BUCKETS {
            let longest = longest(n);
            assert_eq!(bucket(longest), n, "{longest}");
            assert_eq!(bucket(before.map_or(0, |before| before + 1)), n, "begins behind the one before");
            assert!(longest - before.unwrap_or(0) <= longest / 8 + 1, "{longest}");
            before = Some(longest);
        }
        assert_eq!(before, Some((1 << 34) - 1));
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn only_buckets_with_attempts_are_read_shortest_first() {
        let durations = Durations::default();
        assert_eq!(durations.read(), []);
        for micros in [1_000, 3, 3, 1_001] {
            durations.add(micros);
        }
        assert_eq!(durations.read(), [(3, 2), (1_023, 2)]);
    }
}
