//! A small HTTP server for guests to talk to: it does what it is told and keeps what it was sent.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;

/// A request, as it came.
#[derive(Clone, Debug)]
pub struct Seen {
    /// Method and path.
    pub line: String,
    /// Lower-case names.
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Seen {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| &**value)
    }
}

/// What a server does with a request.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Answers with these bytes.
    Answer(String),
    /// Answers with a head, and then with zeros for ever.
    Endless,
    /// Says nothing, until the other side has gone.
    Silence,
    /// Closes the connection.
    Hangup,
}

impl Reply {
    pub fn status(status: &str, headers: &str, body: &str) -> Self {
        Self::Answer(format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len()))
    }
}

/// Dropping it leaves its task to the test's runtime.
pub struct Server {
    pub address: SocketAddr,
    seen: Arc<Mutex<Vec<Seen>>>,
    connections: Arc<Mutex<usize>>,
    gone: tokio::sync::Mutex<mpsc::UnboundedReceiver<()>>,
}

impl Server {
    pub async fn start(reply: Reply) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let address = listener.local_addr().expect("bound");
        let (seen, connections) = (Arc::<Mutex<Vec<Seen>>>::default(), Arc::<Mutex<usize>>::default());
        let (leaving, gone) = mpsc::unbounded_channel();
        let (log, count) = (seen.clone(), connections.clone());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                *count.lock().unwrap_or_else(PoisonError::into_inner) += 1;
                tokio::spawn(serve(stream, reply.clone(), log.clone(), leaving.clone()));
            }
        });
        Self { address, seen, connections, gone: gone.into() }
    }

    pub fn origin(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub fn connections(&self) -> usize {
        *self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Until a client has closed a connection.
    pub async fn left(&self) {
        self.gone.lock().await.recv().await.expect("the server runs");
    }
}

async fn serve(
    mut stream: TcpStream,
    reply: Reply,
    seen: Arc<Mutex<Vec<Seen>>>,
    leaving: mpsc::UnboundedSender<()>,
) {
    let mut buffer = Vec::new();
    while let Some(request) = read(&mut stream, &mut buffer).await {
        seen.lock().unwrap_or_else(PoisonError::into_inner).push(request);
        match &reply {
            Reply::Answer(bytes) => {
                if stream.write_all(bytes.as_bytes()).await.is_err() {
                    break;
                }
            }
            Reply::Endless => {
                let mut sent = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await;
                while sent.is_ok() {
                    sent = stream.write_all(&[0; 16 << 10]).await;
                }
                break;
            }
            Reply::Silence => {
                while stream.read_buf(&mut buffer).await.is_ok_and(|n| n > 0) {}
                break;
            }
            Reply::Hangup => break,
        }
    }
    // Nobody listens when the test is over.
    let _ = leaving.send(());
}

/// One request with a `content-length`, or without a body; `None` at the end.
async fn read(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> Option<Seen> {
    let head_end = loop {
        if let Some(at) = buffer.windows(4).position(|four| four == b"\r\n\r\n") {
            break at;
        }
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    };
    let head = String::from_utf8_lossy(&buffer[..head_end]).into_owned();
    let mut lines = head.split("\r\n");
    let line = lines.next()?.trim_end_matches(" HTTP/1.1").to_owned();
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_lowercase(), value.trim().to_owned()))
        .collect();
    let length = headers.iter().find(|(name, _)| name == "content-length");
    let length: usize = length.map_or(Some(0), |(_, value)| value.parse().ok())?;
    let end = head_end + 4 + length;
    while buffer.len() < end {
        if stream.read_buf(buffer).await.ok()? == 0 {
            return None;
        }
    }
    let body = buffer[head_end + 4..end].to_vec();
    buffer.drain(..end);
    Some(Seen { line, headers, body })
}
