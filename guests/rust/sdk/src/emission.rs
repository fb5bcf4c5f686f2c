//! What goes out.

use serde::Serialize;

use crate::Failure;

/// An event to store, in the Channel's own stream.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Emission {
    /// One of the Channel's `emit.subjects`; otherwise the attempt failed, and nothing is stored.
    pub subject: String,
    /// The payload.
    pub data: Vec<u8>,
    /// The media type of `data`.
    pub content_type: Option<String>,
    /// At most 64, and 16 KiB; names that start with `nats-` or `saf-` are refused.
    pub headers: Vec<(String, String)>,
    /// Normally none: the router derives one, so that a repeated attempt stores nothing twice.
    pub id: Option<String>,
}

impl Emission {
    /// Bytes, without a content type.
    pub fn new(subject: impl Into<String>, data: impl Into<Vec<u8>>) -> Self {
        Self { subject: subject.into(), data: data.into(), ..Self::default() }
    }

    /// `text/plain`.
    pub fn text(subject: impl Into<String>, text: impl Into<String>) -> Self {
        Self::new(subject, text.into()).with_content_type("text/plain; charset=utf-8")
    }

    /// `application/json`. Rejected when JSON cannot express the value, such as a map whose keys are no text.
    pub fn json(subject: impl Into<String>, value: &(impl Serialize + ?Sized)) -> Result<Self, Failure> {
        let data = serde_json::to_vec(value)
            .map_err(|e| Failure::reject(format!("no JSON can be made of the answer: {e}")))?;
        Ok(Self::new(subject, data).with_content_type("application/json"))
    }

    /// The same with a content type.
    #[must_use]
    pub fn with_content_type(mut self, content_type: impl Into<String>) -> Self {
        self.content_type = Some(content_type.into());
        self
    }

    /// The same with one header more.
    #[must_use]
    pub fn with_header(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    #[test]
    fn the_content_type_follows_the_data() {
        let json = Emission::json("a", &BTreeMap::from([("k", 1)])).expect("JSON");
        assert_eq!(
            (json.data, json.content_type.as_deref()),
            (br#"{"k":1}"#.to_vec(), Some("application/json"))
        );
        let text = Emission::text("a", "hi").with_header("x-part", "1");
        assert_eq!(text.content_type.as_deref(), Some("text/plain; charset=utf-8"));
        assert_eq!(text.headers, [("x-part".to_string(), "1".to_string())]);
        assert_eq!(Emission::new("a", [1, 2]).content_type, None);
        let impossible = BTreeMap::from([(vec![1], 1)]);
        assert!(matches!(Emission::json("a", &impossible), Err(Failure::Reject(_))));
    }
}
