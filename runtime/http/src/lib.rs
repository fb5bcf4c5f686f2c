//! HTTP: where events come in ([`Ingest`]), and where people and machines look at the router ([`Admin`]).
//!
//! Two listeners, because they are for different people: the one for events is reached by every sender, the other by operators.
//! What goes wrong is answered as an RFC 9457 problem; `problem.rs` is the only file that knows statuses.
//!
//! Invariant: only this crate names hyper and axum. It stores events through [`saf_broker::Broker`] and knows no broker by name.

mod admin;
mod auth;
mod config;
mod error;
mod health;
mod ingest;
mod metrics;
mod problem;
mod server;

pub use admin::{Admin, AdminDeps};
pub use config::{AdminConfig, Config};
pub use error::Error;
pub use health::{Readiness, Report, Verdict};
pub use ingest::{Deps, Ingest};
pub use problem::Kind as ProblemKind;
pub use server::Running;
