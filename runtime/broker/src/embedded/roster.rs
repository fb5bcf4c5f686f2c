//! Who reads a stream, and how they are told: a cache from subject to readers, so that an event costs one lookup however many
//! Channels there are, and a Channel is woken once a group and only for what it wants. The writer has a router for what it stored,
//! and the scan one for what it reads.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use saf_event::ChannelName;

use super::consumer::{Consumer, Hit, Piece, Seat, Settings};
use super::frame::Frame;
use super::record::EventRecord;
use super::segment::event_records;

/// Most subjects in the cache; over it, it starts anew.
const ROUTES_MAX: usize = 16 << 10;

/// The consumers of a stream.
#[derive(Default)]
pub(crate) struct Roster {
    consumers: RwLock<Arc<Vec<Arc<Consumer>>>>,
    version: AtomicU64,
    complete: AtomicBool,
}

impl Roster {
    /// Says that every Channel of the configuration is in it, so that what nobody holds may go.
    pub(crate) fn complete(&self) {
        self.complete.store(true, Ordering::Release);
    }

    pub(crate) fn is_complete(&self) -> bool {
        self.complete.load(Ordering::Acquire)
    }

    /// All of them.
    pub(crate) fn all(&self) -> Arc<Vec<Arc<Consumer>>> {
        self.consumers.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// One by its Channel.
    pub(crate) fn find(&self, name: &ChannelName) -> Option<Arc<Consumer>> {
        self.all().iter().find(|c| c.name == *name).cloned()
    }

    /// Adds one.
    pub(crate) fn add(&self, consumer: Arc<Consumer>) {
        let mut consumers = self.consumers.write().unwrap_or_else(PoisonError::into_inner);
        let mut all = consumers.to_vec();
        all.push(consumer);
        *consumers = Arc::new(all);
        drop(consumers);
        self.changed();
    }

    /// Has the writer look at everybody's filters again. Called before a consumer with new ones can be live: the writer
    /// reads the version after it showed a frame, so either it knows the new filters or the consumer sees the frame itself.
    pub(crate) fn changed(&self) {
        self.version.fetch_add(1, Ordering::SeqCst);
    }
}

/// Tells consumers what is for them.
pub(crate) struct Router {
    roster: Arc<Roster>,
    version: u64,
    consumers: Vec<(Arc<Consumer>, Settings)>,
    routes: HashMap<Box<[u8]>, Arc<[usize]>>,
    hits: Vec<Vec<Hit>>,
}

impl Router {
    pub(crate) fn new(roster: Arc<Roster>) -> Self {
        Self { roster, version: u64::MAX, consumers: Vec::new(), routes: HashMap::new(), hits: Vec::new() }
    }

    /// Tells live consumers of a frame that readers can see already.
    pub(crate) fn tell(&mut self, frame: &Frame) {
        self.refresh();
        if self.consumers.is_empty() {
            return;
        }
        self.route(frame, 0);
        for (hits, (consumer, _)) in self.hits.iter_mut().zip(&self.consumers) {
            if !hits.is_empty() {
                consumer.dispatch(hits);
                hits.clear();
            }
        }
    }

    /// Gives what a scan read, from a sequence on, to the consumers that it concerns; one of them drives.
    pub(crate) fn share(&mut self, frames: &[Frame], from: u64, driver: &Arc<Consumer>) {
        let Some(last) = frames.last() else { return };
        self.refresh();
        let piece = Piece { frames, from, to: last.head.next() };
        for frame in frames {
            self.route(frame, from);
        }
        let is_current = || self.roster.version.load(Ordering::SeqCst) == self.version;
        for (hits, (consumer, _)) in self.hits.iter_mut().zip(&self.consumers) {
            let seat = if Arc::ptr_eq(consumer, driver) { Seat::Driver } else { Seat::Rider };
            consumer.ride(piece, hits, seat, is_current);
            hits.clear();
        }
    }

    /// Notes for each consumer what of a frame it wants.
    fn route(&mut self, frame: &Frame, from: u64) {
        // Neighbours often share their subject.
        let mut before: Option<(&[u8], Arc<[usize]>)> = None;
        for (sequence, range, record) in event_records(frame, from) {
            let hit = Hit { sequence, start: range.start as u32, end: range.end as u32 };
            if !record.channel().is_empty() {
                self.addressed(&record, hit);
                continue;
            }
            let subject = record.subject();
            let (_, readers) = match &mut before {
                Some(before) if before.0 == subject => before,
                before => before.insert((subject, self.readers(&record))),
            };
            for n in readers.iter() {
                self.hits[*n].push(hit);
            }
        }
    }

    fn addressed(&mut self, record: &EventRecord<'_>, hit: Hit) {
        let named = |(c, _): &(Arc<Consumer>, Settings)| c.name.as_str().as_bytes() == record.channel();
        if let Some(n) = self.consumers.iter().position(named) {
            self.hits[n].push(hit);
        }
    }

    fn readers(&mut self, record: &EventRecord<'_>) -> Arc<[usize]> {
        if let Some(readers) = self.routes.get(record.subject()) {
            return readers.clone();
        }
        if self.routes.len() >= ROUTES_MAX {
            self.routes.clear();
        }
        let readers = self.consumers.iter().enumerate().filter(|(_, (_, s))| s.wanted.event(record));
        let readers: Arc<[usize]> = readers.map(|(n, _)| n).collect();
        self.routes.insert(record.subject().into(), readers.clone());
        readers
    }

    fn refresh(&mut self) {
        let version = self.roster.version.load(Ordering::SeqCst);
        if version == self.version {
            return;
        }
        let configured = |c: &Arc<Consumer>| Some((c.clone(), c.settings()?));
        self.consumers = self.roster.all().iter().filter_map(configured).collect();
        self.hits = vec![Vec::new(); self.consumers.len()];
        self.routes.clear();
        self.version = version;
    }
}
