//! How events flow between Channels, as far as the configuration tells: who may feed whom by which subjects, where that leads in a
//! circle, and who is fed by posts only. What is remarked of it is worded here, for `check` and `graph` alike.

use std::collections::{BTreeMap, BTreeSet};

use saf_channel::Config as Channel;
use saf_event::{ChannelName, Filter};

/// Who may feed whom.
pub(crate) struct Graph<'a> {
    channels: &'a BTreeMap<ChannelName, Channel>,
    edges: BTreeMap<&'a ChannelName, Vec<&'a ChannelName>>,
}

/// What one Channel may hand to another.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Edge<'a> {
    pub(crate) to: &'a ChannelName,
    /// What the one may emit and the other takes.
    pub(crate) subjects: Vec<&'a Filter>,
    pub(crate) way: Way,
}

/// Where an edge leads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Onward,
    /// It is part of a circle.
    Round,
}

impl<'a> Graph<'a> {
    pub(crate) fn new(channels: &'a BTreeMap<ChannelName, Channel>) -> Self {
        let edge = |(name, from): (&'a ChannelName, &'a Channel)| {
            let fed = channels.iter().filter(|(_, to)| feeds(from, to)).map(|(name, _)| name);
            (name, fed.collect())
        };
        Self { channels, edges: channels.iter().map(edge).collect() }
    }

    /// The Channels that this one may feed.
    pub(crate) fn fed_by(&self, name: &ChannelName) -> &[&'a ChannelName] {
        self.edges.get(name).map_or(&[], Vec::as_slice)
    }

    /// What a Channel may hand to others.
    pub(crate) fn edges(&self, name: &ChannelName) -> Vec<Edge<'a>> {
        let Some((name, from)) = self.channels.get_key_value(name) else { return Vec::new() };
        let edge = |to: &&'a ChannelName| {
            let wanted = &self.channels[*to].subjects;
            let takes = |emit: &&Filter| wanted.iter().any(|wants| emit.overlaps(wants));
            let way = if self.reached_from(to).contains(name) { Way::Round } else { Way::Onward };
            Edge { to, subjects: from.emit.subjects.iter().filter(takes).collect(), way }
        };
        self.fed_by(name).iter().map(edge).collect()
    }

    /// What a Channel may emit and no Channel takes.
    pub(crate) fn unheard(&self, name: &ChannelName) -> Vec<&'a Filter> {
        let Some(from) = self.channels.get(name) else { return Vec::new() };
        let heard = |emit: &Filter| {
            let mut fed = self.fed_by(name).iter().flat_map(|to| &self.channels[*to].subjects);
            fed.any(|wants| emit.overlaps(wants))
        };
        from.emit.subjects.iter().filter(|emit| !heard(emit)).collect()
    }

    /// Every Channel once: those that only posts feed, then what they feed, and so on, nearest first.
    pub(crate) fn downstream(&self) -> Vec<&'a ChannelName> {
        let mut order: Vec<&ChannelName> = Vec::new();
        let mut seen: BTreeSet<&ChannelName> = BTreeSet::new();
        let starts = self.fed_by_posts_only().into_iter().chain(self.channels.keys());
        for start in starts {
            let mut next = order.len();
            if seen.insert(start) {
                order.push(start);
            }
            while let Some(from) = order.get(next).copied() {
                order.extend(self.fed_by(from).iter().filter(|to| seen.insert(to)));
                next += 1;
            }
        }
        order
    }

    /// What a person should know.
    pub(crate) fn remarks(&self) -> Vec<String> {
        let posts = self.fed_by_posts_only().into_iter();
        let posts = posts.map(|name| format!("note: no Channel feeds {name}; only posted events reach it"));
        let loops = self.loops().into_iter().map(|path| {
            let names: Vec<_> = path.iter().map(|name| name.as_str()).collect();
            let path = format!("{} -> {}", names.join(" -> "), names[0]);
            format!("warning: events may go round: {path}; max_hops ends it with a dead letter")
        });
        posts.chain(loops).collect()
    }

    /// The Channel, and all that events of it may come to.
    fn reached_from(&self, name: &'a ChannelName) -> BTreeSet<&'a ChannelName> {
        let (mut reached, mut waiting) = (BTreeSet::from([name]), vec![name]);
        while let Some(from) = waiting.pop() {
            waiting.extend(self.fed_by(from).iter().filter(|to| reached.insert(to)));
        }
        reached
    }

    /// Channels that no Channel feeds: only posts do.
    pub(crate) fn fed_by_posts_only(&self) -> Vec<&'a ChannelName> {
        self.channels.keys().filter(|name| !self.edges.values().flatten().any(|fed| fed == name)).collect()
    }

    /// One circle for each Channel that can reach itself and is not in an earlier circle.
    pub(crate) fn loops(&self) -> Vec<Vec<&'a ChannelName>> {
        let mut loops: Vec<Vec<&ChannelName>> = Vec::new();
        for start in self.channels.keys() {
            if !loops.iter().flatten().any(|name| *name == start)
                && let Some(path) = self.path_back(start)
            {
                loops.push(path);
            }
        }
        loops
    }

    /// The shortest way from a Channel back to itself.
    fn path_back(&self, start: &'a ChannelName) -> Option<Vec<&'a ChannelName>> {
        let mut came_from: BTreeMap<&ChannelName, &ChannelName> = BTreeMap::new();
        let mut frontier = vec![start];
        while !frontier.is_empty() {
            let mut next = Vec::new();
            for from in frontier {
                for to in self.fed_by(from) {
                    if *to == start {
                        let mut path = vec![from];
                        while let Some(before) =
                            path.last().filter(|at| **at != start).and_then(|at| came_from.get(*at))
                        {
                            path.push(before);
                        }
                        path.reverse();
                        return Some(path);
                    }
                    if !came_from.contains_key(*to) {
                        came_from.insert(to, from);
                        next.push(*to);
                    }
                }
            }
            frontier = next;
        }
        None
    }
}

