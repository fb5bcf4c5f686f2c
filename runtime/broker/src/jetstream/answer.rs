//! What the server answered to a publish, and what that means to whoever published. The only place where JetStream's error
//! codes are read.

use std::time::Duration;

use async_nats::{Message, StatusCode};
use serde::Deserialize;

use crate::{PublishError, Receipt, Refusal, SettleError};

/// When to try again after the server refused for want of itself.
pub(super) const RETRY_AFTER_MILLIS: u64 = 1_000;

/// The server's own words.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
pub(super) struct ServerError {
    #[serde(default)]
    pub(super) code: u16,
    #[serde(default)]
    pub(super) err_code: u32,
    #[serde(default)]
    pub(super) description: String,
}

impl std::fmt::Display for ServerError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.description, self.err_code)
    }
}

/// What became of a publish.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Answer {
    /// It is stored, now or earlier.
    Stored(Receipt),
    /// It is not, and this is why.
    Refused(ServerError),
    /// No stream listens on the subject; nothing is stored.
    NoStream,
    /// Nothing was sent; nothing is stored.
    NotSent,
    /// Larger than the server takes; nothing was sent.
    TooLarge { size: usize, limit: usize },
    /// No answer came.
    Overdue(Duration),
}

/// What a refusal asks for.
enum Meaning {
    /// The batch holds a key that is stored already.
    Duplicate,
    /// Too many batches at once, or a batch that a change of leaders cut short: a moment later it works.
    Busy,
    Full,
    TooLarge,
    Unavailable,
    Never,
}

impl ServerError {
    /// Insufficient resources, memory, storage.
    pub(super) fn is_about_room(&self) -> bool {
        matches!(self.err_code, 10023 | 10028 | 10047)
    }

    fn meaning(&self) -> Meaning {
        match self.err_code {
            10201 => Meaning::Duplicate,
            10158 | 10176 | 10210 => Meaning::Busy,
            _ if self.is_about_room() => Meaning::Full,
            10054 => Meaning::TooLarge,
            // The store failed: for want of room, or of a disk.
            10077 if self.description.contains("exceeded") || self.description.contains("no space") => {
                Meaning::Full
            }
            _ if self.code >= 500 => Meaning::Unavailable,
            _ => Meaning::Never,
        }
    }
}

impl Answer {
    /// Reads an answer; `None` for the empty one that says only that a batch has begun.
    pub(super) fn read(message: &Message) -> Option<Self> {
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Some(Self::NoStream);
        }
        if message.payload.is_empty() {
            return None;
        }
        if let Some(receipt) = read_fast(&message.payload) {
            return Some(Self::Stored(receipt));
        }
        Some(read_slowly(&message.payload))
    }

    pub(super) fn receipt(self, limit: usize) -> Result<Receipt, PublishError> {
        let retry_after = Duration::from_millis(RETRY_AFTER_MILLIS);
        let error = match self {
            Self::Stored(receipt) => return Ok(receipt),
            Self::NoStream | Self::NotSent => PublishError::Unavailable { retry_after },
            Self::TooLarge { size, limit } => Refusal::TooLarge { size, limit }.into(),
            Self::Overdue(waited) => PublishError::Unknown { waited },
            Self::Refused(error) => match error.meaning() {
                Meaning::Full => PublishError::Full { limit: error.description },
                Meaning::TooLarge => Refusal::TooLarge { size: limit + 1, limit }.into(),
                Meaning::Unavailable | Meaning::Busy => PublishError::Unavailable { retry_after },
                Meaning::Never | Meaning::Duplicate => Refusal::Broker(error.to_string()).into(),
            },
        };
        Err(error)
    }

    /// What it means to a settlement.
    pub(super) fn settled(self) -> Settled {
        let error = match self {
            Self::Stored(receipt) => return Settled::Stored(receipt.sequence),
            Self::NoStream => {
                SettleError::Unavailable("no stream takes the emissions: was it deleted?".into())
            }
            Self::NotSent => SettleError::Unavailable("the connection to NATS is down".into()),
            Self::TooLarge { size, limit } => Refusal::TooLarge { size, limit }.into(),
            Self::Overdue(waited) => {
                SettleError::Unavailable(format!("no answer within {} ms", waited.as_millis()))
            }
            Self::Refused(error) => match error.meaning() {
                Meaning::Duplicate => return Settled::Duplicate,
                Meaning::Busy => return Settled::Busy,
                Meaning::Full => SettleError::Full(error.description),
                Meaning::Unavailable => SettleError::Unavailable(error.to_string()),
                Meaning::TooLarge | Meaning::Never => Refusal::Broker(error.to_string()).into(),
            },
        };
        Settled::Failed(error)
    }
}

