//! The data of an event to send: where it comes from, and how it travels.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::exit::Failure;

/// More than any broker takes as one event.
const MAX_DATA_BYTES: u64 = 64 << 20;

/// What is sent.
pub(super) enum Payload {
    Nothing,
    /// JSON, as it was written.
    Json(Box<RawValue>),
    /// Any other text.
    Text(String),
    Bytes(Vec<u8>),
}

impl Payload {
    fn of(bytes: Vec<u8>) -> Self {
        match String::from_utf8(bytes) {
            // A line break at the end of a file belongs to the file, not to the JSON in it.
            Ok(text) => match RawValue::from_string(text.trim().to_owned()) {
                Ok(json) => Self::Json(json),
                Err(_) => Self::Text(text),
            },
            Err(error) => Self::Bytes(error.into_bytes()),
        }
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        match self {
            Self::Nothing => Vec::new(),
            Self::Json(json) => json.get().as_bytes().to_vec(),
            Self::Text(text) => text.into_bytes(),
            Self::Bytes(bytes) => bytes,
        }
    }
}

/// The data from the command line, a file or standard input.
pub(super) fn payload(data: Option<&str>, file: Option<&Path>) -> Result<Payload, Failure> {
    match (data, file) {
        (Some(data), _) => Ok(Payload::of(data.as_bytes().to_vec())),
        (None, Some(path)) => read(path).map(Payload::of),
        (None, None) => Ok(Payload::Nothing),
    }
}

fn read(path: &Path) -> Result<Vec<u8>, Failure> {
    let fail = |error: std::io::Error| Failure::Usage(format!("cannot read {}: {error}", path.display()));
    let source: Box<dyn Read> = match path.to_str() {
        Some("-") => Box::new(std::io::stdin().lock()),
        _ => Box::new(File::open(path).map_err(fail)?),
    };
    let mut bytes = Vec::new();
    source.take(MAX_DATA_BYTES + 1).read_to_end(&mut bytes).map_err(fail)?;
    if bytes.len() as u64 > MAX_DATA_BYTES {
        return Err(Failure::Usage(format!(
            "{} is larger than {} MiB, more than any event: store it elsewhere and send where it is",
            path.display(),
            MAX_DATA_BYTES >> 20
        )));
    }
    Ok(bytes)
}

/// The router's envelope.
pub(super) fn envelope(
    subject: &str,
    id: Option<&str>,
    headers: &[(String, String)],
    content_type: Option<&str>,
    payload: Payload,
) -> Result<Vec<u8>, Failure> {
    #[derive(Serialize)]
    struct Envelope<'a> {
        subject: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        id: Option<&'a str>,
        #[serde(skip_serializing_if = "serde_json::Map::is_empty")]
        headers: serde_json::Map<String, serde_json::Value>,
        #[serde(skip_serializing_if = "Option::is_none")]
        content_type: Option<&'a str>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data: Option<Box<RawValue>>,
        #[serde(skip_serializing_if = "Option::is_none")]
        data_base64: Option<String>,
    }
    let mut repeated = serde_json::Map::new();
    for (name, value) in headers {
        let values = repeated.entry(name.clone()).or_insert_with(|| serde_json::Value::Array(Vec::new()));
        if let serde_json::Value::Array(values) = values {
            values.push(value.clone().into());
        }
    }
    let (data, data_base64, guessed) = match payload {
        Payload::Nothing => (None, None, None),
        Payload::Json(json) => (Some(json), None, None),
        Payload::Text(text) => (None, Some(STANDARD.encode(text)), Some("text/plain; charset=utf-8")),
        Payload::Bytes(bytes) => (None, Some(STANDARD.encode(bytes)), None),
    };
    let content_type = content_type.or(guessed);
    let envelope = Envelope { subject, id, headers: repeated, content_type, data, data_base64 };
    serde_json::to_vec(&envelope).map_err(Failure::internal)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sent(data: &[u8], content_type: Option<&str>) -> String {
        let headers = [("x".to_owned(), "1".to_owned()), ("x".to_owned(), "2".to_owned())];
        let body = envelope("a", None, &headers, content_type, Payload::of(data.to_vec())).expect("JSON");
        String::from_utf8(body).expect("text")
    }

    #[test]
    fn data_travels_as_what_it_is() {
        let head = r#"{"subject":"a","headers":{"x":["1","2"]}"#;
        for (data, content_type, rest) in [
            (&b"{\"b\": 1.0e2,\"a\":1}\n"[..], None, r#","data":{"b": 1.0e2,"a":1}}"#),
            (b"hi", None, r#","content_type":"text/plain; charset=utf-8","data_base64":"aGk="}"#),
            (b"hi", Some("text/html"), r#","content_type":"text/html","data_base64":"aGk="}"#),
            (b"\xff", None, r#","data_base64":"/w=="}"#),
            (b"", None, r#","content_type":"text/plain; charset=utf-8","data_base64":""}"#),
        ] {
            assert_eq!(sent(data, content_type), format!("{head}{rest}"));
        }
    }

    #[test]
    fn raw_data_is_not_touched() {
        assert_eq!(payload(Some(" x\n"), None).expect("text").into_bytes(), b" x\n");
        assert!(payload(None, None).expect("nothing").into_bytes().is_empty());
    }
}
