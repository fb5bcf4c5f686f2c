//! An empty axum handler that takes the body and answers 202: what HTTP costs before anything is done.

use std::net::SocketAddr;

use axum::Router;
use axum::http::StatusCode;
use axum::routing::post;
use bytes::Bytes;
use tokio::net::TcpListener;
use tokio::runtime::{Builder, Runtime};

use crate::bench::{Bench, Figure};
use crate::load::{Load, Until};
use crate::payload::{self, Size};

/// Events a second that are answered, in requests of so many.
pub(crate) fn empty(bench: &Bench, size: Size, connections: usize, events: u64) -> anyhow::Result<Figure> {
    let requests = payload::requests(events, size);
    let server = Server::start()?;
    let until = Until::Elapsed(bench.scale.load);
    let loaded = Load { address: server.address, requests: &requests, connections, until }.run()?;
    anyhow::ensure!(loaded.is_clean(), "{}", loaded.problem());
    let note = format!("p50 {:.2}, p99 {:.2} ms", loaded.millis(0.5), loaded.millis(0.99));
    Ok(Figure::new((loaded.accepted * events) as f64 / loaded.took.as_secs_f64()).note(note))
}

/// Ends with its runtime.
struct Server {
    address: SocketAddr,
    _runtime: Runtime,
}

impl Server {
    fn start() -> anyhow::Result<Self> {
        // A thread a core, as axum's own examples run.
        let runtime = Builder::new_multi_thread().enable_all().build()?;
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let app = Router::new().route("/api/event", post(async |_: Bytes| StatusCode::ACCEPTED));
        runtime.spawn(async move { axum::serve(listener, app).await });
        Ok(Self { address, _runtime: runtime })
    }
}
