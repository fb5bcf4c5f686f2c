//! What a reader wants, asked of a record's bytes or of a sealed segment's subjects; and the set of subjects of a segment.

use std::collections::HashSet;
use std::sync::Arc;

use saf_event::{ChannelName, Filter};

use super::record::EventRecord;

/// Most subjects that a segment lists; over it, it says that any may occur.
pub(crate) const SUBJECTS_MAX: usize = 4096;

/// Stands before a Channel's name in a segment's subjects; no subject holds it.
const ADDRESSED: u8 = 1;

/// The subjects in a segment, and the Channels that events in it are addressed to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Subjects {
    /// Too many to list.
    Any,
    /// These.
    Listed(HashSet<Box<[u8]>>),
}

impl Default for Subjects {
    fn default() -> Self {
        Self::Listed(HashSet::new())
    }
}

impl Subjects {
    /// Notes an event.
    pub(crate) fn note(&mut self, record: &EventRecord<'_>) {
        self.insert(record.subject());
        if !record.channel().is_empty() {
            let mut entry = vec![ADDRESSED];
            entry.extend_from_slice(record.channel());
            self.insert(&entry);
        }
    }

    pub(crate) fn insert(&mut self, entry: &[u8]) {
        let Self::Listed(listed) = self else { return };
        if listed.contains(entry) {
            return;
        }
        if listed.len() >= SUBJECTS_MAX {
            *self = Self::Any;
            return;
        }
        listed.insert(entry.into());
    }
}

/// What a reader wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Wanted {
    filters: Arc<[Filter]>,
    reader: Reader,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Reader {
    /// Sees every record, those without a subject too.
    Everything,
    /// Sees events that are addressed to a Channel too.
    Journal,
    /// Sees those that are addressed to nobody, or to itself.
    Channel(ChannelName),
}

impl Wanted {
    pub(crate) fn journal(filter: &Filter) -> Self {
        Self { filters: Arc::new([filter.clone()]), reader: Reader::Journal }
    }

    /// Dead letters, say: no segment that holds them lists their subjects.
    pub(crate) fn everything() -> Self {
        Self { filters: Arc::new([Filter::all()]), reader: Reader::Everything }
    }

    pub(crate) fn channel(name: &ChannelName, filters: &[Filter]) -> Self {
        Self { filters: filters.into(), reader: Reader::Channel(name.clone()) }
    }

    fn subject(&self, subject: &[u8]) -> bool {
        std::str::from_utf8(subject).is_ok_and(|subject| self.filters.iter().any(|f| f.matches(subject)))
    }

    /// Whether the reader wants this event.
    pub(crate) fn event(&self, record: &EventRecord<'_>) -> bool {
        match (&self.reader, record.channel()) {
            (Reader::Channel(name), channel) if !channel.is_empty() => channel == name.as_str().as_bytes(),
            _ => self.subject(record.subject()),
        }
    }

    /// Whether a segment with these subjects may hold something for the reader.
    pub(crate) fn segment(&self, subjects: &Subjects) -> bool {
        let (Subjects::Listed(listed), Reader::Journal | Reader::Channel(_)) = (subjects, &self.reader)
        else {
            return true;
        };
        listed.iter().any(|entry| match (entry.split_first(), &self.reader) {
            (Some((&ADDRESSED, channel)), Reader::Channel(name)) => channel == name.as_str().as_bytes(),
            (Some((&ADDRESSED, _)), Reader::Journal) => false,
            _ => self.subject(entry),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_is_passed_over_only_when_nothing_in_it_is_wanted() {
        let name = |text| ChannelName::parse(text).expect("valid");
        let rides = Wanted::channel(&name("printer"), &[Filter::parse("ride.>").expect("valid")]);
        let mut subjects = Subjects::default();
        subjects.insert(b"order.new");
        assert!(!rides.segment(&subjects));
        subjects.insert(b"\x01other");
        assert!(!rides.segment(&subjects));
        let mut addressed = subjects.clone();
        addressed.insert(b"\x01printer");
        assert!(rides.segment(&addressed), "a replay for this Channel");
        subjects.insert(b"ride.accepted");
        assert!(rides.segment(&subjects));
        for n in 0..=SUBJECTS_MAX {
            subjects.insert(n.to_string().as_bytes());
        }
        assert_eq!(subjects, Subjects::Any);
        assert!(Wanted::everything().segment(&Subjects::default()), "what has no subject");
        assert!(Wanted::journal(&Filter::parse("nothing").expect("valid")).segment(&subjects));
    }
}
