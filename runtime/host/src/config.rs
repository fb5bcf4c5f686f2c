//! `[host]`, `[channels.<name>.limits]`, `.instances` and `.grants`: what the sandbox may take of the machine, what one event may
//! take of the sandbox, how long an instance lives, and what it may reach.
//!
//! Every limit has a default that no guest measured comes near to (`docs/`), so that none has to be set to be safe. [`Grants`] name what it may
//! reach outside itself. What is deliberately absent: "unlimited".

use std::num::{NonZeroU32, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use saf_event::{Size, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capability::http::Origin;
use crate::capability::tcp::Endpoint;

/// `[host]`: the sandbox as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The folder of compiled components; created when missing, for this user alone, because what lies there is run as
    /// machine code. It may be deleted at any time.
    pub cache: PathBuf,
    /// Most bytes in it; the artefacts that were not used for longest go first.
    pub cache_max: Size,
    /// Most instances of all Channels together, idle ones included. Each takes 4 times 4 GiB of address space (not memory).
    pub max_instances: NonZeroU32,
    /// Most components that are compiled at the same time; each compilation uses every core.
    pub compilations: NonZeroU32,
    /// Largest component, in bytes of WebAssembly.
    pub max_component: Size,
}

impl Default for Config {
    fn default() -> Self {
        const MAX_INSTANCES: NonZeroU32 = NonZeroU32::new(512).unwrap();
        const COMPILATIONS: NonZeroU32 = NonZeroU32::new(1).unwrap();
        Self {
            cache: "cache".into(),
            cache_max: Size::mib(1024),
            max_instances: MAX_INSTANCES,
            compilations: COMPILATIONS,
            max_component: Size::mib(64),
        }
    }
}

/// `[channels.<name>.limits]`: what one event may use. Instantiation and `init` get the same, each afresh.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Units of fuel, about one a WebAssembly instruction; a spinning guest burns 4 to 16 a nanosecond. Reached: `fuel`.
    pub fuel: u64,
    /// Wall-clock time, host calls included. Reached: `timeout`.
    pub timeout: Span,
    /// Linear memory of all of an instance's modules together. A growth beyond it is refused; a guest that dies of the
    /// refusal ends as `memory`.
    pub memory: Size,
    /// Most emissions. Reached: `output`.
    pub emissions: u32,
    /// Most bytes of all emissions together: data, subjects, headers. Reached: `output`. No host call may carry more either.
    pub output: Size,
    /// Most bytes that are logged (stdout, stderr, wasi:logging); the rest is dropped and counted.
    pub log: Size,
    /// Most calls out of the guest's code: into the host, and into the runtime for a yield or a growth. Reached: `fuel`.
    pub host_calls: u64,
    /// Most requests over wasi:http, and most responses that an instance may hold open. Reached: the request is denied.
    pub http_calls: u32,
    /// Most bytes of all requests and responses over wasi:http together. Reached: the exchange is cut off.
    pub http_bytes: Size,
    /// Most reads over wasi:keyvalue; a page of keys is one. Reached: an error for the guest.
    pub state_reads: u32,
    /// Most bytes that one event writes over wasi:keyvalue, keys included. Reached: an error for the guest.
    pub state_bytes: Size,
    /// Most bytes of the Channel's whole state. Reached: an error for the guest; what events that run at once write may be over it.
    pub state_max: Size,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            fuel: 1_000_000_000,
            timeout: Span(Duration::from_secs(5)),
            memory: Size::mib(64),
            emissions: 1000,
            output: Size::mib(8),
            log: Size(64 << 10),
            host_calls: 10_000_000,
            http_calls: 16,
            http_bytes: Size::mib(8),
            state_reads: 10_000,
            state_bytes: Size::mib(1),
            state_max: Size::mib(64),
        }
    }
}

