//! `/events/{sequence}/history` and `/events/{sequence}/tree`: what became of an event, and of what came of it, through all Channels.
//!
//! The history says which events a delivery emitted; where it does not (an earlier attempt had stored them, or nothing is kept), the
//! events behind the one in question are looked through for its emissions, up to [`SCAN_EVENTS`]. Bounded in depth and in number, and
//! says when it is cut.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use http::{Method, Uri};
use saf_broker::{Entry, Fate, From as Start};
use saf_event::{Event, Filter, Position, StreamName};
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answered, json};
use crate::admin::delivery::DeliveryView;
use crate::admin::desk::{self, Desk};
use crate::admin::events::sequence_in;
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::page::Page;
use crate::admin::query::{Form, Named, Parameter, Parameters};
use crate::admin::time::Time;
use crate::problem::Problem;

/// Events of a tree when the client does not say, and at most.
const DEFAULT_NODES: usize = 200;
const MAX_NODES: usize = 1000;
/// Events from the root of a tree to its leaves.
const MAX_DEPTH: usize = 64;
/// Events behind one that are looked through for its emissions.
const SCAN_EVENTS: usize = 1000;

const OF_STREAM: &[Parameter] = &[desk::STREAM];
const HOW_MANY: &[Parameter] =
    &[Parameter::new("limit", Form::Integer, "Most events of the tree, 1 to 1000; 200 when absent.")];

/// An event, and what came of it.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Tree")]
struct TreeView {
    /// The stream.
    stream: String,
    /// The events that this one came of, the posted one first; those that retention removed are left out.
    ancestors: Vec<HeadView>,
    /// The event that was asked for.
    event: NodeView,
    /// How many events are shown.
    events: usize,
    /// What is left out, and why; `null` when this is all.
    cut: Option<String>,
}

/// An event, in short.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "EventHead")]
struct HeadView {
    /// Its sequence.
    sequence: u64,
    /// Its subject; `null` when retention removed it.
    subject: Option<String>,
    /// Its id.
    id: Option<String>,
    /// When it was stored.
    time: Option<Time>,
}

/// An event of a tree.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "TreeEvent")]
struct NodeView {
    /// The event itself.
    event: HeadView,
    /// What became of it, oldest first.
    deliveries: Vec<DeliveryView>,
    /// What came of it: emissions, and replays of its dead letters.
    children: Vec<NodeView>,
}

impl HeadView {
    fn of(sequence: u64, event: Option<&Event>) -> Self {
        Self {
            sequence,
            subject: event.map(|event| event.subject.to_string()),
            id: event.map(|event| event.id.to_string()),
            time: event.map(|event| Time(event.time)),
        }
    }
}

pub(super) fn routes(api: Api) -> Api {
    api.route(
        &Method::GET,
        "/events/{sequence}/history",
        history,
        &Operation {
            summary: "Lists what became of one event, oldest first.",
            parameters: &[OF_STREAM],
            body: None,
            answer: Answer::Json(of::<Page<DeliveryView>>),
        },
    )
    .route(
        &Method::GET,
        "/events/{sequence}/tree",
        tree,
        &Operation {
            summary: "Shows what became of one event, and of what came of it, through all Channels.",
            parameters: &[OF_STREAM, HOW_MANY],
            body: None,
            answer: Answer::Json(of::<TreeView>),
        },
    )
}

async fn history(State(desk): State<Arc<Desk>>, Named(sequence): Named, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, &[OF_STREAM])?;
    let (stream, sequence) = (desk.stream(&mut query)?, sequence_in(&sequence)?);
    let page = desk.history()?.of(&stream, sequence, None).await.map_err(Problem::broker)?;
    if page.items.is_empty() {
        desk.journal()?.get(&stream, sequence).await.map_err(Problem::broker)?;
    }
    let items = page.items.iter().map(|entry| DeliveryView::of(&stream, entry)).collect();
    json(&Page { items, next: page.next })
}

async fn tree(State(desk): State<Arc<Desk>>, Named(sequence): Named, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, &[OF_STREAM, HOW_MANY])?;
    let (stream, sequence) = (desk.stream(&mut query)?, sequence_in(&sequence)?);
    let limit = query.number("limit", 1..=MAX_NODES)?.unwrap_or(DEFAULT_NODES);
    let root = event(&desk, &stream, sequence).await?;
    let told = match desk.history() {
        Ok(history) => history.of(&stream, sequence, None).await.map_err(Problem::broker)?.items,
        Err(_) => Vec::new(),
    };
    if root.is_none() && told.is_empty() {
        desk.journal()?.get(&stream, sequence).await.map_err(Problem::broker)?;
    }
    let ancestors = ancestors(&desk, &stream, root.as_ref()).await?;
    let mut growing = Growing { desk: &desk, stream: &stream, limit, nodes: Vec::new(), cut: None };
    growing.grow(sequence).await?;
    let (events, cut) = (growing.nodes.len(), growing.cut.take());
    let Some(event) = growing.whole() else {
        return json(&Page::<NodeView> { items: Vec::new(), next: None });
    };
    json(&TreeView { stream: stream.to_string(), ancestors, event, events, cut })
}

/// An event, unless retention removed it.
async fn event(desk: &Desk, stream: &StreamName, sequence: u64) -> Result<Option<Event>, Problem> {
    match desk.journal()?.get(stream, sequence).await {
        Ok(event) => Ok(Some(event)),
        Err(saf_broker::Error::NotFound(_)) => Ok(None),
        Err(error) => Err(Problem::broker(error)),
    }
}

