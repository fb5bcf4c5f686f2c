//! `[http]` and `[admin]`. What is written here is checked before a socket is opened: a listener that strangers can reach is
//! never open by accident.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::Duration;

use http::HeaderName;
use saf_event::{Secret, Size, Span, StreamName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::Error;

/// `[http]`: where events come in.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The stream that posts go to, unless `?stream=` names another.
    #[serde(default = "default_stream")]
    pub stream: StreamName,
    /// Bearer tokens, any of which lets a client in. Rotated files are noticed within ten seconds.
    pub tokens: Vec<Secret>,
    /// Listen beyond loopback without tokens.
    pub allow_anonymous: bool,
    /// Largest request body.
    pub max_body: Size,
    /// Most events of one batch.
    pub max_batch: usize,
    /// Most bytes of request bodies held at once, over all connections; beyond it requests are answered 503.
    pub max_in_flight: Size,
    /// Most open connections; the next one is answered 503 and closed.
    pub max_connections: usize,
    /// How long a request's head may take; a connection that stays idle as long is closed too.
    pub header_timeout: Span,
    /// How long a request's body may take, and how long a client may leave an answer unread.
    pub body_timeout: Span,
    /// Threads; 0 stands for one a core.
    pub threads: usize,
    /// Raw posts (`/api/event/{subject}`): a header that carries the event's id, such as `x-github-delivery`.
    pub id_header: Option<String>,
    /// Raw posts: headers to keep with the event, such as `x-github-event`; `x-github-*` keeps all that begin so.
    pub forward_headers: Vec<String>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: loopback(1378),
            stream: default_stream(),
            tokens: Vec::new(),
            allow_anonymous: false,
            max_body: Size::mib(1),
            max_batch: 1000,
            max_in_flight: Size::mib(256),
            max_connections: 10_000,
            header_timeout: Span(Duration::from_secs(30)),
            body_timeout: Span(Duration::from_secs(30)),
            threads: 0,
            id_header: None,
            forward_headers: Vec::new(),
        }
    }
}

impl Config {
    /// What a loader can refuse before anything is started.
    pub fn check(&self) -> Result<(), Error> {
        if !self.listen.ip().to_canonical().is_loopback() && self.tokens.is_empty() && !self.allow_anonymous {
            return Err(Error::Config(format!(
                "http.listen = \"{}\" can be reached from other machines and http.tokens is empty: name a token, such as \
                 tokens = [{{ env = \"SAF_TOKEN\" }}], or set allow_anonymous = true in [http]",
                self.listen
            )));
        }
        at_least_one("http.max_body", self.max_body.0)?;
        at_least_one("http.max_batch", self.max_batch as u64)?;
        at_least_one("http.max_connections", self.max_connections as u64)?;
        if self.max_in_flight < self.max_body {
            return Err(Error::Config(format!(
                "http.max_in_flight = \"{}\" is less than one request may have: make it at least http.max_body = \"{}\"",
                self.max_in_flight, self.max_body
            )));
        }
        above_zero("http.header_timeout", self.header_timeout)?;
        above_zero("http.body_timeout", self.body_timeout)?;
        self.forwarding()?;
        self.id_header()?;
        Ok(())
    }

    pub(crate) fn id_header(&self) -> Result<Option<HeaderName>, Error> {
        self.id_header.as_deref().map(|name| header_name("http.id_header", name)).transpose()
    }

    pub(crate) fn forwarding(&self) -> Result<Vec<Forwarding>, Error> {
        self.forward_headers.iter().map(|entry| Forwarding::parse(entry)).collect()
    }
}

/// `[admin]`: health, metrics and the admin API.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AdminConfig {
    /// Where to listen.
    pub listen: SocketAddr,
    /// The bearer token that lets a client in; needed beyond loopback. Health is open without it.
    pub token: Option<Secret>,
}

impl Default for AdminConfig {
    fn default() -> Self {
        Self { listen: loopback(1379), token: None }
    }
}

impl AdminConfig {
    /// What a loader can refuse before anything is started.
    pub fn check(&self) -> Result<(), Error> {
        if self.listen.ip().to_canonical().is_loopback() || self.token.is_some() {
            return Ok(());
        }
        Err(Error::Config(format!(
            "admin.listen = \"{}\" can be reached from other machines: name a token, such as token = {{ env = \
             \"SAF_ADMIN_TOKEN\" }} in [admin], or listen on 127.0.0.1",
            self.listen
        )))
    }
}

/// Which request headers a raw post keeps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Forwarding {
    /// This one.
    Name(String),
    /// Every one that begins so.
    Prefix(String),
}

/// Never stored with an event, whatever a prefix says: whoever reads the stream could use them.
const CREDENTIALS: [&str; 3] = ["authorization", "cookie", "proxy-authorization"];

