//! Counts events by the `key` of their JSON object, or by their subject when they have none, and emits each new count as
//! `{"key": …, "count": …}` on `counted.<subject>`. The Channel needs `grants.keyvalue = true`.
//!
//! The count is stored together with the emission and with the event's being done: an event that is handed out again, because this
//! guest or the router died, is counted once. See docs/capabilities.md for what each broker promises.

use saf_channel::{Emission, Event, Failure};
use serde_json::{Value, json};

saf_channel::handler!(handle);

fn handle(event: Event) -> Result<Emission, Failure> {
    let key = key(&event);
    let count = state::increment(&key)?;
    let data = json!({ "key": key, "count": count }).to_string();
    Ok(Emission::new(format!("counted.{}", event.subject), data.into_bytes())
        .with_content_type("application/json"))
}

fn key(event: &Event) -> String {
    let key = serde_json::from_slice::<Value>(&event.data).ok().and_then(|data| data.get("key").cloned());
    match key {
        Some(Value::String(key)) if !key.is_empty() => key,
        _ => event.subject.clone(),
    }
}

/// The Channel's state; there is none outside a router.
#[cfg(target_arch = "wasm32")]
mod state {
    use saf_channel::Failure;

    #[allow(warnings)]
    mod bindings {
        wit_bindgen::generate!({ path: "wit", world: "imports" });
    }

    use bindings::wasi::keyvalue::atomics;
    use bindings::wasi::keyvalue::store::{self, Error};

    /// Adds one to a key's number; returns the sum.
    pub fn increment(key: &str) -> Result<i64, Failure> {
        let bucket = store::open("").map_err(|error| failure(key, error))?;
        atomics::increment(&bucket, key, 1).map_err(|error| failure(key, error))
    }

    fn failure(key: &str, error: Error) -> Failure {
        match error {
            Error::Other(text) => Failure::retry(format!("{key:?} is not counted: {text}")),
            Error::NoSuchStore | Error::AccessDenied => {
                Failure::retry("there is no state: write grants.keyvalue = true into the Channel's section")
            }
        }
    }
}

#[cfg(not(target_arch = "wasm32"))]
mod state {
    use saf_channel::Failure;

    pub fn increment(_: &str) -> Result<i64, Failure> {
        Err(Failure::retry("state is there only inside a router"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_key_is_the_datas_own_or_the_subject() {
        for (data, expected) in [
            (r#"{"key": "a b"}"#, "a b"),
            (r#"{"key": ""}"#, "ride.done"),
            (r#"{"key": 7}"#, "ride.done"),
            ("[]", "ride.done"),
            ("no JSON", "ride.done"),
            ("", "ride.done"),
        ] {
            let event = Event { subject: "ride.done".into(), data: data.into(), ..Event::default() };
            assert_eq!(key(&event), expected, "{data:?}");
        }
    }
}
