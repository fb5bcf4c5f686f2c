//! What a Channel runs at a given moment: its section of the configuration, its component, its instances. Swapped as one, so
//! that an event never sees the old component with the new limits.

use std::sync::Arc;

use saf_event::ChannelName;
use saf_host::{Component, Host, Pool, Setup};

use crate::Config;

/// One version of a Channel.
pub(crate) struct Build {
    pub(crate) config: Config,
    pub(crate) component: Component,
    pub(crate) pool: Pool,
}

impl Build {
    pub(crate) fn new(host: &Arc<Host>, channel: &ChannelName, config: Config, component: Component) -> Self {
        let setup = Setup {
            channel: channel.clone(),
            limits: config.limits.clone(),
            instances: config.instances.clone(),
            config_json: config.config.to_string(),
        };
        Self { pool: Pool::new(host, component.clone(), setup), config, component }
    }
}
