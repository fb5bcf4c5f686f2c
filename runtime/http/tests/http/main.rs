//! The listeners over real sockets: a client that writes plain bytes (a polite one would not send them), the real embedded broker
//! in a folder of its own, and one double for what a real broker cannot be made to do in a test: fail, stay away, hold a publish.
#![allow(clippy::expect_used, clippy::unwrap_used, reason = "a test that cannot go on ends here")]

mod admin;
mod client;
mod double;
mod server;
mod statuses;
mod store;
mod wire;
