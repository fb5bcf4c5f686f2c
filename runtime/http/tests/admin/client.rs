//! A client that reads answers with a length and answers in chunks that have no end.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::scene::HANG;

pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
    /// What was unpacked of a body in chunks, and not taken yet.
    text: String,
}

/// An answer.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

/// A server-sent event.
#[derive(Debug)]
pub(crate) struct Message {
    pub(crate) name: String,
    pub(crate) data: Value,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        let mut lines = self.head.lines().filter_map(|line| line.split_once(": "));
        lines.find(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, value)| value)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// A problem's name and detail.
    pub(crate) fn problem(&self) -> (String, String) {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        let document = self.json();
        assert_eq!(document["status"], self.status, "{document}");
        let name =
            document["type"].as_str().and_then(|t| t.strip_prefix("urn:saf:problem:")).expect("a type");
        (name.to_owned(), document["detail"].as_str().expect("a detail").to_owned())
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        let stream = timeout(HANG, TcpStream::connect(addr)).await.expect("in time").expect("it listens");
        Self { stream, unread: Vec::new(), text: String::new() }
    }

    pub(crate) async fn request(&mut self, method: &str, path: &str, body: &str) {
        let path = path.replace('>', "%3E").replace(' ', "%20");
        let request = format!(
            "{method} {path} HTTP/1.1\r\nhost: localhost\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        self.stream.write_all(request.as_bytes()).await.expect("the server reads");
    }

    /// Opens a stream of server-sent events; it shows what happens from here on.
    pub(crate) async fn open(mut self, path: &str) -> Self {
        self.request("GET", path, "").await;
        let head = timeout(HANG, self.head()).await.expect("in time").expect("an answer");
        assert!(head.starts_with("HTTP/1.1 200") && head.contains("text/event-stream"), "{head}");
        self
    }

    pub(crate) async fn answer(&mut self) -> Answer {
        let read = async {
            let head = self.head().await.expect("an answer");
            let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
            let mut answer = Answer { status, head, body: Vec::new() };
            let length =
                answer.header("content-length").map_or(0, |length| length.parse().expect("a length"));
            while self.unread.len() < length {
                self.more().await.expect("the whole body");
            }
            answer.body = self.unread.drain(..length).collect();
            answer
        };
        timeout(HANG, read).await.expect("an answer in time")
    }

    /// The next event of a stream; `None` at its end.
    pub(crate) async fn message(&mut self) -> Option<Message> {
        timeout(HANG, self.next_message()).await.expect("an event in time")
    }

    async fn next_message(&mut self) -> Option<Message> {
        loop {
            while let Some((block, rest)) = self.text.split_once("\n\n") {
                let (block, rest) = (block.to_owned(), rest.to_owned());
                self.text = rest;
                let field = |name: &str| {
                    block.lines().filter_map(|line| line.strip_prefix(name)).collect::<Vec<_>>().join("\n")
                };
                let name = field("event: ");
                if !name.is_empty() {
                    let data = serde_json::from_str(&field("data: ")).expect("JSON");
                    return Some(Message { name, data });
                }
            }
            self.chunk().await?;
        }
    }

    /// Unpacks the next chunk; `None` when it is the last.
    async fn chunk(&mut self) -> Option<()> {
        let end = loop {
            match self.unread.windows(2).position(|w| w == b"\r\n") {
                Some(end) => break end,
                None => self.more().await?,
            }
        };
        let length = std::str::from_utf8(&self.unread[..end]).expect("a length");
        let length = usize::from_str_radix(length, 16).expect("a length");
        while self.unread.len() < end + 2 + length + 2 {
            self.more().await?;
        }
        self.text += std::str::from_utf8(&self.unread[end + 2..end + 2 + length]).expect("text");
        self.unread.drain(..end + 2 + length + 2);
        (length > 0).then_some(())
    }

    async fn head(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                return Some(String::from_utf8(self.unread.drain(..end + 4).collect()).expect("ASCII"));
            }
            self.more().await?;
        }
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = vec![0; 64 << 10];
        let n = self.stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        self.unread.extend_from_slice(&buffer[..n]);
        Some(())
    }
}
