//! Entries as bytes, one after another: the same on both brokers. All numbers are little-endian.
//!
//! ```text
//! entry = fate (1), outcome (1), channel length (1), 0, event's sequence (8), started (8), fuel (8), memory (8), digest (8), attempt (4),
//!         queued (4), micros (4), emitted (4), value (8), reason length (2), sequences (2), channel, reason, sequences (8 each)
//! value = done: the first emission's sequence, where they follow each other; else: retry's wait, letter's or replay's place
//! ```

use bytes::BufMut;
use saf_event::{ChannelName, Outcome};

use super::{Account, Entry, Fate, HistoryFilter, MAX_REASON_BYTES};
use crate::detail;

const FIXED_BYTES: usize = 72;
const VALUE_AT: usize = 60;
const DONE: u8 = 0;
const RETRY: u8 = 1;
const DEAD: u8 = 2;
const RELEASED: u8 = 3;
const REPLAYED: u8 = 4;
const DELETED: u8 = 5;
/// Most sequences that are written one by one.
const SEQUENCES_MAX: usize = u16::MAX as usize;

/// Entries on their way to where they are kept.
#[derive(Clone, Debug, Default)]
pub(crate) struct Pack {
    pub(crate) bytes: Vec<u8>,
    pub(crate) entries: u64,
}

impl Pack {
    pub(crate) fn is_empty(&self) -> bool {
        self.entries == 0
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.entries = 0;
    }

    /// Adds an entry.
    pub(crate) fn add(
        &mut self,
        channel: &ChannelName,
        (sequence, attempt): (u64, u32),
        account: &Account,
        fate: &Fate,
    ) {
        encode(channel, (sequence, attempt), account, fate, &mut self.bytes);
        self.entries += 1;
    }

    /// Adds an entry that was encoded before, of a delivery whose emissions begin at a sequence.
    pub(crate) fn add_encoded(&mut self, entry: &[u8], first: u64) {
        let at = self.bytes.len() + VALUE_AT;
        self.bytes.extend_from_slice(entry);
        if let Some(value) = self.bytes.get_mut(at..at + size_of::<u64>()) {
            value.copy_from_slice(&first.to_le_bytes());
            self.entries += 1;
        }
    }
}

/// Appends an entry. Cheap: one copy of some 80 bytes.
pub(crate) fn encode(
    channel: &ChannelName,
    (sequence, attempt): (u64, u32),
    account: &Account,
    fate: &Fate,
    out: &mut impl BufMut,
) {
    let (kind, emitted, value, sequences) = match fate {
        Fate::Done { emitted, sequences } => {
            let first = sequences.first().copied().unwrap_or(0);
            let in_a_row = sequences.iter().zip(first..).all(|(sequence, expected)| *sequence == expected);
            let listed = if in_a_row { &[][..] } else { &sequences[..sequences.len().min(SEQUENCES_MAX)] };
            (DONE, *emitted, first, listed)
        }
        Fate::Retry { after_millis } => (RETRY, 0, *after_millis, &[][..]),
        Fate::DeadLetter { letter } => (DEAD, 0, *letter, &[][..]),
        Fate::Released => (RELEASED, 0, 0, &[][..]),
        Fate::Replayed { sequence } => (REPLAYED, 0, *sequence, &[][..]),
        Fate::Deleted => (DELETED, 0, 0, &[][..]),
    };
    let short: String;
    let reason = match account.reason.as_deref() {
        None => "",
        Some(reason) if reason.len() <= MAX_REASON_BYTES => reason,
        Some(reason) => {
            short = detail::cut(reason, MAX_REASON_BYTES);
            &short
        }
    };
    let mut fixed = [0; FIXED_BYTES];
    fixed[0] = kind;
    fixed[1] = account.outcome as u8;
    fixed[2] = channel.as_str().len() as u8; // a name has at most 32
    let mut put = |at: usize, bytes: &[u8]| fixed[at..at + bytes.len()].copy_from_slice(bytes);
    for (n, number) in [sequence, account.started, account.fuel, account.memory].into_iter().enumerate() {
        put(4 + 8 * n, &number.to_le_bytes());
    }
    put(36, &account.digest);
    let micros = u32::try_from(account.micros).unwrap_or(u32::MAX);
    for (n, number) in [attempt, account.queued_millis, micros, emitted].into_iter().enumerate() {
        put(44 + 4 * n, &number.to_le_bytes());
    }
    put(VALUE_AT, &value.to_le_bytes());
    put(68, &(reason.len() as u16).to_le_bytes()); // at most MAX_REASON_BYTES
    put(70, &(sequences.len() as u16).to_le_bytes()); // at most SEQUENCES_MAX
    out.put_slice(&fixed);
    out.put_slice(channel.as_str().as_bytes());
    out.put_slice(reason.as_bytes());
    for sequence in sequences {
        out.put_u64_le(*sequence);
    }
}

