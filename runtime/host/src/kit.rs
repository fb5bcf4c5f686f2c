//! What a Channel's instances are given beside their events, made once for all of them: the `config` table, and the ways out that
//! its grants open. Handing it to an instance copies two reference counts.

use std::sync::Arc;

use crate::capability::config::Table;
use crate::capability::http::Client;
use crate::capability::tcp::Endpoint;
use crate::config::Grants;
use crate::state::{Empty, State};

/// What every instance of a Channel is given.
pub(crate) struct Kit {
    pub(crate) config: Table,
    pub(crate) http: Client,
    pub(crate) tcp: Arc<[Endpoint]>,
    /// `None` without a grant.
    pub(crate) state: Option<Arc<dyn State>>,
}

impl Kit {
    /// What a Channel's section says.
    pub(crate) fn new(grants: &Grants, config_json: &str, state: Option<Arc<dyn State>>) -> Self {
        let tcp = grants.tcp.iter().cloned().collect();
        let state = state.filter(|_| grants.keyvalue);
        Self { config: Table::of(config_json), http: Client::new(&grants.http), tcp, state }
    }

    /// Nothing that leads outside, and state that is empty.
    pub(crate) fn offline(config_json: &str) -> Self {
        let state: Arc<dyn State> = Arc::new(Empty);
        Self { config: Table::of(config_json), http: Client::default(), tcp: [].into(), state: Some(state) }
    }
}
