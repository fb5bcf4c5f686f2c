//! What the log says once everything runs: where, on what, and what a 202 is worth.

use saf_broker::Durability;
use saf_channel::Channel;

use super::Router;

/// Characters of a digest that are shown: enough to tell two builds apart.
pub(super) const DIGEST_CHARS: usize = 12;

pub(super) fn announce(router: &Router) {
    let profile = router.broker.profile();
    let durability = match profile.durability {
        Durability::Synced => "synced to disk".to_owned(),
        Durability::Acknowledged { replicas } => {
            format!("acknowledged by JetStream on {replicas} replica(s); synced when the server does")
        }
        Durability::None => "not stored at all".to_owned(),
    };
    let channels = router.fleet.channels().borrow().clone();
    for channel in &channels {
        introduce(channel);
    }
    tracing::info!(broker = profile.kind, "a 202 means: {durability}");
    tracing::info!("health and metrics: http://{}/readyz and /metrics", router.doors.admin());
    let Some(ingest) = router.doors.ingest() else {
        tracing::info!("ready: Channels only; events come in at routers with --role producer");
        return;
    };
    let subjects = channels.iter().flat_map(|channel| channel.config().subjects);
    let subject = subjects
        .map(|filter| filter.to_string())
        .filter(|filter| !filter.contains(['*', '>']))
        .min_by_key(String::len);
    tracing::info!(
        "ready: curl -X POST -H 'Content-Type: application/json' -d '{{\"subject\": \"{}\", \"data\": {{\"a\": 1}}}}' http://{}/api/event",
        subject.as_deref().unwrap_or("hello"),
        ingest
    );
}

fn introduce(channel: &Channel) {
    let config = channel.config();
    let subjects: Vec<_> = config.subjects.iter().map(ToString::to_string).collect();
    let emits: Vec<_> = config.emit.subjects.iter().map(ToString::to_string).collect();
    tracing::info!(
        channel = %channel.name(),
        subjects = subjects.join(" "),
        emits = emits.join(" "),
        component = config.component.display().to_string(),
        digest = channel.component().digest().get(..DIGEST_CHARS),
        "channel"
    );
}
