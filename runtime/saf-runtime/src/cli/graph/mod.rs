//! `saf-runtime graph`: how events flow between Channels, from the configuration alone; with what flows right now when a router is named.
//!
//! What may flow is drawn, `emit.subjects` against `subjects`: what a guest does emit, only its own sources know. Deliberately absent:
//! readers outside the router, which no configuration names, and a picture format: `dot -Tsvg` makes one.

mod dot;
mod mermaid;
mod text;

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use saf_channel::Config as Channel;
use saf_event::{ChannelName, Filter, StreamName};

use super::client::{Client, Door};
use super::live::Figures;
use super::{ConfigFile, print, top};
use crate::exit::Failure;
use crate::graph::{Edge, Graph as Flow};

/// Show how events flow between Channels.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime graph                               as text
  saf-runtime graph --format dot | dot -Tsvg      as a picture, with Graphviz
  saf-runtime graph --format mermaid              for Markdown
  saf-runtime graph --url http://127.0.0.1:1379   with what each Channel does right now

An arrow is what a Channel may emit and another takes; one that leads round in a circle is marked, and so are Channels that no other
feeds: only posted events reach those.")]
pub(crate) struct Graph {
    #[command(flatten)]
    file: ConfigFile,
    #[arg(long, value_enum, default_value_t = Format::Text, help_heading = "Output")]
    /// How it is drawn.
    format: Format,
    /// The admin listener of a router: show what happens there in one second.
    #[arg(long, value_name = "URL", help_heading = "Router")]
    url: Option<String>,
    /// The bearer token of the admin listener.
    #[arg(long, env = "SAF_TOKEN", hide_env_values = true, value_name = "TOKEN", help_heading = "Router")]
    token: Option<String>,
}

/// How a graph is drawn.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
enum Format {
    Text,
    /// For Graphviz.
    Dot,
    /// For Markdown.
    Mermaid,
}

/// What is measured when a router is named.
const MEASURED: Duration = Duration::from_secs(1);

impl Graph {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let live = self.url.as_deref().map(|url| self.live(url)).transpose()?;
        let drawing = Drawing::new(&config.channels, live);
        let text = match self.format {
            Format::Text => text::draw(&drawing),
            Format::Dot => dot::draw(&drawing),
            Format::Mermaid => mermaid::draw(&drawing),
        };
        print(&text.map_err(Failure::internal)?)
    }

    fn live(&self, url: &str) -> Result<Vec<Figures>, Failure> {
        let token = self.token.as_deref().filter(|token| !token.is_empty());
        top::once(&Client::new(Door::Admin, url, token)?, MEASURED)
    }
}

/// What there is to draw.
struct Drawing<'a> {
    channels: &'a BTreeMap<ChannelName, Channel>,
    flow: Flow<'a>,
    live: Option<BTreeMap<String, Figures>>,
}

impl<'a> Drawing<'a> {
    fn new(channels: &'a BTreeMap<ChannelName, Channel>, live: Option<Vec<Figures>>) -> Self {
        let by_name =
            |live: Vec<Figures>| live.into_iter().map(|figures| (figures.channel.clone(), figures)).collect();
        Self { channels, flow: Flow::new(channels), live: live.map(by_name) }
    }

    /// Each stream with its Channels, those that feed first.
    fn streams(&self) -> Vec<(&'a StreamName, Vec<Node<'a>>)> {
        let mut streams: BTreeMap<&StreamName, Vec<Node<'_>>> = BTreeMap::new();
        let alone = self.flow.fed_by_posts_only();
        for name in self.flow.downstream() {
            let channel = &self.channels[name];
            let fed = if alone.contains(&name) { Fed::ByPostsOnly } else { Fed::ByChannels };
            let node = Node {
                name,
                takes: &channel.subjects,
                fed,
                edges: self.flow.edges(name),
                unheard: self.flow.unheard(name),
            };
            streams.entry(&channel.stream).or_default().push(node);
        }
        streams.into_iter().collect()
    }

