//! The accept loop and its connections.
//!
//! A connection beyond `max_connections` is accepted and answered 503 with Retry-After at once, so that a balancer goes
//! elsewhere; left in the kernel's queue it would look like a router that hangs. When the process is out of files, accepting
//! pauses and is tried again.

use std::io;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::server::conn::http1;
use hyper_util::rt::TokioTimer;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::time::{sleep, timeout};

use crate::metrics::Connections;
use crate::problem::Problem;
use crate::server::patience::Patience;
use crate::server::{Service, Tasks};

/// Largest head of a request, and most that is buffered of a connection in each direction.
const MAX_BUFFER_BYTES: usize = 64 * 1024;
/// Connections that are being told at once that there are too many; more are closed without a word.
const MAX_REFUSALS_AT_ONCE: usize = 64;
/// How long one that is told so may take to hear it.
const REFUSAL_TIMEOUT: Duration = Duration::from_secs(1);
/// How long accepting pauses after the system gave no connection, at first and at most.
const ACCEPT_PAUSE_MIN: Duration = Duration::from_millis(10);
const ACCEPT_PAUSE_MAX: Duration = Duration::from_secs(1);

/// The limits of a listener's connections, over all of its threads.
#[derive(Clone)]
pub(crate) struct Listener {
    connections: Arc<Semaphore>,
    refusals: Arc<Semaphore>,
    refusal: Bytes,
    header_timeout: Duration,
    write_timeout: Duration,
    metrics: Connections,
    tasks: Tasks,
}

impl Listener {
    pub(crate) fn new(
        max_connections: usize,
        header_timeout: Duration,
        write_timeout: Duration,
        metrics: Connections,
    ) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(max_connections.min(Semaphore::MAX_PERMITS))),
            refusals: Arc::new(Semaphore::new(MAX_REFUSALS_AT_ONCE)),
            refusal: refusal(max_connections),
            header_timeout,
            write_timeout,
            metrics,
            tasks: Tasks::new(),
        }
    }

    /// What draining waits for: connections, and publishes whose client went away.
    pub(crate) fn tasks(&self) -> Tasks {
        self.tasks.clone()
    }

    /// Accepts until `stop` changes, then drains for the grace that it holds.
    pub(crate) async fn serve<S: Service>(
        self,
        socket: TcpListener,
        service: S,
        mut stop: watch::Receiver<Option<Duration>>,
    ) {
        let mut pause = ACCEPT_PAUSE_MIN;
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.changed() => break,
                accepted = socket.accept() => accepted,
            };
            match accepted {
                Ok((stream, _)) => {
                    pause = ACCEPT_PAUSE_MIN;
                    self.admit(stream, &service, &stop);
                }
                Err(error) if is_the_peers(&error) => {}
                Err(error) => {
                    tracing::warn!(%error, ?pause, "no connection can be accepted; raise the limit of open files if this goes on");
                    tokio::select! {
                        _ = stop.changed() => break,
                        () = sleep(pause) => pause = (2 * pause).min(ACCEPT_PAUSE_MAX),
                    }
                }
            }
        }
        drop(socket);
        let grace = stop.borrow().unwrap_or_default();
        self.tasks.close();
        // What does not end in time is reported by whoever asked for the shutdown.
        let _ = timeout(grace, self.tasks.wait()).await;
    }

    fn admit<S: Service>(&self, stream: TcpStream, service: &S, stop: &watch::Receiver<Option<Duration>>) {
        let Ok(permit) = Arc::clone(&self.connections).try_acquire_owned() else {
            return self.refuse(stream);
        };
        let connection = self.clone().connection(stream, service.clone(), stop.clone(), permit);
        self.tasks.spawn(connection);
    }

    async fn connection<S: Service>(
        self,
        stream: TcpStream,
        service: S,
        mut stop: watch::Receiver<Option<Duration>>,
        _permit: OwnedSemaphorePermit,
    ) {
        let _open = self.metrics.opened();
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%error, "a connection went away at once");
            return;
        }
        let connection = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(self.header_timeout)
            .max_buf_size(MAX_BUFFER_BYTES)
            // Never `pipeline_flush`: it lifts the limit above for what is written, and a tap that nobody reads takes all memory.
            // Answers are small: copied together they go out in one plain write.
            .writev(false)
            .serve_connection(Patience::new(stream, self.write_timeout), service);
        let mut connection = pin!(connection);
        let served = tokio::select! {
            // In this order, so that an answer which is ready at the same time says that the connection closes.
            biased;
            _ = stop.changed() => {
                connection.as_mut().graceful_shutdown();
                connection.await
            }
            served = connection.as_mut() => served,
        };
        if let Err(error) = served {
            tracing::debug!(%error, "a connection ended early");
        }
    }

    fn refuse(&self, stream: TcpStream) {
        self.metrics.refused();
        let Ok(permit) = Arc::clone(&self.refusals).try_acquire_owned() else { return };
        let refusal = self.refusal.clone();
        self.tasks.spawn(async move {
            let _permit = permit;
            // A client that does not listen is none to be told.
            let _ = timeout(REFUSAL_TIMEOUT, tell_and_close(stream, &refusal)).await;
        });
    }
}

/// Reads on after the answer: closing with unread bytes resets the connection, and the answer is lost.
async fn tell_and_close(mut stream: TcpStream, refusal: &[u8]) -> io::Result<()> {
    stream.write_all(refusal).await?;
    stream.shutdown().await?;
    let mut unread = [0; 1024];
    while stream.read(&mut unread).await? > 0 {}
    Ok(())
}

fn refusal(max_connections: usize) -> Bytes {
    let problem = Problem::overloaded(format!(
        "there are {max_connections} connections (max_connections) and nothing was stored: repeat after Retry-After"
    ));
    let mut body = Vec::new();
    problem.write(&mut body);
    let head = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/problem+json\r\nretry-after: 1\r\nconnection: \
         close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    [head.into_bytes(), body].concat().into()
}

/// Errors of a connection that came and went, which say nothing about the next one.
fn is_the_peers(error: &io::Error) -> bool {
    use io::ErrorKind as K;
    matches!(error.kind(), K::ConnectionAborted | K::ConnectionReset | K::ConnectionRefused | K::Interrupted)
}
