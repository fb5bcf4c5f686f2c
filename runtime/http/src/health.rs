//! `/livez` and `/readyz`, the same on both listeners. Alive means that the loop turns; ready means that a post would be
//! stored and Channels run. The broker is asked here, everything else is the caller's.

use std::sync::Arc;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderValue};
use http::{Response, StatusCode};
use http_body_util::Full;
use saf_broker::{Durability, Health, Profile, Shared};
use serde_json::{Map, Value, json};

/// What the caller knows about readiness beside the broker.
pub trait Readiness: Send + Sync + 'static {
    /// How things are now. Called for each `/readyz`; must not block.
    fn report(&self) -> Report;
}

/// An answer of [`Readiness`].
#[derive(Clone, Debug, PartialEq)]
pub struct Report {
    /// What it comes to.
    pub verdict: Verdict,
    /// Shown in `/readyz` beside `ready`, `degraded` and `broker`, such as `"channels": {…}`.
    pub parts: Map<String, Value>,
}

/// What readiness comes to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Everything works.
    Ready,
    /// It works, and somebody should look: 200, with `"degraded": true`.
    Degraded,
    /// No traffic, please: 503.
    NotReady,
}

impl<F: Fn() -> Report + Send + Sync + 'static> Readiness for F {
    fn report(&self) -> Report {
        self()
    }
}

/// Answers health requests.
#[derive(Clone)]
pub(crate) struct Probe {
    broker: Shared,
    readiness: Arc<dyn Readiness>,
}

impl Probe {
    pub(crate) fn new(broker: Shared, readiness: Arc<dyn Readiness>) -> Self {
        Self { broker, readiness }
    }

    pub(crate) fn livez() -> Response<Full<Bytes>> {
        answer(StatusCode::OK, Bytes::from_static(b"{\"alive\":true}"))
    }

    pub(crate) fn readyz(&self) -> Response<Full<Bytes>> {
        let Report { verdict, mut parts } = self.readiness.report();
        let (up, broker) = broker(&self.broker.profile(), &self.broker.health().borrow());
        let ready = up && verdict != Verdict::NotReady;
        parts.insert("ready".into(), ready.into());
        parts.insert("degraded".into(), (ready && verdict == Verdict::Degraded).into());
        parts.insert("broker".into(), broker);
        let status = if ready { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        answer(status, Value::Object(parts).to_string().into())
    }
}

fn broker(profile: &Profile, health: &Health) -> (bool, Value) {
    let mut part = match profile.durability {
        Durability::Synced => json!({ "durability": "synced" }),
        Durability::Acknowledged { replicas } => {
            json!({ "durability": "acknowledged", "replicas": replicas })
        }
        Durability::None => json!({ "durability": "none" }),
    };
    part["kind"] = profile.kind.into();
    let reason = match health {
        Health::Up => None,
        Health::Down { reason } | Health::Failed { reason } => Some(reason.as_str()),
    };
    part["up"] = reason.is_none().into();
    if let Some(reason) = reason {
        part["reason"] = reason.into();
    }
    (reason.is_none(), part)
}

fn answer(status: StatusCode, body: Bytes) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_broker_part_says_what_a_receipt_is_worth_and_why_it_is_down() {
        let profile = |durability| Profile { kind: "k", durability, max_event_bytes: 1, max_emissions: 1 };
        let down = Health::Down { reason: "no route".into() };
        let failed = Health::Failed { reason: "disk".into() };
        for (durability, health, expected) in [
            (Durability::Synced, Health::Up, json!({ "kind": "k", "durability": "synced", "up": true })),
            (
                Durability::Acknowledged { replicas: 3 },
                down,
                json!({ "kind": "k", "durability": "acknowledged", "replicas": 3, "up": false, "reason": "no route" }),
            ),
            (
                Durability::None,
                failed,
                json!({ "kind": "k", "durability": "none", "up": false, "reason": "disk" }),
            ),
        ] {
            let up = health == Health::Up;
            assert_eq!(broker(&profile(durability), &health), (up, expected));
        }
    }
}
