//! Server-sent events, as far as the router sends them: `event:`, `data:`, comments as signs of life. Without reconnects and
//! last-event ids: both streams of the router are lossy by design, and a person sees the gap.

use std::io::{BufRead, BufReader, Read};

use super::client::broke_off;
use crate::exit::Failure;

/// The largest event as JSON, with room to spare.
const MAX_MESSAGE_BYTES: usize = 64 << 20;

/// One message.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Message {
    /// `event`, `attempt`, `skipped`, …; empty when it was not said.
    pub(crate) kind: String,
    /// JSON.
    pub(crate) data: String,
}

/// What a stream gives next.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Next {
    Message(Message),
    /// The router ended the stream: it stops.
    Ended,
    /// The time that the stream was given is over.
    TimedOut,
}

/// Messages as they come.
pub(crate) struct Messages<R> {
    asked: String,
    reader: BufReader<R>,
}

impl<R: Read> Messages<R> {
    pub(crate) fn new(asked: String, reader: BufReader<R>) -> Self {
        Self { asked, reader }
    }

    /// Waits for the next message.
    pub(crate) fn next(&mut self) -> Result<Next, Failure> {
        let mut message = Message { kind: String::new(), data: String::new() };
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = (&mut self.reader).take(MAX_MESSAGE_BYTES as u64);
            match bounded.read_until(b'\n', &mut line) {
                Ok(_) if line.ends_with(b"\n") => {}
                Ok(n) if n < MAX_MESSAGE_BYTES => return Ok(Next::Ended),
                Ok(_) => return Err(too_long(&self.asked)),
                Err(error) => return self.broken(error.into()),
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim_end_matches(['\r', '\n']);
            if text.is_empty() && !message.data.is_empty() {
                return Ok(Next::Message(message));
            }
            let (field, value) = text.split_once(':').unwrap_or((text, ""));
            let value = value.strip_prefix(' ').unwrap_or(value);
            match field {
                "event" => value.clone_into(&mut message.kind),
                "data" => {
                    if !message.data.is_empty() {
                        message.data.push('\n');
                    }
                    message.data.push_str(value);
                    if message.data.len() > MAX_MESSAGE_BYTES {
                        return Err(too_long(&self.asked));
                    }
                }
                // A comment begins with a colon: its field is empty.
                _ => {}
            }
        }
    }

    fn broken(&self, error: ureq::Error) -> Result<Next, Failure> {
        match error {
            ureq::Error::Timeout(ureq::Timeout::Global) => Ok(Next::TimedOut),
            error => Err(broke_off(&self.asked, &error)),
        }
    }
}

fn too_long(asked: &str) -> Failure {
    Failure::Check(format!(
        "{asked}: a message is longer than {} MiB: this is no router",
        MAX_MESSAGE_BYTES >> 20
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn messages(text: &str) -> Vec<(String, String)> {
        let mut messages = Messages::new("GET x".to_owned(), BufReader::new(text.as_bytes()));
        let mut seen = Vec::new();
        while let Next::Message(message) = messages.next().expect("reads") {
            seen.push((message.kind, message.data));
        }
        seen
    }

    #[test]
    fn messages_are_read_as_browsers_read_them() {
        let pair = |kind: &str, data: &str| (kind.to_owned(), data.to_owned());
        for (text, expected) in [
            ("event: event\ndata: {\"a\":1}\n\n", vec![pair("event", "{\"a\":1}")]),
            (": hello\n\n:\n\ndata:1\n\n", vec![pair("", "1")]),
            (
                "event: skipped\r\ndata: {\r\ndata: }\r\n\r\ndata: 2\n\n",
                vec![pair("skipped", "{\n}"), pair("", "2")],
            ),
            ("id: 7\nretry: 1\ndata: x: y\n\ndata: cut off", vec![pair("", "x: y")]),
            ("", vec![]),
        ] {
            assert_eq!(messages(text), expected, "{text:?}");
        }
    }
}
