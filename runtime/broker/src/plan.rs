//! What a broker is asked to make ready: streams, and a durable consumer for each Channel.

use std::time::Duration;

use saf_event::{ChannelName, Filter, StreamName};

use crate::{HistoryConfig, StatePlan, StreamConfig};

/// Everything that must exist before events flow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// The streams.
    pub streams: Vec<StreamPlan>,
    /// The Channels' consumers.
    pub channels: Vec<ChannelPlan>,
    /// What is kept of settled deliveries.
    pub history: HistoryConfig,
}

/// A stream to make ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamPlan {
    /// Its name.
    pub name: StreamName,
    /// Its section of the configuration.
    pub config: StreamConfig,
}

/// A Channel's consumer to make ready.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChannelPlan {
    /// The Channel; also the consumer's durable name.
    pub channel: ChannelName,
    /// The stream it reads, and emits into.
    pub stream: StreamName,
    /// Filters without the stream's prefix; they do not overlap.
    pub subjects: Vec<Filter>,
    /// Where a consumer that does not exist yet begins.
    pub start: Start,
    /// How long a delivery may go without a sign of life.
    pub ack_wait: Duration,
    /// Most deliveries out at once, over all replicas, those that wait for a retry included.
    pub max_ack_pending: usize,
    /// Whether events go one at a time.
    pub order: Order,
    /// Retention by bytes and count stops at this Channel's oldest unsettled event.
    pub retain: bool,
    /// Whether it has state, and how much.
    pub state: Option<StatePlan>,
}

/// Where a new consumer begins. Read when it is created, only then.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Start {
    /// With the oldest event in the stream.
    #[default]
    All,
    /// With the first event stored after it was created.
    New,
    /// With the first event stored at or after this time, in milliseconds since the Unix epoch.
    Time(u64),
    /// With this sequence.
    Sequence(u64),
}

/// In which order a Channel's events are handled.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Order {
    /// As they come; retries come later.
    #[default]
    None,
    /// One at a time, in the stream's order, over replicas and crashes; a retry holds up the rest.
    All,
}

/// What [`crate::Broker::prepare`] did or found; a line for the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Note {
    /// Created, or changed to what the configuration says.
    Done(String),
    /// Differs from the configuration and cannot or may not be changed; the text says what to do.
    Differs(String),
}
