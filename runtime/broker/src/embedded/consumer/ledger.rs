//! What was handed out and not settled, by sequence. A consumer hands out in ascending order and settles roughly in that order,
//! so this is a queue that is indexed by the distance from its front: finding an entry takes no search as long as the sequences
//! are dense, and a binary search otherwise.
//!
//! A settled entry leaves a hole until all before it are settled too, or until holes are the most of it.

use std::collections::VecDeque;

use super::Pending;

/// So many holes are never worth a sweep.
const FEW_HOLES: usize = 64;

#[derive(Default)]
pub(super) struct Ledger {
    /// Ascending; the first one is no hole.
    entries: VecDeque<(u64, Option<Pending>)>,
    live: usize,
}

impl Ledger {
    pub(super) fn len(&self) -> usize {
        self.live
    }

    pub(super) fn first(&self) -> Option<u64> {
        self.entries.front().map(|(sequence, _)| *sequence)
    }

    pub(super) fn get(&self, sequence: u64) -> Option<&Pending> {
        self.entries[self.find(sequence).ok()?].1.as_ref()
    }

    pub(super) fn get_mut(&mut self, sequence: u64) -> Option<&mut Pending> {
        let at = self.find(sequence).ok()?;
        self.entries[at].1.as_mut()
    }

    /// The entry of a sequence, made if there is none.
    pub(super) fn get_or_insert(&mut self, sequence: u64, fresh: Pending) -> &mut Pending {
        let at = match self.find(sequence) {
            Ok(at) => at,
            Err(at) => {
                self.entries.insert(at, (sequence, None));
                at
            }
        };
        let entry = &mut self.entries[at].1;
        self.live += usize::from(entry.is_none());
        entry.get_or_insert(fresh)
    }

    pub(super) fn remove(&mut self, sequence: u64) -> Option<Pending> {
        let at = self.find(sequence).ok()?;
        let removed = self.entries[at].1.take()?;
        self.live -= 1;
        while let Some((_, None)) = self.entries.front() {
            self.entries.pop_front();
        }
        if self.entries.len() > 2 * self.live + FEW_HOLES {
            self.entries.retain(|(_, pending)| pending.is_some());
        }
        Some(removed)
    }

    /// Removes everything from a sequence on.
    pub(super) fn cut(&mut self, from: u64) {
        let at = self.find(from).unwrap_or_else(|at| at);
        self.live -= self.entries.drain(at..).filter(|(_, pending)| pending.is_some()).count();
        while let Some((_, None)) = self.entries.back() {
            self.entries.pop_back();
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (u64, &Pending)> {
        self.entries.iter().filter_map(|(sequence, pending)| Some((*sequence, pending.as_ref()?)))
    }

    /// Where a sequence stands, or would.
    fn find(&self, sequence: u64) -> Result<usize, usize> {
        let Some((first, _)) = self.entries.front() else { return Err(0) };
        let Some(distance) = sequence.checked_sub(*first) else { return Err(0) };
        // Entries ascend by one at least, so it is not behind this one.
        let guess = (distance as usize).min(self.entries.len() - 1);
        match self.entries[guess].0.cmp(&sequence) {
            std::cmp::Ordering::Equal => Ok(guess),
            std::cmp::Ordering::Less => Err(guess + 1),
            std::cmp::Ordering::Greater => {
                let (mut low, mut high) = (0, guess);
                while low < high {
                    let middle = low.midpoint(high);
                    match self.entries[middle].0.cmp(&sequence) {
                        std::cmp::Ordering::Equal => return Ok(middle),
                        std::cmp::Ordering::Less => low = middle + 1,
                        std::cmp::Ordering::Greater => high = middle,
                    }
                }
                Err(low)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;
    use crate::embedded::consumer::Phase;

    fn pending(attempt: u32) -> Pending {
        Pending { attempt, deliveries: 0, released: 0, phase: Phase::Ready, queued: None, claimed: false }
    }

    #[derive(Clone, Debug)]
    enum Op {
        Insert(u64),
        Remove(u64),
        Cut(u64),
    }

    fn ops() -> impl Strategy<Value = Vec<Op>> {
        let op = prop_oneof![
            6 => (0..400_u64).prop_map(Op::Insert),
            6 => (0..400_u64).prop_map(Op::Remove),
            1 => (0..400_u64).prop_map(Op::Cut),
        ];
        prop::collection::vec(op, 0..600)
    }

    proptest! {
        #[test]
        fn a_ledger_holds_what_a_map_would(ops in ops()) {
            let (mut ledger, mut map) = (Ledger::default(), BTreeMap::new());
            for (n, op) in ops.into_iter().enumerate() {
                let n = n as u32;
                match op {
                    Op::Insert(at) => {
                        let held = ledger.get_or_insert(at, pending(n)).attempt;
                        prop_assert_eq!(held, *map.entry(at).or_insert(n));
                    }
                    Op::Remove(at) => {
                        prop_assert_eq!(ledger.remove(at).map(|p| p.attempt), map.remove(&at));
                    }
                    Op::Cut(at) => {
                        ledger.cut(at);
                        map.split_off(&at);
                    }
                }
                prop_assert_eq!(ledger.first(), map.keys().next().copied());
                prop_assert_eq!(ledger.len(), map.len());
            }
            let held: Vec<_> = ledger.iter().map(|(at, p)| (at, p.attempt)).collect();
            prop_assert_eq!(held, map.into_iter().collect::<Vec<_>>());
        }
    }
}
