//! The components of a configuration: each file is read and compiled once, however many Channels share it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures::{StreamExt, stream};
use saf_event::ChannelName;
use saf_host::{Component, Host};

use crate::config::Config;

/// Components loaded at once; compilation itself is bounded by the host.
const LOADS_AT_ONCE: usize = 8;

/// The component of every Channel, or why it cannot be had. Cancel-safe: a compilation that has begun fills the cache.
pub(super) async fn load(
    config: &Config,
    host: &Arc<Host>,
) -> BTreeMap<ChannelName, Result<Component, String>> {
    let files: BTreeSet<_> = config.channels.values().map(|channel| channel.component.as_path()).collect();
    let loads = files.into_iter().map(|file| async move { (file, host.load(file).await) });
    let loaded: BTreeMap<_, _> = stream::iter(loads).buffer_unordered(LOADS_AT_ONCE).collect().await;
    let component = |(name, channel): (&ChannelName, &saf_channel::Config)| {
        let file = channel.component.as_path();
        let component = match loaded.get(file) {
            Some(Ok(component)) => match component.check_grants(&channel.grants) {
                Ok(()) => Ok(component.clone()),
                Err(error) => Err(format!("{}: {error}", file.display())),
            },
            Some(Err(error)) => Err(format!("{}: {error}", file.display())),
            None => Err(format!("{} was not loaded", file.display())),
        };
        (name.clone(), component)
    };
    config.channels.iter().map(component).collect()
}
