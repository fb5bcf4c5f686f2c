//! What a Channel runs at a given moment: its section of the configuration, its component, its instances. Swapped as one, so
//! that an event never sees the old component with the new limits.

use std::sync::Arc;

use saf_event::{ChannelName, Subject};
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
            grants: config.grants.clone(),
            config_json: config.config.to_string(),
            answers_to: answers_to(&config),
        };
        Self { pool: Pool::new(host, component.clone(), setup), config, component }
    }
}

/// The one subject that the Channel may emit to, when there is exactly one and it has no wildcard.
fn answers_to(config: &Config) -> Option<String> {
    match &config.emit.subjects[..] {
        [only] => Subject::parse(only.as_str()).ok().map(|subject| subject.as_str().to_owned()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use saf_event::Filter;

    use super::*;

    #[test]
    fn an_answer_goes_to_the_only_literal_subject() {
        for (subjects, expected) in
            [(&["a.b"][..], Some("a.b")), (&["a.*"], None), (&["a", "b"], None), (&[], None)]
        {
            let mut config = Config::default();
            config.emit.subjects = subjects.iter().map(|text| Filter::parse(*text).expect("valid")).collect();
            assert_eq!(answers_to(&config).as_deref(), expected, "{subjects:?}");
        }
    }
}
