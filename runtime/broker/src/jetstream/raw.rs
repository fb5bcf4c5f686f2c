//! What the server hands over as bytes or text of its own: stored header blocks, and the subjects that deliveries are acked on.

use std::str::FromStr;

use async_nats::HeaderName;

/// The header block of a message as the server stored it, read as async-nats reads it.
pub(super) struct Block {
    /// What could be read.
    pub(super) pairs: Vec<(String, String)>,
    /// Why async-nats would drop the connection over it.
    pub(super) malformed: Option<String>,
}

/// Reads a raw header block; what is wrong with it is named, and the rest read all the same.
pub(super) fn parse_block(raw: &[u8]) -> Block {
    let mut malformed = None;
    let mut wrong = |what: String| {
        malformed.get_or_insert(what);
    };
    if std::str::from_utf8(raw).is_err() {
        wrong("a header is not UTF-8".into());
    }
    let text = String::from_utf8_lossy(raw);
    let mut lines = text.lines().peekable();
    if !raw.is_empty() && !lines.next().is_some_and(|line| line.starts_with("NATS/1.0")) {
        wrong("the header block does not start with NATS/1.0".into());
    }
    let mut pairs = Vec::new();
    while let Some(line) = lines.next() {
        if line.is_empty() {
            continue;
        }
        let Some((name, first)) = line.split_once(':') else {
            wrong(format!("the header line {line:?} has no colon"));
            continue;
        };
        let mut text = first.trim_start().to_owned();
        while let Some(more) = lines.next_if(|line| line.starts_with(char::is_whitespace)) {
            text.push_str(more);
        }
        text.truncate(text.trim_end().len());
        if HeaderName::from_str(name).is_ok() {
            pairs.push((name.to_owned(), text));
        } else {
            wrong(format!("the header name {name:?} is not one"));
        }
    }
    Block { pairs, malformed }
}

/// What the subject on a delivery's reply says: `$JS.ACK.<stream>.<consumer>.<delivered>.<sequence>.<...>.<time>.<pending>`,
/// from 2.14 on with a domain and an account before the stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct AckSubject {
    pub(super) delivered: u32,
    pub(super) sequence: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) time: u64,
}

impl AckSubject {
    pub(super) fn parse(reply: &str) -> Option<Self> {
        const SHORT_TOKENS: usize = 9;
        let skip = if reply.split('.').count() > SHORT_TOKENS { 6 } else { 4 };
        let mut tokens = reply.strip_prefix("$JS.ACK.").map(|_| reply.split('.').skip(skip))?;
        let delivered = tokens.next()?.parse().ok()?;
        let sequence = tokens.next()?.parse().ok()?;
        let nanos: u64 = tokens.nth(1)?.parse().ok()?;
        Some(Self { delivered, sequence, time: nanos / 1_000_000 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn malformed_blocks_are_named_and_read_as_far_as_possible() {
        for (raw, malformed) in [
            (&b""[..], false),
            (b"NATS/1.0\r\nA: 1\r\nB:2\r\n\r\n", false),
            (b"NATS/1.0\r\nA: \xff\r\nB: 2\r\n\r\n", true),
            (b"NATS/1.0\r\nA b: 1\r\nB: 2\r\n\r\n", true),
            (b"NATS/1.0\r\nnone\r\nB: 2\r\n\r\n", true),
            (b"garbage", true),
        ] {
            let block = parse_block(raw);
            assert_eq!(block.malformed.is_some(), malformed, "{raw:?}: {:?}", block.malformed);
            let wants_b = raw.windows(2).any(|w| w == b"B:");
            assert_eq!(block.pairs.iter().any(|(n, v)| n == "B" && v == "2"), wants_b, "{raw:?}");
        }
    }

    #[test]
    fn both_forms_of_ack_subjects_are_read() {
        let wanted = Some(AckSubject { delivered: 3, sequence: 100, time: 1_795_509_834_139 });
        for reply in [
            "$JS.ACK.events.durable.3.100.7.1795509834139796701.42",
            "$JS.ACK._.szMpdrwD.events.durable.3.100.7.1795509834139796701.42",
            "$JS.ACK.hub.szMpdrwD.events.durable.3.100.7.1795509834139796701.42.token",
        ] {
            assert_eq!(AckSubject::parse(reply), wanted, "{reply}");
        }
        for reply in ["", "_INBOX.a.1", "$JS.ACK.events.durable.3", "$JS.ACK.events.durable.x.100.7.1.42"] {
            assert_eq!(AckSubject::parse(reply), None, "{reply}");
        }
    }
}
