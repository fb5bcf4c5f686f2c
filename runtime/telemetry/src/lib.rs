//! What the router says about itself while it runs: numbers and traces. Every crate that has something to say uses these words, and
//! only these:
//!
//! - [`instruments`] is the table of all metrics: names, units, labels, buckets, descriptions. `docs/metrics.md` is made from it, and a
//!   scrape of a running router is compared with it.
//! - [`Span`] is a step of an event's way through the router, [`Tracer`] decides which are recorded and keeps them until they are sent.
//!
//! Deliberately absent: exporters, the environment and configuration, which are `saf-runtime`'s, and logs, which are `tracing`'s.

pub mod instruments;
mod meter;
mod span;
mod tracer;

pub use instruments::{Instrument, Kind};
pub use span::{Became, Process, Settled, Span, Step};
pub use tracer::{Counts, Place, Ratio, Tracer};
