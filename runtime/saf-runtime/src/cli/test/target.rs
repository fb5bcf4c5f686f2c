//! What cases run against: a Channel of the configuration with its limits, or a component alone. And which case files are whose:
//! a Channel's stand in `cases/` beside its sources or its component.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use saf_event::ChannelName;
use saf_host::{HttpScript, Limits};

use super::came::Allowance;
use super::case::CaseFile;
use super::http::Exchange;
use crate::config::Config;
use crate::exit::Failure;

/// The folder's name.
const CASES: &str = "cases";
/// Bounds of a search: folders in folders, and files in all.
const MAX_DEPTH: usize = 16;
const MAX_FILES: usize = 100_000;

/// What cases run against.
#[derive(Clone, Debug)]
pub(super) struct Target {
    /// The Channel's name, or the component's.
    pub(super) name: String,
    pub(super) component: PathBuf,
    channel: Option<(ChannelName, saf_channel::Config)>,
}

impl Target {
    /// A component with the default limits, an empty configuration, and leave to emit anything.
    pub(super) fn of_component(component: &Path) -> Self {
        let name = component.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        Self { name, component: component.to_owned(), channel: None }
    }

    /// A Channel; `component` instead of its own when given.
    pub(super) fn of_channel(
        config: &Config,
        name: &ChannelName,
        component: Option<&Path>,
    ) -> Result<Self, Failure> {
        let Some(channel) = config.channels.get(name) else {
            let known: Vec<_> = config.channels.keys().map(ChannelName::as_str).collect();
            return Err(Failure::Usage(format!(
                "there is no Channel {name} in the configuration; it has {}",
                if known.is_empty() { "none".to_owned() } else { known.join(", ") }
            )));
        };
        Ok(Self {
            name: name.to_string(),
            component: component.unwrap_or(&channel.component).to_owned(),
            channel: Some((name.clone(), channel.clone())),
        })
    }

    pub(super) fn limits(&self) -> Limits {
        self.channel.as_ref().map(|(_, channel)| channel.limits.clone()).unwrap_or_default()
    }

    /// The case's answers, to what the Channel is granted; a component alone may ask anything.
    pub(super) fn script(&self, exchanges: &[Exchange]) -> HttpScript {
        let granted = self.channel.as_ref().map(|(_, channel)| channel.grants.http.clone());
        HttpScript { granted, answers: exchanges.iter().map(|exchange| exchange.answer.clone()).collect() }
    }

    pub(super) fn allowance(&self) -> Option<Allowance<'_>> {
        self.channel.as_ref().map(|(name, config)| Allowance { name, config })
    }

    /// The case's own `config`, else the Channel's.
    pub(super) fn config_json(&self, case: &CaseFile) -> String {
        match (&case.config, &self.channel) {
            (Some(own), _) => serde_json::Value::Object(own.clone()).to_string(),
            (None, Some(_)) => self.channel_config_json(),
            (None, None) => "{}".to_owned(),
        }
    }

    /// The Channel's `config` table.
    pub(super) fn channel_config_json(&self) -> String {
        self.channel.as_ref().map_or_else(|| "{}".to_owned(), |(_, channel)| channel.config.to_string())
    }
}

/// A target and its case files.
#[derive(Debug)]
pub(super) struct Suite {
    pub(super) target: Target,
    pub(super) files: Vec<PathBuf>,
}

/// Every case below `paths` for one target.
pub(super) fn for_one(target: Target, paths: &[PathBuf]) -> Result<Vec<Suite>, Failure> {
    let beside = [beside(&target.component)];
    let files = collect(if paths.is_empty() { &beside } else { paths })?;
    Ok(vec![Suite { target, files }])
}

