//! What happens beside the events' log: settlements take effect when their frame is durable, and consumers are told of new events
//! after the publishers have their answers.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::annals::Annals;
use super::append::Hold;
use super::fault::Fault;
use super::frame::Frame;
use super::log::Log;
use super::marks::Marks;
use super::record::state::StateRecord;
use super::roster::{Roster, Router};
use super::values::Values;
use super::vitals::Vitals;
use super::writer::{Configured, Follower, Settles};
use crate::history::codec::Pack;

/// The follower of the events' writer.
pub(crate) struct Dispatcher {
    pub(crate) log: Arc<Log>,
    pub(crate) roster: Arc<Roster>,
    pub(crate) router: Router,
    pub(crate) marks: Arc<Marks>,
    pub(crate) values: Arc<Values>,
    pub(crate) annals: Arc<Annals>,
    /// Settlements in frames up to this sequence have taken effect.
    pub(crate) applied: Arc<AtomicU64>,
    pub(crate) configured: Arc<Mutex<Option<Configured>>>,
    pub(crate) vitals: Vitals,
}

impl Follower for Dispatcher {
    fn hold(&self) -> Option<Hold> {
        if !self.roster.is_complete() {
            return Some(Hold { sequence: 0, holder: None });
        }
        let dispatched = self.log.dispatched();
        let consumers = self.roster.all();
        let held = consumers.iter().filter_map(|c| Some((c.holds(dispatched)?, c)));
        let (sequence, consumer) = held.min_by_key(|(sequence, _)| *sequence)?;
        Some(Hold { sequence, holder: Some(consumer.name.clone()) })
    }

    fn stored(&mut self, frame: &Frame, settled: &[Settles], history: &Pack) {
        // Before the settlements: whoever sees that an event is done finds what is told of it.
        self.annals.add(history);
        for Settles { consumer, sequences, changes } in settled {
            // Before the settlement: whoever sees that the event is done sees what it changed.
            if let Some(table) = consumer.table.get() {
                for record in changes {
                    table.apply(&StateRecord::own(record));
                }
            }
            consumer.done(sequences);
        }
        self.applied.store(frame.head.next() - 1, Ordering::SeqCst);
    }

    fn told(&mut self, frame: &Frame) {
        self.router.tell(frame);
        self.log.set_dispatched(frame.head.next() - 1);
        self.log.announce();
    }

    fn keep_floor(&mut self, first: u64) -> Result<(), Fault> {
        if let Some(mark) = self.values.cover(first, self.applied.load(Ordering::SeqCst))? {
            self.marks.promise_values(mark)?;
        }
        self.marks.keep_floor(first)
    }

    fn floor(&mut self) -> u64 {
        0
    }

    fn limits(&mut self) -> Option<Configured> {
        self.configured.lock().unwrap_or_else(PoisonError::into_inner).take()
    }

    fn failed(&mut self, fault: &Fault) {
        self.vitals.fail(fault);
        for consumer in self.roster.all().iter() {
            consumer.wake.notify_waiters();
            consumer.wake.notify_one();
        }
    }
}
