//! Every Channel's switch, in a NATS key-value bucket: `$KV.saf-switches.<channel>` holds `"running"` or `"paused"`.
//!
//! Replicas look for changes every [`POLL_SECONDS`] through the JSON API. A watch would be quicker, but it is a subscription, and
//! the publishing connection has none that a peer's malformed message could break (see `connection`). A bucket is per account:
//! two routers that share an account and a Channel's name share its switch.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use saf_event::ChannelName;
use tokio::sync::{Notify, watch};
use tokio::time::timeout;

use super::api::{Failure, RawMessage};
use super::codec::Head;
use super::names::{SWITCH_BUCKET, SWITCH_STREAM};
use super::publisher::Outgoing;
use super::{Core, raw};
use crate::{Error, Switch};

/// How soon another replica's switch is seen.
const POLL_SECONDS: u64 = 1;

/// The switches as they were last seen.
pub(super) struct Switches {
    all: watch::Sender<BTreeMap<ChannelName, Switch>>,
    changed: Notify,
}

impl Switches {
    pub(super) fn new() -> Self {
        Self { all: watch::Sender::new(BTreeMap::new()), changed: Notify::new() }
    }

    pub(super) fn watch(&self) -> watch::Receiver<BTreeMap<ChannelName, Switch>> {
        self.all.subscribe()
    }

    /// Takes a change; `false` when it is none.
    fn set(&self, channel: ChannelName, to: Switch) {
        self.all.send_if_modified(|all| match to {
            Switch::Running => all.remove(&channel).is_some(),
            Switch::Paused => all.insert(channel, to) != Some(to),
        });
    }
}

impl Core {
    /// Stores a switch for every replica; this one sees it at once.
    pub(super) async fn set_switch(&self, channel: &ChannelName, to: Switch) -> Result<(), Error> {
        let data = serde_json::to_vec(&to).map_err(|error| Error::Failed(error.to_string()))?;
        let subject = format!("$KV.{SWITCH_BUCKET}.{channel}");
        let stored = self.store(Outgoing { subject, head: Head::new(), data: data.into() }).await;
        stored.map_err(|error| {
            Error::Unavailable(format!("the switch of channel {channel} is not stored: {error}"))
        })?;
        self.switches.set(channel.clone(), to);
        self.switches.changed.notify_one();
        Ok(())
    }

    /// Reads what is new behind a sequence; the last sequence seen.
    pub(super) async fn read_switches(&self, mut seen: u64) -> Result<u64, Failure> {
        let all = format!("$KV.{SWITCH_BUCKET}.*");
        while let Some(message) = self.api.message_from(SWITCH_STREAM, seen + 1, &all).await? {
            seen = message.sequence;
            if let Some((channel, switch)) = parse(&message) {
                self.switches.set(channel, switch);
            }
        }
        Ok(seen)
    }
}

/// Follows the bucket; ends with the broker.
pub(super) async fn follow(core: Arc<Core>) {
    let mut seen = 0;
    loop {
        match core.read_switches(seen).await {
            Ok(last) => seen = last,
            Err(failure) => tracing::debug!(?failure, "the switches cannot be read; they stay as they were"),
        }
        let poll = Duration::from_secs(POLL_SECONDS);
        // A switch set here is read back, so that two replicas that set it at once agree.
        let _ = timeout(poll, core.switches.changed.notified()).await;
        if *core.closed.borrow() {
            return;
        }
    }
}

/// A key that was deleted by hand counts as running.
fn parse(message: &RawMessage) -> Option<(ChannelName, Switch)> {
    let channel = message.subject.rsplit('.').next().and_then(|name| ChannelName::parse(name).ok())?;
    let headers = raw::parse_block(&message.headers).pairs;
    if headers.iter().any(|(name, _)| name == "KV-Operation") {
        return Some((channel, Switch::Running));
    }
    Some((channel, serde_json::from_slice(&message.data).ok()?))
}
