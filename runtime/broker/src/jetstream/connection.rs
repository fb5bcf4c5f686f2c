//! The two connections to NATS, and whether they are up.
//!
//! Publishing and consuming are kept apart because a malformed message from a NATS peer makes async-nats drop the connection it
//! arrives on (DESIGN rule 11). The publishing connection subscribes to nothing but its own inboxes and reads stored
//! messages as base64 in JSON, so no peer's message reaches it as it is. Secrets and files are read again at each connect.
//! Deliberately absent: a cap on reconnects; a broker that comes back after a week is still the broker.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use async_nats::{Auth, AuthError, Client, ConnectOptions, Event, ServerAddr};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::{Config, Error, Health};

/// How long `open` waits for the first connection.
const FIRST_CONNECT_SECONDS: u64 = 10;
/// How long one attempt to connect may take.
const CONNECT_ATTEMPT_SECONDS: u64 = 5;
/// Longest pause between two attempts to reconnect.
const RECONNECT_MAX_MILLIS: u64 = 4_000;
/// A dead peer is noticed after two of these.
const PING_SECONDS: u64 = 10;

/// What a connection is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// Publishing and the JetStream API.
    Publishing,
    /// Pulls and acks.
    Consuming,
}

impl Role {
    const fn name(self) -> &'static str {
        match self {
            Self::Publishing => "saf publishing",
            Self::Consuming => "saf consuming",
        }
    }
}

/// A connection as it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LinkState {
    pub(super) up: bool,
    /// How often it was established: what was pulled before the last time is lost until its ack wait.
    pub(super) connects: u64,
}

/// A connection that mends itself.
#[derive(Clone)]
pub(super) struct Link {
    pub(super) client: Client,
    state: watch::Receiver<LinkState>,
}

impl Link {
    /// Connects, trying for [`FIRST_CONNECT_SECONDS`].
    pub(super) async fn open(config: &Config, role: Role, board: &Arc<Board>) -> Result<Self, Error> {
        let servers = servers(config)?;
        if config.tls.cert.is_some() != config.tls.key.is_some() {
            return Err(Error::Config(
                "broker.tls.cert and broker.tls.key belong together: set both or none".into(),
            ));
        }
        let (state, watched) = watch::channel(LinkState { up: true, connects: 1 });
        let state = Arc::new(state);
        let deadline = Instant::now() + Duration::from_secs(FIRST_CONNECT_SECONDS);
        let mut attempt = 0;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let error = match timeout(left, options(config, role, &state, board).connect(&servers[..])).await
            {
                Ok(Ok(client)) => return Ok(Self { client, state: watched }),
                Ok(Err(error)) => explain(&error),
                Err(_) => "no answer".to_owned(),
            };
            attempt += 1;
            let pause = backoff(attempt);
            if Instant::now() + pause >= deadline {
                return Err(Error::Unavailable(format!(
                    "NATS at {} did not accept a connection within {FIRST_CONNECT_SECONDS} s ({error}); check that the server runs, \
                     broker.url, and the credentials and TLS files in [broker]",
                    addresses(&servers)
                )));
            }
            sleep(pause).await;
        }
    }

    /// The state right now.
    pub(super) fn state(&self) -> LinkState {
        *self.state.borrow()
    }

    /// The state as it changes.
    pub(super) fn watch(&self) -> watch::Receiver<LinkState> {
        self.state.clone()
    }

    /// Whether what is published now goes out now. async-nats holds back what is published while it is disconnected and
    /// sends it later, so this is asked first.
    pub(super) fn is_up(&self) -> bool {
        self.client.connection_state() == async_nats::connection::State::Connected
    }
}

/// Both connections' health as one.
pub(super) struct Board {
    reasons: Mutex<[Option<String>; 2]>,
    health: watch::Sender<Health>,
}

impl Board {
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self { reasons: Mutex::default(), health: watch::Sender::new(Health::Up) })
    }

    pub(super) fn watch(&self) -> watch::Receiver<Health> {
        self.health.subscribe()
    }

    fn set(&self, role: Role, reason: Option<String>) {
        let mut reasons = self.reasons.lock().unwrap_or_else(PoisonError::into_inner);
        reasons[role as usize] = reason;
        let health = match reasons.iter().flatten().next() {
            Some(reason) => Health::Down { reason: reason.clone() },
            None => Health::Up,
        };
        self.health.send_if_modified(|now| {
            let changed = *now != health;
            *now = health;
            changed
        });
    }
}

