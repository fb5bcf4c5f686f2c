//! What a Channel runs at a given moment: its section of the configuration, its component, its instances. Swapped as one, so
//! that an event never sees the old component with the new limits.

use std::sync::Arc;

use saf_broker::digest_bytes;
use saf_event::{ChannelName, Subject};
use saf_host::{Component, Host, Pool, Setup, State};

use crate::Config;
use crate::state::InFlight;

/// One version of a Channel.
pub(crate) struct Build {
    pub(crate) config: Config,
    pub(crate) component: Component,
    pub(crate) pool: Pool,
    /// The component's, for spans.
    pub(crate) digest: Arc<str>,
    /// Its first bytes, for the history.
    pub(crate) digest_bytes: [u8; 8],
}

impl Build {
    pub(crate) fn new(
        host: &Arc<Host>,
        channel: &ChannelName,
        config: Config,
        component: Component,
        state: Option<Arc<InFlight>>,
        before: Option<&Self>,
    ) -> Self {
        let setup = Setup {
            channel: channel.clone(),
            limits: config.limits.clone(),
            instances: config.instances.clone(),
            grants: config.grants.clone(),
            config_json: config.config.to_string(),
            answers_to: answers_to(&config),
            state: state.map(|state| -> Arc<dyn State> { state }),
        };
        let pool = match before {
            Some(before) => Pool::succeeding(&before.pool, component.clone(), setup),
            None => Pool::new(host, component.clone(), setup),
        };
        let (digest, digest_bytes) = (component.digest().into(), digest_bytes(component.digest()));
        Self { config, component, pool, digest, digest_bytes }
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
