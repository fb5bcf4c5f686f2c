//! Channels' switches: in `state.log` at the store's root, synced when set, since a person waits for it.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use saf_event::ChannelName;
use tokio::sync::watch;

use super::fault::Fault;
use super::feed::blocking;
use super::file::Disk;
use super::state::State;
use crate::Switch;

const PREFIX: &str = "switch/";
const RUNNING: u8 = 0;
const PAUSED: u8 = 1;

/// All switches that were ever set.
pub(crate) struct Switches {
    state: Arc<State>,
    present: watch::Sender<BTreeMap<ChannelName, Switch>>,
}

impl Switches {
    pub(crate) fn open(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, Fault> {
        let state = Arc::new(State::open(path, disk)?);
        let read = |(name, value): (String, Vec<u8>)| {
            let switch = if value == [PAUSED] { Switch::Paused } else { Switch::Running };
            Some((ChannelName::parse(&name).ok()?, switch))
        };
        let present = state.under(PREFIX).into_iter().filter_map(read).collect();
        Ok(Self { state, present: watch::Sender::new(present) })
    }

    pub(crate) fn watch(&self) -> watch::Receiver<BTreeMap<ChannelName, Switch>> {
        self.present.subscribe()
    }

    /// Returns when it is durable.
    pub(crate) async fn set(&self, channel: &ChannelName, to: Switch) -> Result<(), Fault> {
        let (state, key) = (self.state.clone(), format!("{PREFIX}{channel}"));
        let value = match to {
            Switch::Running => [RUNNING],
            Switch::Paused => [PAUSED],
        };
        blocking(move || {
            state.put(&key, &value)?;
            state.sync()
        })
        .await?;
        self.present.send_modify(|present| {
            present.insert(channel.clone(), to);
        });
        Ok(())
    }
}
