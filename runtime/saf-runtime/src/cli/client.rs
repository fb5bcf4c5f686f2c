//! The HTTP client of the commands that ask a running router. Blocking, one request at a time; what goes wrong becomes a
//! [`Failure`] here and nowhere else, so that every command says the same of the same trouble.
//!
//! HTTPS trusts what the system trusts (`SSL_CERT_FILE` names other authorities). Deliberately absent: redirects and proxies (a
//! router is a neighbour), retries (a person repeats), client certificates.

use std::io::{BufReader, Read};
use std::sync::Arc;
use std::time::Duration;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use ureq::http::header::{ACCEPT, AUTHORIZATION};
use ureq::http::{Method, Request, Response, StatusCode};
use ureq::tls::{Certificate, RootCerts, TlsConfig};
use ureq::{Agent, Body};

use super::sse::Messages;
use super::text::printable;
use crate::exit::Failure;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);
/// What an answer may take that the router has at hand.
const ANSWER_TIMEOUT: Duration = Duration::from_mins(1);
/// A stream that is silent for so long is dead: the router sends a sign of life more often.
const SILENCE_TIMEOUT: Duration = Duration::from_mins(2);
/// A page of the largest events; beyond it the answer is not a router's.
const MAX_ANSWER_BYTES: u64 = 512 << 20;
const MAX_PROBLEM_BYTES: u64 = 64 << 10;

/// How a running router is found.
#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Router")]
pub(crate) struct Server {
    /// The router's admin listener; https:// for one behind a proxy with TLS, whose authority the system knows or SSL_CERT_FILE
    /// names.
    #[arg(long, env = "SAF_URL", default_value = "http://127.0.0.1:1379", value_name = "URL", global = true)]
    url: String,
    /// The bearer token of the admin listener; as a variable, other users of the machine do not see it.
    #[arg(long, env = "SAF_TOKEN", hide_env_values = true, value_name = "TOKEN", global = true)]
    token: Option<String>,
}

impl Server {
    /// A client of the admin listener.
    pub(crate) fn admin(&self) -> Result<Client, Failure> {
        Client::new(Door::Admin, &self.url, self.token())
    }

    /// The admin listener, as it was named.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// The token, unless it is empty.
    pub(crate) fn token(&self) -> Option<&str> {
        self.token.as_deref().filter(|token| !token.is_empty())
    }
}

/// Which listener is asked; errors say how to name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Door {
    Admin,
    Ingest,
}

impl Door {
    const fn how_to_name_it(self) -> &'static str {
        match self {
            Self::Admin => "its admin listener with --url or SAF_URL",
            Self::Ingest => "its ingest listener with --ingest-url or SAF_INGEST_URL",
        }
    }

    const fn how_to_get_in(self) -> &'static str {
        match self {
            Self::Admin => "set SAF_TOKEN to the token of [admin]",
            Self::Ingest => "set SAF_INGEST_TOKEN to one of the tokens of [http]",
        }
    }
}

/// How long an answer is waited for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Patience {
    /// [`ANSWER_TIMEOUT`].
    Short,
    /// As long as the router works on it.
    Endless,
    /// A stream: as long as it is not silent.
    WhileAlive,
    /// A stream: so long in all.
    For(Duration),
}

