//! CloudEvents 1.0 over HTTP: binary mode (`ce-*` headers), structured mode and batches. All three end up the same way: the
//! routing key is `type` (or the path's subject), the event's id is `id`, every attribute is stored as a `ce-*` header as
//! binary mode writes it, and a repetition is the same `source` and `id`.
//!
//! Deliberately absent: checks of `time` and of URI syntax (they are passed on), and versions other than 1.0.

use std::fmt;

use bytes::Bytes;
use bytestring::ByteString;
use http::header::HeaderMap;
use saf_event::{Dedupe, Headers, NewEvent, Subject};
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ingest::envelope::base64;
use crate::ingest::json::{OptionalText, Text};
use crate::ingest::{percent, rules};
use crate::problem::{Kind, Problem};

/// The header whose presence makes a request a CloudEvent in binary mode.
pub(super) const SPECVERSION: &str = "ce-specversion";

/// An event's attributes and payload, however they came.
#[derive(Debug, Default)]
pub(super) struct CloudEvent {
    specversion: Option<ByteString>,
    id: Option<ByteString>,
    source: Option<ByteString>,
    kind: Option<ByteString>,
    content_type: Option<ByteString>,
    headers: Headers,
    data: Data,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    Absent,
    /// As it was posted, or decoded.
    Bytes(Bytes),
    /// JSON inside of JSON; what it stands for depends on `datacontenttype`, which may come later.
    Json(Bytes),
}

impl CloudEvent {
    /// Reads binary mode's attributes; `body` is the payload.
    pub(super) fn binary(headers: &HeaderMap, body: Bytes) -> Result<Self, Problem> {
        let mut event = Self { data: Data::Bytes(body), ..Self::default() };
        if let Some(value) = headers.get(http::header::CONTENT_TYPE) {
            event.content_type = Some(rules::text("content-type", value)?);
        }
        for (name, value) in headers {
            let Some(attribute) = name.as_str().strip_prefix("ce-") else { continue };
            let written = rules::text(name.as_str(), value)?;
            let decoded = percent::decode(&written).ok_or_else(|| {
                Problem::new(
                    Kind::InvalidRequest,
                    format!("the value of header {name} is not UTF-8 when percent-decoded"),
                )
            })?;
            event.set(attribute, decoded, written).map_err(rules::invalid)?;
        }
        Ok(event)
    }

    /// Takes an attribute: its value, and the value as a header writes it.
    fn set(&mut self, attribute: &str, value: ByteString, written: ByteString) -> Result<(), String> {
        let (name, place) = match attribute {
            "specversion" => (ByteString::from_static(SPECVERSION), Some(&mut self.specversion)),
            "id" => (ByteString::from_static("ce-id"), Some(&mut self.id)),
            "source" => (ByteString::from_static("ce-source"), Some(&mut self.source)),
            "type" => (ByteString::from_static("ce-type"), Some(&mut self.kind)),
            "time" => (ByteString::from_static("ce-time"), None),
            other => (ByteString::from(format!("ce-{other}")), None),
        };
        if self.headers.get(&name).is_some() {
            return Err(format!("attribute {attribute:?} occurs twice"));
        }
        if let Some(place) = place {
            *place = Some(value);
        }
        self.headers.push(name, written).map_err(|error| error.to_string())
    }

    /// The event that it stands for; `subject`, where the path gives one, takes the place of `type`.
    pub(super) fn into_event(self, subject: Option<Subject>) -> Result<NewEvent, Problem> {
        match self.specversion.as_deref() {
            Some("1.0") => {}
            Some(other) => {
                return Err(rules::invalid(format!("specversion {other:?} is not supported: send \"1.0\"")));
            }
            None => return Err(missing("specversion")),
        }
        let id = rules::id("the attribute \"id\"", self.id.ok_or_else(|| missing("id"))?)?;
        let source = self.source.filter(|s| !s.is_empty()).ok_or_else(|| missing("source"))?;
        let kind = self.kind.ok_or_else(|| missing("type"))?;
        let subject = match subject {
            Some(subject) => subject,
            None => Subject::parse(kind).map_err(|error| {
                rules::invalid(format!("the attribute \"type\" is the event's subject, and {error}"))
            })?,
        };
        let mut content_type = self.content_type.map(rules::content_type).transpose()?;
        let data = match self.data {
            Data::Absent => Bytes::new(),
            Data::Bytes(bytes) => bytes,
            Data::Json(json) if is_json(content_type.as_deref()) => {
                content_type.get_or_insert(rules::APPLICATION_JSON);
                json
            }
            Data::Json(json) => match serde_json::from_slice::<String>(&json) {
                Ok(text) => text.into(),
                Err(_) => json,
            },
        };
        let headers = self.headers;
        Ok(NewEvent {
            id,
            subject,
            content_type,
            headers,
            data,
            lineage: None,
            dedupe: Dedupe::Source(source),
        })
    }
}

