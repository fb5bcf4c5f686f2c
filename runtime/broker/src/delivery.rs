//! Deliveries and what becomes of them: a [`Source`] hands out, a [`Settler`] takes back. Work goes in batches, with one box
//! for a fill and one for a settle however many events they hold; a ticket is a refcount, not an allocation.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use saf_event::{ByteString, Event, NewEvent};

use crate::{Account, DeadLetter, Error, Place, SettleError, StateChanges, StateReader};

/// What a subscription gives.
pub struct Feed {
    /// Hands out deliveries.
    pub source: Box<dyn Source>,
    /// Takes them back.
    pub settler: Arc<dyn Settler>,
    /// Reads the Channel's state, when its plan has one.
    pub state: Option<Arc<dyn StateReader>>,
}

/// Hands out deliveries of one Channel.
pub trait Source: Send {
    /// Waits for one delivery, then appends what is there, `want` at most, and keeps none back. `want` is at least 1.
    ///
    /// Give it all the room there is: on JetStream a `want` of 64 brings three quarters of what 1000 does. There an open
    /// pull may still bring up to the last `want` after the fill has returned; the next fill hands that out, or it is given
    /// back unseen when none comes for a second (or a quarter of the ack wait, if that is shorter), or the source is dropped.
    ///
    /// Cancel-safe: what was taken before the future is dropped is in `into` or is delivered again. After an error the caller
    /// waits and calls again; the source mends itself.
    fn fill<'a>(&'a mut self, want: usize, into: &'a mut Vec<Delivery>) -> BoxFuture<'a, Result<(), Error>>;
}

/// Takes deliveries of one Channel back.
pub trait Settler: Send + Sync {
    /// Settles a batch and resolves when all of it is stored; returns what could not be settled, in no order. Emissions, and changes
    /// of the Channel's state, are stored before (or in one step with) the settlement of their delivery, all or none.
    /// Batches with such changes are stored in the order in which their futures were polled first.
    ///
    /// Dropping the future settles an unknown part; the rest is delivered again.
    fn settle(&self, batch: Vec<Settling>) -> BoxFuture<'_, Vec<Unsettled>>;

    /// Does ahead what of settling needs only the processor, so that it is done on the caller's thread: a broker that stores emissions
    /// in a layout of its own turns [`Settlement::Done`] into [`Settlement::Packed`]. `room` is shared by a batch. What cannot be
    /// stored is left as it is, for `settle` to refuse.
    fn pack(&self, settling: Settling, room: &mut BytesMut) -> Settling {
        let _ = room;
        settling
    }

    /// Says that these are still worked on; restarts their ack wait.
    fn extend<'a>(&'a self, tickets: &'a [Ticket]) -> BoxFuture<'a, Result<(), Error>>;

    /// Gives a delivery back at once, without waiting and without burning an attempt; best effort, the ack wait does the rest.
    fn abandon(&self, ticket: Ticket);

    /// How far the Channel is behind.
    fn lag(&self) -> BoxFuture<'_, Result<Lag, Error>>;

    /// Where the Channel stands towards an event of its stream, as far as this broker can tell.
    fn place(&self, sequence: u64) -> BoxFuture<'_, Result<Place, Error>> {
        let _ = sequence;
        Box::pin(std::future::ready(Ok(Place::Unknown)))
    }
}

/// Names a delivery towards its broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The event's sequence.
    pub sequence: u64,
    /// Whatever the broker needs (JetStream: the ack subject); empty when the sequence is enough.
    pub handle: ByteString,
}

/// One event, handed to one Channel, not settled yet. Dropping it gives it back.
#[must_use = "a delivery that is dropped is delivered again"]
pub struct Delivery {
    /// The event; boxed, because a delivery is moved from stage to stage.
    pub event: Box<Event>,
    /// 1 on the first; as well as the broker knows, only failed attempts count.
    pub attempt: u32,
    /// How often it was handed out, this time included, verdict or not; those that were given back do not count.
    pub deliveries: u32,
    ticket: Option<Ticket>,
    home: Arc<dyn Settler>,
}

impl Delivery {
    /// Made by brokers.
    pub fn new(event: Event, attempt: u32, deliveries: u32, ticket: Ticket, home: Arc<dyn Settler>) -> Self {
        Self { event: Box::new(event), attempt, deliveries, ticket: Some(ticket), home }
    }

