//! Duplicates: which dedupe keys were stored within the window, and where. In memory only, rebuilt on open by scanning the
//! window; a key is 128 bits of keyed hash, so that nobody outside can make two events collide. Bounded by time and by count; it
//! grows with what it holds. Beyond [`KEYS_MAX`] the oldest keys are forgotten before their time; and after a restart those of
//! events that retention by bytes or count has removed.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};

/// Most keys held, about 75 bytes each.
pub(crate) const KEYS_MAX: usize = 1 << 20;

/// A keyed hash of what makes an event unique: 128 bits, as two halves because a million of them are 25 MiB smaller so.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    high: u64,
    low: u64,
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.low);
    }
}

/// Makes keys; random for each process, which is why keys are never stored.
#[derive(Clone, Debug, Default)]
pub(crate) struct KeyMaker {
    high: RandomState,
    low: RandomState,
}

impl KeyMaker {
    /// The key of these parts; parts never run into each other.
    pub(crate) fn key(&self, parts: &[&[u8]]) -> Key {
        let half = |state: &RandomState| {
            let mut hasher = state.build_hasher();
            for part in parts {
                hasher.write_usize(part.len());
                hasher.write(part);
            }
            hasher.finish()
        };
        Key { high: half(&self.high), low: half(&self.low) }
    }
}

/// A key is a hash already.
#[derive(Default)]
struct Through(u64);

impl Hasher for Through {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(*byte);
        }
    }

    fn write_u64(&mut self, half: u64) {
        self.0 = half;
    }
}

/// The window.
pub(crate) struct Dedupe {
    window_millis: u64,
    keys_max: usize,
    places: HashMap<Key, u64, BuildHasherDefault<Through>>,
    ages: VecDeque<(u64, Key)>,
}

impl Dedupe {
    pub(crate) fn new(window_millis: u64, keys_max: usize) -> Self {
        Self { window_millis, keys_max, places: HashMap::default(), ages: VecDeque::new() }
    }

    /// Keys that are older than a new window are forgotten at the next call; a longer one holds from now on.
    pub(crate) fn set_window(&mut self, window_millis: u64) {
        self.window_millis = window_millis;
    }

    /// Where the event with this key is stored, when it is within the window.
    #[cfg(test)]
    pub(crate) fn find(&self, key: Key) -> Option<u64> {
        self.places.get(&key).copied()
    }

    /// Remembers a key, or moves it, as recovery does. `now` is in milliseconds and never falls.
    pub(crate) fn insert(&mut self, key: Key, sequence: u64, now: u64) {
        if self.places.insert(key, sequence).is_none() {
            self.ages.push_back((now, key));
        }
        while self.ages.len() > self.keys_max {
            self.forget_oldest();
        }
    }

    /// Remembers a key, or says where the event with this key is stored. `now` is in milliseconds and never falls.
    pub(crate) fn note(&mut self, key: Key, sequence: u64, now: u64) -> Result<(), u64> {
        match self.places.entry(key) {
            Entry::Occupied(known) => return Err(*known.get()),
            Entry::Vacant(place) => place.insert(sequence),
        };
        self.ages.push_back((now, key));
        while self.ages.len() > self.keys_max {
            self.forget_oldest();
        }
        Ok(())
    }

    /// The key that was noted last was not stored after all.
    pub(crate) fn forget_newest(&mut self) {
        if let Some((_, key)) = self.ages.pop_back() {
            self.places.remove(&key);
        }
    }

    /// Forgets what is older than the window.
    pub(crate) fn expire(&mut self, now: u64) {
        while self.ages.front().is_some_and(|(at, _)| at.saturating_add(self.window_millis) < now) {
            self.forget_oldest();
        }
    }

    fn forget_oldest(&mut self) {
        if let Some((_, key)) = self.ages.pop_front() {
            self.places.remove(&key);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_known_within_the_window_and_the_count() {
        let maker = KeyMaker::default();
        let key = |id: &str| maker.key(&[b"ride", id.as_bytes()]);
        let mut dedupe = Dedupe::new(100, 2);
        dedupe.insert(key("a"), 1, 1000);
        assert_eq!(dedupe.find(key("a")), Some(1));
        assert_eq!(dedupe.find(key("b")), None);
        dedupe.expire(1100);
        assert_eq!(dedupe.find(key("a")), Some(1), "at the edge");
        dedupe.expire(1101);
        assert_eq!(dedupe.find(key("a")), None, "too old");
        for (n, id) in ["a", "b", "c"].into_iter().enumerate() {
            dedupe.insert(key(id), n as u64, 2000);
        }
        assert_eq!(dedupe.find(key("a")), None, "one too many");
        assert_eq!(dedupe.find(key("b")), Some(1));
    }

    #[test]
    fn a_key_is_noted_once_and_can_be_taken_back() {
        let maker = KeyMaker::default();
        let key = |id: &str| maker.key(&[b"ride", id.as_bytes()]);
        let mut dedupe = Dedupe::new(100, 2);
        assert_eq!(dedupe.note(key("a"), 1, 1000), Ok(()));
        assert_eq!(dedupe.note(key("a"), 2, 1000), Err(1));
        assert_eq!(dedupe.note(key("b"), 2, 1000), Ok(()));
        dedupe.forget_newest();
        assert_eq!((dedupe.find(key("a")), dedupe.find(key("b"))), (Some(1), None));
        assert_eq!(dedupe.note(key("b"), 2, 1000), Ok(()));
        assert_eq!(dedupe.note(key("c"), 3, 1000), Ok(()));
        assert_eq!(dedupe.find(key("a")), None, "one too many");
    }

    #[test]
    fn parts_do_not_run_into_each_other() {
        let maker = KeyMaker::default();
        assert_ne!(maker.key(&[b"ab", b"c"]), maker.key(&[b"a", b"bc"]));
        assert_ne!(maker.key(&[b"a", b"b"]), maker.key(&[b"a", b"", b"b"]));
        assert_eq!(maker.key(&[b"a", b"b"]), maker.clone().key(&[b"a", b"b"]));
    }
}
