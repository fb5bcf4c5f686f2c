//! Adds `"enriched": true` to a JSON object and emits it on `enriched.<subject>`; the other keys keep their order. Data that
//! is no JSON object is rejected: it would fail again on every attempt.

wit_bindgen::generate!({ path: "../../../wit", world: "channel" });

use serde_json::{Map, Value};

use exports::saf::channel::handler::{Emission, Event, Failure, Guest};

struct Enrich;

export!(Enrich);

impl Guest for Enrich {
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }

    fn handle(event: Event) -> Result<Vec<Emission>, Failure> {
        Ok(vec![Emission {
            subject: format!("enriched.{}", event.subject),
            data: enrich(&event.data).map_err(|e| Failure::Reject(format!("not a JSON object: {e}")))?,
            content_type: Some("application/json".into()),
            headers: vec![],
            id: None,
        }])
    }
}

fn enrich(data: &[u8]) -> serde_json::Result<Vec<u8>> {
    let mut object: Map<String, Value> = serde_json::from_slice(data)?;
    object.insert("enriched".into(), Value::Bool(true));
    serde_json::to_vec(&object)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_gains_a_field_and_keeps_its_order() {
        let cases = [
            ("{}", r#"{"enriched":true}"#),
            (r#" {"z": 1, "a": [null, 1.50, "é"]} "#, r#"{"z":1,"a":[null,1.5,"é"],"enriched":true}"#),
            (r#"{"enriched": false, "b": 2}"#, r#"{"enriched":true,"b":2}"#),
        ];
        for (data, expected) in cases {
            let enriched = enrich(data.as_bytes()).expect("an object");
            assert_eq!(String::from_utf8(enriched).expect("text"), expected, "{data}");
        }
    }

    #[test]
    fn anything_else_is_refused() {
        for data in ["", "[]", "1", "null", "{", "{} {}", "hello"] {
            assert!(enrich(data.as_bytes()).is_err(), "{data:?}");
        }
    }
}
