//! Summarises GitHub webhooks: a raw webhook body on `github.<event>` becomes a small JSON object on
//! `github.<event>.<action>.summary` (`github.<event>.summary` when the payload has no action). What is no JSON object, or
//! came on another subject, is rejected: it would fail again on every attempt.

mod payload;
mod summary;
#[cfg(test)]
mod tests;

use saf_channel::{Emission, Event, Failure};

use payload::Payload;
use summary::Summary;

saf_channel::handler!(handle);

/// Longest action in a subject, in bytes: a sender of `repository_dispatch` chooses it freely, and subjects end at 255.
const MAX_ACTION_BYTES: usize = 64;

fn handle(event: Event) -> Result<Emission, Failure> {
    let name = event.subject.strip_prefix("github.").filter(|name| !name.contains('.'));
    let name = name.ok_or_else(|| Failure::reject(format!("{} is not github.<event>", event.subject)))?;
    let payload: Payload = serde_json::from_slice(&event.data).map_err(|e| {
        Failure::reject(format!("not a webhook's JSON (its content type must be application/json): {e}"))
    })?;
    let subject = match payload.action.as_deref() {
        Some(action) if !action.is_empty() => format!("github.{name}.{}.summary", token(action)),
        _ => format!("github.{name}.summary"),
    };
    Emission::json(subject, &Summary::new(name, &payload))
}

/// An action as one token of a subject: a dot would make two, and wildcards and white space are refused.
fn token(action: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_');
    action.chars().take(MAX_ACTION_BYTES).map(|c| if allowed(c) { c } else { '-' }).collect()
}
