//! What `/readyz` says of the Channels. A Channel in trouble degrades readiness and is named; it does not take the router out
//! of service, because events for it wait in the stream.

use std::sync::Arc;

use saf_channel::{Channel, State};
use saf_http::{Readiness, Report, Verdict};
use serde_json::{Map, json};

pub(super) struct Ready {
    channels: Vec<Arc<Channel>>,
}

impl Ready {
    pub(super) fn new(channels: Vec<Arc<Channel>>) -> Self {
        Self { channels }
    }
}

impl Readiness for Ready {
    fn report(&self) -> Report {
        let mut troubled = Map::new();
        for channel in &self.channels {
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
        let verdict = if troubled.is_empty() { Verdict::Ready } else { Verdict::Degraded };
        let channels = json!({ "running": self.channels.len(), "troubled": troubled });
        Report { verdict, parts: Map::from_iter([("channels".to_owned(), channels)]) }
    }
}
