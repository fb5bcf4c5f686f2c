//! What the log says once everything runs: where, on what, and what a 202 is worth.

use std::sync::Arc;

use saf_broker::{Durability, Shared};
use saf_channel::Channel;

use super::Doors;
use crate::config::Config;

pub(super) fn announce(config: &Config, doors: &Doors, broker: &Shared, channels: &[Arc<Channel>]) {
    let profile = broker.profile();
    let durability = match profile.durability {
        Durability::Synced => "synced to disk".to_owned(),
        Durability::Acknowledged { replicas } => {
            format!("acknowledged by JetStream on {replicas} replica(s); synced when the server does")
        }
        Durability::None => "not stored at all".to_owned(),
    };
    for channel in channels {
        let config = channel.config();
        let subjects: Vec<_> = config.subjects.iter().map(ToString::to_string).collect();
        let emits: Vec<_> = config.emit.subjects.iter().map(ToString::to_string).collect();
        tracing::info!(
            channel = %channel.name(),
            subjects = subjects.join(" "),
            emits = emits.join(" "),
            component = config.component.display().to_string(),
            digest = channel.component().digest().get(..12),
            "channel"
        );
    }
    tracing::info!(broker = profile.kind, "a 202 means: {durability}");
    tracing::info!("health and metrics: http://{}/readyz and /metrics", doors.admin.local_addr());
    let subject =
        config.channels.values().flat_map(|channel| &channel.subjects).map(saf_event::Filter::as_str);
    let subject = subject.filter(|filter| !filter.contains(['*', '>'])).min_by_key(|filter| filter.len());
    tracing::info!(
        "ready: curl -X POST -H 'Content-Type: application/json' -d '{{\"subject\": \"{}\", \"data\": {{\"a\": 1}}}}' http://{}/api/event",
        subject.unwrap_or("hello"),
        doors.ingest.local_addr()
    );
}