fn missing(attribute: &str) -> Problem {
    rules::invalid(format!(
        "the CloudEvent has no {attribute:?}: specversion, id, source and type are needed"
    ))
}

/// The JSON format takes absent `datacontenttype` for JSON.
fn is_json(content_type: Option<&str>) -> bool {
    let Some(content_type) = content_type else { return true };
    let essence = content_type.split(';').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    essence.ends_with("/json") || essence.ends_with("+json")
}

/// Reads a [`CloudEvent`] in the JSON format out of the body given.
#[derive(Clone, Copy)]
pub(super) struct Reader<'b>(pub(super) &'b ByteString);

impl<'b> DeserializeSeed<'b> for Reader<'b> {
    type Value = CloudEvent;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<CloudEvent, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'b> Visitor<'b> for Reader<'b> {
    type Value = CloudEvent;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a CloudEvent")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<CloudEvent, A::Error> {
        let mut event = CloudEvent::default();
        while let Some(name) = map.next_key_seed(Text(self.0))? {
            let data = match &*name {
                "data" => {
                    let json: &RawValue = map.next_value()?;
                    Data::Json(self.0.as_bytes().slice_ref(json.get().as_bytes()))
                }
                "data_base64" => match map.next_value_seed(OptionalText(self.0))? {
                    Some(text) => Data::Bytes(base64(&text)?),
                    None => continue,
                },
                "datacontenttype" => {
                    event.content_type = map.next_value_seed(OptionalText(self.0))?;
                    continue;
                }
                _ => {
                    attribute(&mut event, &name, map.next_value_seed(Attribute(self.0))?)
                        .map_err(A::Error::custom)?;
                    continue;
                }
            };
            if !matches!(std::mem::replace(&mut event.data, data), Data::Absent) {
                return Err(A::Error::custom(
                    "the data occurs twice: send one \"data\" or one \"data_base64\"",
                ));
            }
        }
        Ok(event)
    }
}

fn attribute(event: &mut CloudEvent, name: &str, value: Option<ByteString>) -> Result<(), String> {
    if name.is_empty() || !name.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit()) {
        return Err(format!("{name:?} is not an attribute's name: use a-z and 0-9"));
    }
    let Some(value) = value else { return Ok(()) };
    let written = percent::encode(&value);
    event.set(name, value, written)
}

/// An attribute's value in its canonical text; `null` counts as absent.
#[derive(Clone, Copy)]
struct Attribute<'b>(&'b ByteString);

