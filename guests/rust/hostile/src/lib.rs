//! Misbehaves on request: what the router's limits are tested with. The mode stands in the Channel's `config`
//! (`{"mode": "spin"}`) or, without one, in the event's data as text (`spin`, or `huge-output 1048576` with an amount).
//!
//! `{"init": "fail"}` refuses the configuration, `{"init": "spin"}` never ends in `init`.

wit_bindgen::generate!({ path: "../../../wit", world: "channel" });

mod mode;

use std::sync::OnceLock;

use serde::Deserialize;

use exports::saf::channel::handler::{Emission, Event, Failure, Guest};
use mode::{Mode, Request};

/// The Channel's `config` table.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    mode: Option<Mode>,
    amount: Option<usize>,
    init: Option<Init>,
}

/// How `init` ends, when not well.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Init {
    Fail,
    Spin,
}

static CONFIG: OnceLock<Config> = OnceLock::new();

struct Hostile;

export!(Hostile);

impl Guest for Hostile {
    fn init(config: String) -> Result<(), String> {
        let config: Config = serde_json::from_str(&config).map_err(|e| e.to_string())?;
        match config.init {
            Some(Init::Fail) => return Err("the configuration says: fail".into()),
            Some(Init::Spin) => mode::spin(),
            None => {}
        }
        CONFIG.get_or_init(|| config);
        Ok(())
    }

    fn handle(event: Event) -> Result<Vec<Emission>, Failure> {
        let configured =
            CONFIG.get().and_then(|config| Some(Request { mode: config.mode?, amount: config.amount }));
        let request = match configured {
            Some(request) => request,
            None => Request::parse(&event.data).map_err(Failure::Reject)?,
        };
        request.perform(event)
    }
}
