//! Why a listener did not start. What a client is told stands in `problem.rs`.

use std::io;
use std::net::SocketAddr;

/// Why a listener did not start.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The configuration cannot be served as it is; the text names the key and what to write.
    #[error("{0}")]
    Config(String),
    /// The address is taken, not this machine's, or not allowed.
    #[error("cannot listen on {addr}: {source}; stop what listens there, or set {key} to another address")]
    Listen {
        /// The address.
        addr: SocketAddr,
        /// The key that names it.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// A token's variable or file cannot be read.
    #[error("cannot read a token of {key}: {source}")]
    Token {
        /// The key that names it.
        key: &'static str,
        /// What the system said.
        source: io::Error,
    },
    /// The system gave no thread or no event loop.
    #[error("cannot start a thread for HTTP: {0}; the process may be at its limit of threads or open files")]
    Thread(io::Error),
}
