//! wasi:http 0.2: requests to the origins of `grants.http`, and to nowhere else.
//!
//! It is always linked, because the runtimes of JavaScript and Python import it whether or not the guest ever calls it; without a grant
//! every request answers `HTTP-request-denied`. Bindings and resources are wasmtime-wasi-http's; ours is what leaves the machine:
//!
//! - [`origin`]: the allow-list, asked for every request;
//! - [`connect`] and `capability::address`: one look-up a connection, and the addresses that no name may lead to;
//! - [`exchange`]: the caps of an event, and its end, past which no exchange lives;
//! - [`script`]: answers in the network's place, for cases.
//!
//! Connections are kept alive and shared by a Channel's instances, never by two Channels. Deliberately absent: following redirects (a
//! guest sees the 3xx and asks again, under the same allow-list), proxies, cookies, compression, HTTP/2, CONNECT.

mod connect;
mod exchange;
mod origin;
mod script;

use std::sync::Arc;
use std::time::Duration;

use http::{Method, Request};
use hyper_util::client::legacy::Client as Pooled;
use hyper_util::rt::{TokioExecutor, TokioTimer};
use rustls::ClientConfig;
use tokio::sync::Semaphore;
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpCtx, WasiHttpHooks};

use crate::config::Limits;
use crate::console::Console;
use connect::Connector;
use exchange::Session;
use origin::{Scheme, Target};
use script::HttpAnswer as Answer;
pub(crate) use script::Stage;

pub use origin::{Origin, OriginError};
pub use script::{HttpAnswer, HttpFailure, HttpRequest, HttpScript};

/// Most bytes of one `fields` resource, as the host holds it: a guest may hold [`crate::world::MAX_RESOURCES`] of them.
const MAX_FIELDS_BYTES: usize = 16 << 10;
/// Most bytes of a body that a guest can leave with the host before anybody reads it.
const MAX_BODY_CHUNK_BYTES: usize = 16 << 10;
/// Most bytes that the host reads ahead of a guest, and the largest head of a response.
const MAX_READ_AHEAD_BYTES: usize = 64 << 10;
/// Idle connections that a Channel keeps to one origin, and for how long.
const MAX_IDLE_CONNECTIONS: usize = 8;
const IDLE_CONNECTION: Duration = Duration::from_secs(15);

type Wires = Arc<Pooled<Connector, WasiBody>>;

/// A Channel's way out: its allow-list and its connections. Clones share both.
#[derive(Clone, Default)]
pub(crate) struct Client(Option<Arc<Inner>>);

struct Inner {
    /// `None`: everything may be asked, which only a case can say.
    origins: Option<Vec<Origin>>,
    out: Out,
}

enum Out {
    Network(Wires),
    Script(Arc<Stage>),
}

/// Where one request goes.
enum Way {
    Network(Wires),
    Script(Arc<Stage>, usize, Answer),
}

impl Client {
    /// Nothing is connected before a guest asks for it.
    pub(crate) fn new(origins: &[Origin]) -> Self {
        if origins.iter().any(|origin| origin.scheme() == Scheme::Https) {
            return Self::with(origins, connect::trusting_the_system());
        }
        Self::with(origins, connect::trusting(rustls::RootCertStore::empty()))
    }

    fn with(origins: &[Origin], tls: Arc<ClientConfig>) -> Self {
        if origins.is_empty() {
            return Self(None);
        }
        let mut wires = Pooled::builder(TokioExecutor::new());
        wires
            .timer(TokioTimer::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(IDLE_CONNECTION)
            .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
            .http1_max_buf_size(MAX_READ_AHEAD_BYTES)
            // wasi:http sets it from the address that was checked.
            .set_host(false);
        let wires = Arc::new(wires.build(Connector::new(tls)));
        Self(Some(Arc::new(Inner { origins: Some(origins.to_vec()), out: Out::Network(wires) })))
    }

    /// Nothing leaves: the stage's script answers.
    pub(crate) fn scripted(stage: Arc<Stage>) -> Self {
        let origins = stage.script.granted.clone();
        Self(Some(Arc::new(Inner { origins, out: Out::Script(stage) })))
    }

    fn admit(&self, request: &Request<WasiBody>) -> Result<&Inner, Denial> {
        let target = Target::of(request.uri()).ok_or(Denial::Address)?;
        if request.method() == Method::CONNECT {
            return Err(Denial::Connect);
        }
        match &self.0 {
            Some(inner) if inner.allows(&target) => Ok(inner),
            Some(_) | None => Err(Denial::Origin(target)),
        }
    }
}

impl Inner {
    fn allows(&self, target: &Target) -> bool {
        self.origins.as_ref().is_none_or(|origins| origins.iter().any(|origin| origin.covers(target)))
    }

