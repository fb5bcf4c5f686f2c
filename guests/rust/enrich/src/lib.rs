//! Adds `"enriched": true` to a JSON object and emits it on `enriched.<subject>`; the other keys keep their order. Data that
//! is no JSON object is rejected: it would fail again on every attempt.

use saf_channel::{Emission, Event, Failure};
use serde_json::{Map, Value};

saf_channel::handler!(handle);

fn handle(event: Event) -> Result<Emission, Failure> {
    let data = enrich(&event.data).map_err(|e| Failure::reject(format!("not a JSON object: {e}")))?;
    Ok(Emission::new(format!("enriched.{}", event.subject), data).with_content_type("application/json"))
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
            (
                r#"{"n": [0.18977884619329854, 4.9947976805055876e145]}"#,
                r#"{"n":[0.18977884619329854,4.994797680505588e+145],"enriched":true}"#,
            ),
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
