//! One reload: what is wanted meets what runs, and nothing that runs is given up before its successor was tried.
//!
//! First every component is loaded. Then streams and new consumers are made ready: a broker that refuses ends the reload here,
//! with nothing changed. Then new versions are put in place while their Channels run; one that has no instance is refused, and the
//! old one goes on. Last, Channels whose consumers change, and those that are gone, stop; the consumers are changed; the Channels
//! start on them.
//!
//! Deliberately absent: taking a step back. What was replaced stays replaced when another Channel's new version is refused; each
//! Channel stands for itself.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use futures::future::join_all;
use saf_broker::{ChannelPlan, Error, Plan, StreamPlan};
use saf_channel::Channel;
use saf_event::ChannelName;

use super::BROKER_RETRY;
use super::difference::{Step, Version, keep_fixed, steps};
use super::fleet::{Fleet, Member, Refusals, State};
use super::load::load;
use crate::config::Config;

/// What a reload did.
#[derive(Debug)]
pub(crate) struct Reloaded {
    /// By Channel; those that went on as they were are left out.
    pub(crate) channels: BTreeMap<ChannelName, Change>,
    /// What has to wait for a restart of the router.
    pub(crate) needs_restart: Vec<String>,
    /// All of it.
    pub(crate) took: Duration,
}

/// What a reload did to one Channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It is new.
    Started {
        /// Of its component.
        digest: String,
    },
    /// Its new version took over while it ran.
    Replaced(Succession),
    /// It was stopped, and started with other settings of its consumer.
    Restarted(Succession),
    /// It is gone; its place in the stream is kept.
    Stopped,
    /// Its new version cannot be used; the old one goes on.
    Refused(String),
    /// It cannot be used, and there is no old version.
    NotRunning(String),
}

/// From one version of a Channel to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Succession {
    /// The old component's digest.
    pub(crate) from: String,
    /// The new one's; the same when only settings changed.
    pub(crate) to: String,
    /// Events that were held or pending when the new one took over: nothing happened to them but that they waited.
    pub(crate) waited: u64,
    /// Events that retention removed unhandled meanwhile.
    pub(crate) lost: u64,
}

impl Fleet {
    /// Brings what runs to what is wanted. An error means that nothing was changed. Dropping the future leaves some Channels changed,
    /// and possibly some stopped: only for the end of the process.
    pub(crate) async fn reload(&self, wanted: Config) -> Result<Reloaded, String> {
        let began = Instant::now();
        let mut state = self.state.lock().await;
        let (wanted, needs_restart) = keep_fixed(&state.config, wanted);
        let components = load(&wanted, &self.deps.host).await;
        let mut steps = steps(&state.members, &wanted, components);
        let first = plan(&wanted, &state, &steps, Stage::Before);
        if let Err(error) = self.prepare(&mut state, first).await {
            let reason = format!("the broker does not take it: {error}");
            self.refuse(reason.clone());
            return Err(reason);
        }
        state.config = wanted;
        let mut changes = BTreeMap::new();
        self.replace(&mut state, &mut steps, &mut changes).await;
        self.move_consumers(&mut state, &steps, &mut changes).await;
        let refused = changes.iter().filter_map(|(name, change)| match change {
            Change::Refused(reason) | Change::NotRunning(reason) => Some((name.clone(), reason.clone())),
            Change::Started { .. } | Change::Replaced(_) | Change::Restarted(_) | Change::Stopped => None,
        });
        let refused = Refusals { configuration: None, channels: refused.collect() };
        self.publish(&state, refused);
        Ok(Reloaded { channels: changes, needs_restart, took: began.elapsed() })
    }

    /// Asks the broker, unless it was asked the same before.
    async fn prepare(&self, state: &mut State, plan: Plan) -> Result<(), Error> {
        if state.prepared == plan {
            return Ok(());
        }
        let notes = self.deps.broker.prepare(&plan).await?;
        state.tell(notes);
        state.prepared = plan;
        Ok(())
    }

    /// Puts new versions in place. One that fails becomes a refusal.
    async fn replace(
        &self,
        state: &mut State,
        steps: &mut BTreeMap<ChannelName, Step>,
        changes: &mut BTreeMap<ChannelName, Change>,
    ) {
        for (name, step) in steps {
            if let (Step::Replace(version) | Step::Restart(version), Some(member)) =
                (&*step, state.members.get_mut(name))
            {
                match succeed(&member.channel, version).await {
                    Ok(succession) => {
                        changes.insert(name.clone(), Change::Replaced(succession));
                        // `start` may differ: it is read only when a consumer is created.
                        if matches!(step, Step::Replace(_)) {
                            member.shape = version.shape.clone();
                        }
                    }
                    Err(reason) => *step = Step::Refuse(reason),
                }
            }
            if let Step::Refuse(reason) = step {
                let refused = if state.members.contains_key(name) {
                    Change::Refused(reason.clone())
                } else {
                    Change::NotRunning(reason.clone())
                };
                changes.insert(name.clone(), refused);
            }
        }
    }

