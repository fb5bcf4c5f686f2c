//! The Channels that run, as they come and go. Who looks at them (the admin API, readiness, `dev`) holds a receiver, so that a
//! reload needs to tell nobody.
//!
//! Invariant: `members` is changed only under its lock, which a reload holds from its beginning to its end: one at a time. A member
//! stays in it until it has stopped, so that whoever stops the fleet waits for every Channel.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use futures::future::{join_all, select_all};
use saf_broker::{ChannelPlan, Note, Plan};
use saf_channel::{Channel, Deps};
use saf_event::{ChannelName, StreamName};
use saf_host::Component;
use tokio::sync::{Mutex, watch};

use crate::config::Config;
use crate::exit::Failure;

/// What the last reload refused, and why; shown in `/readyz` until one refuses nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Refusals {
    /// All of it: the file cannot be used, or the broker does not take it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) configuration: Option<String>,
    /// One Channel's new version; its old one runs, if it had one.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) channels: BTreeMap<ChannelName, String>,
}

impl Refusals {
    pub(super) fn is_empty(&self) -> bool {
        self.configuration.is_none() && self.channels.is_empty()
    }
}

/// Every Channel of this process.
pub(crate) struct Fleet {
    pub(super) deps: Deps,
    pub(super) state: Mutex<State>,
    channels: watch::Sender<Vec<Arc<Channel>>>,
    streams: watch::Sender<Vec<StreamName>>,
    refused: watch::Sender<Refusals>,
}

/// What runs, and what it was made from.
pub(super) struct State {
    /// In effect, its `channels` aside: what each Channel runs is known by itself.
    pub(super) config: Config,
    pub(super) members: BTreeMap<ChannelName, Member>,
    /// What the broker was last asked to make ready.
    pub(super) prepared: Plan,
    /// What it said then: a reload repeats nothing.
    said: BTreeSet<String>,
}

/// A Channel that runs.
pub(super) struct Member {
    pub(super) channel: Arc<Channel>,
    pub(super) shape: Shape,
}

/// What belongs to a Channel's consumer and its tasks: a change of it means to stop and to start.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shape {
    pub(super) plan: ChannelPlan,
    pub(super) concurrency: usize,
}

impl Shape {
    /// Whether a Channel of this shape can go on as the other one. `start` is read only when a consumer is created.
    pub(super) fn fits(&self, other: &Self) -> bool {
        let plan = ChannelPlan { start: other.plan.start, ..self.plan.clone() };
        plan == other.plan && self.concurrency == other.concurrency
    }
}

impl Fleet {
    /// Starts a Channel for every component. The broker must have been prepared with the configuration's plan; `notes` is what it
    /// said.
    pub(super) async fn start(
        config: Config,
        mut components: BTreeMap<ChannelName, Component>,
        deps: Deps,
        notes: Vec<Note>,
    ) -> Result<Self, Failure> {
        let prepared = config.plan();
        let mut members = BTreeMap::new();
        for plan in &prepared.channels {
            let name = &plan.channel;
            let Some((section, component)) = config.channels.get(name).zip(components.remove(name)) else {
                continue;
            };
            let channel = Channel::start(plan, section.clone(), component, &deps).await?;
            let shape = Shape { plan: plan.clone(), concurrency: section.concurrency };
            members.insert(name.clone(), Member { channel, shape });
        }
        let mut state = State { config, members, prepared, said: BTreeSet::new() };
        state.tell(notes);
        let fleet = Self {
            deps,
            channels: watch::Sender::new(state.channels()),
            streams: watch::Sender::new(state.streams()),
            refused: watch::Sender::new(Refusals::default()),
            state: Mutex::new(state),
        };
        Ok(fleet)
    }

    /// The Channels that run, by name, as they come and go.
    pub(crate) fn channels(&self) -> watch::Receiver<Vec<Arc<Channel>>> {
        self.channels.subscribe()
    }

    /// The streams that are configured.
    pub(super) fn streams(&self) -> watch::Receiver<Vec<StreamName>> {
        self.streams.subscribe()
    }

    /// The streams that are configured, with their `max_bytes`. Waits for a reload that is going on.
    pub(super) async fn limits(&self) -> Vec<(StreamName, u64)> {
        let state = self.state.lock().await;
        let streams = state.config.streams.iter();
        streams.map(|(name, stream)| (name.clone(), stream.max_bytes.0)).collect()
    }

    /// What the last reload refused.
    pub(super) fn refused(&self) -> watch::Receiver<Refusals> {
        self.refused.subscribe()
    }

    /// Remembers a configuration that nothing was changed for.
    pub(crate) fn refuse(&self, configuration: String) {
        self.refused.send_replace(Refusals { configuration: Some(configuration), ..Refusals::default() });
    }

    /// Shows everybody what runs now.
    pub(super) fn publish(&self, state: &State, refused: Refusals) {
        self.channels.send_replace(state.channels());
        self.streams.send_replace(state.streams());
        self.refused.send_replace(refused);
    }

    /// How long what runs may take to finish at the end.
    pub(super) async fn grace(&self) -> Duration {
        self.state.lock().await.config.shutdown.grace.0
    }

    /// Stops every Channel: see [`Channel::stop`].
    pub(super) async fn stop(&self, grace: Duration) {
        let state = self.state.lock().await;
        join_all(state.members.values().map(|member| member.channel.stop(grace))).await;
    }

    /// Resolves with the reason when a task of a Channel ends that should not have. Cancel-safe.
    pub(super) async fn failed(&self) -> String {
        let mut seen = self.channels.subscribe();
        loop {
            let channels = seen.borrow_and_update().clone();
            let one_failed = async {
                if channels.is_empty() {
                    return std::future::pending().await;
                }
                let each = channels.iter().map(|channel| channel.failed().boxed());
                let (reason, index, _) = select_all(each).await;
                format!("Channel {}: {reason}", channels[index].name())
            };
            tokio::select! {
                reason = one_failed => return reason,
                // Its sender is ours.
                _ = seen.changed() => {}
            }
        }
    }
}

impl State {
    fn channels(&self) -> Vec<Arc<Channel>> {
        self.members.values().map(|member| member.channel.clone()).collect()
    }

    fn streams(&self) -> Vec<StreamName> {
        self.config.streams.keys().cloned().collect()
    }

    /// Logs what the broker says, once.
    pub(super) fn tell(&mut self, notes: Vec<Note>) {
        let mut said = BTreeSet::new();
        for note in notes {
            match note {
                Note::Done(text) => tracing::info!("{text}"),
                Note::Differs(text) => {
                    if !self.said.contains(&text) {
                        tracing::warn!("{text}");
                    }
                    said.insert(text);
                }
            }
        }
        self.said = said;
    }
}
