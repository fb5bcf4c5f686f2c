//! Summarises GitHub webhooks: a raw webhook body on `github.<event>` becomes a small JSON object on
//! `github.<event>.<action>.summary` (`github.<event>.summary` when the payload has no action). What is no JSON object, or
//! came on another subject, is rejected: it would fail again on every attempt.

wit_bindgen::generate!({ path: "../../../wit", world: "channel" });

mod payload;
mod summary;
#[cfg(test)]
mod tests;

use exports::saf::channel::handler::{Emission, Event, Failure, Guest};
use payload::Payload;
use summary::Summary;

/// Longest action in a subject, in bytes: a sender of `repository_dispatch` chooses it freely, and subjects end at 255.
const MAX_ACTION_BYTES: usize = 64;

struct GithubEvents;

export!(GithubEvents);

impl Guest for GithubEvents {
    fn init(_config: String) -> Result<(), String> {
        Ok(())
    }

    fn handle(event: Event) -> Result<Vec<Emission>, Failure> {
        let name = event.subject.strip_prefix("github.").filter(|name| !name.contains('.'));
        let name = name.ok_or_else(|| Failure::Reject(format!("{} is not github.<event>", event.subject)))?;
        let payload: Payload = serde_json::from_slice(&event.data).map_err(|e| {
            Failure::Reject(format!("not a webhook's JSON (its content type must be application/json): {e}"))
        })?;
        let subject = match payload.action.as_deref() {
            Some(action) if !action.is_empty() => format!("github.{name}.{}.summary", token(action)),
            _ => format!("github.{name}.summary"),
        };
        let summary = Summary::new(name, &payload);
        let data = serde_json::to_vec(&summary).map_err(|e| Failure::Reject(e.to_string()))?;
        Ok(vec![Emission {
            subject,
            data,
            content_type: Some("application/json".into()),
            headers: vec![],
            id: None,
        }])
    }
}

/// An action as one token of a subject: a dot would make two, and wildcards and white space are refused.
fn token(action: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    action.chars().take(MAX_ACTION_BYTES).map(|c| if allowed(c) { c } else { '-' }).collect()
}
