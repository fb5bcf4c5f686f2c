//! JetStream's JSON API over the publishing connection.
//!
//! Requests are made by hand, not through async-nats' types: a configuration is read and written as the server has it, so
//! that fields this program does not know survive an update; and a stored message comes as base64 in JSON, which no peer's
//! malformed header can break.

use std::time::{Duration, UNIX_EPOCH};

use async_nats::{Client, StatusCode, Subject};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};
use tokio::time::timeout;

use super::answer::ServerError;
use super::connection::Link;
use crate::Error;

/// How long an answer of the API is waited for.
const API_SECONDS: u64 = 5;
/// "no message found"
const NO_MESSAGE: u32 = 10037;
/// "stream not found"
const NO_STREAM: u32 = 10059;
/// "consumer not found"
const NO_CONSUMER: u32 = 10014;

/// Why the API did not do it.
#[derive(Debug)]
pub(super) enum Failure {
    /// The server says no.
    Server(ServerError),
    /// No answer, or none that makes sense.
    Unavailable(String),
}

impl Failure {
    fn is_missing(&self) -> bool {
        matches!(self, Self::Server(error) if matches!(error.err_code, NO_MESSAGE | NO_STREAM | NO_CONSUMER))
    }

    /// As an error about something a person wrote in the configuration.
    pub(super) fn about(self, what: &str) -> Error {
        match self {
            // A stream that is larger than the server may store: it stays so until a person does something.
            Self::Server(error) if error.is_about_room() => Error::Config(format!(
                "NATS has no room for {what}: {error}. What a stream may hold (max_bytes) is set aside when it is made: make it smaller in \
                 the configuration, or allow the server more (max_file_store or max_memory_store in its jetstream block)"
            )),
            Self::Server(error) if error.code == 503 => Error::Unavailable(format!("{what}: {error}")),
            Self::Server(error) => Error::Config(format!("NATS refuses {what}: {error}")),
            Self::Unavailable(reason) => Error::Unavailable(format!("{what}: {reason}")),
        }
    }
}

/// `None` where the server says that there is none.
pub(super) fn found<T>(result: Result<T, Failure>) -> Result<Option<T>, Failure> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(failure) if failure.is_missing() => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// A stream's configuration and state.
#[derive(Debug, Deserialize)]
pub(super) struct StreamInfo {
    pub(super) config: Map<String, Value>,
    pub(super) state: StreamState,
}

#[derive(Debug, Default, Deserialize)]
pub(super) struct StreamState {
    pub(super) messages: u64,
    pub(super) bytes: u64,
    pub(super) first_seq: u64,
    pub(super) last_seq: u64,
}

/// A consumer's configuration and state.
#[derive(Debug, Deserialize)]
pub(super) struct ConsumerInfo {
    /// When it was made: a name may be used again.
    #[serde(default)]
    pub(super) created: String,
    pub(super) config: Map<String, Value>,
    pub(super) delivered: Sequences,
    pub(super) ack_floor: Sequences,
    pub(super) num_ack_pending: u64,
    pub(super) num_pending: u64,
}

#[derive(Clone, Copy, Debug, Deserialize)]
pub(super) struct Sequences {
    pub(super) stream_seq: u64,
}

/// A stored message, byte for byte.
#[derive(Debug)]
pub(super) struct RawMessage {
    /// What is not UTF-8 in it comes as U+FFFD.
    pub(super) subject: String,
    pub(super) sequence: u64,
    /// Milliseconds since the Unix epoch.
    pub(super) time: u64,
    pub(super) headers: Vec<u8>,
    pub(super) data: Bytes,
}

/// The API of the account that the publishing connection is in.
#[derive(Clone)]
pub(super) struct Api {
    link: Link,
}

impl Api {
    pub(super) fn new(link: Link) -> Self {
        Self { link }
    }

    pub(super) async fn call<T: DeserializeOwned>(
        &self,
        subject: &str,
        request: &impl Serialize,
    ) -> Result<T, Failure> {
        let unavailable = |reason: &str| Failure::Unavailable(reason.to_owned());
        if !self.link.is_up() {
            return Err(unavailable("the connection to NATS is down"));
        }
        let payload = serde_json::to_vec(request).map_err(|error| Failure::Unavailable(error.to_string()))?;
        let message = request_raw(&self.link.client, format!("$JS.API.{subject}"), payload).await?;
        if message.status == Some(StatusCode::NO_RESPONDERS) {
            return Err(unavailable("JetStream does not answer: is it enabled for this account?"));
        }
        #[derive(Deserialize)]
        struct Outcome {
            error: Option<ServerError>,
        }
        if let Ok(Outcome { error: Some(error) }) = serde_json::from_slice(&message.payload) {
            return Err(Failure::Server(error));
        }
        serde_json::from_slice(&message.payload)
            .map_err(|error| Failure::Unavailable(format!("JetStream answered what cannot be read: {error}")))
    }

