//! Gives each event back: the same data and content type, on `echo.<subject>`.

wit_bindgen::generate!({ path: "../../../wit", world: "channel" });

use exports::saf::channel::handler::{Emission, Event, Failure, Guest};

struct Echo;

export!(Echo);

impl Guest for Echo {
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }

    fn handle(event: Event) -> Result<Vec<Emission>, Failure> {
        Ok(vec![Emission {
            subject: format!("echo.{}", event.subject),
            data: event.data,
            content_type: event.content_type,
            headers: vec![],
            id: None,
        }])
    }
}