    /// What a Channel does right now, when a router was asked.
    fn rates(&self, name: &ChannelName) -> Option<String> {
        let live = self.live.as_ref()?;
        let Some(figures) = live.get(name.as_str()) else { return Some("not running there".to_owned()) };
        let pace = &figures.pace;
        let rate = |rate: Option<f64>| top::rate(rate.unwrap_or_default());
        let mut parts = vec![
            format!("{} events/s", rate(pace.attempts_per_second)),
            format!("{} errors/s", rate(pace.failures_per_second)),
            format!("{} emitted/s", rate(pace.emissions_per_second)),
            format!("{} pending", top::count(figures.pending)),
        ];
        if figures.dead_letters > 0 {
            parts.push(format!("{} dead", top::count(figures.dead_letters)));
        }
        if figures.state != "running" {
            parts.insert(0, super::text::printable(&figures.state));
        }
        Some(parts.join(", "))
    }
}

/// A Channel in the drawing.
struct Node<'a> {
    name: &'a ChannelName,
    takes: &'a [Filter],
    fed: Fed,
    edges: Vec<Edge<'a>>,
    /// What it may emit and no Channel takes.
    unheard: Vec<&'a Filter>,
}

/// Who feeds a Channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fed {
    ByChannels,
    ByPostsOnly,
}

fn list<'a>(filters: impl IntoIterator<Item = &'a Filter>) -> String {
    filters.into_iter().map(Filter::as_str).collect::<Vec<_>>().join(", ")
}

/// What a drawing function gives; writing into a string does not fail.
type Drawn = Result<String, fmt::Error>;

#[cfg(test)]
mod tests {
    use saf_event::Filter;

    use super::*;
    use crate::cli::live::Pace;

    /// A flow with all there is: two streams, a way on, a circle, posts only, an emission that nobody takes, names that a format might
    /// stumble over.
    fn channels() -> BTreeMap<ChannelName, Channel> {
        let filters = |texts: &[&str]| {
            texts.iter().map(|text| Filter::parse(*text).expect("valid")).collect::<Vec<_>>()
        };
        let channel = |(name, stream, takes, emits): (&str, &str, &[&str], &[&str])| {
            let stream = StreamName::parse(stream).expect("valid");
            let mut channel = Channel { stream, subjects: filters(takes), ..Channel::default() };
            channel.emit.subjects = filters(emits);
            (ChannelName::parse(name).expect("valid"), channel)
        };
        [
            ("z-intake", "events", &["ride.>", "hello"][..], &["clean.*", "audit"][..]),
            ("end", "events", &["clean.*"], &["retry.\"x\""]),
            ("again", "events", &["retry.>"], &["clean.again"]),
            ("alone", "orders", &["a<b&c"], &[]),
        ]
        .map(channel)
        .into_iter()
        .collect()
    }

    fn live() -> Vec<Figures> {
        let pace = Pace {
            attempts_per_second: Some(41_302.0),
            failures_per_second: Some(0.5),
            emissions_per_second: Some(7.0),
            ..Pace::default()
        };
        let running = |channel: &str| Figures {
            channel: channel.to_owned(),
            state: "running".to_owned(),
            pace,
            pending: 3,
            ..Figures::default()
        };
        vec![running("z-intake"), Figures { state: "paused".to_owned(), dead_letters: 2, ..running("end") }]
    }

    #[test]
    fn text_is_for_people() {
        let channels = channels();
        assert_eq!(
            text::draw(&Drawing::new(&channels, None)).expect("drawn"),
            "\
stream events
  z-intake  takes ride.>, hello   (posts only)
            ──▶ end           clean.*
            ──▶ (no Channel)  audit
  end       takes clean.*
            ──▶ again         retry.\"x\"   (goes round)
  again     takes retry.>
            ──▶ end           clean.again   (goes round)

stream orders
  alone  takes a<b&c   (posts only)

note: no Channel feeds alone; only posted events reach it
note: no Channel feeds z-intake; only posted events reach it
warning: events may go round: again -> end -> again; max_hops ends it with a dead letter
"
        );
    }

