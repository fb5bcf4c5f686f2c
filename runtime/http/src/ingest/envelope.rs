//! The router's own envelope: `{"subject": "hello", "data": <any JSON>, "id": "1", "headers": {…}, "content_type": …}`, with
//! `data_base64` in place of `data` for bytes. Read by hand: nothing is copied, an unknown key is named, `data` stays as it was
//! written, byte for byte.

use std::fmt;

use base64::Engine as _;
use base64::alphabet::STANDARD;
use base64::engine::DecodePaddingMode;
use base64::engine::general_purpose::{GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use bytestring::ByteString;
use saf_event::{Dedupe, EventId, Headers, NewEvent, Subject};
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use crate::ingest::json::{HeaderMap, OptionalText};
use crate::ingest::rules;
use crate::problem::Problem;

/// Senders leave the padding out as often as not.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// An envelope as it was written; [`Self::into_event`] checks it.
#[derive(Debug, Default)]
pub(super) struct Envelope {
    subject: Option<ByteString>,
    id: Option<ByteString>,
    data: Data,
    content_type: Option<ByteString>,
    headers: Headers,
}

#[derive(Debug, Default)]
enum Data {
    #[default]
    Absent,
    Json(Bytes),
    Decoded(Bytes),
}

impl Envelope {
    /// The event that it describes. Without an id of its own it gets `id`, else a fresh one.
    pub(super) fn into_event(self, id: Option<EventId>) -> Result<NewEvent, Problem> {
        let Some(subject) = self.subject else {
            return Err(rules::invalid(
                "the event has no \"subject\": add one, such as \"subject\": \"hello\"",
            ));
        };
        let subject = Subject::parse(subject).map_err(|error| rules::invalid(error.to_string()))?;
        let id = match self.id {
            Some(text) => rules::id("\"id\"", text)?,
            None => id.unwrap_or_else(EventId::generate),
        };
        let content_type = self.content_type.map(rules::content_type).transpose()?;
        let (data, content_type) = match self.data {
            Data::Absent => (Bytes::new(), content_type),
            Data::Json(json) => (json, content_type.or(Some(rules::APPLICATION_JSON))),
            Data::Decoded(bytes) => (bytes, content_type),
        };
        Ok(NewEvent {
            id,
            subject,
            content_type,
            headers: self.headers,
            data,
            lineage: None,
            dedupe: Dedupe::SubjectAndId,
        })
    }
}

/// Reads an [`Envelope`] out of the body given.
#[derive(Clone, Copy)]
pub(super) struct Reader<'b>(pub(super) &'b ByteString);

#[derive(Clone, Copy, Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Subject,
    Data,
    Id,
    Headers,
    ContentType,
    DataBase64,
}

impl Field {
    const NAMES: [&str; 6] = ["subject", "data", "id", "headers", "content_type", "data_base64"];
}

impl<'b> DeserializeSeed<'b> for Reader<'b> {
    type Value = Envelope;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Envelope, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'b> Visitor<'b> for Reader<'b> {
    type Value = Envelope;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event, such as {\"subject\": \"hello\"}")
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Envelope, A::Error> {
        let mut envelope = Envelope::default();
        let mut seen = [false; Field::NAMES.len()];
        while let Some(field) = map.next_key::<Field>()? {
            if std::mem::replace(&mut seen[field as usize], true) {
                return Err(A::Error::duplicate_field(Field::NAMES[field as usize]));
            }
            match field {
                Field::Subject => envelope.subject = map.next_value_seed(OptionalText(self.0))?,
                Field::Id => envelope.id = map.next_value_seed(OptionalText(self.0))?,
                Field::ContentType => envelope.content_type = map.next_value_seed(OptionalText(self.0))?,
                Field::Headers => envelope.headers = map.next_value_seed(HeaderMap(self.0))?,
                Field::Data => {
                    let json: &RawValue = map.next_value()?;
                    envelope.data = Data::Json(self.0.as_bytes().slice_ref(json.get().as_bytes()));
                }
                Field::DataBase64 => {
                    if let Some(text) = map.next_value_seed(OptionalText(self.0))? {
                        envelope.data = Data::Decoded(base64(&text)?);
                    }
                }
            }
        }
        if seen[Field::Data as usize] && seen[Field::DataBase64 as usize] {
            return Err(A::Error::custom("\"data\" and \"data_base64\" exclude each other: leave one out"));
        }
        Ok(envelope)
    }
}

