//! The operators' listener: health, metrics, and the admin API under `/api/v1`. It runs on the caller's runtime, apart from
//! ingest's threads, and is not built for speed.
//!
//! A resource is a file: `channels`, `streams`, `events` (with `tree` and `why`), `dead_letters` (and `bulk`), `tap`, `attempts`. What they share:
//! `openapi` (a route and its description are one call), `query`, `page`, `answer`, `sse`, `event`, `delivery` and `time`. Deliberately absent:
//! changing the configuration, and publishing, which is ingest's.

mod answer;
mod attempts;
mod bulk;
mod channels;
mod dead_letters;
mod delivery;
mod desk;
mod event;
mod events;
mod openapi;
mod page;
mod query;
mod sse;
mod streams;
mod tap;
mod time;
mod tree;
mod why;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::StatusCode;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper_util::service::TowerToHyperService;
use opentelemetry::metrics::Meter;
use prometheus::{Registry, TextEncoder};
use saf_broker::Shared;
use saf_channel::Channel;
use saf_event::StreamName;
use tokio::sync::watch;

use crate::auth::Tokens;
use crate::health::Probe;
use crate::metrics::Connections;
use crate::problem::{Kind, Problem};
use crate::server::{self, Listener, Origin, Running};
use crate::{AdminConfig, Error, Readiness};

use desk::Desk;
use openapi::{Api, PREFIX};

const MAX_CONNECTIONS: usize = 256;
const HEADER_TIMEOUT: Duration = Duration::from_secs(30);
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// The operators' listener.
pub struct Admin;

/// What the admin listener needs beside its configuration and the broker.
pub struct AdminDeps {
    /// Where its instruments come from.
    pub meter: Meter,
    /// What `/readyz` shows beside the broker.
    pub readiness: Arc<dyn Readiness>,
    /// What `/metrics` shows.
    pub registry: Registry,
    /// The Channels that run here; a reload changes them.
    pub channels: watch::Receiver<Vec<Arc<Channel>>>,
    /// The streams that are configured; a reload changes them.
    pub streams: watch::Receiver<Vec<StreamName>>,
}

impl Admin {
    /// Opens the socket and serves on the runtime it is called on. Port 0 takes a free one, which [`Running::local_addr`]
    /// tells.
    pub fn start(config: &AdminConfig, broker: Shared, deps: AdminDeps) -> Result<Running, Error> {
        config.check()?;
        let guard = Guard::new(config)?;
        let mut sockets = server::bind(config.listen, 1, "admin.listen")?;
        let connections = Connections::new(&deps.meter, "admin");
        let listener = Listener::new(MAX_CONNECTIONS, HEADER_TIMEOUT, WRITE_TIMEOUT, connections);
        let mut running = Running::new(&sockets, listener.tasks())?;
        let probe = Probe::new(broker.clone(), deps.readiness);
        let AdminDeps { channels, streams, .. } = deps;
        let desk = Desk { broker, channels, streams, draining: running.draining() };
        let service = TowerToHyperService::new(router(guard, probe, deps.registry, api(desk)));
        if let Some(socket) = sockets.pop() {
            running.serve_here(socket, listener, service)?;
        }
        Ok(running)
    }
}

/// Who is let in.
#[derive(Clone)]
struct Guard {
    tokens: Option<Arc<Tokens>>,
    origin: Origin,
}

impl Guard {
    fn new(config: &AdminConfig) -> Result<Self, Error> {
        let Some(token) = &config.token else { return Ok(Self { tokens: None, origin: Origin::Own }) };
        let tokens = Tokens::read(vec![token.clone()])
            .map_err(|source| Error::Token { key: "admin.token", source })?;
        Ok(Self { tokens: Some(Arc::new(tokens)), origin: Origin::Any })
    }

    fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        self.origin.check(headers)?;
        self.tokens.as_ref().map_or(Ok(()), |tokens| tokens.check(headers))
    }
}

/// Everything under [`PREFIX`].
fn api(desk: Desk) -> Router {
    let resources = [
        channels::routes,
        streams::routes,
        events::routes,
        tree::routes,
        why::routes,
        dead_letters::routes,
        bulk::routes,
        tap::routes,
        attempts::routes,
        openapi::routes,
    ];
    let router = resources.into_iter().fold(Api::new(), |api, routes| routes(api)).finish();
    let router = router
        .method_not_allowed_fallback(async || {
            Problem::new(Kind::MethodNotAllowed, "this path has other methods: see Allow, and openapi.json")
        })
        .layer(middleware::map_response(answer::not_stored))
        .with_state(Arc::new(desk));
    Router::new().nest(PREFIX, router)
}

fn router(guard: Guard, probe: Probe, registry: Registry, api: Router) -> Router {
    let guarded = Router::new()
        .route("/metrics", get(metrics))
        .with_state(registry)
        .merge(api)
        .layer(middleware::from_fn_with_state(guard, guarded));
    // Probes have no token, and say nothing that a token should keep.
    Router::new()
        .route("/livez", get(async || Probe::livez().map(Body::new)))
        .route("/readyz", get(async |State(probe): State<Probe>| probe.readyz().map(Body::new)))
        .with_state(probe)
        .merge(guarded)
        .fallback(async || {
            Problem::new(Kind::NotFound, "see /livez, /readyz, /metrics and /api/v1/openapi.json")
        })
        .method_not_allowed_fallback(async || Problem::method_not_allowed("GET, HEAD"))
}

async fn guarded(State(guard): State<Guard>, request: Request, next: Next) -> Response {
    match guard.check(request.headers()) {
        Ok(()) => next.run(request).await,
        Err(problem) => problem.into_response(),
    }
}

async fn metrics(State(registry): State<Registry>) -> Response {
    match TextEncoder::new().encode_to_string(&registry.gather()) {
        Ok(text) => {
            let kind = HeaderValue::from_static(prometheus::TEXT_FORMAT);
            ([(CONTENT_TYPE, kind)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.response().map(Body::new)
    }
}