    /// The level of the server's API: 2 is server 2.12, the first with batches and schedules.
    pub(super) async fn level(&self) -> Result<u32, Failure> {
        #[derive(Deserialize)]
        struct Info {
            #[serde(default)]
            api: Level,
        }
        #[derive(Default, Deserialize)]
        struct Level {
            #[serde(default)]
            level: u32,
        }
        self.call::<Info>("INFO", &json!({})).await.map(|info| info.api.level)
    }

    pub(super) async fn stream(&self, name: &str) -> Result<Option<StreamInfo>, Failure> {
        found(self.call(&format!("STREAM.INFO.{name}"), &json!({})).await)
    }

    pub(super) async fn consumer(&self, stream: &str, name: &str) -> Result<Option<ConsumerInfo>, Failure> {
        found(self.call(&format!("CONSUMER.INFO.{stream}.{name}"), &json!({})).await)
    }

    /// The message with this sequence.
    pub(super) async fn message(&self, stream: &str, sequence: u64) -> Result<Option<RawMessage>, Failure> {
        // 0 is no place, and no error that says so.
        if sequence == 0 {
            return Ok(None);
        }
        self.get(stream, json!({ "seq": sequence })).await
    }

    /// The first message with this sequence or a higher one whose subject matches.
    pub(super) async fn message_from(
        &self,
        stream: &str,
        sequence: u64,
        filter: &str,
    ) -> Result<Option<RawMessage>, Failure> {
        self.get(stream, json!({ "seq": sequence.max(1), "next_by_subj": filter })).await
    }

    /// The last message under a subject.
    pub(super) async fn last_message(
        &self,
        stream: &str,
        subject: &str,
    ) -> Result<Option<RawMessage>, Failure> {
        self.get(stream, json!({ "last_by_subj": subject })).await
    }

    async fn get(&self, stream: &str, request: Value) -> Result<Option<RawMessage>, Failure> {
        #[derive(Deserialize)]
        struct Got {
            message: Body,
        }
        #[derive(Deserialize)]
        struct Body {
            subject: String,
            seq: u64,
            #[serde(default)]
            hdrs: String,
            #[serde(default)]
            data: String,
            time: String,
        }
        let Some(Got { message }) = found(self.call(&format!("STREAM.MSG.GET.{stream}"), &request).await)?
        else {
            return Ok(None);
        };
        let decode =
            |text: &str| STANDARD.decode(text).map_err(|error| Failure::Unavailable(error.to_string()));
        let stored = humantime::parse_rfc3339_weak(&message.time)
            .ok()
            .and_then(|time| time.duration_since(UNIX_EPOCH).ok())
            .unwrap_or_default();
        Ok(Some(RawMessage {
            sequence: message.seq,
            time: stored.as_millis() as u64,
            headers: decode(&message.hdrs)?,
            data: decode(&message.data)?.into(),
            subject: message.subject,
        }))
    }

    /// Removes a message; `false` when there was none.
    pub(super) async fn delete(&self, stream: &str, sequence: u64) -> Result<bool, Failure> {
        let request = json!({ "seq": sequence, "no_erase": true });
        let result = self.call::<Value>(&format!("STREAM.MSG.DELETE.{stream}"), &request).await;
        match result {
            Ok(_) => Ok(true),
            Err(failure) if failure.is_missing() => Ok(false),
            // "message delete failed", as a stream says that has it no longer.
            Err(Failure::Server(error)) if error.err_code == 10057 => Ok(false),
            Err(failure) => Err(failure),
        }
    }
}

async fn request_raw(
    client: &Client,
    subject: String,
    payload: Vec<u8>,
) -> Result<async_nats::Message, Failure> {
    let request = async_nats::Request::new().payload(payload.into()).timeout(None);
    let answer = client.send_request(Subject::from(subject), request);
    match timeout(Duration::from_secs(API_SECONDS), answer).await {
        Ok(Ok(message)) => Ok(message),
        Ok(Err(error)) if error.kind() == async_nats::RequestErrorKind::NoResponders => {
            Err(Failure::Unavailable("JetStream does not answer: is it enabled for this account?".into()))
        }
        Ok(Err(error)) => Err(Failure::Unavailable(error.to_string())),
        Err(_) => Err(Failure::Unavailable(format!("NATS did not answer within {API_SECONDS} s"))),
    }
}
