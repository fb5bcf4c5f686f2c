//! What is emitted: a flat object, without the fields that the payload does not have.

use serde::Serialize;

use crate::payload::Payload;

#[derive(Serialize)]
pub(crate) struct Summary<'a> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    action: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    repository: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    organization: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    sender: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    number: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    state: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    url: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    tag: Option<&'a str>,
    #[serde(rename = "ref", skip_serializing_if = "Option::is_none")]
    git_ref: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    commits: Option<usize>,
}

impl<'a> Summary<'a> {
    /// Of an event and its payload. A comment on an issue has the issue's number, title, state and address.
    pub(crate) fn new(event: &'a str, payload: &'a Payload) -> Self {
        let Payload { issue, pull_request, discussion, milestone, .. } = payload;
        let topic = [pull_request, discussion, issue, milestone].into_iter().find_map(Option::as_ref);
        Self {
            event,
            action: payload.action.as_deref(),
            repository: payload.repository.as_ref().and_then(|r| r.full_name.as_deref()),
            organization: payload.organization.as_ref().and_then(|o| o.login.as_deref()),
            sender: payload.sender.as_ref().and_then(|s| s.login.as_deref()),
            number: topic.and_then(|t| t.number),
            title: topic.and_then(|t| t.title.as_deref()),
            state: topic.and_then(|t| t.state.as_deref()),
            url: topic.and_then(|t| t.html_url.as_deref()),
            tag: payload.release.as_ref().and_then(|r| r.tag_name.as_deref()),
            git_ref: payload.git_ref.as_deref(),
            commits: payload.commits.as_ref().map(Vec::len),
        }
    }
}
