//! Data in a case file: text, a JSON value, or base64, whichever the author reads best.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::value::RawValue;

/// What `data` given as a JSON value is when no content type is named.
pub(super) const JSON: &str = "application/json";

/// How the file writes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    /// `"data": "text"`: these bytes.
    Text,
    /// `"data": {"any": "value but a string"}`: this value, as JSON without white space.
    Json,
    /// `"data_base64": "AAE="`: these bytes.
    Bytes,
    /// Not at all: no bytes.
    Absent,
}

/// Data, and how it was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Payload {
    pub(super) form: Form,
    pub(super) bytes: Bytes,
}

impl Payload {
    /// Of the two keys of a file; neither means no bytes.
    pub(super) fn read(data: Option<&RawValue>, base64: Option<&str>) -> Result<Self, String> {
        match (data, base64) {
            (None, None) => Ok(Self { form: Form::Absent, bytes: Bytes::new() }),
            (Some(_), Some(_)) => Err("`data` and `data_base64` are both given: keep one".to_owned()),
            (None, Some(text)) => match STANDARD.decode(text) {
                Ok(bytes) => Ok(Self { form: Form::Bytes, bytes: bytes.into() }),
                Err(error) => Err(format!("`data_base64` is not base64 ({error}): write text in `data`")),
            },
            (Some(raw), None) => match serde_json::from_str::<String>(raw.get()) {
                Ok(text) => Ok(Self { form: Form::Text, bytes: text.into() }),
                Err(_) => Ok(Self { form: Form::Json, bytes: compact(raw.get()).into() }),
            },
        }
    }

    /// Data with a content type of its own has that one; a JSON value is JSON.
    pub(super) fn content_type(&self, given: Option<Option<String>>) -> Option<String> {
        given.unwrap_or_else(|| (self.form == Form::Json).then(|| JSON.to_owned()))
    }
}

/// Whether a content type says JSON.
pub(super) fn says_json(content_type: &str) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == JSON || essence == "text/json" || essence.ends_with("+json")
}

/// Valid JSON without the white space between its tokens. Works on the text: numbers keep their digits, keys their order.
pub(super) fn compact(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let (mut in_string, mut escaped) = (false, false);
    for c in raw.chars() {
        if !in_string && matches!(c, ' ' | '\n' | '\r' | '\t') {
            continue;
        }
        match c {
            '"' if !escaped => in_string = !in_string,
            _ => {}
        }
        escaped = in_string && c == '\\' && !escaped;
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(data: Option<&str>, base64: Option<&str>) -> Result<Payload, String> {
        let raw = data.map(|data| RawValue::from_string(data.to_owned()).expect("JSON"));
        Payload::read(raw.as_deref(), base64)
    }

    #[test]
    fn data_is_text_a_value_or_bytes() {
        for (data, base64, form, bytes) in [
            (Some(r#""größe\n""#), None, Form::Text, "größe\n".as_bytes()),
            (Some("{ \"a\" : [1.0e2, \" x\\\" \"] }"), None, Form::Json, br#"{"a":[1.0e2," x\" "]}"#),
            (Some("null"), None, Form::Json, b"null"),
            (None, Some("AAE="), Form::Bytes, b"\0\x01"),
            (None, None, Form::Absent, b""),
        ] {
            let payload = read(data, base64).expect("valid");
            assert_eq!((payload.form, &*payload.bytes), (form, bytes));
        }
        assert!(read(Some("1"), Some("")).is_err_and(|error| error.contains("keep one")));
        assert!(read(None, Some("no base64!")).is_err_and(|error| error.contains("not base64")));
    }

    #[test]
    fn a_value_is_json_unless_the_file_says_otherwise() {
        let value = read(Some("1"), None).expect("valid");
        assert_eq!(value.content_type(None).as_deref(), Some(JSON));
        assert_eq!(value.content_type(Some(None)), None);
        assert_eq!(read(Some("\"1\""), None).expect("valid").content_type(None), None);
        assert!(says_json("application/cloudevents+JSON; charset=utf-8") && !says_json("text/plain"));
    }
}
