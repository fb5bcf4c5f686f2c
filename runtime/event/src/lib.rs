//! The words of the router: events, subjects, headers, names, outcomes and trace contexts.
//!
//! Every other crate speaks in these types, so they are checked once, where they are made: a [`Subject`] that exists is
//! safe to put before a broker. What this crate deliberately lacks: I/O, clocks other than the wall clock for new ids,
//! and any knowledge of brokers, WebAssembly or HTTP.

mod event;
mod headers;
mod name;
mod outcome;
mod secret;
mod subject;
mod trace;
mod units;

pub use bytestring::ByteString;

pub use event::{Dedupe, Event, EventId, Lineage, NewEvent, Position, unix_millis};
pub use headers::{HeaderError, Headers};
pub use name::{ChannelName, NameError, StreamName};
pub use outcome::Outcome;
pub use secret::Secret;
pub use subject::{Filter, Subject, SubjectError};
pub use trace::{REPLAYED, TRACEPARENT, TraceContext};
pub use units::{Size, Span};

/// Longest subject, in bytes; NATS servers start to misbehave well above this.
pub const MAX_SUBJECT_BYTES: usize = 255;
/// Longest event id, in bytes. `<subject>/<id>` must fit one NATS header with room to spare.
pub const MAX_ID_BYTES: usize = 256;
/// Most headers of one event, ours not counted.
pub const MAX_HEADERS: usize = 64;
/// Most bytes of names and values of one event's headers; NATS refuses 64 KiB together with ours.
pub const MAX_HEADER_BYTES: usize = 16 * 1024;
