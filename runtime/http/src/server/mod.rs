//! What both listeners share: sockets, the accept loop, connections with their limits, and draining.
//!
//! Nothing here knows a route. Deliberately absent: HTTP/2 and TLS, which stand in a proxy before the router.

mod accept;
mod origin;
mod patience;
mod socket;

use std::convert::Infallible;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use hyper::body::{Body, Incoming};
use hyper::service::HttpService;
use tokio::runtime;
use tokio::sync::{oneshot, watch};
use tokio::time::timeout;

pub(crate) use accept::Listener;
pub(crate) use origin::Origin;
pub(crate) use socket::bind;
pub(crate) use tokio_util::task::TaskTracker as Tasks;

use crate::Error;

/// How long after the grace period a thread may take to end.
const END_SLACK: Duration = Duration::from_secs(1);

/// A service that a connection can be given.
pub(crate) trait Service:
    HttpService<
        Incoming,
        ResBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
        Future: Send,
        Error: Into<BoxError>,
    > + Clone
    + Send
    + 'static
{
}

impl<S> Service for S where
    S: HttpService<
            Incoming,
            ResBody: Body<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
            Future: Send,
            Error: Into<BoxError>,
        > + Clone
        + Send
        + 'static
{
}

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Whether a listener drains: what has no end by itself ends then.
#[derive(Clone)]
pub(crate) struct Draining(watch::Receiver<Option<Duration>>);

impl Draining {
    pub(crate) fn has_begun(&self) -> bool {
        // Closed: the listener was dropped, which begins it with no grace.
        self.0.borrow().is_some() || self.0.has_changed().is_err()
    }

    /// Resolves when it begins, at once if it has. Cancel-safe.
    pub(crate) async fn begun(&mut self) {
        // An error is the end of the listener.
        let _ = self.0.wait_for(Option::is_some).await;
    }
}

/// A listener that runs. Dropping it closes it with no grace.
pub struct Running {
    local_addr: SocketAddr,
    /// `Some` begins the draining, and is its grace; so does dropping it.
    stop: watch::Sender<Option<Duration>>,
    tasks: Tasks,
    /// One for each accept loop, resolved when the loop has ended.
    ends: FuturesUnordered<oneshot::Receiver<Infallible>>,
}

impl Running {
    pub(crate) fn new(sockets: &[TcpListener], tasks: Tasks) -> Result<Self, Error> {
        let local_addr =
            sockets.first().map_or_else(|| Err(io::ErrorKind::NotFound.into()), TcpListener::local_addr);
        Ok(Self {
            local_addr: local_addr.map_err(Error::Thread)?,
            stop: watch::Sender::new(None),
            tasks,
            ends: FuturesUnordered::new(),
        })
    }

    /// Where it listens.
    pub fn local_addr(&self) -> SocketAddr {
        self.local_addr
    }

    /// For what it serves.
    pub(crate) fn draining(&self) -> Draining {
        Draining(self.stop.subscribe())
    }

    /// Resolves when a part of the listener ended though nobody asked for it; the process should end then. Cancel-safe.
    pub async fn ended(&mut self) {
        self.ends.next().await;
    }

    /// Stops accepting, closes idle connections, lets requests finish for `grace`, and cuts what is left.
    pub async fn shutdown(mut self, grace: Duration) {
        self.stop.send_replace(Some(grace));
        let ended = async { while self.ends.next().await.is_some() {} };
        if timeout(grace + END_SLACK, ended).await.is_err() {
            tracing::warn!(listener = %self.local_addr, "a listener's thread did not end in time and is left behind");
        }
        if !self.tasks.is_empty() {
            tracing::warn!(listener = %self.local_addr, cut = self.tasks.len(), "requests did not finish within the grace period");
        }
    }

    /// Serves on a thread of its own, with a runtime of its own.
    pub(crate) fn serve_on_thread<S: Service>(
        &mut self,
        socket: TcpListener,
        listener: Listener,
        service: S,
    ) -> Result<(), Error> {
        let runtime = runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Thread)?;
        let socket = {
            let _entered = runtime.enter();
            tokio::net::TcpListener::from_std(socket).map_err(Error::Thread)?
        };
        let stop = self.stop.subscribe();
        let ended = self.end();
        std::thread::Builder::new()
            .name(format!("saf-http-{}", self.ends.len() - 1))
            .spawn(move || {
                let _dropped_last = ended;
                runtime.block_on(listener.serve(socket, service, stop));
                // What is left had its grace; waiting for it would hold up the process.
                runtime.shutdown_background();
            })
            .map_err(Error::Thread)?;
        Ok(())
    }

    /// Serves on the caller's runtime.
    pub(crate) fn serve_here<S: Service>(
        &mut self,
        socket: TcpListener,
        listener: Listener,
        service: S,
    ) -> Result<(), Error> {
        let socket = tokio::net::TcpListener::from_std(socket).map_err(Error::Thread)?;
        let stop = self.stop.subscribe();
        let ended = self.end();
        // Its end is seen through `ended`, and waited for at shutdown.
        tokio::spawn(async move {
            let _dropped_last = ended;
            listener.serve(socket, service, stop).await;
        });
        Ok(())
    }

    fn end(&mut self) -> oneshot::Sender<Infallible> {
        let (ended, end) = oneshot::channel();
        self.ends.push(end);
        ended
    }
}
