//! `grants.http`: what a Channel may send requests to. An origin is scheme, host and port, compared as a whole; nothing is a prefix
//! of anything, so `https://api.example.com.evil.org` and `https://api.example.com@evil.org` are what they are: other hosts.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use http::Uri;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::capability::peer::{self, Peer};

/// An origin that requests may go to, such as `https://api.example.com`, `http://127.0.0.1:8080` or `https://*.example.com`, which
/// means every name below `example.com` and not `example.com` itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Origin {
    scheme: Scheme,
    host: Host,
    port: u16,
}

/// How the request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Whom it goes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Host {
    /// This one.
    Only(Peer),
    /// Every name that ends in this, which begins with a dot.
    Below(String),
}

/// Why a text is no origin; says what to write.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OriginError {
    /// No `http://` or `https://`.
    #[error("{0:?} is no origin: begin with https:// or http://, such as \"https://api.example.com\"")]
    Scheme(String),
    /// A path, a query, a user.
    #[error(
        "{0:?} is more than an origin: write scheme, host and port only, such as \"https://api.example.com:8443\""
    )]
    Rest(String),
    /// No host, or one that is no name and no address.
    #[error(
        "the host of {0:?} is no name and no address: write letters, digits, - and . (an international name as xn--…), or [::1]"
    )]
    Host(String),
    /// A `*` anywhere but in front, or before a single label.
    #[error(
        "{0:?} has a * where none may be: only whole names below a domain can be meant, such as \"https://*.example.com\""
    )]
    Wildcard(String),
    /// Not 1 to 65535.
    #[error("the port of {0:?} is no number from 1 to 65535")]
    Port(String),
}

impl Scheme {
    fn default_port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }

    const fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

impl Origin {
    pub(crate) fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Whether a request to this address is meant.
    pub(crate) fn covers(&self, target: &Target) -> bool {
        let host = match (&self.host, &target.peer) {
            (Host::Only(granted), wanted) => granted == wanted,
            // More than the dot and what is behind it: a name has no empty label.
            (Host::Below(suffix), Peer::Name(wanted)) => wanted.ends_with(suffix.as_str()),
            (Host::Below(_), Peer::Address(_)) => false,
        };
        host && self.scheme == target.scheme && self.port == target.port
    }
}

/// Where a request wants to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Target {
    pub(crate) scheme: Scheme,
    pub(crate) peer: Peer,
    pub(crate) port: u16,
}

impl Target {
    /// Reads the target of a request; `None` for what no origin can cover: another scheme, a user, a host that is no plain name.
    pub(crate) fn of(uri: &Uri) -> Option<Self> {
        let scheme = match uri.scheme_str()? {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return None,
        };
        let authority = uri.authority()?;
        if authority.as_str().contains('@') {
            return None;
        }
        let port = match (authority.port_u16(), authority.as_str().rsplit_once(':')) {
            (Some(port), _) => port,
            // `host:` and `host:99999` have a colon and no port.
            (None, Some((_, rest))) if !rest.ends_with(']') => return None,
            (None, _) => scheme.default_port(),
        };
        let peer = Peer::parse(authority.host())?;
        Some(Self { scheme, peer, port })
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write(f, self.scheme, &self.peer, self.port)
    }
}

fn write(f: &mut fmt::Formatter<'_>, scheme: Scheme, host: &dyn fmt::Display, port: u16) -> fmt::Result {
    write!(f, "{}://{host}", scheme.as_str())?;
    if port == scheme.default_port() { Ok(()) } else { write!(f, ":{port}") }
}

impl FromStr for Origin {
    type Err = OriginError;

    fn from_str(text: &str) -> Result<Self, OriginError> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(_) | None => return Err(OriginError::Scheme(text.into())),
        };
        if rest.contains(['/', '?', '#', '@', '\\']) {
            return Err(OriginError::Rest(text.into()));
        }
        let (host, port) = match rest.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            Some(_) | None => (rest, None),
        };
        let port = match port {
            None => scheme.default_port(),
            Some(port) => match port.parse() {
                Ok(port) if port > 0 => port,
                Ok(_) | Err(_) => return Err(OriginError::Port(text.into())),
            },
        };
        Ok(Self { scheme, host: granted(host, text)?, port })
    }
}

