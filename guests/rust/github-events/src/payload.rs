//! What a summary needs from a webhook's payload. serde skips the rest without keeping it, so that a payload of many
//! kilobytes costs little. Every field may be missing or null: no event has them all.

use serde::Deserialize;
use serde::de::IgnoredAny;

#[derive(Deserialize)]
pub(crate) struct Payload {
    pub(crate) action: Option<String>,
    pub(crate) repository: Option<Repository>,
    pub(crate) organization: Option<Account>,
    pub(crate) sender: Option<Account>,
    pub(crate) issue: Option<Topic>,
    pub(crate) pull_request: Option<Topic>,
    pub(crate) discussion: Option<Topic>,
    pub(crate) milestone: Option<Topic>,
    pub(crate) release: Option<Release>,
    #[serde(rename = "ref")]
    pub(crate) git_ref: Option<String>,
    pub(crate) commits: Option<Vec<IgnoredAny>>,
}

#[derive(Deserialize)]
pub(crate) struct Repository {
    pub(crate) full_name: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Account {
    pub(crate) login: Option<String>,
}

/// Something with a number that people talk about.
#[derive(Deserialize)]
pub(crate) struct Topic {
    pub(crate) number: Option<u64>,
    pub(crate) title: Option<String>,
    pub(crate) state: Option<String>,
    pub(crate) html_url: Option<String>,
}

#[derive(Deserialize)]
pub(crate) struct Release {
    pub(crate) tag_name: Option<String>,
}
