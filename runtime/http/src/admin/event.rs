//! An event as the API shows it. Its data is shown as what it is: JSON as it was posted, byte for byte between the braces, and
//! everything else in base64.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use saf_event::{ByteString, Event};
use schemars::JsonSchema;
use serde::Serialize;
use serde_json::value::RawValue;

use crate::admin::delivery::DeliveryView;
use crate::admin::time::Time;

/// Deeper JSON is shown in base64: readers that stop at a depth of 128 could not read the answer around it.
const MAX_JSON_DEPTH: usize = 100;

/// An event.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Event")]
pub(super) struct EventView<'a> {
    /// Its place in its stream.
    sequence: u64,
    /// Its subject.
    subject: &'a str,
    /// Its id.
    id: &'a str,
    /// When it was stored.
    time: Time,
    /// The media type of its data, when the sender gave one.
    content_type: Option<&'a str>,
    /// Names (lower case) and values, in the sender's order.
    headers: Vec<(&'a str, &'a str)>,
    /// Its data, when the content type says JSON and it is.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<serde_json::Value>")]
    data: Option<&'a RawValue>,
    /// Its data in base64, when `data` is absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    /// An emission: the event whose handling emitted it, as `<stream>:<sequence>`.
    parent: Option<String>,
    /// An emission: the posted event at the start of the chain, as `<stream>:<sequence>`.
    root: Option<String>,
    /// How many Channels lie between the root and this event; 0 for a posted one.
    hops: u16,
    /// What became of it, where that was asked for: the deliveries that match.
    #[serde(skip_serializing_if = "Option::is_none")]
    deliveries: Option<Vec<DeliveryView>>,
}

impl<'a> From<&'a Event> for EventView<'a> {
    fn from(event: &'a Event) -> Self {
        let data = json(event);
        Self {
            sequence: event.sequence,
            subject: event.subject.as_str(),
            id: event.id.as_str(),
            time: Time(event.time),
            content_type: event.content_type.as_deref(),
            headers: event.headers.iter().map(|(name, value)| (&**name, &**value)).collect(),
            data,
            data_base64: data.is_none().then(|| STANDARD.encode(&event.data)),
            parent: event.lineage.as_ref().map(|lineage| lineage.parent.to_string()),
            root: event.lineage.as_ref().map(|lineage| lineage.root.to_string()),
            hops: event.lineage.as_ref().map_or(0, |lineage| lineage.hops),
            deliveries: None,
        }
    }
}

impl EventView<'_> {
    /// With what became of it.
    pub(super) fn with(self, deliveries: Vec<DeliveryView>) -> Self {
        Self { deliveries: Some(deliveries), ..self }
    }
}

/// How many bytes an event takes in an answer, about.
pub(super) fn bytes(event: &Event) -> usize {
    event.data.len() + event.headers.bytes() + event.subject.as_str().len() + event.id.as_str().len()
}

fn json(event: &Event) -> Option<&RawValue> {
    if !event.content_type.as_ref().is_some_and(says_json) || depth(&event.data) > MAX_JSON_DEPTH {
        return None;
    }
    serde_json::from_slice(&event.data).ok()
}

fn says_json(content_type: &ByteString) -> bool {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    essence == "application/json" || essence == "text/json" || essence.ends_with("+json")
}

/// How deep the brackets of a JSON text go; brackets in strings do not count.
fn depth(json: &[u8]) -> usize {
    let (mut depth, mut deepest, mut in_string, mut escaped) = (0_usize, 0, false, false);
    for byte in json {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if in_string => escaped = true,
            b'"' => in_string = !in_string,
            b'[' | b'{' if !in_string => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b']' | b'}' if !in_string => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use saf_event::{EventId, Headers, Subject};
    use serde_json::{Value, json};

    use super::*;

    fn shown(content_type: Option<&'static str>, data: &[u8]) -> String {
        let event = Event {
            sequence: 7,
            id: EventId::parse("1").expect("an id"),
            subject: Subject::parse("a").expect("a subject"),
            time: 5,
            content_type: content_type.map(ByteString::from_static),
            headers: Headers::new(),
            data: Bytes::copy_from_slice(data),
            lineage: None,
        };
        serde_json::to_string(&EventView::from(&event)).expect("JSON")
    }

    #[test]
    fn json_is_shown_as_it_was_posted_and_the_rest_in_base64() {
        let deep = "[".repeat(101) + &"]".repeat(101);
        let brackets_in_a_string = format!("\"\\\"{}\"", "[".repeat(200));
        for (content_type, data, part) in [
            (Some("application/json"), "{\"b\": 1.0e2,\n \"a\":1}", "\"data\":{\"b\": 1.0e2,\n \"a\":1}"),
            (Some("application/json"), "12345678901234567890123", "\"data\":12345678901234567890123,"),
            (Some("Application/JSON; charset=utf-8"), "null", "\"data\":null"),
            (Some("application/cloudevents+json"), "[]", "\"data\":[]"),
            (Some("application/json"), &brackets_in_a_string, "\"data\":\"\\\"[["),
            (Some("application/json"), "{", "\"data_base64\":\"ew==\""),
            (Some("application/json"), "", "\"data_base64\":\"\""),
            (Some("application/json"), &deep, "\"data_base64\":\"W1tb"),
            (Some("text/plain"), "1", "\"data_base64\":\"MQ==\""),
            (None, "1", "\"data_base64\":\"MQ==\""),
        ] {
            let text = shown(content_type, data.as_bytes());
            assert!(text.contains(part), "{content_type:?} {data}: {text}");
            assert!(serde_json::from_str::<Value>(&text).is_ok(), "{text}");
        }
        let value: Value =
            serde_json::from_str(&shown(Some("text/json"), &[b'"', 0xff, b'"'])).expect("JSON");
        assert_eq!(value["data_base64"], "Iv8i");
        assert_eq!((&value["time"], &value["hops"]), (&json!("1970-01-01T00:00:00.005Z"), &json!(0)));
    }
}