fn granted(host: &str, text: &str) -> Result<Host, OriginError> {
    if !host.contains('*') {
        return Peer::parse(host).map(Host::Only).ok_or_else(|| OriginError::Host(text.into()));
    }
    let domain = host.strip_prefix("*.").filter(|domain| domain.contains('.') && !domain.contains('*'));
    let domain = domain.ok_or_else(|| OriginError::Wildcard(text.into()))?;
    let domain = peer::name(domain).ok_or_else(|| OriginError::Host(text.into()))?;
    Ok(Host::Below(format!(".{domain}")))
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.host {
            Host::Only(peer) => write(f, self.scheme, peer, self.port),
            Host::Below(suffix) => write(f, self.scheme, &format_args!("*{suffix}"), self.port),
        }
    }
}

impl<'de> Deserialize<'de> for Origin {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        <Cow<'de, str>>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

impl Serialize for Origin {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl JsonSchema for Origin {
    fn schema_name() -> Cow<'static, str> {
        "Origin".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "type": "string",
            "pattern": "^https?://[^/?#@]+$",
            "description": "Scheme, host and port; a leading `*.` means every name below.",
            "examples": ["https://api.example.com", "http://127.0.0.1:8080", "https://*.example.com"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_read_as_they_are_written() {
        for (text, shown) in [
            ("https://api.example.com", "https://api.example.com"),
            ("https://API.Example.com:443", "https://api.example.com"),
            ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
            ("http://[::1]:8080", "http://[::1]:8080"),
            ("http://[::1]", "http://[::1]"),
            ("https://*.example.com:8443", "https://*.example.com:8443"),
            ("http://localhost:80", "http://localhost"),
        ] {
            assert_eq!(text.parse::<Origin>().expect(text).to_string(), shown);
        }
    }

    #[test]
    fn what_is_no_origin_says_what_to_write() {
        for (text, words) in [
            ("api.example.com", "begin with https://"),
            ("ftp://example.com", "begin with https://"),
            ("HTTPS://example.com", "begin with https://"),
            ("https://example.com/", "write scheme, host and port only"),
            ("https://user@example.com", "write scheme, host and port only"),
            ("https://example.com?x", "write scheme, host and port only"),
            ("https://", "no name and no address"),
            ("https://exa mple.com", "no name and no address"),
            ("https://bücher.example", "xn--"),
            ("https://.example.com", "no name and no address"),
            ("https://example.com.", "no name and no address"),
            ("https://127.1", "no name and no address"),
            ("https://0x7f000001", "no name and no address"),
            ("https://1.2.3.4.5", "no name and no address"),
            ("https://::1", "no name and no address"),
            ("https://*", "a * where none may be"),
            ("https://*.com", "a * where none may be"),
            ("https://a*.example.com", "a * where none may be"),
            ("https://*.*.example.com", "a * where none may be"),
            ("https://example.com:0", "no number from 1 to 65535"),
            ("https://example.com:70000", "no number from 1 to 65535"),
            ("https://example.com:", "no number from 1 to 65535"),
        ] {
            let error = text.parse::<Origin>().expect_err(text).to_string();
            assert!(error.contains(words), "{text}: {error}");
        }
    }

    #[test]
    fn a_request_is_covered_by_its_whole_origin_or_not_at_all() {
        let granted: Vec<Origin> = [
            "https://api.example.com",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "https://*.cdn.example.com",
        ]
        .map(|text| text.parse().expect(text))
        .into();
        for (uri, allowed) in [
            ("https://api.example.com/v1?x=1", true),
            ("https://API.EXAMPLE.COM/", true),
            ("https://api.example.com:443/", true),
            ("http://127.0.0.1:8080/", true),
            ("http://[::1]:8080/", true),
            ("http://[0:0:0:0:0:0:0:1]:8080/", true),
            ("https://a.cdn.example.com/", true),
            ("https://a.b.cdn.example.com/", true),
            // Another scheme, port or host.
            ("http://api.example.com/", false),
            ("https://api.example.com:8443/", false),
            ("https://example.com/", false),
            ("https://cdn.example.com/", false),
            ("https://evilcdn.example.com/", false),
            ("https://api.example.com.evil.org/", false),
            ("https://api.example.com@evil.org/", false),
            ("https://evil.org@api.example.com/", false),
            ("https://api.example.com./", false),
            ("https://.cdn.example.com/", false),
            ("https://a..cdn.example.com/", false),
            ("http://127.0.0.1/", false),
            ("http://2130706433:8080/", false),
            ("http://0x7f.1:8080/", false),
            ("http://127.1:8080/", false),
            ("http://[::ffff:127.0.0.1]:8080/", false),
            ("ws://api.example.com/", false),
            ("/relative", false),
        ] {
            let target = uri.parse::<Uri>().ok().and_then(|uri| Target::of(&uri));
            let covered = target.is_some_and(|target| granted.iter().any(|origin| origin.covers(&target)));
            assert_eq!(covered, allowed, "{uri}");
        }
    }
}