impl<'b> DeserializeSeed<'b> for Attribute<'b> {
    type Value = Option<ByteString>;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for Attribute<'b> {
    type Value = Option<ByteString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string, a boolean or an integer as an attribute's value")
    }

    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<Self::Value, E> {
        Ok(Some(self.0.slice_ref(text)))
    }

    fn visit_str<E>(self, text: &str) -> Result<Self::Value, E> {
        Ok(Some(ByteString::from(text)))
    }

    fn visit_bool<E>(self, value: bool) -> Result<Self::Value, E> {
        Ok(Some(ByteString::from_static(if value { "true" } else { "false" })))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string().into()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Self::Value, E> {
        Ok(Some(value.to_string().into()))
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::json;

    fn text(problem: &Problem) -> String {
        let mut document = Vec::new();
        problem.write(&mut document);
        String::from_utf8(document).expect("UTF-8")
    }

    fn structured(body: &str) -> Result<NewEvent, String> {
        let body = ByteString::from(body);
        json::parse(&body, Reader(&body)).and_then(|e| e.into_event(None)).map_err(|p| text(&p))
    }

    fn binary(headers: &[(&str, &str)], body: &'static [u8]) -> Result<NewEvent, String> {
        let headers =
            headers.iter().map(|(n, v)| (n.parse().expect("name"), v.parse().expect("value"))).collect();
        CloudEvent::binary(&headers, Bytes::from_static(body))
            .and_then(|e| e.into_event(None))
            .map_err(|p| text(&p))
    }

    const REQUIRED: [(&str, &str); 4] = [
        ("ce-specversion", "1.0"),
        ("ce-id", "a%201"),
        ("ce-source", "/b%C3%A4r"),
        ("ce-type", "com.example.made"),
    ];

    #[test]
    fn both_modes_give_the_same_event() {
        let mut headers = REQUIRED.to_vec();
        headers.extend([
            ("content-type", "text/plain"),
            ("ce-count", "3"),
            ("ce-ok", "true"),
            ("ce-subject", "x%20y"),
        ]);
        let binary = binary(&headers, b"hi \"you\"").expect("valid");
        let structured = structured(
            r#"{"specversion":"1.0","id":"a 1","source":"/bär","type":"com.example.made","datacontenttype":"text/plain",
                "count":3,"ok":true,"subject":"x y","unset":null,"data":"hi \"you\""}"#,
        )
        .expect("valid");
        assert_eq!((binary.id.as_str(), binary.subject.as_str()), ("a 1", "com.example.made"));
        assert_eq!(binary.dedupe, Dedupe::Source("/bär".into()));
        assert_eq!(&binary.data[..], b"hi \"you\"");
        let sorted = |event: &NewEvent| {
            let mut pairs: Vec<_> =
                event.headers.iter().map(|(n, v)| (n.to_string(), v.to_string())).collect();
            pairs.sort();
            pairs
        };
        assert_eq!(sorted(&binary), sorted(&structured));
        assert_eq!(
            (binary.id, binary.subject, binary.content_type, binary.data, binary.dedupe),
            (structured.id, structured.subject, structured.content_type, structured.data, structured.dedupe)
        );
    }

    #[test]
    fn structured_data_is_what_datacontenttype_says() {
        let cases: [(&str, &[u8], Option<&str>); 7] = [
            ("", b"", None),
            (r#","data":{ "a":1 }"#, br#"{ "a":1 }"#, Some("application/json")),
            (r#","data":"x""#, br#""x""#, Some("application/json")),
            (
                r#","data":"x","datacontenttype":"application/a+json; v=1""#,
                br#""x""#,
                Some("application/a+json; v=1"),
            ),
            (r#","datacontenttype":"text/plain","data":"\u00e4""#, "ä".as_bytes(), Some("text/plain")),
            (r#","datacontenttype":"text/plain","data":7"#, b"7", Some("text/plain")),
            (r#","datacontenttype":"image/png","data_base64":"AP8=""#, b"\0\xff", Some("image/png")),
        ];
        for (rest, data, content_type) in cases {
            let event =
                structured(&format!(r#"{{"specversion":"1.0","id":"1","source":"s","type":"t"{rest}}}"#))
                    .expect(rest);
            assert_eq!((&event.data[..], event.content_type.as_deref()), (data, content_type), "{rest}");
        }
    }

    #[test]
    fn what_is_wrong_with_a_cloud_event_is_said_by_name() {
        for missing in 0..REQUIRED.len() {
            let mut headers = REQUIRED.to_vec();
            let (name, _) = headers.remove(missing);
            let error = binary(&headers, b"").expect_err(name);
            assert!(error.contains(name.trim_start_matches("ce-")), "{error}");
        }
        let twice = [REQUIRED.as_slice(), &[("ce-id", "b")]].concat();
        assert!(binary(&twice, b"").expect_err("twice").contains("occurs twice"));
        for (text, expected) in [
            (r#"{"specversion":"0.3","id":"1","source":"s","type":"t"}"#, "is not supported"),
            (r#"{"specversion":"1.0","id":"1","source":"","type":"t"}"#, r#"no \"source\""#),
            (r#"{"specversion":"1.0","id":"1","source":"s","type":"t t"}"#, "which a subject may not"),
            (r#"{"specversion":"1.0","id":"1","id":"2","source":"s","type":"t"}"#, "occurs twice"),
            (r#"{"specversion":"1.0","id":"1","source":"s","type":"t","bad_name":1}"#, "use a-z and 0-9"),
            (
                r#"{"specversion":"1.0","id":"1","source":"s","type":"t","x":1.5}"#,
                "an integer as an attribute's value",
            ),
            (
                r#"{"specversion":"1.0","id":"1","source":"s","type":"t","data":1,"data_base64":""}"#,
                "data occurs twice",
            ),
            ("[]", "a CloudEvent"),
        ] {
            let error = structured(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_attribute_makes_the_reader_panic(name in "[a-z%-]{0,8}", value in "[%0-9a-fA-F\"é]{0,12}") {
            let _ = structured(&format!(r#"{{"specversion":"1.0","{name}":{value:?}}}"#));
        }
    }
}
