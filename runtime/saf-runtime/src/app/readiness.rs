//! What `/readyz` says of the Channels. A Channel in trouble degrades readiness and is named; it does not take the router out
//! of service, because events for it wait in the stream. So does a configuration, or a component, that a reload refused: the
//! router then runs something else than its files say.

use std::sync::Arc;

use saf_channel::{Channel, State};
use saf_http::{Readiness, Report, Verdict};
use serde_json::{Map, json};
use tokio::sync::watch;

use super::fleet::{Fleet, Refusals};
use super::role::Role;

pub(super) struct Ready {
    role: Role,
    channels: watch::Receiver<Vec<Arc<Channel>>>,
    refused: watch::Receiver<Refusals>,
}

impl Ready {
    pub(super) fn of(fleet: &Fleet, role: Role) -> Self {
        Self { role, channels: fleet.channels(), refused: fleet.refused() }
    }
}

impl Readiness for Ready {
    fn report(&self) -> Report {
        let channels = self.channels.borrow().clone();
        let mut troubled = Map::new();
        for channel in &channels {
            let (status, expired) = (channel.status(), channel.lag().expired);
            let trouble = matches!(status.state, State::Sick | State::Faulted) || expired > 0;
            if trouble {
                let mut part =
                    json!({ "state": status.state, "reason": status.reason, "since": status.since });
                if expired > 0 {
                    part["expired"] = expired.into();
                }
                troubled.insert(channel.name().to_string(), part);
            }
        }
        let refused = self.refused.borrow().clone();
        let fine = troubled.is_empty() && refused.is_empty();
        let mut parts = Map::new();
        parts.insert("role".to_owned(), self.role.to_string().into());
        parts.insert("channels".to_owned(), json!({ "running": channels.len(), "troubled": troubled }));
        if !refused.is_empty() {
            parts.insert("reload".to_owned(), json!({ "refused": refused }));
        }
        Report { verdict: if fine { Verdict::Ready } else { Verdict::Degraded }, parts }
    }
}
