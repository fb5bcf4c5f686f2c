//! What a configuration that was read again changes: what needs a restart, and what becomes of each Channel.

use std::collections::BTreeMap;

use saf_event::ChannelName;
use saf_host::Component;
use serde::Serialize;

use super::fleet::{Member, Shape};
use crate::config::Config;

/// What becomes of one Channel.
pub(super) enum Step {
    /// It goes on as it is.
    Keep,
    /// Another component, or other limits: swapped while it runs.
    Replace(Version),
    /// Its consumer's settings changed: swapped, then stopped and started on them.
    Restart(Version),
    /// There was none of this name.
    Start(Version),
    /// It is not configured any more.
    Stop,
    /// Its component cannot be used; the old version goes on, if there is one.
    Refuse(String),
}

/// A Channel as it is wanted.
#[derive(Clone)]
pub(super) struct Version {
    pub(super) config: saf_channel::Config,
    pub(super) component: Component,
    pub(super) shape: Shape,
}

/// What becomes of every Channel that runs or is wanted.
pub(super) fn steps(
    members: &BTreeMap<ChannelName, Member>,
    wanted: &Config,
    components: BTreeMap<ChannelName, Result<Component, String>>,
) -> BTreeMap<ChannelName, Step> {
    let gone = members.keys().filter(|name| !wanted.channels.contains_key(name));
    let mut steps: BTreeMap<_, _> = gone.map(|name| (name.clone(), Step::Stop)).collect();
    let mut plans: BTreeMap<_, _> =
        wanted.plan().channels.into_iter().map(|plan| (plan.channel.clone(), plan)).collect();
    for (name, component) in components {
        let Some((config, plan)) = wanted.channels.get(&name).zip(plans.remove(&name)) else { continue };
        let step = match component {
            Err(reason) => Step::Refuse(reason),
            Ok(component) => {
                let shape = Shape { plan, concurrency: config.concurrency };
                step(members.get(&name), Version { config: config.clone(), component, shape })
            }
        };
        steps.insert(name, step);
    }
    steps
}

fn step(member: Option<&Member>, version: Version) -> Step {
    let Some(Member { channel, shape }) = member else { return Step::Start(version) };
    if !shape.fits(&version.shape) {
        return Step::Restart(version);
    }
    let unchanged = channel.component().digest() == version.component.digest()
        && same(&channel.config(), &version.config);
    if unchanged { Step::Keep } else { Step::Replace(version) }
}

/// The wanted configuration with everything put back that takes effect only at a start, and the names of that.
pub(super) fn keep_fixed(current: &Config, mut wanted: Config) -> (Config, Vec<String>) {
    let mut fixed = Vec::new();
    macro_rules! keep {
        ($($section:ident)*) => {$(
            if !same(&current.$section, &wanted.$section) {
                fixed.push(format!("[{}]", stringify!($section)));
                wanted.$section = current.$section.clone();
            }
        )*};
    }
    keep!(http admin broker history host log);
    for (name, stream) in &mut wanted.streams {
        let Some(running) = current.streams.get(name) else { continue };
        // The subjects of every consumer of the stream hang on these.
        if (&running.prefix, running.manage) != (&stream.prefix, stream.manage) {
            fixed.push(format!("streams.{name}.prefix and manage"));
            (stream.prefix, stream.manage) = (running.prefix.clone(), running.manage);
        }
    }
    (wanted, fixed)
}

/// Whether two sections say the same, however they are written. What cannot be told is different.
fn same(a: &impl Serialize, b: &impl Serialize) -> bool {
    matches!((serde_json::to_value(a), serde_json::to_value(b)), (Ok(a), Ok(b)) if a == b)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    fn config(text: &str) -> Config {
        Config::parse(Path::new("router.toml"), text).expect("valid")
    }

    #[test]
    fn what_needs_a_restart_is_named_and_stays_as_it_is() {
        let current = config("[streams.events]\nprefix = \"a\"\n");
        let wanted = config(
            "[http]\nlisten = \"127.0.0.1:9\"\n[host]\nmax_instances = 7\n[shutdown]\ngrace = \"3s\"\n\
             [streams.events]\nprefix = \"b\"\nmax_bytes = \"5MiB\"\n[streams.new]\n",
        );
        let (kept, fixed) = keep_fixed(&current, wanted);
        assert_eq!(fixed, ["[http]", "[host]", "streams.events.prefix and manage"]);
        assert_eq!(kept.http.listen, current.http.listen);
        assert_eq!(kept.host.max_instances, current.host.max_instances);
        let events = kept.streams.values().next().expect("there");
        assert_eq!((events.prefix.as_deref(), events.max_bytes), (Some("a"), saf_event::Size::mib(5)));
        assert_eq!((kept.streams.len(), kept.shutdown.grace.to_string()), (2, "3s".to_owned()));
    }

    #[test]
    fn nothing_changed_needs_nothing() {
        let text = "[http]\nlisten = \"127.0.0.1:9\"\n[channels.a]\ncomponent = \"a\"\nsubjects = [\"x\"]\n";
        let (_, fixed) = keep_fixed(&config(text), config(&format!("# a comment\n{text}")));
        assert!(fixed.is_empty(), "{fixed:?}");
    }

    #[test]
    fn only_the_start_of_a_consumer_fits_another_one() {
        let shape = |rest: &str| {
            let text = format!("[channels.a]\ncomponent = \"a\"\nsubjects = [\"x\"]\n{rest}\n");
            let config = config(&text);
            let plan = config.plan().channels.remove(0);
            Shape { plan, concurrency: config.channels.values().next().expect("one").concurrency }
        };
        for (rest, fits) in [
            ("start = \"new\"", true),
            ("max_attempts = 2", true),
            ("limits.fuel = 1", true),
            ("concurrency = 9", false),
            ("ack_wait = \"60s\"", false),
            ("max_ack_pending = 9", false),
            ("order = \"all\"", false),
            ("retain = false", false),
        ] {
            assert_eq!(shape("").fits(&shape(rest)), fits, "{rest}");
        }
    }
}