    /// Where a request goes that may be sent.
    fn way(&self, request: &Request<WasiBody>) -> Result<Way, Denial> {
        match &self.out {
            Out::Network(wires) => Ok(Way::Network(Arc::clone(wires))),
            Out::Script(stage) => match stage.take(request) {
                (n, Some(answer)) => Ok(Way::Script(Arc::clone(stage), n, answer.clone())),
                (n, None) => Err(Denial::Unscripted(n + 1)),
            },
        }
    }
}

/// Why a request does not leave, for the Channel's log; the guest only learns that it was denied.
#[derive(Debug, thiserror::Error)]
enum Denial {
    #[error(
        "a request was denied: {0} is not in grants.http; add grants.http = [\"{0}\"] to the Channel to allow it"
    )]
    Origin(Target),
    #[error("a request was denied: its address is no http or https address of a plain host")]
    Address,
    #[error("a request was denied: CONNECT would lead past the allow-list")]
    Connect,
    #[error("a request was denied: limits.http_calls allows {0} an event")]
    Calls(u32),
    #[error("a request was denied: {0} responses are still open; read or drop them (limits.http_calls)")]
    Open(u32),
    #[error("a request was denied: the case has no answer for request {0}; add one to its `http`")]
    Unscripted(usize),
}

impl Denial {
    fn to_wasi(&self) -> Error {
        match self {
            Self::Origin(_) | Self::Connect | Self::Unscripted(_) => Error::HttpRequestDenied,
            Self::Address => Error::HttpRequestUriInvalid,
            Self::Calls(_) | Self::Open(_) => Error::ConnectionLimitReached,
        }
    }
}

/// The owned context of an instance.
pub(crate) struct Http {
    pub(crate) ctx: WasiHttpCtx,
    pub(crate) outgoing: Outgoing,
}

/// Decides about each request; wasmtime's hooks.
pub(crate) struct Outgoing {
    client: Client,
    console: Console,
    max_calls: u32,
    max_bytes: saf_event::Size,
    calls: u32,
    /// Responses that a guest holds on to count until it drops them, over its events too.
    open: Arc<Semaphore>,
    session: Option<Arc<Session>>,
}

impl Http {
    pub(crate) fn new(client: Client, limits: &Limits, console: Console) -> Self {
        let mut ctx = WasiHttpCtx::new();
        ctx.set_field_size_limit(MAX_FIELDS_BYTES);
        let outgoing = Outgoing {
            client,
            console,
            max_calls: limits.http_calls,
            max_bytes: limits.http_bytes,
            calls: 0,
            open: Arc::new(Semaphore::new(limits.http_calls as usize)),
            session: None,
        };
        Self { ctx, outgoing }
    }

    /// Ends the exchanges of an event, and gives the next one its budget.
    pub(crate) fn end_event(&mut self) {
        self.outgoing.calls = 0;
        if let Some(session) = self.outgoing.session.take() {
            session.end();
        }
    }
}

impl Drop for Http {
    fn drop(&mut self) {
        self.end_event();
    }
}

type Sent = Result<(http::Response<WasiBody>, Rest), Error>;
/// What wasi:http lets a connection do beside the exchange; ours do it by themselves.
type Rest = Box<dyn Future<Output = Result<(), Error>> + Send>;

impl Outgoing {
    fn begin(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
    ) -> Result<impl Future<Output = Result<http::Response<WasiBody>, Error>> + Send + 'static, Denial> {
        let inner = self.client.admit(&request)?;
        if self.calls >= self.max_calls {
            return Err(Denial::Calls(self.max_calls));
        }
        let permit = Arc::clone(&self.open).try_acquire_owned().map_err(|_| Denial::Open(self.max_calls))?;
        self.calls += 1;
        let way = inner.way(&request)?;
        let session =
            self.session.get_or_insert_with(|| Arc::new(Session::new(self.max_bytes, self.console.clone())));
        Ok(exchange::run(way, request, options, Arc::clone(session), permit))
    }
}

impl WasiHttpHooks for Outgoing {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Rest,
    ) -> Box<dyn Future<Output = Sent> + Send> {
        match self.begin(request, options) {
            Ok(exchange) => Box::new(async {
                let response = exchange.await?;
                Ok((response, Box::new(std::future::ready(Ok(()))) as Rest))
            }),
            Err(denial) => {
                self.console.note(&format!("… http: {denial}"));
                Box::new(std::future::ready(Err(denial.to_wasi())))
            }
        }
    }

    fn p2_outgoing_body_chunk_size(&mut self) -> usize {
        MAX_BODY_CHUNK_BYTES
    }
}

#[cfg(test)]
mod tests;