fn feeds(from: &Channel, to: &Channel) -> bool {
    from.stream == to.stream
        && from.emit.subjects.iter().any(|emit| to.subjects.iter().any(|wants| emit.overlaps(wants)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn channels(list: &[(&str, &str, &[&str])]) -> BTreeMap<ChannelName, Channel> {
        let filter = |text: &str| Filter::parse(text).expect("valid");
        let channel = |(name, subject, emits): &(&str, &str, &[&str])| {
            let mut channel = Channel { subjects: vec![filter(subject)], ..Channel::default() };
            channel.emit.subjects = emits.iter().map(|emit| filter(emit)).collect();
            (ChannelName::parse(name).expect("valid"), channel)
        };
        list.iter().map(channel).collect()
    }

    fn names(path: &[&ChannelName]) -> String {
        path.iter().map(|name| name.as_str()).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn loops_and_channels_fed_by_posts_only_are_found() {
        let channels = channels(&[
            ("a", "in.>", &["mid.*"]),
            ("b", "mid.x", &["out", "deep.>"]),
            ("c", "deep.a", &["mid.x"]),
            ("d", "self", &["self"]),
            ("e", "out", &[]),
        ]);
        let graph = Graph::new(&channels);
        assert_eq!(names(&graph.fed_by_posts_only()), "a");
        let loops: Vec<_> = graph.loops().iter().map(|path| names(path)).collect();
        assert_eq!(loops, ["b c", "d"]);
        assert_eq!(names(graph.fed_by(&ChannelName::parse("b").expect("valid"))), "c e");
        assert_eq!(names(&graph.downstream()), "a b c e d");
        assert_eq!(
            graph.remarks(),
            [
                "note: no Channel feeds a; only posted events reach it",
                "warning: events may go round: b -> c -> b; max_hops ends it with a dead letter",
                "warning: events may go round: d -> d; max_hops ends it with a dead letter",
            ]
        );
    }

    #[test]
    fn an_edge_says_by_which_subjects_and_whether_it_leads_back() {
        let channels = channels(&[
            ("a", "in.>", &["mid.*", "audit", "mid.x"]),
            ("b", "mid.x", &["deep.>"]),
            ("c", "deep.a", &["mid.x", "in.again"]),
            ("d", "mid.*", &[]),
        ]);
        let graph = Graph::new(&channels);
        let name = |text: &str| ChannelName::parse(text).expect("valid");
        let shown = |from: &str| {
            let edges = graph.edges(&name(from)).into_iter();
            edges
                .map(|edge| format!("{} by {:?} {:?}", edge.to, texts(&edge.subjects), edge.way))
                .collect::<Vec<_>>()
        };
        assert_eq!(shown("a"), [r#"b by ["mid.*", "mid.x"] Round"#, r#"d by ["mid.*", "mid.x"] Onward"#]);
        assert_eq!(
            shown("c"),
            [r#"a by ["in.again"] Round"#, r#"b by ["mid.x"] Round"#, r#"d by ["mid.x"] Onward"#]
        );
        assert_eq!(texts(&graph.unheard(&name("a"))), ["audit"]);
        assert!(graph.unheard(&name("c")).is_empty() && graph.edges(&name("d")).is_empty());
    }

    fn texts<'a>(filters: &[&'a Filter]) -> Vec<&'a str> {
        filters.iter().map(|filter| filter.as_str()).collect()
    }
}
