//! The thread that sends spans: at an interval it takes what waits, and sends it in requests of bounded size. It does not come earlier
//! when there is much: what finds no room is dropped and counted, so that a rush of events cannot become a rush of spans.

use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use futures::executor::block_on;
use opentelemetry::InstrumentationScope;
use opentelemetry_otlp::SpanExporter;
use opentelemetry_sdk::trace::SpanExporter as _;
use saf_telemetry::{Span, Tracer};

use super::spans;
use crate::runtimes::lower_priority;

/// Spans of one request; some hundred bytes each.
const MAX_REQUEST_SPANS: usize = 1_024;

/// The thread, while it runs.
pub(super) struct Sender {
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Sender {
    pub(super) fn start(tracer: Tracer, exporter: SpanExporter, every: Duration) -> std::io::Result<Self> {
        let (stop, stopped) = mpsc::channel();
        let run = move || {
            lower_priority();
            run(&tracer, &exporter, every, &stopped);
        };
        let thread = thread::Builder::new().name("saf-spans".to_owned()).spawn(run)?;
        Ok(Self { stop, thread })
    }

    /// Sends what is left. Blocks until the collector answered, or did not in time.
    pub(super) fn stop(self) {
        drop(self.stop);
        if self.thread.join().is_err() {
            tracing::error!("the thread that sends spans panicked");
        }
    }
}

fn run(tracer: &Tracer, exporter: &SpanExporter, every: Duration, stopped: &Receiver<()>) {
    let scope = InstrumentationScope::builder("saf").with_version(env!("CARGO_PKG_VERSION")).build();
    loop {
        let last = !matches!(stopped.recv_timeout(every), Err(RecvTimeoutError::Timeout));
        let mut waiting = tracer.take().into_iter();
        loop {
            let batch: Vec<Span> = waiting.by_ref().take(MAX_REQUEST_SPANS).collect();
            if batch.is_empty() {
                break;
            }
            let count = batch.len();
            let batch = batch.into_iter().map(|span| spans::data(span, &scope)).collect();
            match block_on(exporter.export(batch)) {
                Ok(()) => tracer.sent(count),
                Err(_) => tracer.failed(count),
            }
        }
        if last {
            return;
        }
    }
}
