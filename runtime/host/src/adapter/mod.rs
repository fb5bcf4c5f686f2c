//! Components of other hosts, unmodified, as Channels. Which contract a component speaks is read from its exports, by semver track; what
//! else it exports is ignored, and named by `check`.
//!
//! Each adapter is a file: [`messaging`] (wasmCloud's `wasmcloud:messaging/handler` 0.2) and [`http`] (`wasi:http/incoming-handler`
//! 0.2, any proxy component). Limits, fuel and verdicts are the same as for our own contract. Two things differ: there is no `init`
//! (configuration comes through wasi:config), and every event gets a fresh instance, because that is what these components' own hosts
//! give them. Deliberately absent: components that need WASI 0.3, which are refused by name: the engine for them is not there yet.

pub(crate) mod http;
pub(crate) mod messaging;

use std::fmt;
use std::time::Duration;

use wasmtime::component::{Component as Compiled, InstancePre};
use wasmtime::{Engine, Store};
use wasmtime_wasi_http::p2::bindings::ProxyPre;

use crate::bindings::{Channel, ChannelPre};
use crate::component::LoadError;
use crate::verdict::Emission;
use crate::world::World;
use http::Proxied;
use messaging::{Messaging, MessagingPre};

/// What a component is called by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Contract {
    /// Our own.
    Channel,
    /// wasmCloud's messages.
    Messaging,
    /// Requests of wasi:http.
    Http,
}

impl Contract {
    /// The contracts in the order in which they are looked for.
    pub const ALL: [Self; 3] = [Self::Channel, Self::Messaging, Self::Http];

    /// The interface that a component of this contract exports.
    pub const fn export(self) -> &'static str {
        match self {
            Self::Channel => "saf:channel/handler@0.1.0",
            Self::Messaging => "wasmcloud:messaging/handler@0.2.0",
            Self::Http => "wasi:http/incoming-handler@0.2.0",
        }
    }

    /// Reads the contract from the exports, and names the exports that do not matter.
    pub(crate) fn of(compiled: &Compiled, engine: &Engine) -> Result<(Self, Vec<String>), LoadError> {
        let component_type = compiled.component_type();
        let exports: Vec<&str> = component_type.exports(engine).map(|(name, _)| name).collect();
        // Exports are looked up by track: handler@0.2.0 finds 0.2.1, and not 0.3.0.
        let spoken = Self::ALL.into_iter().find(|it| compiled.get_export_index(None, it.export()).is_some());
        if let Some(contract) = spoken {
            let ours = contract.track();
            let ignored = exports.iter().filter(|name| !name.starts_with(ours)).map(ToString::to_string);
            return Ok((contract, ignored.collect()));
        }
        if let Some(other) = exports.iter().find(|name| name.starts_with("saf:channel/handler")) {
            let (exported, wanted) = ((*other).to_owned(), Self::Channel.export());
            return Err(LoadError::OtherVersion { exported, wanted });
        }
        let newer: Vec<String> =
            exports.iter().filter(|name| is_newer(name)).map(ToString::to_string).collect();
        if !newer.is_empty() {
            return Err(LoadError::Newer(newer));
        }
        let exports = if exports.is_empty() { "nothing".into() } else { exports.join(", ") };
        Err(LoadError::World(format!("it exports {exports}")))
    }

    /// The export without its patch version.
    fn track(self) -> &'static str {
        let export = self.export();
        export.strip_suffix('0').unwrap_or(export)
    }
}

impl fmt::Display for Contract {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.export())
    }
}

/// Whether an interface belongs to WASI 0.3 or to what is built on it.
pub(crate) fn is_newer(name: &str) -> bool {
    let (interface, version) = name.split_once('@').unwrap_or((name, ""));
    version.starts_with("0.3.")
        && (interface.starts_with("wasi:") || interface.starts_with("wasmcloud:messaging/"))
}

/// A component that can be instantiated, by its contract.
pub(crate) enum Pre {
    Channel(ChannelPre<World>),
    Messaging(MessagingPre<World>),
    Http(ProxyPre<World>),
}

impl Pre {
    /// Checks the exports' types.
    pub(crate) fn new(contract: Contract, pre: InstancePre<World>) -> wasmtime::Result<Self> {
        match contract {
            Contract::Channel => ChannelPre::new(pre).map(Self::Channel),
            Contract::Messaging => MessagingPre::new(pre).map(Self::Messaging),
            Contract::Http => ProxyPre::new(pre).map(Self::Http),
        }
    }

    pub(crate) fn contract(&self) -> Contract {
        match self {
            Self::Channel(_) => Contract::Channel,
            Self::Messaging(_) => Contract::Messaging,
            Self::Http(_) => Contract::Http,
        }
    }

    pub(crate) async fn instantiate(&self, store: &mut Store<World>) -> wasmtime::Result<Guest> {
        match self {
            Self::Channel(pre) => pre.instantiate_async(store).await.map(Guest::Channel),
            Self::Messaging(pre) => pre.instantiate_async(store).await.map(Guest::Messaging),
            Self::Http(pre) => pre.instantiate_async(store).await.map(Proxied::new).map(Guest::Http),
        }
    }
}

/// An instance, by its contract.
pub(crate) enum Guest {
    Channel(Channel),
    Messaging(Messaging),
    Http(Proxied),
}

impl Guest {
    /// Hands over the configuration, before any event; `Err` inside is the guest's refusal, or ours for it.
    pub(crate) async fn init(
        &mut self,
        store: &mut Store<World>,
        config_json: &str,
    ) -> wasmtime::Result<Result<(), String>> {
        match self {
            Self::Channel(channel) => channel.saf_channel_handler().call_init(store, config_json).await,
            Self::Messaging(_) => Ok(Ok(())),
            Self::Http(proxied) => Ok(proxied.configure(&store.data().config)),
        }
    }
}

/// What a guest answered, whichever contract it speaks.
pub(crate) enum Reply {
    Done(Vec<Emission>),
    Retry {
        reason: String,
        after: Option<Duration>,
    },
    Reject {
        reason: String,
    },
    /// More than its limits allow, or something that has no place to go.
    Output {
        problem: String,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_built_on_wasi_0_3_is_known_by_its_version() {
        for (name, newer) in [
            ("wasi:http/handler@0.3.0", true),
            ("wasi:clocks/monotonic-clock@0.3.0-rc-2025-09-16", true),
            ("wasmcloud:messaging/handler@0.3.0", true),
            ("wasi:http/incoming-handler@0.2.8", false),
            ("wasmcloud:messaging/handler@0.2.0", false),
            ("acme:things/thing@0.3.0", false),
            ("run", false),
        ] {
            assert_eq!(is_newer(name), newer, "{name}");
        }
    }

    #[test]
    fn a_track_is_the_export_without_its_patch_version() {
        assert_eq!(Contract::Messaging.track(), "wasmcloud:messaging/handler@0.2.");
        assert_eq!(Contract::Channel.track(), "saf:channel/handler@0.1.");
    }
}
