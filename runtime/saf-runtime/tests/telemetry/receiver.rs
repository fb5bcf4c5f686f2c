//! An OTLP/HTTP receiver: takes protobuf on a port of its own, and keeps what came.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;

use crate::spans::Span;
use crate::support::until;

/// What came, and how to answer.
#[derive(Default)]
struct Inbox {
    traces: Vec<ExportTraceServiceRequest>,
    metrics: Vec<ExportMetricsServiceRequest>,
    heads: Vec<String>,
    /// Answer 503.
    refusing: bool,
}

/// The receiver; its thread ends with the test's process.
#[derive(Clone)]
pub(crate) struct Receiver {
    pub(crate) url: String,
    inbox: Arc<Mutex<Inbox>>,
}

impl Receiver {
    pub(crate) fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let url = format!("http://{}", listener.local_addr().expect("bound"));
        let inbox = Arc::<Mutex<Inbox>>::default();
        let accepting = inbox.clone();
        thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let inbox = accepting.clone();
                thread::spawn(move || serve(stream, &inbox));
            }
        });
        Self { url, inbox }
    }

    pub(crate) fn refuse(&self, refusing: bool) {
        self.inbox.lock().expect("whole").refusing = refusing;
    }

    /// The heads of all requests, in lower case.
    pub(crate) fn heads(&self) -> Vec<String> {
        self.inbox.lock().expect("whole").heads.clone()
    }

    pub(crate) fn spans(&self) -> Vec<Span> {
        self.inbox.lock().expect("whole").traces.iter().flat_map(Span::all).collect()
    }

    /// The spans, as soon as there are so many.
    #[track_caller]
    pub(crate) fn wait_spans(&self, count: usize) -> Vec<Span> {
        until(&format!("{count} spans"), || Some(self.spans()).filter(|spans| spans.len() >= count))
    }

    pub(crate) fn metrics(&self) -> Vec<ExportMetricsServiceRequest> {
        self.inbox.lock().expect("whole").metrics.clone()
    }
}

fn serve(stream: TcpStream, inbox: &Mutex<Inbox>) {
    let mut reader = BufReader::new(stream);
    loop {
        let (mut head, mut length) = (String::new(), 0);
        loop {
            let from = head.len();
            if reader.read_line(&mut head).unwrap_or(0) == 0 {
                return;
            }
            let line = head[from..].to_ascii_lowercase();
            if let Some(value) = line.strip_prefix("content-length:") {
                length = value.trim().parse().expect("a length");
            }
            if line == "\r\n" {
                break;
            }
        }
        let mut body = vec![0; length];
        if reader.read_exact(&mut body).is_err() {
            return;
        }
        let status = take(&head.to_ascii_lowercase(), &body, &mut inbox.lock().expect("whole"));
        let answer =
            format!("HTTP/1.1 {status}\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n");
        if reader.get_mut().write_all(answer.as_bytes()).is_err() {
            return;
        }
    }
}

fn take(head: &str, body: &[u8], inbox: &mut Inbox) -> &'static str {
    inbox.heads.push(head.to_owned());
    if inbox.refusing {
        return "503 Service Unavailable";
    }
    if head.starts_with("post /v1/traces ") {
        inbox.traces.push(ExportTraceServiceRequest::decode(body).expect("spans"));
    } else if head.starts_with("post /v1/metrics ") {
        inbox.metrics.push(ExportMetricsServiceRequest::decode(body).expect("metrics"));
    } else {
        return "404 Not Found";
    }
    "200 OK"
}
