//! What a saf Channel in Rust is written with: an event comes in, emissions or a failure go out.
//!
//! ```
//! use saf_channel::{Emission, Event, Failure};
//!
//! #[derive(serde::Deserialize)]
//! struct Person {
//!     name: String,
//! }
//!
//! fn greet(event: Event) -> Result<Emission, Failure> {
//!     let person: Person = event.json()?;
//!     Ok(Emission::text("greeted", format!("hello {}", person.name)))
//! }
//!
//! saf_channel::handler!(greet);
//! ```
//!
//! A crate of `crate-type = ["cdylib"]`, built for `wasm32-wasip2`, is a Channel. A function is enough for one without
//! configuration and state ([`handler!`]); one with either implements [`Channel`] ([`channel!`]).
//!
//! Handlers are plain functions of plain types: `cargo test` runs them natively. The generated bindings and all that speaks to
//! the router exist only for WebAssembly.
//!
//! `println!` writes a line that the router logs at `info`, `eprintln!` one at `warn`, and a panic is a trap whose message and
//! place stand in the dead letter. With the feature `log`, the macros of the `log` crate do the same.
//!
//! Deliberately absent: publishing (what is returned is stored, all or nothing), async (nothing runs between events), and the
//! capabilities: what else a Channel imports, it binds itself.

mod channel;
mod emission;
mod event;
mod failure;
#[cfg(target_arch = "wasm32")]
#[doc(hidden)]
pub mod glue;
#[cfg(feature = "log")]
mod logger;

pub use channel::{Answer, Channel, IntoAnswer};
pub use emission::Emission;
pub use event::Event;
pub use failure::{Failure, Retry};

/// The contract's `types`, for the bindings.
#[cfg(target_arch = "wasm32")]
mod types {
    pub(crate) use crate::{Emission, Event, Failure, Retry};
}
