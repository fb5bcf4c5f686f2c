//! What things are called on the server.
//!
//! A stream's own events stand under its prefix. Beside them the stream holds two private kinds of subjects, outside every
//! prefix so that no Channel's filter means them: `_saf.<stream>.to.<channel>` is read by that Channel alone (replays, and
//! retries that came due), `_saf.<stream>.at.<channel>.<sequence>` holds a retry until it is due. Dead letters lie in a
//! stream of their own, `<stream>-dead`, under `_saf.<stream>.dead.<channel>`.

use saf_event::{ChannelName, Filter, StreamName};

use crate::{Discard, StreamConfig};

/// The bucket of the Channels' switches, and the stream behind it.
pub(super) const SWITCH_BUCKET: &str = "saf-switches";
/// The stream of [`SWITCH_BUCKET`], as NATS names it.
pub(super) const SWITCH_STREAM: &str = "KV_saf-switches";

/// The stream of what became of deliveries, and what its subjects begin with.
pub(super) const HISTORY_STREAM: &str = "saf-history";

/// Where a stream's events lie on the server.
#[derive(Clone, Debug)]
pub(super) struct Route {
    pub(super) stream: StreamName,
    /// With its dot; empty for none.
    pub(super) prefix: String,
    /// Whether the stream is ours to change, and so has the private subjects.
    pub(super) managed: bool,
    /// Whether it may hold messages that the server stores again when they are due.
    pub(super) schedules: bool,
}

impl Route {
    pub(super) fn new(stream: &StreamName, config: &StreamConfig) -> Self {
        let prefix = match config.prefix.as_deref().unwrap_or(stream.as_str()) {
            "" => String::new(),
            prefix => format!("{prefix}."),
        };
        // The server allows no schedules in a stream that discards new messages: it could not store what came due.
        let schedules = config.manage && config.discard == Discard::Old;
        Self { stream: stream.clone(), prefix, managed: config.manage, schedules }
    }

    /// An event's subject, or a filter, on the server.
    pub(super) fn subject(&self, subject: &str) -> String {
        let mut text = String::with_capacity(self.prefix.len() + subject.len());
        text.push_str(&self.prefix);
        text.push_str(subject);
        text
    }

    /// What the stream of a managed route listens on.
    pub(super) fn subjects(&self) -> Vec<String> {
        vec![self.subject(">"), format!("_saf.{}.to.*", self.stream), format!("_saf.{}.at.*.*", self.stream)]
    }

    /// Read by one Channel alone.
    pub(super) fn to(&self, channel: &ChannelName) -> String {
        format!("_saf.{}.to.{channel}", self.stream)
    }

    /// The subjects of all Channels' private events.
    pub(super) fn to_any(&self) -> String {
        format!("_saf.{}.to.*", self.stream)
    }

    /// Whether a subject on the server is a private one, whose `Saf-*` headers only this program writes.
    pub(super) fn is_private(&self, subject: &str) -> bool {
        subject
            .strip_prefix("_saf.")
            .and_then(|s| s.strip_prefix(self.stream.as_str()))
            .is_some_and(|s| s.starts_with('.'))
    }

    /// Holds one retry until it is due.
    pub(super) fn at(&self, channel: &ChannelName, sequence: u64) -> String {
        format!("_saf.{}.at.{channel}.{sequence}", self.stream)
    }

    /// The stream of the dead letters.
    pub(super) fn dead_stream(&self) -> String {
        format!("{}-dead", self.stream)
    }

    /// A Channel's dead letters; of every Channel for `None`.
    pub(super) fn dead(&self, channel: Option<&ChannelName>) -> String {
        format!("_saf.{}.dead.{}", self.stream, channel.map_or("*", ChannelName::as_str))
    }

    /// The filters of a Channel's consumer.
    pub(super) fn filters(&self, channel: &ChannelName, subjects: &[Filter]) -> Vec<String> {
        let mut filters: Vec<String> = subjects.iter().map(|filter| self.subject(filter.as_str())).collect();
        if self.managed {
            filters.push(self.to(channel));
        }
        filters
    }
}

/// The history of a Channel's deliveries; of every Channel's for `None`.
pub(super) fn history_of(stream: &StreamName, channel: Option<&ChannelName>) -> String {
    format!("{HISTORY_STREAM}.{stream}.{}", channel.map_or("*", ChannelName::as_str))
}
