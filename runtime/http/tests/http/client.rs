//! A client that writes what it is told and reads what comes: the tests are about bytes, which a polite client would not send.

use std::net::SocketAddr;

use serde_json::Value;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::server::soon;

pub(crate) struct Client {
    stream: TcpStream,
    unread: Vec<u8>,
}

/// A response.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    head: String,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.head
            .lines()
            .filter_map(|l| l.split_once(": "))
            .find(|(n, _)| n.eq_ignore_ascii_case(name))
            .map(|(_, v)| v)
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// A problem's name; empty when it is none.
    pub(crate) fn problem(&self) -> String {
        if self.header("content-type") != Some("application/problem+json") {
            return String::new();
        }
        let document = self.json();
        assert_eq!(document["status"], self.status, "{document}");
        assert!(document["title"].is_string() && document["detail"].is_string(), "{document}");
        document["type"].as_str().and_then(|t| t.strip_prefix("urn:saf:problem:")).expect("a type").to_owned()
    }
}

impl Client {
    pub(crate) async fn connect(addr: SocketAddr) -> Self {
        Self { stream: soon(TcpStream::connect(addr)).await.expect("it listens"), unread: Vec::new() }
    }

    pub(crate) async fn write(&mut self, bytes: &[u8]) {
        soon(self.stream.write_all(bytes)).await.expect("the server reads");
    }

    /// Writes until the server closes the connection.
    pub(crate) async fn write_until_closed(&mut self, bytes: &[u8]) {
        soon(async { while self.stream.write_all(bytes).await.is_ok() {} }).await;
    }

    /// Reads one answer, whose head may be a 1xx's.
    pub(crate) async fn answer(&mut self) -> Answer {
        soon(self.read(Method::Other)).await.expect("an answer")
    }

    /// Reads the answer to a HEAD.
    pub(crate) async fn head(&mut self) -> Answer {
        soon(self.read(Method::Head)).await.expect("an answer")
    }

    /// Reads one answer, or `None` when the server closes the connection before one.
    pub(crate) async fn answer_or_end(&mut self) -> Option<Answer> {
        soon(self.read(Method::Other)).await
    }

    /// Waits for the server to close the connection, and returns what came before.
    pub(crate) async fn end(mut self) -> Vec<u8> {
        soon(async {
            // A reset is an end too.
            let _ = self.stream.read_to_end(&mut self.unread).await;
        })
        .await;
        self.unread
    }

    async fn read(&mut self, method: Method) -> Option<Answer> {
        let head = loop {
            if let Some(end) = self.unread.windows(4).position(|w| w == b"\r\n\r\n") {
                break String::from_utf8(self.unread.drain(..end + 4).collect()).expect("a head in ASCII");
            }
            self.more().await?;
        };
        let status = head.split(' ').nth(1).and_then(|s| s.parse().ok()).expect("a status line");
        let mut answer = Answer { status, head, body: Vec::new() };
        let length = answer.header("content-length").map_or(0, |l| l.parse().expect("a length"));
        if status >= 200 && method == Method::Other {
            while self.unread.len() < length {
                self.more().await?;
            }
            answer.body = self.unread.drain(..length).collect();
        }
        Some(answer)
    }

    async fn more(&mut self) -> Option<()> {
        let mut buffer = [0; 4096];
        let n = self.stream.read(&mut buffer).await.ok().filter(|n| *n > 0)?;
        self.unread.extend_from_slice(&buffer[..n]);
        Some(())
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Method {
    Head,
    Other,
}

/// A POST as bytes; with the content type `application/json` unless the headers have one.
pub(crate) fn post(path: &str, headers: &[(&str, &str)], body: &str) -> String {
    let mut request = format!("POST {path} HTTP/1.1\r\nhost: test\r\ncontent-length: {}\r\n", body.len());
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request.push_str("content-type: application/json\r\n");
    }
    for (name, value) in headers {
        request.extend([*name, ": ", *value, "\r\n"]);
    }
    request + "\r\n" + body
}
