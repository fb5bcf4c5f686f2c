//! Greets whoever an event names.

wit_bindgen::generate!({ path: "channel.wit", world: "channel" });

use exports::saf::channel::handler::{Emission, Event, Failure, Guest};
use serde::Deserialize;
use serde_json::json;

#[derive(Deserialize)]
struct Person {
    name: String,
}

struct Channel;

export!(Channel);

impl Guest for Channel {
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }

    fn handle(event: Event) -> Result<Vec<Emission>, Failure> {
        let person: Person = serde_json::from_slice(&event.data)
            .map_err(|error| Failure::Reject(format!("not a person: {error}")))?;
        let greeting = json!({ "greeting": format!("hello, {}", person.name) });
        Ok(vec![Emission {
            subject: format!("{}.done", event.subject),
            data: greeting.to_string().into_bytes(),
            content_type: Some("application/json".into()),
            headers: vec![],
            id: None,
        }])
    }
}