/// Every case of the Channels, or those below `paths`, each for the Channel that it belongs to.
pub(super) fn for_channels(config: &Config, paths: &[PathBuf]) -> Result<Vec<Suite>, Failure> {
    let mut suites: BTreeMap<&ChannelName, Vec<PathBuf>> = BTreeMap::new();
    if paths.is_empty() {
        for name in config.channels.keys() {
            if let Some(home) = home(config, name) {
                walk(&home.path, &home.without, 0, suites.entry(name).or_default())?;
            }
        }
    } else {
        for file in collect(paths)? {
            for name in owners(config, &file)? {
                suites.entry(name).or_default().push(file.clone());
            }
        }
    }
    let suite = |(name, mut files): (&ChannelName, Vec<PathBuf>)| {
        files.sort();
        files.dedup();
        Ok(Suite { target: Target::of_channel(config, name, None)?, files })
    };
    suites.into_iter().filter(|(_, files)| !files.is_empty()).map(suite).collect()
}

/// A folder of a Channel's cases, and the folders in it that are other Channels'.
#[derive(Debug, PartialEq, Eq)]
struct Home {
    path: PathBuf,
    without: BTreeSet<String>,
}

/// Where a Channel's cases are: `cases/` beside its sources, else beside its component; in it, the folder of its name alone
/// when there is one.
fn home(config: &Config, name: &ChannelName) -> Option<Home> {
    let channel = config.channels.get(name)?;
    let source = config.channels.build(name).map(|build| build.dir.join(CASES));
    let path = source.into_iter().chain([beside(&channel.component)]).find(|folder| folder.is_dir())?;
    let own = path.join(name.as_str());
    if own.is_dir() {
        return Some(Home { path: own, without: BTreeSet::new() });
    }
    let without = config.channels.keys().map(ToString::to_string).collect();
    Some(Home { path, without })
}

fn beside(component: &Path) -> PathBuf {
    component.parent().unwrap_or(Path::new("")).join(CASES)
}

/// The Channels in whose folder a case stands; the only Channel, wherever it stands.
fn owners<'a>(config: &'a Config, file: &Path) -> Result<Vec<&'a ChannelName>, Failure> {
    let mut names = config.channels.keys();
    if let (Some(only), None) = (names.next(), names.next()) {
        return Ok(vec![only]);
    }
    let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let file_path = absolute(file);
    let owns = |name: &&ChannelName| {
        home(config, name).is_some_and(|home| {
            let inside = file_path.strip_prefix(absolute(&home.path)).ok();
            inside.is_some_and(|inside| {
                let first =
                    inside.components().next().map(|part| part.as_os_str().to_string_lossy().into_owned());
                first.is_none_or(|first| !home.without.contains(&first))
            })
        })
    };
    let owners: Vec<_> = config.channels.keys().filter(owns).collect();
    if owners.is_empty() {
        return Err(Failure::Usage(format!(
            "{} stands in no Channel's cases folder: name the Channel with --channel, or a component with --component",
            file.display()
        )));
    }
    Ok(owners)
}

/// The case files that paths name: files as they are, folders with all that is in them; of a Channel's folder, its `cases/`.
fn collect(paths: &[PathBuf]) -> Result<Vec<PathBuf>, Failure> {
    let mut files = Vec::new();
    for path in paths {
        if path.is_file() {
            files.push(path.clone());
        } else {
            let inside = path.join(CASES);
            let folder = if inside.is_dir() { &inside } else { path };
            walk(folder, &BTreeSet::new(), 0, &mut files)?;
        }
    }
    files.sort();
    files.dedup();
    Ok(files)
}