/// `[channels.<name>.grants]`: what a Channel may reach outside itself; nothing when absent.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Grants {
    /// Where wasi:http may send requests, such as `["https://api.example.com", "http://127.0.0.1:8080"]`. Scheme, host and port count
    /// as a whole; a leading `*.` means every name below. A name never leads to loopback (but `localhost` does), link-local or
    /// metadata addresses; an address that is written here does.
    pub http: Vec<Origin>,
    /// Where wasi:sockets may connect to over TCP, such as `["mqtt.example.com:1883", "10.0.0.7:5432"]`. Only these names are looked up, and
    /// what a name may not lead to is the same as for `http`. There is no listening and no UDP.
    pub tcp: Vec<Endpoint>,
    /// Whether it has state over wasi:keyvalue: one bucket, `""`, of its own, stored with the settlement of each event.
    pub keyvalue: bool,
}

/// `[channels.<name>.instances]`: how long an instance lives. A fault (trap or limit) always ends it.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Recycle {
    /// Whether what a guest keeps in memory is there at its next event.
    pub isolation: Isolation,
    /// An instance is replaced after so many events.
    pub max_events: NonZeroU64,
    /// An instance that was not used for so long is dropped.
    pub idle: Span,
    /// An instance whose memory is above this after an event is replaced: some languages grow with every event. Three
    /// quarters of `limits.memory` when absent.
    pub memory_mark: Option<Size>,
}

impl Default for Recycle {
    fn default() -> Self {
        const MAX_EVENTS: NonZeroU64 = NonZeroU64::new(100_000).unwrap();
        Self {
            isolation: Isolation::Instance,
            max_events: MAX_EVENTS,
            idle: Span(Duration::from_mins(1)),
            memory_mark: None,
        }
    }
}

impl Recycle {
    /// Above how many bytes of linear memory an instance is replaced.
    pub(crate) fn memory_mark(&self, limits: &Limits) -> u64 {
        self.memory_mark.map_or(limits.memory.0 / 4 * 3, |mark| mark.0)
    }
}

/// What separates two events of a Channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize, Serialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Isolation {
    /// Nothing: instances are reused, state survives.
    #[default]
    Instance,
    /// Every event gets a fresh instance, about 8 us for a small guest.
    Event,
}

#[cfg(test)]
mod tests {
    use serde_json::{from_str, json, to_value};

    use super::*;

    #[test]
    fn every_key_has_a_default_and_no_other_is_taken() {
        assert_eq!(from_str::<Config>("{}").expect("valid"), Config::default());
        assert_eq!(from_str::<Limits>("{}").expect("valid"), Limits::default());
        assert_eq!(from_str::<Recycle>("{}").expect("valid"), Recycle::default());
        for error in [
            from_str::<Config>(r#"{"instances": 3}"#).map(drop),
            from_str::<Limits>(r#"{"feul": 3}"#).map(drop),
            from_str::<Recycle>(r#"{"max_event": 3}"#).map(drop),
            from_str::<Grants>(r#"{"https": []}"#).map(drop),
        ] {
            assert!(error.expect_err("refused").to_string().contains("unknown field"));
        }
    }

    #[test]
    fn nothing_can_be_turned_off_with_a_zero_that_would_stop_everything() {
        for text in [r#"{"max_instances": 0}"#, r#"{"compilations": 0}"#] {
            assert!(from_str::<Config>(text).is_err(), "{text}");
        }
        assert!(from_str::<Recycle>(r#"{"max_events": 0}"#).is_err());
    }

    #[test]
    fn limits_read_as_people_write_them() {
        let limits = r#"{"fuel": 5, "timeout": "250ms", "memory": "8MiB", "output": 1000}"#;
        let limits: Limits = from_str(limits).expect("valid");
        assert_eq!((limits.fuel, limits.memory, limits.output), (5, Size::mib(8), Size(1000)));
        assert_eq!(limits.timeout.0, Duration::from_millis(250));
        let isolation = to_value(Isolation::Event).expect("text");
        assert_eq!(isolation, json!("event"));
    }

    #[test]
    fn the_memory_mark_follows_the_limit_unless_it_is_set() {
        let limits = Limits { memory: Size(400), ..Limits::default() };
        assert_eq!(Recycle::default().memory_mark(&limits), 300);
        let set = Recycle { memory_mark: Some(Size(7)), ..Recycle::default() };
        assert_eq!(set.memory_mark(&limits), 7);
    }
}