fn options(
    config: &Config,
    role: Role,
    state: &Arc<watch::Sender<LinkState>>,
    board: &Arc<Board>,
) -> ConnectOptions {
    let mut options = match Credentials::of(config) {
        Some(credentials) => ConnectOptions::with_auth_callback(move |nonce| {
            let credentials = credentials.clone();
            async move { credentials.read(&nonce).map_err(AuthError::new) }
        }),
        None => ConnectOptions::new(),
    };
    if let Some(ca) = &config.tls.ca {
        options = options.add_root_certificates(ca.clone());
    }
    if let (Some(cert), Some(key)) = (&config.tls.cert, &config.tls.key) {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    if config.tls.first {
        options = options.tls_first();
    }
    let (state, board) = (state.clone(), board.clone());
    options
        .name(role.name())
        .require_tls(config.tls.required || config.tls.first)
        .connection_timeout(Duration::from_secs(CONNECT_ATTEMPT_SECONDS))
        .ping_interval(Duration::from_secs(PING_SECONDS))
        // Subjects are checked where they are made; async-nats would scan each again.
        .skip_subject_validation(true)
        .reconnect_delay_callback(backoff)
        .event_callback(move |event| {
            observe(role, &event, &state, &board);
            std::future::ready(())
        })
}

fn observe(role: Role, event: &Event, state: &watch::Sender<LinkState>, board: &Board) {
    match event {
        Event::Connected => {
            board.set(role, None);
            state.send_modify(|s| {
                // The first connection is counted already: it may be announced before or after `open` returns.
                s.connects += u64::from(!s.up);
                s.up = true;
            });
        }
        Event::Disconnected | Event::Closed => {
            tracing::warn!(connection = role.name(), "disconnected from NATS");
            board.set(role, Some(format!("the {} connection to NATS is down", role.name())));
            state.send_modify(|s| s.up = false);
        }
        Event::ClientError(error) if !state.borrow().up => {
            board.set(role, Some(format!("the {} connection to NATS is down: {error}", role.name())));
        }
        Event::ClientError(error) => tracing::warn!(connection = role.name(), %error, "NATS client"),
        Event::ServerError(error) => tracing::warn!(connection = role.name(), %error, "NATS server"),
        Event::SlowConsumer(_) => tracing::error!(connection = role.name(), "a NATS subscription overflowed"),
        Event::LameDuckMode => tracing::info!(connection = role.name(), "the NATS server is about to stop"),
        Event::Draining => {}
    }
}

/// The pause before an attempt, full jitter: replicas that lost the server together do not come back together.
pub(super) fn backoff(attempt: usize) -> Duration {
    let ceiling = 50_u64.saturating_mul(1 << attempt.min(10)).min(RECONNECT_MAX_MILLIS);
    jitter(Duration::from_millis(ceiling))
}

/// A random part of a duration; the standard library's hasher keys are random enough to spread clients.
pub(super) fn jitter(ceiling: Duration) -> Duration {
    let random = RandomState::new().build_hasher().finish();
    ceiling.mul_f64((random >> 11) as f64 / (1_u64 << 53) as f64)
}

fn servers(config: &Config) -> Result<Vec<ServerAddr>, Error> {
    let urls = config.url.as_deref().unwrap_or_default();
    let servers: Result<Vec<ServerAddr>, _> =
        urls.split(',').map(str::trim).filter(|url| !url.is_empty()).map(str::parse).collect();
    match servers {
        // async-nats would leave it out without a word.
        Ok(servers) if servers.iter().any(ServerAddr::has_user_pass) => Err(Error::Config(
            "broker.url holds a user or password: put them into broker.user and broker.password".into(),
        )),
        Ok(servers) if !servers.is_empty() => Ok(servers),
        Ok(_) => Err(Error::Config(
            "broker.kind = \"jetstream\" needs broker.url, such as \"nats://127.0.0.1:4222\"".into(),
        )),
        Err(error) => Err(Error::Config(format!(
            "broker.url is not a list of NATS servers ({error}); write one such as \"nats://127.0.0.1:4222\""
        ))),
    }
}

/// As a person reads them.
fn addresses(servers: &[ServerAddr]) -> String {
    servers.iter().map(|s| format!("{}:{}", s.host(), s.port())).collect::<Vec<_>>().join(", ")
}

fn explain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}