fn walk(
    folder: &Path,
    without: &BTreeSet<String>,
    depth: usize,
    files: &mut Vec<PathBuf>,
) -> Result<(), Failure> {
    let unreadable =
        |error: std::io::Error| Failure::Usage(format!("cannot read {}: {error}", folder.display()));
    if depth > MAX_DEPTH {
        return Err(Failure::Usage(format!("{} is more than {MAX_DEPTH} folders deep", folder.display())));
    }
    for entry in std::fs::read_dir(folder).map_err(unreadable)? {
        let path = entry.map_err(unreadable)?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.starts_with('.') {
            continue;
        }
        if path.is_dir() {
            if depth > 0 || !without.contains(&name) {
                walk(&path, without, depth + 1, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
        if files.len() > MAX_FILES {
            return Err(Failure::Usage(format!(
                "more than {MAX_FILES} case files below {}",
                folder.display()
            )));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn write(folder: &Path, file: &str) {
        let path = folder.join(file);
        std::fs::create_dir_all(path.parent().expect("in a folder")).expect("writable");
        std::fs::write(path, "{}").expect("writable");
    }

    fn suites(folder: &Path, channels: &str, paths: &[&str]) -> Vec<(String, Vec<String>)> {
        let file = folder.join("router.toml");
        std::fs::write(&file, channels).expect("writable");
        let config = Config::load(&file, []).expect("valid");
        let paths: Vec<_> = paths.iter().map(|path| folder.join(path)).collect();
        let relative = |file: &PathBuf| file.strip_prefix(folder).expect("inside").display().to_string();
        let suites = for_channels(&config, &paths).expect("found");
        suites
            .iter()
            .map(|suite| (suite.target.name.clone(), suite.files.iter().map(relative).collect()))
            .collect()
    }

    fn named(name: &str, files: &[&str]) -> (String, Vec<String>) {
        (name.to_owned(), files.iter().map(ToString::to_string).collect())
    }

    const TWO: &str = "[channels.a]\ncomponent = \"a/out/a.wasm\"\nsubjects = [\"x\"]\nbuild = { command = \"make\", dir = \"a\" }\n\
                       [channels.b]\ncomponent = \"b/b.wasm\"\nsubjects = [\"x\"]\n";

    #[test]
    fn cases_stand_beside_the_sources_or_the_component() {
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for file in [
            "a/package.json",
            "a/cases/.hidden.json",
            "a/cases/one.json",
            "a/cases/deep/two.json",
            "a/cases/notes.txt",
            "a/out/cases/no.json",
            "b/cases/one.json",
        ] {
            write(folder, file);
        }
        let a = named("a", &["a/cases/deep/two.json", "a/cases/one.json"]);
        assert_eq!(suites(folder, TWO, &["a"]), std::slice::from_ref(&a));
        assert_eq!(suites(folder, TWO, &[]), [a, named("b", &["b/cases/one.json"])]);
        assert_eq!(suites(folder, TWO, &["b/cases/one.json"]), [named("b", &["b/cases/one.json"])]);
        assert_eq!(suites(folder, TWO, &["a/cases/deep"]), [named("a", &["a/cases/deep/two.json"])]);
    }

    #[test]
    fn a_folder_that_channels_share_has_one_for_each() {
        let shared = "[channels.a]\ncomponent = \"a.wasm\"\nsubjects = [\"x\"]\n[channels.b]\ncomponent = \"b.wasm\"\nsubjects = [\"x\"]\n";
        let folder = tempfile::tempdir().expect("a folder");
        let folder = folder.path();
        for file in ["cases/a/one.json", "cases/both.json"] {
            write(folder, file);
        }
        assert_eq!(
            suites(folder, shared, &[]),
            [named("a", &["cases/a/one.json"]), named("b", &["cases/both.json"])]
        );
        assert_eq!(suites(folder, shared, &["cases/a"]), [named("a", &["cases/a/one.json"])]);
    }

    #[test]
    fn a_case_that_is_nobodys_is_refused_with_what_to_name() {
        let folder = tempfile::tempdir().expect("a folder");
        write(folder.path(), "elsewhere/one.json");
        std::fs::write(folder.path().join("router.toml"), TWO).expect("writable");
        let config = Config::load(&folder.path().join("router.toml"), []).expect("valid");
        let refused =
            for_channels(&config, &[folder.path().join("elsewhere")]).expect_err("nobody's").to_string();
        assert!(refused.contains("--channel") && refused.contains("--component"), "{refused}");
        let missing =
            for_channels(&config, &[folder.path().join("missing")]).expect_err("nothing").to_string();
        assert!(missing.contains("cannot read"), "{missing}");
    }
}
