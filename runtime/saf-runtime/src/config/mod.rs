//! `router.toml`: the sections of every crate in one file, checked before anything is started.
//!
//! A file is read twice. First as the types say, straight from the text, so that a wrong key or value is shown with its line.
//! Then as a table, into which `[defaults.channel]` and the environment are merged. What is deliberately absent: includes,
//! templates, and a second syntax.

mod channels;
mod check;
mod merge;
mod report;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use saf_event::{Span, StreamName};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub(crate) use channels::{Build, Channels, Command};
pub(crate) use report::Report;

/// The whole configuration.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    /// Where events come in.
    pub(crate) http: saf_http::Config,
    /// Where people and machines look at the router.
    pub(crate) admin: saf_http::AdminConfig,
    /// Where streams live.
    pub(crate) broker: saf_broker::Config,
    /// The streams; `events` is there without being named.
    pub(crate) streams: BTreeMap<StreamName, saf_broker::StreamConfig>,
    /// What is kept of settled deliveries.
    pub(crate) history: saf_broker::HistoryConfig,
    /// The Channels.
    pub(crate) channels: Channels,
    /// What Channels inherit, key by key.
    pub(crate) defaults: Defaults,
    /// The sandbox as a whole.
    pub(crate) host: saf_host::Config,
    /// What is logged, and how.
    pub(crate) log: crate::telemetry::Config,
    /// Where metrics and traces are sent.
    pub(crate) telemetry: crate::telemetry::Telemetry,
    /// How metrics are pushed; `/metrics` needs none of it.
    pub(crate) metrics: crate::telemetry::Metrics,
    /// Which traces are recorded.
    pub(crate) traces: crate::telemetry::Traces,
    /// When this file and the components are read again.
    pub(crate) reload: Reload,
    /// How the process ends.
    pub(crate) shutdown: Shutdown,
}

/// `[defaults]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Defaults {
    /// Inherited by every Channel.
    pub(crate) channel: channels::Section,
}

/// `[reload]`.
#[derive(Clone, Debug, Default, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Reload {
    /// Read this file and the components again when one of them changes. A SIGHUP does it in any case.
    pub(crate) watch: bool,
}

/// `[shutdown]`.
#[derive(Clone, Debug, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Shutdown {
    /// How long what runs may take to finish after SIGTERM; the rest is handed out again, elsewhere or after a restart.
    pub(crate) grace: Span,
}

impl Default for Shutdown {
    fn default() -> Self {
        Self { grace: Span(std::time::Duration::from_secs(20)) }
    }
}

