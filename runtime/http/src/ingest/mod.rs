//! Where events come in: `POST /api/event` and `POST /api/event/{subject}`, with health beside them.
//!
//! | request | what is in it |
//! | --- | --- |
//! | `application/json`, or no content type | an envelope, or an array of them |
//! | `application/x-ndjson` | an envelope a line |
//! | `application/cloudevents+json`, `-batch+json` | CloudEvents 1.0, structured |
//! | a `ce-specversion` header | a CloudEvent, binary |
//! | `/api/event/{subject}` | the payload as it is |
//!
//! 202 means stored, as durably as `/readyz` says. The answer is `{"id", "subject", "sequence", "duplicate"}`. A repetition of
//! an id under its subject within the stream's duplicate window is stored once and answered with the first one's sequence and
//! `"duplicate": true`; with another body it is a problem (422).
//!
//! The events of a batch are independent, and the answer is an array with one object for each, in order, each with a `status`:
//! the object above, or a problem document. The request's own status is 202 when all are stored, the events' own when they all
//! failed with the same one, else 207.
//!
//! One current-thread runtime a thread, each with a socket of its own (`SO_REUSEPORT`), and no router on the way: measured, that
//! is the shape that reaches the store's own speed. Deliberately absent: HTTP/2 and TLS (a proxy's), compression, rate limits.

mod answer;
mod body;
mod cloudevents;
mod envelope;
mod format;
mod json;
mod percent;
mod publish;
mod raw;
mod rules;
mod service;

use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use hyper::service::service_fn;
use opentelemetry::metrics::Meter;
use saf_broker::{Durability, Shared};
use saf_event::StreamName;
use saf_telemetry::Tracer;

use crate::auth::Tokens;
use crate::health::Probe;
use crate::metrics::{self, Connections};
use crate::server::{self, Listener, Origin, Running};
use crate::{Config, Error, Readiness};

/// The ingest listener.
pub struct Ingest;

/// What the ingest listener needs beside its configuration and the broker.
pub struct Deps {
    /// Where its instruments come from.
    pub meter: Meter,
    /// Where spans go.
    pub tracer: Tracer,
    /// What `/readyz` shows beside the broker.
    pub readiness: Arc<dyn Readiness>,
}

impl Ingest {
    /// Opens the sockets and starts the threads; events come in when it returns. Must not be called before the broker is
    /// prepared. Port 0 takes a free one, which [`Running::local_addr`] tells.
    pub fn start(config: &Config, broker: Shared, deps: Deps) -> Result<Running, Error> {
        config.check()?;
        let threads = match config.threads {
            0 => thread::available_parallelism().map_or(1, NonZero::get),
            threads => threads,
        };
        let sockets = server::bind(config.listen, threads, "http.listen")?;
        let listener = Listener::new(
            config.max_connections,
            config.header_timeout.0,
            config.body_timeout.0,
            Connections::new(&deps.meter, "ingest"),
        );
        let shared = Context::new(config, broker, deps, &listener)?;
        let mut running = Running::new(&sockets, listener.tasks())?;
        for socket in sockets {
            // One for each thread, so that its reference count is not fought over.
            let context = Arc::new(shared.clone());
            let service = service_fn(move |request| service::handle(Arc::clone(&context), request));
            running.serve_on_thread(socket, listener.clone(), service)?;
        }
        Ok(running)
    }
}

/// What every request needs.
#[derive(Clone)]
struct Context {
    broker: Shared,
    durability: Durability,
    stream: StreamName,
    limits: body::Limits,
    max_batch: usize,
    budget: Arc<body::Budget>,
    tokens: Option<Arc<Tokens>>,
    origin: Origin,
    headers: Arc<raw::HeaderRules>,
    probe: Probe,
    metrics: Arc<metrics::Ingest>,
    tracer: Tracer,
    tasks: server::Tasks,
}

impl Context {
    fn new(config: &Config, broker: Shared, deps: Deps, listener: &Listener) -> Result<Self, Error> {
        let tokens = match config.tokens.as_slice() {
            [] => None,
            sources => {
                let read = Tokens::read(sources.to_vec());
                Some(Arc::new(read.map_err(|source| Error::Token { key: "http.tokens", source })?))
            }
        };
        Ok(Self {
            durability: broker.profile().durability,
            stream: config.stream.clone(),
            limits: body::Limits { bytes: config.max_body.bytes(), time: config.body_timeout.0 },
            max_batch: config.max_batch,
            budget: body::Budget::new(config.max_in_flight.bytes()),
            origin: if tokens.is_some() { Origin::Any } else { Origin::NoPages },
            tokens,
            headers: Arc::new(raw::HeaderRules { id: config.id_header()?, forward: config.forwarding()? }),
            probe: Probe::new(Arc::clone(&broker), deps.readiness),
            metrics: Arc::new(metrics::Ingest::new(&deps.meter)),
            tracer: deps.tracer,
            tasks: listener.tasks(),
            broker,
        })
    }
}