impl Forwarding {
    fn parse(entry: &str) -> Result<Self, Error> {
        const KEY: &str = "http.forward_headers";
        let lower = entry.to_ascii_lowercase();
        if lower.starts_with("nats-") || lower.starts_with("saf-") {
            return Err(Error::Config(format!(
                "{KEY}: {entry:?} is reserved; names that start with Nats- or Saf- are set by the router"
            )));
        }
        if CREDENTIALS.contains(&lower.as_str()) {
            return Err(Error::Config(format!(
                "{KEY}: {entry:?} carries credentials and is never stored; remove it"
            )));
        }
        match lower.strip_suffix('*') {
            Some(prefix) => header_name(KEY, prefix).map(|_| Self::Prefix(prefix.to_owned())),
            None => header_name(KEY, &lower).map(|_| Self::Name(lower)),
        }
    }

    /// `name` is lower case, as every `HeaderName` is.
    pub(crate) fn keeps(&self, name: &str) -> bool {
        match self {
            Self::Name(wanted) => name == wanted,
            Self::Prefix(prefix) => name.starts_with(prefix.as_str()) && !CREDENTIALS.contains(&name),
        }
    }
}

const fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}

#[expect(clippy::expect_used, reason = "a constant")]
fn default_stream() -> StreamName {
    StreamName::parse("events").expect("six letters of a-z are a name")
}

fn header_name(key: &str, name: &str) -> Result<HeaderName, Error> {
    HeaderName::from_bytes(name.as_bytes()).map_err(|_| {
        Error::Config(format!(
            "{key}: {name:?} is not an HTTP field name; write one such as \"x-request-id\""
        ))
    })
}

fn at_least_one(key: &str, value: u64) -> Result<(), Error> {
    if value == 0 {
        Err(Error::Config(format!("{key} is 0: nothing could come in; make it at least 1")))
    } else {
        Ok(())
    }
}

fn above_zero(key: &str, span: Span) -> Result<(), Error> {
    if span.0.is_zero() {
        Err(Error::Config(format!("{key} is 0: write a duration such as \"30s\"")))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(toml: &str) -> String {
        match toml::from_str::<Config>(toml).expect("TOML").check() {
            Ok(()) => "ok".to_owned(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn what_strangers_reach_needs_a_token_or_a_word() {
        for (toml, expected) in [
            ("", "ok"),
            ("listen = '127.0.0.9:1'", "ok"),
            ("listen = '[::1]:1'", "ok"),
            ("listen = '[::ffff:127.0.0.1]:1'", "ok"),
            ("listen = '0.0.0.0:1'", "allow_anonymous = true"),
            ("listen = '[::]:1'", "allow_anonymous = true"),
            ("listen = '0.0.0.0:1'\nallow_anonymous = true", "ok"),
            ("listen = '0.0.0.0:1'\ntokens = [{ env = 'T' }]", "ok"),
        ] {
            assert!(check(toml).contains(expected), "{toml}: {}", check(toml));
        }
        let admin = AdminConfig { listen: "0.0.0.0:1".parse().expect("address"), token: None };
        assert!(admin.check().is_err_and(|e| e.to_string().contains("name a token")));
        assert!(AdminConfig::default().check().is_ok());
    }

    #[test]
    fn limits_that_let_nothing_in_and_headers_that_may_not_be_kept_are_refused_by_name() {
        for (toml, expected) in [
            ("max_body = 0", "http.max_body is 0"),
            ("max_batch = 0", "http.max_batch is 0"),
            ("max_connections = 0", "http.max_connections is 0"),
            ("max_body = '2MiB'\nmax_in_flight = '1MiB'", "http.max_in_flight"),
            ("header_timeout = '0s'", "http.header_timeout is 0"),
            ("body_timeout = '0s'", "http.body_timeout is 0"),
            ("id_header = 'not a name'", "http.id_header"),
            ("forward_headers = ['Nats-Msg-Id']", "reserved"),
            ("forward_headers = ['saf-*']", "reserved"),
            ("forward_headers = ['Authorization']", "credentials"),
            ("forward_headers = ['*']", "not an HTTP field name"),
            ("forward_headers = ['X-GitHub-Event', 'x-hub-*']", "ok"),
        ] {
            assert!(check(toml).contains(expected), "{toml}: {}", check(toml));
        }
        assert!(toml::from_str::<Config>("liste = '1'").is_err());
    }

    #[test]
    fn forwarding_keeps_names_and_prefixes_but_no_credentials() {
        let keeps = |entry: &str, name: &str| Forwarding::parse(entry).expect("valid").keeps(name);
        assert!(keeps("X-GitHub-Event", "x-github-event"));
        assert!(!keeps("X-GitHub-Event", "x-github-event-2"));
        assert!(keeps("x-github-*", "x-github-delivery"));
        assert!(!keeps("a*", "authorization"));
        assert!(!keeps("c*", "cookie"));
    }
}