impl Config {
    /// Reads, merges and checks a file. `vars` are the environment's.
    pub(crate) fn load(
        path: &Path,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Report> {
        let text = std::fs::read_to_string(path).map_err(|error| Report::unreadable(path, &error))?;
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::from_text(path, &text, &folder, vars)
    }

    /// Checks the text of a file that is not written yet; the environment is left out.
    pub(crate) fn parse(path: &Path, text: &str) -> Result<Self, Report> {
        let folder = path.parent().map(Path::to_path_buf).unwrap_or_default();
        Self::from_text(path, text, &folder, [])
    }

    fn from_text(
        path: &Path,
        text: &str,
        folder: &Path,
        vars: impl IntoIterator<Item = (String, String)>,
    ) -> Result<Self, Report> {
        let typed =
            toml::de::Deserializer::parse(text).map_err(|error| Report::syntax(path, text, &error))?;
        let _: Self =
            serde_path_to_error::deserialize(typed).map_err(|error| Report::value(path, text, &error))?;
        let table: toml::Table = toml::from_str(text).map_err(|error| Report::syntax(path, text, &error))?;
        let merged = merge::merge(table, vars);
        let mut config: Self =
            serde_path_to_error::deserialize(merged).map_err(|error| Report::merged(path, &error))?;
        config.add_default_stream();
        config.resolve(folder);
        check::check(&config).map_err(|problem| Report::problem(path, text, &problem))?;
        Ok(config)
    }

    fn add_default_stream(&mut self) {
        self.streams.entry(saf_channel::Config::default().stream).or_default();
    }

    /// Paths in the file are relative to its folder.
    fn resolve(&mut self, folder: &Path) {
        let resolve = |path: &mut PathBuf| {
            if !path.as_os_str().is_empty() {
                *path = folder.join(&*path);
            }
        };
        resolve(&mut self.broker.path);
        resolve(&mut self.host.cache);
        let tls = &mut self.broker.tls;
        for path in [&mut self.broker.creds, &mut tls.ca, &mut tls.cert, &mut tls.key].into_iter().flatten() {
            resolve(path);
        }
        self.channels.values_mut().for_each(|channel| resolve(&mut channel.component));
        self.channels.resolve(folder);
    }

    /// What the broker is asked to make ready.
    pub(crate) fn plan(&self) -> saf_broker::Plan {
        let retain = self.broker.kind == saf_broker::Kind::Embedded;
        let stream = |(name, config): (&StreamName, &saf_broker::StreamConfig)| saf_broker::StreamPlan {
            name: name.clone(),
            config: config.clone(),
        };
        saf_broker::Plan {
            streams: self.streams.iter().map(stream).collect(),
            channels: self
                .channels
                .iter()
                .map(|(name, channel)| saf_channel::plan(name, channel, retain))
                .collect(),
            history: self.history.clone(),
        }
    }
}

/// The JSON Schema of `router.toml`, for editors.
pub(crate) fn schema() -> schemars::Schema {
    schemars::generate::SchemaSettings::draft2020_12().into_generator().into_root_schema_for::<Config>()
}

#[cfg(test)]
mod tests {
    use saf_event::ChannelName;

    use super::*;

    const EXAMPLE: &str = r#"
[broker]
path = "data"

[defaults.channel]
concurrency = 2
[defaults.channel.limits]
fuel = 5

[channels.printer]
component = "printer.wasm"
subjects = ["hello", "ride.>"]
[channels.printer.limits]
timeout = "1s"
[channels.my-upper]
component = "/abs/upper.wasm"
subjects = ["x"]
concurrency = 9
"#;

    fn load(text: &str, vars: &[(&str, &str)]) -> Result<Config, String> {
        let vars = vars.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        Config::from_text(Path::new("dir/router.toml"), text, Path::new("dir"), vars)
            .map_err(|r| r.to_string())
    }