    /// The ticket, for [`Settler::extend`].
    pub fn ticket(&self) -> Option<&Ticket> {
        self.ticket.as_ref()
    }

    /// Taken by brokers when the delivery is settled: dropping it then does nothing.
    pub fn settled(&mut self) -> Option<Ticket> {
        self.ticket.take()
    }

    /// Says what is to become of it.
    pub fn into(self, settlement: Settlement) -> Settling {
        Settling { delivery: self, settlement, account: None }
    }

    /// Says what is to become of it, and of the attempt that led to it.
    pub fn told(self, settlement: Settlement, account: Option<Account>) -> Settling {
        Settling { delivery: self, settlement, account }
    }
}

impl Drop for Delivery {
    fn drop(&mut self) {
        if let Some(ticket) = self.ticket.take() {
            self.home.abandon(ticket);
        }
    }
}

impl fmt::Debug for Delivery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Delivery")
            .field("event", &self.event)
            .field("attempt", &self.attempt)
            .field("deliveries", &self.deliveries)
            .finish_non_exhaustive()
    }
}

/// What is to become of a delivery.
#[derive(Debug)]
pub enum Settlement {
    /// Handled; store these in the Channel's stream. `dedupe` of each is [`saf_event::Dedupe::Settlement`].
    Done {
        /// What the guest emitted, at most [`crate::Profile::max_emissions`].
        emit: Vec<NewEvent>,
        /// What it changed in the Channel's state.
        state: StateChanges,
    },
    /// [`Self::Done`], made by [`Settler::pack`] of the broker that is to settle it.
    Packed(Packed),
    /// A failed attempt; deliver again after this.
    Retry {
        /// Zero means at once.
        after: Duration,
    },
    /// It will never be handled: store the dead letter, then take it from the Channel.
    Dead(Box<DeadLetter>),
    /// Not the event's fault: deliver again at once, no attempt burnt.
    Release,
}

/// Emissions as their broker stores them.
#[derive(Clone, Debug)]
pub struct Packed {
    pub(crate) bytes: Bytes,
    pub(crate) emissions: u32,
    /// The changes of the Channel's state, a part of `bytes`; empty when there are none.
    pub(crate) changes: Bytes,
    /// The entry of the history, the end of `bytes`; empty when there is none.
    pub(crate) entry: Bytes,
}

impl Settlement {
    /// Handled, without changes of the Channel's state.
    pub fn done(emit: Vec<NewEvent>) -> Self {
        Self::Done { emit, state: StateChanges::default() }
    }

    /// Whether it changes the Channel's state.
    pub fn changes_state(&self) -> bool {
        match self {
            Self::Done { state, .. } => !state.is_empty(),
            Self::Packed(packed) => !packed.changes.is_empty(),
            Self::Retry { .. } | Self::Dead(_) | Self::Release => false,
        }
    }

    /// How many events it stores.
    pub fn emissions(&self) -> usize {
        match self {
            Self::Done { emit, .. } => emit.len(),
            Self::Packed(packed) => packed.emissions as usize,
            Self::Retry { .. } | Self::Dead(_) | Self::Release => 0,
        }
    }
}

/// A delivery with its settlement.
#[derive(Debug)]
pub struct Settling {
    /// The delivery.
    pub delivery: Delivery,
    /// What is to become of it.
    pub settlement: Settlement,
    /// What is to be kept of the attempt; `None` where there was none, or nothing is kept.
    pub account: Option<Account>,
}

/// A delivery that could not be settled. Dropping it gives it back.
#[derive(Debug)]
pub struct Unsettled {
    /// As it was handed in.
    pub settling: Settling,
    /// Why.
    pub error: SettleError,
}

/// How far a Channel is behind its stream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, schemars::JsonSchema)]
pub struct Lag {
    /// Matching events that were never handed out; an upper bound where the broker would have to read them to know.
    pub pending: u64,
    /// Handed out and not settled.
    pub unsettled: u64,
    /// Everything up to this sequence is settled.
    pub floor: u64,
    /// Events that retention removed before they were settled, since the broker was opened.
    pub expired: u64,
}