/// The query of a request; what is absent is left out.
#[derive(Clone, Debug, Default)]
pub(crate) struct Query(Vec<(&'static str, String)>);

impl Query {
    pub(crate) fn with(mut self, name: &'static str, value: Option<impl ToString>) -> Self {
        self.0.extend(value.map(|value| (name, value.to_string())));
        self
    }

    fn write(&self, url: &mut String) {
        for (n, (name, value)) in self.0.iter().enumerate() {
            url.push(if n == 0 { '?' } else { '&' });
            url.push_str(name);
            url.push('=');
            url.push_str(&encoded(value));
        }
    }
}

/// Percent-encoded, fit for a part of a path or of a query.
pub(crate) fn encoded(text: &str) -> String {
    use std::fmt::Write;
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~:".contains(&byte) {
            out.push(byte as char);
        } else {
            // Writing to a string cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

/// A client of one listener.
pub(crate) struct Client {
    agent: Agent,
    door: Door,
    base: String,
    token: Option<String>,
}

impl Client {
    pub(crate) fn new(door: Door, url: &str, token: Option<&str>) -> Result<Self, Failure> {
        let base = url.trim_end_matches('/');
        let tls = match base.split_once("://") {
            Some(("http", host)) if !host.is_empty() => None,
            Some(("https", host)) if !host.is_empty() => Some(system_tls()),
            _ => {
                return Err(Failure::Usage(format!(
                    "{url:?} is no URL of a router: write one such as http://127.0.0.1:1379"
                )));
            }
        };
        let config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("saf-runtime/", env!("CARGO_PKG_VERSION")))
            .timeout_connect(Some(CONNECT_TIMEOUT));
        let config = match tls {
            Some(tls) => config.tls_config(tls),
            None => config,
        };
        Ok(Self {
            agent: config.build().into(),
            door,
            base: base.to_owned(),
            token: token.map(str::to_owned),
        })
    }

    /// GET, read as `T`.
    pub(crate) fn get<T: DeserializeOwned>(&self, path: &str, query: &Query) -> Result<T, Failure> {
        self.ask(&Ask::new(Method::GET, path).query(query))?.json()
    }

    /// Any request; an answer that is not 2xx is a failure.
    pub(crate) fn ask(&self, ask: &Ask<'_>) -> Result<Answer, Failure> {
        let mut url = format!("{}{}", self.base, ask.path);
        ask.query.write(&mut url);
        let asked = format!("{} {url}", ask.method);
        let mut request = Request::builder().method(ask.method.clone()).uri(&url);
        if let Some(token) = &self.token {
            request = request.header(AUTHORIZATION, format!("Bearer {token}"));
        }
        for (name, value) in ask.headers {
            request = request.header(*name, *value);
        }
        let unfit = |error: ureq::http::Error| Failure::Usage(format!("{asked}: {error}"));
        let run = match ask.body {
            Some(body) => self.run(request.body(body).map_err(unfit)?, ask.patience),
            None if ask.method == Method::POST => {
                self.run(request.body(&[][..]).map_err(unfit)?, ask.patience)
            }
            None => self.run(request.body(()).map_err(unfit)?, ask.patience),
        };
        let response = run.map_err(|error| self.failure(&asked, &error))?;
        if response.status().is_success() {
            return Ok(Answer { asked, response });
        }
        Err(self.problem(&asked, response))
    }

    /// Opens a stream of server-sent events.
    pub(crate) fn messages(
        &self,
        path: &str,
        query: &Query,
        patience: Patience,
    ) -> Result<Messages<impl Read + use<>>, Failure> {
        let accept = [(ACCEPT.as_str(), "text/event-stream")];
        let answer =
            self.ask(&Ask::new(Method::GET, path).query(query).headers(&accept).patience(patience))?;
        let reader = answer.response.into_body().into_with_config().limit(u64::MAX).reader();
        Ok(Messages::new(answer.asked, BufReader::new(reader)))
    }

    fn run(
        &self,
        request: Request<impl ureq::AsSendBody>,
        patience: Patience,
    ) -> Result<Response<Body>, ureq::Error> {
        let config = self.agent.configure_request(request);
        let config = match patience {
            Patience::Short => config.timeout_global(Some(ANSWER_TIMEOUT)),
            Patience::Endless => config,
            Patience::WhileAlive => config.timeout_per_read(Some(SILENCE_TIMEOUT)),
            Patience::For(span) => config.timeout_global(Some(span)),
        };
        self.agent.run(config.build())
    }

    fn failure(&self, asked: &str, error: &ureq::Error) -> Failure {
        match error {
            ureq::Error::BadUri(_) | ureq::Error::Http(_) => Failure::Usage(format!("{asked}: {error}")),
            error if is_tls(error) => Failure::Unreachable(format!(
                "no trusted connection to {}: {}. A router itself listens without TLS (http://); for a proxy before it, name the \
                 file of an authority that the system does not know in SSL_CERT_FILE",
                self.base,
                cause(error)
            )),
            _ => Failure::Unreachable(format!(
                "cannot reach the router at {}: {}. Is it running (saf-runtime --config router.toml)? If so, name {}",
                self.base,
                cause(error),
                self.door.how_to_name_it()
            )),
        }
    }

    /// What an answer that is not 2xx says, and what to do.
    fn problem(&self, asked: &str, mut response: Response<Body>) -> Failure {
        #[derive(Deserialize)]
        struct Problem {
            title: String,
            #[serde(default)]
            detail: String,
        }
        let status = response.status();
        let body =
            response.body_mut().with_config().limit(MAX_PROBLEM_BYTES).lossy_utf8(true).read_to_string();
        let body = body.unwrap_or_default();
        let what = match serde_json::from_str::<Problem>(&body) {
            Ok(Problem { title, detail }) if detail.is_empty() => title,
            Ok(Problem { title, detail }) => format!("{title}: {detail}"),
            Err(_) => body.lines().next().unwrap_or_default().to_owned(),
        };
        let hint = match status {
            StatusCode::UNAUTHORIZED => format!(" ({})", self.door.how_to_get_in()),
            _ => String::new(),
        };
        Failure::Check(format!("{}{hint}\n  {asked} was answered {status}", printable(&what)))
    }
}

/// A request to be made.
pub(crate) struct Ask<'a> {
    method: Method,
    path: &'a str,
    query: Query,
    headers: &'a [(&'a str, &'a str)],
    body: Option<&'a [u8]>,
    patience: Patience,
}

impl<'a> Ask<'a> {
    pub(crate) fn new(method: Method, path: &'a str) -> Self {
        Self { method, path, query: Query::default(), headers: &[], body: None, patience: Patience::Short }
    }

    pub(crate) fn query(self, query: &Query) -> Self {
        Self { query: query.clone(), ..self }
    }

    pub(crate) fn headers(self, headers: &'a [(&'a str, &'a str)]) -> Self {
        Self { headers, ..self }
    }

    pub(crate) fn body(self, body: &'a [u8]) -> Self {
        Self { body: Some(body), ..self }
    }

    pub(crate) fn patience(self, patience: Patience) -> Self {
        Self { patience, ..self }
    }
}

/// A 2xx answer whose body was not read yet.
pub(crate) struct Answer {
    asked: String,
    response: Response<Body>,
}

impl Answer {
    /// The body as text.
    pub(crate) fn text(mut self) -> Result<String, Failure> {
        let read = self.response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_string();
        read.map_err(|error| broke_off(&self.asked, &error))
    }

    /// The body, read as `T`.
    pub(crate) fn json<T: DeserializeOwned>(self) -> Result<T, Failure> {
        let asked = self.asked.clone();
        let text = self.text()?;
        serde_json::from_str(&text).map_err(|error| {
            Failure::Check(format!(
                "{asked} was answered with something else than a router's JSON ({error}): check the URL, and that this \
                 saf-runtime is of the router's version"
            ))
        })
    }

    /// The body as it comes; the second part names the request for errors.
    pub(crate) fn into_reader(self) -> (impl Read, String) {
        (self.response.into_body().into_with_config().limit(u64::MAX).reader(), self.asked)
    }
}

/// The answer began and did not end.
pub(crate) fn broke_off(asked: &str, error: &ureq::Error) -> Failure {
    match error {
        ureq::Error::BodyExceedsLimit(bytes) => Failure::Check(format!(
            "{asked}: the answer is larger than {}; ask for less with --limit",
            saf_event::Size(*bytes)
        )),
        _ => Failure::Unreachable(format!("{asked}: the answer broke off: {}", cause(error))),
    }
}

/// Without the library's prefixes.
fn cause(error: &ureq::Error) -> String {
    match error {
        ureq::Error::Io(error) => error.to_string(),
        ureq::Error::Timeout(_) => "it does not answer in time".to_owned(),
        error => error.to_string(),
    }
}

/// The handshake failed, or what came was none.
fn is_tls(error: &ureq::Error) -> bool {
    match error {
        ureq::Error::Tls(_) | ureq::Error::Rustls(_) => true,
        ureq::Error::Io(error) => {
            error.get_ref().is_some_and(<dyn std::error::Error + Send + Sync>::is::<rustls::Error>)
        }
        _ => false,
    }
}

/// TLS with the system's authorities. Some that cannot be read are no error: the handshake says when one is missing.
pub(crate) fn system_tls() -> TlsConfig {
    let found = rustls_native_certs::load_native_certs();
    let roots = found.certs.iter().map(|der| Certificate::from_der(der).to_owned());
    TlsConfig::builder()
        .root_certs(RootCerts::Specific(Arc::new(roots.collect())))
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .build()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_checked_before_anything_is_sent() {
        for (url, valid) in [
            ("http://127.0.0.1:1379", true),
            ("https://router.example/", true),
            ("127.0.0.1:1379", false),
            ("nats://127.0.0.1:4222", false),
            ("http://", false),
            ("", false),
        ] {
            let client = Client::new(Door::Admin, url, None);
            assert_eq!(client.is_ok(), valid, "{url}");
            if let Err(failure) = client {
                assert!(matches!(failure, Failure::Usage(_)) && failure.to_string().contains("write one"));
            }
        }
    }

    #[test]
    fn queries_carry_any_text() {
        let mut url = String::new();
        Query::default()
            .with("subject", Some("ride.>"))
            .with("after", None::<u64>)
            .with("reason", Some("a&b=c ü"))
            .write(&mut url);
        assert_eq!(url, "?subject=ride.%3E&reason=a%26b%3Dc%20%C3%BC");
    }
}