    /// Stops what changes its consumer or is gone, changes the consumers, and starts what is to run.
    async fn move_consumers(
        &self,
        state: &mut State,
        steps: &BTreeMap<ChannelName, Step>,
        changes: &mut BTreeMap<ChannelName, Change>,
    ) {
        let grace = state.config.shutdown.grace.0;
        let leaving = |name: &ChannelName| matches!(steps.get(name), Some(Step::Restart(_) | Step::Stop));
        let stops = state.members.iter().filter(|(name, _)| leaving(name));
        join_all(stops.map(|(_, member)| member.channel.stop(grace))).await;
        for (name, _) in steps.iter().filter(|(_, step)| matches!(step, Step::Stop)) {
            state.members.remove(name);
            changes.insert(name.clone(), Change::Stopped);
        }
        let last = plan(&state.config, state, steps, Stage::After);
        let prepared = self.prepare_in_the_end(state, last).await;
        for (name, step) in steps {
            let (Step::Restart(version) | Step::Start(version)) = step else { continue };
            let mut version = version.clone();
            let old = state.members.remove(name);
            if let (Err(error), Some(old)) = (&prepared, &old) {
                tracing::error!(channel = %name, %error, "its consumer cannot be changed; it goes on with the old settings");
                version.shape = old.shape.clone();
            }
            let change = self.start_version(state, name, version, changes.get(name)).await;
            changes.insert(name.clone(), change);
        }
    }

    /// A broker that went away in the middle is waited for: there is no way back to the Channels that have stopped.
    async fn prepare_in_the_end(&self, state: &mut State, plan: Plan) -> Result<(), Error> {
        loop {
            match self.prepare(state, plan.clone()).await {
                Err(error @ Error::Unavailable(_)) => {
                    tracing::warn!(%error, "waiting for the broker to go on with the reload")
                }
                ended => return ended,
            }
            tokio::time::sleep(BROKER_RETRY).await;
        }
    }

    async fn start_version(
        &self,
        state: &mut State,
        name: &ChannelName,
        version: Version,
        replaced: Option<&Change>,
    ) -> Change {
        let Version { config, component, shape } = version;
        let digest = component.digest().to_owned();
        let channel = loop {
            let started = Channel::start(&shape.plan, config.clone(), component.clone(), &self.deps).await;
            match started {
                Ok(channel) => break channel,
                Err(error @ Error::Unavailable(_)) => {
                    tracing::warn!(channel = %name, %error, "waiting for the broker to start it")
                }
                Err(error) => return Change::NotRunning(error.to_string()),
            }
            tokio::time::sleep(BROKER_RETRY).await;
        };
        state.members.insert(name.clone(), Member { channel: channel.clone(), shape });
        let Some(Change::Replaced(succession)) = replaced else { return Change::Started { digest } };
        let waited = channel.look().await.map_or(0, |lag| lag.pending + lag.unsettled);
        Change::Restarted(Succession { waited, ..succession.clone() })
    }
}

/// Tries a new version, and puts it in place.
async fn succeed(channel: &Channel, version: &Version) -> Result<Succession, String> {
    let from = channel.component().digest().to_owned();
    let expired = channel.look().await.map(|lag| lag.expired);
    channel.replace(version.config.clone(), version.component.clone()).await?;
    let now = channel.look().await.unwrap_or_default();
    Ok(Succession {
        from,
        to: version.component.digest().to_owned(),
        waited: channel.in_flight().0 as u64 + now.pending,
        lost: expired.map_or(0, |before| now.expired.saturating_sub(before)),
    })
}

/// When a plan is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// Consumers of Channels that run are as they were: nothing is changed under a Channel that takes from it.
    Before,
    /// As the steps say.
    After,
}

fn plan(wanted: &Config, state: &State, steps: &BTreeMap<ChannelName, Step>, stage: Stage) -> Plan {
    let stream = |(name, config): (&saf_event::StreamName, &saf_broker::StreamConfig)| StreamPlan {
        name: name.clone(),
        config: config.clone(),
    };
    let channel = |(name, step): (&ChannelName, &Step)| -> Option<ChannelPlan> {
        let running = state.members.get(name).map(|member| &member.shape.plan);
        match (step, stage) {
            (Step::Start(version), _) | (Step::Restart(version), Stage::After) => {
                Some(version.shape.plan.clone())
            }
            (Step::Stop, Stage::After) => None,
            (Step::Keep | Step::Refuse(_) | Step::Replace(_) | Step::Restart(_) | Step::Stop, _) => {
                running.cloned()
            }
        }
    };
    Plan {
        streams: wanted.streams.iter().map(stream).collect(),
        channels: steps.iter().filter_map(channel).collect(),
        history: wanted.history.clone(),
    }
}