/// An entry, borrowed.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EntryRecord<'a>(&'a [u8]);

impl<'a> EntryRecord<'a> {
    /// The first entry of some bytes.
    pub(crate) fn first(bytes: &'a [u8]) -> Option<Self> {
        let fixed = bytes.get(..FIXED_BYTES)?;
        let length = FIXED_BYTES
            + usize::from(fixed[2])
            + usize::from(u16::from_le_bytes([fixed[68], fixed[69]]))
            + size_of::<u64>() * usize::from(u16::from_le_bytes([fixed[70], fixed[71]]));
        bytes.get(..length).map(Self)
    }

    /// All entries of some bytes; ends at what is none.
    pub(crate) fn all(mut bytes: &'a [u8]) -> impl Iterator<Item = Self> {
        std::iter::from_fn(move || {
            let entry = Self::first(bytes)?;
            bytes = &bytes[entry.0.len()..];
            Some(entry)
        })
    }

    pub(crate) fn bytes(&self) -> &'a [u8] {
        self.0
    }

    fn long(&self, at: usize) -> u64 {
        self.0[at..].first_chunk().copied().map_or(0, u64::from_le_bytes)
    }

    fn word(&self, at: usize) -> u32 {
        self.0[at..].first_chunk().copied().map_or(0, u32::from_le_bytes)
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.long(4)
    }

    pub(crate) fn attempt(&self) -> u32 {
        self.word(44)
    }

    pub(crate) fn emitted(&self) -> u32 {
        self.word(56)
    }

    pub(crate) fn ended(&self) -> u64 {
        self.long(12).saturating_add(u64::from(self.word(52)) / 1_000)
    }

    pub(crate) fn channel(&self) -> &'a [u8] {
        &self.0[FIXED_BYTES..FIXED_BYTES + usize::from(self.0[2])]
    }

    /// Whether the Channel has the event behind it.
    pub(crate) fn is_settled(&self) -> bool {
        matches!(self.0[0], DONE | DEAD)
    }

    /// Whether it fits a filter.
    pub(crate) fn fits(&self, filter: &HistoryFilter) -> bool {
        let ended = self.ended();
        filter.channel.as_ref().is_none_or(|channel| channel.as_str().as_bytes() == self.channel())
            && filter.outcome.is_none_or(|outcome| outcome as u8 == self.0[1])
            && filter.since.is_none_or(|since| ended >= since)
            && filter.until.is_none_or(|until| ended < until)
    }

    /// The entry; `None` when it is not one of this version.
    pub(crate) fn read(&self) -> Option<Entry> {
        let channel = std::str::from_utf8(self.channel()).ok()?;
        let reason_at = FIXED_BYTES + channel.len();
        let reason_bytes = (self.word(68) & 0xffff) as usize;
        let reason = std::str::from_utf8(&self.0[reason_at..reason_at + reason_bytes]).ok()?;
        let value = self.long(VALUE_AT);
        let fate = match self.0[0] {
            DONE => {
                let emitted = self.emitted();
                let listed = self.0[reason_at + reason_bytes..].as_chunks().0;
                let sequences = match (listed, value) {
                    ([], 0) => Vec::new(),
                    ([], first) => (first..first.saturating_add(u64::from(emitted))).collect(),
                    (listed, _) => listed.iter().map(|bytes| u64::from_le_bytes(*bytes)).collect(),
                };
                Fate::Done { emitted, sequences }
            }
            RETRY => Fate::Retry { after_millis: value },
            DEAD => Fate::DeadLetter { letter: value },
            RELEASED => Fate::Released,
            REPLAYED => Fate::Replayed { sequence: value },
            DELETED => Fate::Deleted,
            _ => return None,
        };
        let account = Account {
            digest: *self.0[36..].first_chunk()?,
            outcome: *Outcome::ALL.get(usize::from(self.0[1]))?,
            started: self.long(12),
            queued_millis: self.word(48),
            micros: u64::from(self.word(52)),
            fuel: self.long(20),
            memory: self.long(28),
            reason: (!reason.is_empty()).then(|| reason.into()),
        };
        let channel = ChannelName::parse(channel).ok()?;
        Some(Entry { sequence: self.sequence(), channel, attempt: self.attempt(), fate, account })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn fates() -> impl Strategy<Value = Fate> {
        prop_oneof![
            (1_u64..99, 0_u32..5).prop_map(|(first, emitted)| Fate::Done {
                emitted,
                sequences: (first..first + u64::from(emitted)).collect()
            }),
            prop::collection::vec(1_u64..99, 2..6)
                .prop_map(|sequences| Fate::Done { emitted: sequences.len() as u32, sequences }),
            (1_u32..9).prop_map(|emitted| Fate::Done { emitted, sequences: Vec::new() }),
            any::<u64>().prop_map(|after_millis| Fate::Retry { after_millis }),
            any::<u64>().prop_map(|letter| Fate::DeadLetter { letter }),
            Just(Fate::Released),
            any::<u64>().prop_map(|sequence| Fate::Replayed { sequence }),
            Just(Fate::Deleted),
        ]
    }

    prop_compose! {
        fn entries()(
            fate in fates(), numbers in any::<(u64, u64, u64, u64)>(), words in any::<(u32, u32, u32)>(),
            digest in any::<[u8; 8]>(), outcome in prop::sample::select(&Outcome::ALL[..]),
            reason in prop::option::of("[ -~ö]{1,60}"), channel in "[a-z][a-z0-9]{0,20}",
        ) -> Entry {
            let account = Account {
                digest, outcome, started: numbers.1, queued_millis: words.1, micros: u64::from(words.2), fuel: numbers.2,
                memory: numbers.3, reason: reason.map(Into::into),
            };
            let channel = ChannelName::parse(&channel).expect("valid");
            Entry { sequence: numbers.0, channel, attempt: words.0, fate, account }
        }
    }

    proptest! {
        #[test]
        fn entries_read_as_they_were_written(entries in prop::collection::vec(entries(), 0..6)) {
            let mut pack = Pack::default();
            for entry in &entries {
                pack.add(&entry.channel, (entry.sequence, entry.attempt), &entry.account, &entry.fate);
            }
            let read: Vec<_> = EntryRecord::all(&pack.bytes).filter_map(|entry| entry.read()).collect();
            prop_assert_eq!(read, entries);
        }

        #[test]
        fn garbage_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            for entry in EntryRecord::all(&bytes) {
                let _ = (entry.read(), entry.fits(&HistoryFilter::default()), entry.is_settled());
            }
        }
    }

    #[test]
    fn a_long_reason_is_cut_and_says_so() {
        let reason = Some("x".repeat(5_000).into_boxed_str());
        let account = Account {
            digest: [1; 8],
            outcome: Outcome::Trap,
            started: 5,
            queued_millis: 0,
            micros: 2_500,
            fuel: 0,
            memory: 0,
            reason,
        };
        let mut pack = Pack::default();
        pack.add(&ChannelName::parse("a").expect("valid"), (1, 1), &account, &Fate::Released);
        let entry = EntryRecord::first(&pack.bytes).and_then(|entry| entry.read()).expect("an entry");
        let reason = entry.account.reason.clone().expect("a reason");
        assert!(reason.len() <= MAX_REASON_BYTES && reason.ends_with("bytes cut)"), "{reason}");
        assert_eq!(entry.ended(), 7);
    }
}