pub(super) fn base64<E: serde::de::Error>(text: &str) -> Result<Bytes, E> {
    BASE64
        .decode(text)
        .map(Bytes::from)
        .map_err(|error| E::custom(format_args!("\"data_base64\" is not base64: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ingest::json;

    fn read(text: &str) -> Result<NewEvent, String> {
        let body = ByteString::from(text);
        json::parse(&body, Reader(&body)).and_then(|e| e.into_event(None)).map_err(|problem| {
            let mut document = Vec::new();
            problem.write(&mut document);
            String::from_utf8(document).expect("UTF-8")
        })
    }

    #[test]
    fn an_envelope_becomes_an_event() {
        let event = read(
            r#" { "id": "1", "subject": "ride.accepted", "data": { "a" : 1.50 , "b":"\u00e4" },
                 "headers": {"X-A": "1", "x-b": ["2", "3"]} } "#,
        )
        .expect("valid");
        assert_eq!((event.id.as_str(), event.subject.as_str()), ("1", "ride.accepted"));
        assert_eq!(&event.data[..], br#"{ "a" : 1.50 , "b":"\u00e4" }"#, "byte for byte");
        assert_eq!(event.content_type.as_deref(), Some("application/json"));
        let headers: Vec<_> = event.headers.iter().map(|(n, v)| (&**n, &**v)).collect();
        assert_eq!(headers, [("x-a", "1"), ("x-b", "2"), ("x-b", "3")]);
        assert_eq!(event.dedupe, Dedupe::SubjectAndId);
    }

    #[test]
    fn data_comes_as_json_as_bytes_or_not_at_all() {
        let cases: [(&str, &[u8], Option<&str>); 8] = [
            (r#"{"subject":"a"}"#, b"", None),
            (r#"{"subject":"a","content_type":"text/x"}"#, b"", Some("text/x")),
            (r#"{"subject":"a","data":"Hello World"}"#, b"\"Hello World\"", Some("application/json")),
            (r#"{"subject":"a","data":null}"#, b"null", Some("application/json")),
            (
                r#"{"subject":"a","data":[1],"content_type":"application/x+json"}"#,
                b"[1]",
                Some("application/x+json"),
            ),
            (r#"{"subject":"a","data_base64":"AP8="}"#, b"\0\xff", None),
            (r#"{"subject":"a","data_base64":"AP8"}"#, b"\0\xff", None),
            (r#"{"subject":"a","data_base64":null,"id":null,"headers":null}"#, b"", None),
        ];
        for (text, data, content_type) in cases {
            let event = read(text).expect(text);
            assert_eq!((&event.data[..], event.content_type.as_deref()), (data, content_type), "{text}");
        }
    }

    #[test]
    fn texts_and_data_are_slices_of_the_body() {
        let body = ByteString::from(r#"{"subject":"hello","id":"x","data":[1,2]}"#);
        let event = json::parse(&body, Reader(&body)).and_then(|e| e.into_event(None)).expect("valid");
        let range = body.as_bytes().as_ptr_range();
        for slice in [event.subject.as_str().as_bytes(), event.id.as_str().as_bytes(), &event.data] {
            assert!(range.contains(&slice.as_ptr()));
        }
    }

    #[test]
    fn what_is_wrong_with_an_envelope_is_said_by_name() {
        for (text, expected) in [
            ("", "malformed-body"),
            ("{", "malformed-body"),
            (r#"{"subject":"a"} x"#, "malformed-body"),
            ("nonsense", "malformed-body"),
            ("1", "an event, such as"),
            ("{}", r#"has no \"subject\""#),
            (r#"{"subject":null}"#, r#"has no \"subject\""#),
            (r#"{"subject":7}"#, "expected a string"),
            (r#"{"subject":"a","subjct":1}"#, "unknown field `subjct`"),
            (r#"{"subject":"a","subject":"b"}"#, "duplicate field `subject`"),
            (r#"{"subject":"a","data":1,"data":2}"#, "duplicate field `data`"),
            (r#"{"subject":"a","data":1,"data_base64":""}"#, "exclude each other"),
            (r#"{"subject":"a","data_base64":"%"}"#, "not base64"),
            (r#"{"subject":""}"#, "empty token"),
            (r#"{"subject":"a.*"}"#, "which a subject may not"),
            (r#"{"subject":"a","id":""}"#, r#"\"id\" must be 1 to 256 bytes"#),
            (r#"{"subject":"a","id":1}"#, "expected a string"),
            (r#"{"subject":"a","content_type":"text/x\r\nNats-X: 1"}"#, "not a media type"),
            (r#"{"subject":"a","headers":{"Nats-Msg-Id":"1"}}"#, "reserved"),
            (r#"{"subject":"a","headers":{"x":"a\nb"}}"#, "control character"),
            (r#"{"subject":"a","headers":{"x":1}}"#, r#"value of header \"x\""#),
            (r#"{"subject":"a","headers":[]}"#, "an object of headers"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(expected), "{text}: {error}");
        }
    }

    #[test]
    fn the_items_of_a_batch_fail_one_by_one() {
        let body = ByteString::from(r#"[{"subject":"a"},{"subjct":"b"},3,{"subject":"c"}]"#);
        let results = json::array(&body, 10, Reader(&body)).expect("an array");
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, false, true]);
        assert!(
            json::array(&body, 3, Reader(&body))
                .is_err_and(|p| p.kind() == crate::problem::Kind::BatchTooLarge)
        );
        assert!(json::array(&body, 4, Reader(&body)).is_ok());

        let body = ByteString::from("{\"subject\":\"a\"}\r\n\n  \nnonsense\n{\"subject\":\"b\"}");
        let results = json::lines(&body, 3, Reader(&body)).expect("within the limit");
        assert_eq!(results.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        assert!(
            json::lines(&body, 2, Reader(&body))
                .is_err_and(|p| p.kind() == crate::problem::Kind::BatchTooLarge)
        );
    }

    proptest::proptest! {
        #[test]
        fn no_body_makes_the_reader_panic(text in r#"[\[\]{}:," \\u0-9a-cé]{0,40}"#, tail in ".{0,20}") {
            for text in [format!("{text}{tail}"), format!(r#"{{"subject":"a","data":{text}}}"#), format!("[{text}]")] {
                let body = ByteString::from(text);
                let _ = json::parse(&body, Reader(&body)).and_then(|e| e.into_event(None));
                let _ = json::array(&body, 3, Reader(&body));
                let _ = json::lines(&body, 3, Reader(&body));
            }
        }

        #[test]
        fn data_is_kept_byte_for_byte(numbers in proptest::collection::vec(proptest::num::f64::NORMAL, 0..5), text in ".{0,30}") {
            let data = format!(" {} ", serde_json::json!({ "n": numbers, "t": text }));
            let event = read(&format!(r#"{{"data":{data},"subject":"a"}}"#)).expect("valid");
            assert_eq!(&event.data[..], data.trim_matches(' ').as_bytes());
        }
    }
}