async fn ancestors(desk: &Desk, stream: &StreamName, of: Option<&Event>) -> Result<Vec<HeadView>, Problem> {
    let mut above = VecDeque::new();
    let parent_of = |event: &Event| event.lineage.as_ref().map(|lineage| lineage.parent.clone());
    let mut parent = of.and_then(parent_of);
    while let Some(Position { stream: home, sequence }) = parent.take() {
        if home != *stream || above.len() == MAX_DEPTH {
            break;
        }
        let Some(found) = event(desk, stream, sequence).await? else { break };
        parent = parent_of(&found);
        above.push_front(HeadView::of(sequence, Some(&found)));
    }
    Ok(above.into())
}

/// A tree under way: level by level, each node with the place of its parent.
struct Growing<'a> {
    desk: &'a Desk,
    stream: &'a StreamName,
    limit: usize,
    nodes: Vec<(usize, NodeView)>,
    cut: Option<String>,
}

impl Growing<'_> {
    async fn grow(&mut self, root: u64) -> Result<(), Problem> {
        let mut waiting = VecDeque::from([(root, 0, 1, Origin::Asked)]);
        while let Some((sequence, parent, depth, origin)) = waiting.pop_front() {
            if self.nodes.len() == self.limit {
                let left = waiting.len() + 1;
                self.cut = Some(format!(
                    "{left} events or more are left out: raise limit, or ask for one further down"
                ));
                return Ok(());
            }
            let event = event(self.desk, self.stream, sequence).await?;
            // A sequence that was given out again, after the store was cut, is another event.
            if let (Origin::Emitted(by), Some(lineage)) = (origin, event.as_ref().map(|event| &event.lineage))
                && lineage.as_ref().is_none_or(|lineage| lineage.parent.sequence != by)
            {
                continue;
            }
            let entries = self.told(sequence).await?;
            let place = self.nodes.len();
            let children = self.children(sequence, &entries).await?;
            let deliveries = entries.iter().map(|entry| DeliveryView::of(self.stream, entry)).collect();
            let head = HeadView::of(sequence, event.as_ref());
            self.nodes.push((parent, NodeView { event: head, deliveries, children: Vec::new() }));
            if depth < MAX_DEPTH {
                waiting.extend(children.into_iter().map(|(child, origin)| (child, place, depth + 1, origin)));
            } else if !children.is_empty() {
                self.cut = Some(format!("what came of event {sequence} is left out: ask for it"));
            }
        }
        Ok(())
    }

    async fn told(&mut self, sequence: u64) -> Result<Vec<Entry>, Problem> {
        let Ok(history) = self.desk.history() else { return Ok(Vec::new()) };
        let page = history.of(self.stream, sequence, None).await.map_err(Problem::broker)?;
        if page.next.is_some() {
            self.cut = Some(format!("there may be more deliveries of event {sequence} than are looked for"));
        }
        Ok(page.items)
    }

    async fn children(&mut self, sequence: u64, entries: &[Entry]) -> Result<Vec<(u64, Origin)>, Problem> {
        let mut children = Vec::new();
        let mut unknown = self.desk.history().is_err();
        for entry in entries {
            match &entry.fate {
                Fate::Done { emitted, sequences } => {
                    unknown |= *emitted as usize != sequences.len();
                    children.extend(sequences.iter().map(|child| (*child, Origin::Emitted(sequence))));
                }
                Fate::Replayed { sequence } if *sequence > 0 => children.push((*sequence, Origin::Replayed)),
                Fate::Retry { .. }
                | Fate::DeadLetter { .. }
                | Fate::Released
                | Fate::Replayed { .. }
                | Fate::Deleted => {}
            }
        }
        if unknown {
            let found = self.emissions_behind(sequence).await?;
            children.extend(found.into_iter().map(|child| (child, Origin::Emitted(sequence))));
        }
        children.sort_unstable_by_key(|(child, _)| *child);
        children.dedup_by_key(|(child, _)| *child);
        children.retain(|(child, _)| *child > sequence);
        Ok(children)
    }

    async fn emissions_behind(&mut self, sequence: u64) -> Result<Vec<u64>, Problem> {
        let parent = Position { stream: self.stream.clone(), sequence };
        let from = Start::Sequence(sequence + 1);
        let read = self.desk.journal()?.read(self.stream, from, &Filter::all(), SCAN_EVENTS).await;
        let page = read.map_err(Problem::broker)?;
        if page.next.is_some() {
            self.cut =
                Some(format!("emissions of event {sequence} may stand further behind it than is looked for"));
        }
        let emitted = |event: &Event| event.lineage.as_ref().is_some_and(|lineage| lineage.parent == parent);
        Ok(page.items.into_iter().filter(emitted).map(|event| event.sequence).collect())
    }

    /// The root, with everything below it.
    fn whole(mut self) -> Option<NodeView> {
        while self.nodes.len() > 1 {
            let (parent, node) = self.nodes.pop()?;
            self.nodes[parent].1.children.insert(0, node);
        }
        self.nodes.pop().map(|(_, root)| root)
    }
}

/// How an event came to be in a tree.
#[derive(Clone, Copy)]
enum Origin {
    Asked,
    /// By this one.
    Emitted(u64),
    Replayed,
}
