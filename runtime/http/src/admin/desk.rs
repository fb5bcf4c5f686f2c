//! What the routes of the admin API answer from: the broker and the Channels, and how a path or a query names one of them.

use std::sync::Arc;

use saf_broker::{DeadLetters, History, Journal, Shared};
use saf_channel::Channel;
use saf_event::StreamName;
use tokio::sync::watch;

use crate::admin::query::{Form, Parameter, Parameters};
use crate::problem::{Kind, Problem};
use crate::server::Draining;

/// The stream that is meant when none is named, if there is one of that name.
const DEFAULT_STREAM: &str = "events";

/// The parameter that names a stream.
pub(super) const STREAM: Parameter =
    Parameter::new("stream", Form::Text, "The stream; `events`, or the only one, when absent.");

/// What every route may look at.
pub(super) struct Desk {
    pub(super) broker: Shared,
    pub(super) channels: watch::Receiver<Vec<Arc<Channel>>>,
    pub(super) streams: watch::Receiver<Vec<StreamName>>,
    pub(super) draining: Draining,
}

impl Desk {
    /// The stream that a query names.
    pub(super) fn stream(&self, parameters: &mut Parameters) -> Result<StreamName, Problem> {
        if let Some(stream) = parameters.take(STREAM.name, StreamName::parse)? {
            return self.known(stream);
        }
        let streams = self.streams.borrow();
        let default = streams.iter().find(|stream| stream.as_str() == DEFAULT_STREAM);
        match (default, streams.as_slice()) {
            (Some(stream), _) | (None, [stream]) => Ok(stream.clone()),
            (None, streams) => {
                let names: Vec<_> = streams.iter().map(StreamName::as_str).collect();
                let detail = format!("?stream= is missing: name one of {}", names.join(", "));
                Err(Problem::new(Kind::InvalidRequest, detail))
            }
        }
    }

    /// A stream that is configured.
    pub(super) fn known(&self, stream: StreamName) -> Result<StreamName, Problem> {
        if self.streams.borrow().contains(&stream) {
            return Ok(stream);
        }
        let detail = format!("there is no stream {stream}: see /api/v1/streams");
        Err(Problem::new(Kind::NoStream, detail))
    }

    /// A Channel by its name.
    pub(super) fn channel(&self, name: &str) -> Result<Arc<Channel>, Problem> {
        let channels = self.channels.borrow();
        let found = channels.iter().find(|channel| channel.name().as_str() == name);
        found
            .cloned()
            .ok_or_else(|| Problem::new(Kind::Missing, "there is no such Channel: see /api/v1/channels"))
    }

    pub(super) fn journal(&self) -> Result<&dyn Journal, Problem> {
        self.broker.journal().ok_or_else(stores_nothing)
    }

    pub(super) fn dead_letters(&self) -> Result<&dyn DeadLetters, Problem> {
        self.broker.dead_letters().ok_or_else(stores_nothing)
    }

    pub(super) fn history(&self) -> Result<&dyn History, Problem> {
        self.broker.history().ok_or_else(|| {
            let detail =
                "nothing is kept of what became of events: set history.enabled = true and restart the router";
            Problem::new(Kind::Missing, detail)
        })
    }
}

fn stores_nothing() -> Problem {
    Problem::new(Kind::Missing, "this broker stores nothing that could be read: see broker.kind")
}