/// An answer in a settlement's eyes.
pub(super) enum Settled {
    /// Stored, now or earlier; the sequence of the last message.
    Stored(u64),
    /// A batch that holds a key which is stored already; nothing of it is stored now.
    Duplicate,
    /// Send it again in a moment.
    Busy,
    Failed(SettleError),
}

/// `{"stream":"events","seq":12}` with `"duplicate": true` behind it or not: nearly every answer there is, read in one pass.
/// A stream's name holds no quote, so what follows `"seq":` is the sequence.
fn read_fast(payload: &[u8]) -> Option<Receipt> {
    const SEQUENCE: &[u8] = b"\"seq\":";
    let rest = payload.strip_prefix(b"{\"stream\":\"")?;
    let at = rest.windows(SEQUENCE.len()).position(|w| w == SEQUENCE)? + SEQUENCE.len();
    let rest = &rest[at..];
    let digits = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    let sequence = std::str::from_utf8(&rest[..digits]).ok()?.parse().ok()?;
    match &rest[digits..] {
        b"}" => Some(Receipt { sequence, duplicate: false }),
        b",\"duplicate\": true}" | b",\"duplicate\":true}" => Some(Receipt { sequence, duplicate: true }),
        _ => None,
    }
}

fn read_slowly(payload: &[u8]) -> Answer {
    #[derive(Deserialize)]
    struct PubAck {
        error: Option<ServerError>,
        #[serde(default)]
        seq: u64,
        #[serde(default)]
        duplicate: bool,
    }
    match serde_json::from_slice(payload) {
        Ok(PubAck { error: Some(error), .. }) => Answer::Refused(error),
        Ok(PubAck { error: None, seq, duplicate }) if seq > 0 => {
            Answer::Stored(Receipt { sequence: seq, duplicate })
        }
        _ => Answer::Refused(ServerError {
            code: 400,
            err_code: 0,
            description: format!("an answer that is none: {:?}", String::from_utf8_lossy(payload)),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(payload: &'static str) -> Option<Answer> {
        Answer::read(&Message {
            subject: "i".into(),
            reply: None,
            payload: payload.into(),
            headers: None,
            status: None,
            description: None,
            length: 0,
        })
    }

    fn stored(sequence: u64, duplicate: bool) -> Answer {
        Answer::Stored(Receipt { sequence, duplicate })
    }

    #[test]
    fn answers_are_read() {
        for (payload, wanted) in [
            (r#"{"stream":"events","seq":12}"#, Some(stored(12, false))),
            (r#"{"stream":"events","seq":12,"duplicate": true}"#, Some(stored(12, true))),
            (r#"{"stream":"events","seq":3,"batch":"b1","count":2}"#, Some(stored(3, false))),
            (r#"{"stream":"events","domain":"hub","seq":3}"#, Some(stored(3, false))),
            ("", None),
        ] {
            assert_eq!(answer(payload), wanted, "{payload}");
        }
        for payload in ["{}", "garbage", r#"{"stream":"events","seq":}"#] {
            assert!(matches!(answer(payload), Some(Answer::Refused(_))), "{payload}");
        }
    }

    #[test]
    fn refusals_say_what_to_do() {
        let refused = |code, err_code, description: &str| {
            Answer::Refused(ServerError { code, err_code, description: description.into() }).receipt(100)
        };
        assert!(matches!(refused(503, 10077, "maximum messages exceeded"), Err(PublishError::Full { .. })));
        assert!(matches!(refused(503, 10077, "raft: closed"), Err(PublishError::Unavailable { .. })));
        assert!(matches!(refused(503, 10008, "no cluster"), Err(PublishError::Unavailable { .. })));
        assert!(matches!(refused(400, 10097, "header size"), Err(PublishError::Refused(Refusal::Broker(_)))));
        assert!(matches!(
            refused(400, 10054, "message size"),
            Err(PublishError::Refused(Refusal::TooLarge { .. }))
        ));
        assert!(matches!(Answer::NoStream.receipt(1), Err(PublishError::Unavailable { .. })));
    }

    #[test]
    fn refusals_of_batches_are_told_apart() {
        let error = |err_code| ServerError { code: 400, err_code, description: String::new() };
        assert!(matches!(Answer::Refused(error(10201)).settled(), Settled::Duplicate));
        assert!(matches!(Answer::Refused(error(10210)).settled(), Settled::Busy));
        assert!(matches!(Answer::Refused(error(10050)).settled(), Settled::Failed(SettleError::Refused(_))));
    }
}