    fn channel<'a>(config: &'a Config, name: &str) -> &'a saf_channel::Config {
        &config.channels[&ChannelName::parse(name).expect("valid")]
    }

    #[test]
    fn channels_inherit_key_by_key_and_paths_are_relative_to_the_file() {
        let config = load(EXAMPLE, &[]).expect("valid");
        let printer = channel(&config, "printer");
        assert_eq!((printer.concurrency, printer.limits.fuel), (2, 5));
        assert_eq!(printer.limits.timeout.to_string(), "1s");
        assert_eq!(printer.component, Path::new("dir/printer.wasm"));
        assert_eq!(channel(&config, "my-upper").concurrency, 9);
        assert_eq!(channel(&config, "my-upper").component, Path::new("/abs/upper.wasm"));
        assert_eq!(config.broker.path, Path::new("dir/data"));
        assert!(config.plan().channels.iter().all(|plan| plan.retain));
    }

    #[test]
    fn every_key_can_be_overridden_by_the_environment() {
        let vars = [
            ("SAF__HTTP__LISTEN", "127.0.0.1:0"),
            ("SAF__CHANNELS__MY_UPPER__CONCURRENCY", "3"),
            ("SAF__CHANNELS__PRINTER__SUBJECTS", r#"["other"]"#),
            ("SAF__STREAMS__EVENTS__MAX_AGE", "48h"),
            ("UNRELATED", "1"),
        ];
        let config = load(EXAMPLE, &vars).expect("valid");
        assert_eq!(config.http.listen.port(), 0);
        assert_eq!(channel(&config, "my-upper").concurrency, 3);
        assert_eq!(channel(&config, "printer").subjects[0].as_str(), "other");
        assert_eq!(config.streams.len(), 1);
        let error = load(EXAMPLE, &[("SAF__HTTP__LISTENN", "x")]).expect_err("unknown");
        assert!(error.contains("SAF__HTTP__LISTENN") && error.contains("did you mean `listen`?"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_shown_with_its_line_and_what_to_do() {
        let cases = [
            (
                "[http]\nlistenn = \"x\"\n",
                vec!["dir/router.toml:2", "unknown field `listenn`", "did you mean `listen`?"],
            ),
            ("[http\n", vec!["dir/router.toml:1"]),
            ("[shutdown]\n\ngrace = \"soon\"\n", vec!["dir/router.toml:3", "write one such as"]),
            (
                "\n[channels.a]\nsubjects = [\"x\"]\n",
                vec!["dir/router.toml:2", "channels.a", "`component` is missing"],
            ),
            (
                "[channels.a]\ncomponent = \"a\"\nsubjects = [\"x\"]\nstream = \"other\"\n",
                vec!["channels.a", "no stream \"other\"", "[streams.other]"],
            ),
            (
                "[broker]\nkind = \"embedded\"\nurl = \"nats://x\"\n",
                vec!["dir/router.toml:1", "`url`", "jetstream"],
            ),
            (
                "[channels.a]\ncomponent = \"a\"\n\nsubject = [\"x\"]\n",
                vec!["dir/router.toml:4", "did you mean `subjects`?"],
            ),
            (
                "[channels.a]\ncomponent = \"a\"\n[channels.a.build]\ncomand = \"make\"\n",
                vec!["dir/router.toml:4", "channels.a.build", "did you mean `command`?"],
            ),
            ("[channels.a]\nbuild = { command = 5 }\n", vec!["dir/router.toml:2", "a list of its words"]),
            ("[channels.\"A B\"]\n", vec!["dir/router.toml:1", "is not a name"]),
        ];
        for (text, parts) in cases {
            let error = load(text, &[]).expect_err(text);
            for part in parts {
                assert!(error.contains(part), "{text}\n{error}\nlacks {part:?}");
            }
        }
    }

    #[test]
    fn a_build_is_relative_to_the_file_and_what_it_watches_to_the_build() {
        let build =
            "[channels.printer.build]\ncommand = [\"make\", \"it\"]\ndir = \"printer\"\nwatch = [\"src\"]\n";
        let config = load(&(EXAMPLE.to_owned() + build), &[]).expect("valid");
        let name = |text| ChannelName::parse(text).expect("valid");
        let build = config.channels.build(&name("printer")).expect("there");
        assert_eq!(build.command.as_ref().map(ToString::to_string).as_deref(), Some("make it"));
        assert_eq!((&*build.dir, &*build.watch[0]), (Path::new("dir/printer"), Path::new("dir/printer/src")));
        assert!(config.channels.build(&name("my-upper")).is_none());
        let line =
            load(EXAMPLE, &[("SAF__CHANNELS__PRINTER__BUILD__COMMAND", "make it now")]).expect("valid");
        let build = line.channels.build(&name("printer")).expect("there");
        assert_eq!(build.command, Some(Command::Line("make it now".to_owned())));
    }

    #[test]
    fn the_schema_knows_every_section() {
        let schema = serde_json::to_value(schema()).expect("JSON");
        for section in [
            "http",
            "admin",
            "broker",
            "streams",
            "history",
            "channels",
            "defaults",
            "host",
            "log",
            "telemetry",
            "metrics",
            "traces",
            "reload",
            "shutdown",
        ] {
            assert!(schema["properties"].get(section).is_some(), "{section}");
        }
    }
}
