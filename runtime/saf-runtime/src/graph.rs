//! How events flow between Channels, as far as the configuration tells: who may feed whom, where that leads in a circle, and
//! who is fed by posts only.

use std::collections::BTreeMap;

use saf_channel::Config as Channel;
use saf_event::ChannelName;

/// Who may feed whom.
pub(crate) struct Graph<'a> {
    channels: &'a BTreeMap<ChannelName, Channel>,
    edges: BTreeMap<&'a ChannelName, Vec<&'a ChannelName>>,
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
    use saf_event::Filter;

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
    }
}
