//! `grants.tcp`: host and port, written and read in one way.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capability::peer::Peer;

/// Where a Channel may connect to, such as `mqtt.example.com:1883`, `10.0.0.7:5432` or `[::1]:6379`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    pub(super) peer: Peer,
    pub(super) port: u16,
}

/// Why a text is no endpoint; says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EndpointError {
    /// No port, or one that is none.
    #[error("{0:?} has no port from 1 to 65535: write host and port, such as \"mqtt.example.com:1883\"")]
    Port(String),
    /// No host.
    #[error(
        "the host of {0:?} is no name and no address: write one such as mqtt.example.com, 10.0.0.7 or [::1]; there are no wildcards"
    )]
    Host(String),
}

impl FromStr for Endpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let no_port = || EndpointError::Port(text.into());
        let (host, port) = text.rsplit_once(':').ok_or_else(no_port)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(no_port)?;
        let peer = Peer::parse(host).ok_or_else(|| EndpointError::Host(text.into()))?;
        Ok(Self { peer, port })
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.peer, self.port)
    }
}

impl<'de> Deserialize<'de> for Endpoint {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Endpoint {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Endpoint {
    fn schema_name() -> Cow<'static, str> {
        "Endpoint".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^.+:[0-9]+$",
            "description": "Host and port.",
            "examples": ["mqtt.example.com:1883", "10.0.0.7:5432", "[::1]:6379"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn endpoints_read_as_they_are_written() {
        for text in ["mqtt.example.com:1883", "10.0.0.7:5432", "[::1]:6379", "localhost:1"] {
            assert_eq!(text.parse::<Endpoint>().expect(text).to_string(), text);
        }
        for (text, words) in [
            ("mqtt.example.com", "no port"),
            ("mqtt.example.com:0", "no port"),
            ("mqtt.example.com:70000", "no port"),
            ("mqtt://example.com:1883", "no name and no address"),
            ("*.example.com:1883", "no wildcards"),
            ("::1:1883", "no name and no address"),
            (":1883", "no name and no address"),
        ] {
            let error = text.parse::<Endpoint>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }
}