    #[test]
    fn dot_is_for_graphviz() {
        let channels = channels();
        assert_eq!(
            dot::draw(&Drawing::new(&channels, None)).expect("drawn"),
            r#"digraph saf {
  rankdir = LR
  node [shape = box, style = rounded]
  subgraph "cluster_events" {
    label = "stream events"
    "events/posts" [label = "posts", shape = plaintext]
    "z-intake" [label = "z-intake\nride.>, hello"]
    "z-intake/" [label = "audit", shape = plaintext]
    "end" [label = "end\nclean.*"]
    "again" [label = "again\nretry.>"]
  }
  subgraph "cluster_orders" {
    label = "stream orders"
    "orders/posts" [label = "posts", shape = plaintext]
    "alone" [label = "alone\na<b&c"]
  }
  "events/posts" -> "z-intake" [style = dashed]
  "z-intake" -> "end" [label = "clean.*"]
  "z-intake" -> "z-intake/" [style = dotted]
  "end" -> "again" [label = "retry.\"x\"", color = red, penwidth = 2]
  "again" -> "end" [label = "clean.again", color = red, penwidth = 2]
  "orders/posts" -> "alone" [style = dashed]
}
// note: no Channel feeds alone; only posted events reach it
// note: no Channel feeds z-intake; only posted events reach it
// warning: events may go round: again -> end -> again; max_hops ends it with a dead letter
"#
        );
    }

    #[test]
    fn mermaid_is_for_markdown() {
        let channels = channels();
        assert_eq!(
            mermaid::draw(&Drawing::new(&channels, None)).expect("drawn"),
            r#"flowchart LR
  subgraph s0["stream events"]
    p0(["posts"])
    c0["z-intake<br/>ride.#gt;, hello"]
    u0(["audit"])
    c1["end<br/>clean.*"]
    c2["again<br/>retry.#gt;"]
  end
  subgraph s1["stream orders"]
    p1(["posts"])
    c3["alone<br/>a#lt;b#amp;c"]
  end
  p0 -.-> c0
  c0 -->|"clean.*"| c1
  c0 -.-> u0
  c1 ==>|"retry.#quot;x#quot;"| c2
  c2 ==>|"clean.again"| c1
  p1 -.-> c3
  %% note: no Channel feeds alone; only posted events reach it
  %% note: no Channel feeds z-intake; only posted events reach it
  %% warning: events may go round: again -> end -> again; max_hops ends it with a dead letter
"#
        );
    }

    #[test]
    fn with_a_router_every_format_says_what_happens_now() {
        let channels = channels();
        let drawing = Drawing::new(&channels, Some(live()));
        let intake = "41.3k events/s, 0.5 errors/s, 7.0 emitted/s, 3 pending";
        let end = "paused, 41.3k events/s, 0.5 errors/s, 7.0 emitted/s, 3 pending, 2 dead";
        for drawn in [text::draw(&drawing), dot::draw(&drawing), mermaid::draw(&drawing)] {
            let drawn = drawn.expect("drawn");
            for part in [intake, end, "not running there"] {
                assert!(drawn.contains(part), "lacks {part:?}:\n{drawn}");
            }
        }
    }

    #[test]
    fn a_router_without_channels_has_an_empty_graph() {
        let none = BTreeMap::new();
        let drawing = Drawing::new(&none, None);
        assert_eq!(text::draw(&drawing).expect("drawn"), "no Channels\n");
        assert!(dot::draw(&drawing).expect("drawn").ends_with("}\n"));
        assert!(mermaid::draw(&drawing).expect("drawn").starts_with("flowchart LR\n"));
    }
}
