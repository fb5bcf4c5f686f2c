//! `[channels]`: each Channel's own section, which is `saf-channel`'s, and what only the commands that build know of it:
//! `[channels.<name>.build]`. The router itself sees the Channels alone, as the map that [`Channels`] derefs to.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};

use saf_event::ChannelName;
use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::{DeserializeSeed, IntoDeserializer, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

const BUILD: &str = "build";

/// The Channels by name, and how those are built that say so.
#[derive(Clone, Debug, Default)]
pub(crate) struct Channels {
    each: BTreeMap<ChannelName, saf_channel::Config>,
    builds: BTreeMap<ChannelName, Build>,
}

impl Channels {
    /// How a Channel is built; `None` when its section does not say.
    pub(crate) fn build(&self, name: &ChannelName) -> Option<&Build> {
        self.builds.get(name)
    }

    /// A build's folder is relative to the configuration's, its other paths to its own.
    pub(super) fn resolve(&mut self, folder: &Path) {
        for build in self.builds.values_mut() {
            build.dir = folder.join(&build.dir);
            for path in build.watch.iter_mut().chain(&mut build.module) {
                *path = build.dir.join(&*path);
            }
        }
    }
}

impl Deref for Channels {
    type Target = BTreeMap<ChannelName, saf_channel::Config>;

    fn deref(&self) -> &Self::Target {
        &self.each
    }
}

impl DerefMut for Channels {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.each
    }
}

impl<'a> IntoIterator for &'a Channels {
    type Item = (&'a ChannelName, &'a saf_channel::Config);
    type IntoIter = std::collections::btree_map::Iter<'a, ChannelName, saf_channel::Config>;

    fn into_iter(self) -> Self::IntoIter {
        self.each.iter()
    }
}

impl<'de> Deserialize<'de> for Channels {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut channels = Self::default();
        for (name, Section { channel, build }) in BTreeMap::<ChannelName, Section>::deserialize(deserializer)?
        {
            if build.command.is_some() {
                channels.builds.insert(name.clone(), build);
            }
            channels.each.insert(name, channel);
        }
        Ok(channels)
    }
}

impl Serialize for Channels {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let section = |(name, channel): (&ChannelName, &saf_channel::Config)| {
            let build = self.builds.get(name).cloned().unwrap_or_default();
            (name.clone(), Section { channel: channel.clone(), build })
        };
        serializer.collect_map(self.each.iter().map(section))
    }
}

impl JsonSchema for Channels {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Channels".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        BTreeMap::<ChannelName, Section>::json_schema(generator)
    }
}

/// `[channels.<name>]` as it stands in the file.
#[derive(Clone, Debug, Default, Serialize)]
pub(crate) struct Section {
    #[serde(flatten)]
    channel: saf_channel::Config,
    build: Build,
}

/// `[channels.<name>.build]`: how the component is made, for `saf-runtime build` and `dev`. The router never runs it.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema, PartialEq, Eq)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Build {
    /// What makes the component. Without one there is nothing to build.
    pub(crate) command: Option<Command>,
    /// Where it runs, relative to the configuration's folder; that folder when absent. The Channel's `cases/` are looked for here.
    pub(crate) dir: PathBuf,
    /// The core module that the command makes, relative to `dir`, when its tools end there: `build` makes the component of it.
    /// Absent, the command makes the component itself.
    pub(crate) module: Option<PathBuf>,
    /// What `dev` watches, relative to `dir`; all of `dir` when absent.
    pub(crate) watch: Vec<PathBuf>,
}

/// A command.
#[derive(Clone, Debug, Deserialize, Serialize, PartialEq, Eq)]
#[serde(untagged, expecting = "a command line such as \"cargo build\", or a list of its words")]
pub(crate) enum Command {
    /// Run by `sh -c`.
    Line(String),
    /// A program and its arguments, as they are.
    Words(Vec<String>),
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Line(line) => f.write_str(line),
            Self::Words(words) => f.write_str(&words.join(" ")),
        }
    }
}

impl JsonSchema for Command {
    fn schema_name() -> Cow<'static, str> {
        "Command".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "description": "A command line for `sh -c`, or a list of a program and its arguments.",
            "oneOf": [{ "type": "string" }, { "type": "array", "items": { "type": "string" }, "minItems": 1 }],
            "examples": ["cargo build --release", ["npm", "run", "build"]]
        })
    }
}

/// Written by hand, because serde's `flatten` knows neither unknown keys nor lines: every key but `build` is the Channel's.
impl<'de> Deserialize<'de> for Section {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct SectionVisitor;
        impl<'de> Visitor<'de> for SectionVisitor {
            type Value = Section;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Channel's table")
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Section, A::Error> {
                let mut build = Build::default();
                let rest = WithoutBuild { map, build: &mut build };
                let channel =
                    saf_channel::Config::deserialize(serde::de::value::MapAccessDeserializer::new(rest))?;
                Ok(Section { channel, build })
            }
        }
        deserializer.deserialize_map(SectionVisitor)
    }
}

impl JsonSchema for Section {
    fn schema_name() -> Cow<'static, str> {
        "Channel".into()
    }

    fn json_schema(generator: &mut SchemaGenerator) -> Schema {
        let mut schema = saf_channel::Config::json_schema(generator);
        let build = generator.subschema_for::<Build>();
        if let Some(properties) = schema.get_mut("properties").and_then(serde_json::Value::as_object_mut) {
            properties.insert(BUILD.to_owned(), build.to_value());
        }
        schema
    }
}

/// A table without its `build`, which is read on the way.
struct WithoutBuild<'a, A> {
    map: A,
    build: &'a mut Build,
}

impl<'de, A: MapAccess<'de>> MapAccess<'de> for WithoutBuild<'_, A> {
    type Error = A::Error;

    fn next_key_seed<K: DeserializeSeed<'de>>(&mut self, seed: K) -> Result<Option<K::Value>, A::Error> {
        let mut seed = seed;
        loop {
            match self.map.next_key_seed(KeySeed(seed))? {
                None => return Ok(None),
                Some(Key::Other(key)) => return Ok(Some(key)),
                Some(Key::Build(unused)) => {
                    *self.build = self.map.next_value()?;
                    seed = unused;
                }
            }
        }
    }

    fn next_value_seed<V: DeserializeSeed<'de>>(&mut self, seed: V) -> Result<V::Value, A::Error> {
        self.map.next_value_seed(seed)
    }
}

/// Reads a key inside the format's own reader, so that an error has the key's line.
struct KeySeed<K>(K);

enum Key<K, V> {
    Build(K),
    Other(V),
}

impl<'de, K: DeserializeSeed<'de>> DeserializeSeed<'de> for KeySeed<K> {
    type Value = Key<K, K::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        let key = String::deserialize(deserializer)?;
        if key == BUILD {
            return Ok(Key::Build(self.0));
        }
        self.0.deserialize(key.into_deserializer()).map(Key::Other)
    }
}