/// How to log in; what is secret is read afresh for each connect.
#[derive(Clone)]
enum Credentials {
    File(std::path::PathBuf),
    Nkey(saf_event::Secret),
    Password { user: String, password: Option<saf_event::Secret> },
    Token(saf_event::Secret),
}

impl Credentials {
    fn of(config: &Config) -> Option<Self> {
        if let Some(path) = &config.creds {
            return Some(Self::File(path.clone()));
        }
        if let Some(seed) = &config.nkey {
            return Some(Self::Nkey(seed.clone()));
        }
        if let Some(user) = &config.user {
            return Some(Self::Password { user: user.clone(), password: config.password.clone() });
        }
        config.token.clone().map(Self::Token)
    }

    fn read(&self, nonce: &[u8]) -> Result<Auth, String> {
        let mut auth = Auth::new();
        match self {
            Self::File(path) => {
                let text = std::fs::read_to_string(path)
                    .map_err(|error| format!("broker.creds {}: {error}", path.display()))?;
                let (jwt, seed) = decorated(&text)
                    .ok_or_else(|| format!("broker.creds {}: no user JWT and seed in it", path.display()))?;
                auth.jwt = Some(jwt.to_owned());
                auth.signature = Some(sign(seed, nonce)?.1);
            }
            Self::Nkey(seed) => {
                let seed = seed.read().map_err(|error| format!("broker.nkey: {error}"))?;
                let (public, signature) = sign(&seed, nonce)?;
                auth.nkey = Some(public);
                auth.signature = Some(signature);
            }
            Self::Password { user, password } => {
                auth.username = Some(user.clone());
                auth.password = password
                    .as_ref()
                    .map(saf_event::Secret::read)
                    .transpose()
                    .map_err(|error| format!("broker.password: {error}"))?;
            }
            Self::Token(token) => {
                auth.token = Some(token.read().map_err(|error| format!("broker.token: {error}"))?);
            }
        }
        Ok(auth)
    }
}

fn sign(seed: &str, nonce: &[u8]) -> Result<(String, Vec<u8>), String> {
    let pair =
        nkeys::KeyPair::from_seed(seed.trim()).map_err(|error| format!("not an nkey seed: {error}"))?;
    let signature = pair.sign(nonce).map_err(|error| format!("cannot sign with the nkey: {error}"))?;
    Ok((pair.public_key(), signature))
}

/// The two blocks of a credentials file, which stand between lines of dashes: the user's JWT, then the seed.
fn decorated(text: &str) -> Option<(&str, &str)> {
    let mut lines = text.lines().map(str::trim).filter(|line| !line.is_empty());
    let mut block = || {
        lines.by_ref().find(|line| line.starts_with("---"))?;
        let body = lines.next()?;
        lines.next().filter(|line| line.starts_with("---"))?;
        Some(body)
    };
    Some((block()?, block()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_and_stay_bounded() {
        for attempt in [0, 1, 5, 10, 1000] {
            assert!(backoff(attempt) <= Duration::from_millis(RECONNECT_MAX_MILLIS), "{attempt}");
        }
        assert!(backoff(0) <= Duration::from_millis(50));
    }

    #[test]
    fn a_credentials_file_has_a_token_and_a_seed() {
        let file = "-----BEGIN NATS USER JWT-----\neyJ0.abc-_=\n------END NATS USER JWT------\n\n*** IMPORTANT ***\nkeep it\n\n\
                    -----BEGIN USER NKEY SEED-----\nSUAM\n------END USER NKEY SEED------\n";
        assert_eq!(decorated(file), Some(("eyJ0.abc-_=", "SUAM")));
        for broken in ["", "SUAM", "-----BEGIN NATS USER JWT-----\neyJ0\n------END NATS USER JWT------\n"] {
            assert_eq!(decorated(broken), None, "{broken:?}");
        }
    }

    #[test]
    fn addresses_are_a_list_without_passwords() {
        let config = Config { url: Some("nats://127.0.0.1:4222, localhost".into()), ..Config::default() };
        assert_eq!(addresses(&servers(&config).expect("two servers")), "127.0.0.1:4222, localhost:4222");
        for url in
            [None, Some(String::new()), Some("nats://[".into()), Some("nats://me:secret@localhost".into())]
        {
            assert!(matches!(servers(&Config { url, ..Config::default() }), Err(Error::Config(_))));
        }
    }
}
