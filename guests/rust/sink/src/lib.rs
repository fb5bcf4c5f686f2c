//! Takes each event and says nothing: what a call costs when the guest does no work.

wit_bindgen::generate!({ path: "../../../wit", world: "channel" });

use exports::saf::channel::handler::{Emission, Event, Failure, Guest};

struct Sink;

export!(Sink);

impl Guest for Sink {
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }

    fn handle(_event: Event) -> Result<Vec<Emission>, Failure> {
        Ok(vec![])
    }
}
