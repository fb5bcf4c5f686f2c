//! The author's loop: a source changes, its Channel is built, the router reloads, a line says so.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use saf_event::ChannelName;

use super::arrangement::Arrangement;
use super::lines::{self, Addresses};
use super::screen::Screen;
use crate::app::{Change, Fleet, Target, Watch};
use crate::cli::build::{self, Job, Output};
use crate::cli::paint::Tone;
use crate::cli::text::{micros, printable};
use crate::config::{Build, Config};
use crate::exit::Failure;

/// Of what a build that failed said, its last lines.
const MAX_BUILD_LINES: usize = 60;

pub(super) struct Workshop<'a> {
    arrangement: &'a Arrangement,
    screen: &'a Screen,
    addresses: Addresses,
    config: Config,
    watch: Watch,
    /// A hint that was shown once is enough.
    hint: Hint,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Hint {
    Due,
    Shown,
}

/// What one round of builds came to: how long each took that succeeded.
type Built = BTreeMap<ChannelName, Duration>;

impl<'a> Workshop<'a> {
    pub(super) fn new(
        arrangement: &'a Arrangement,
        screen: &'a Screen,
        addresses: Addresses,
        config: Config,
    ) -> Self {
        let watch = Watch::new(targets(arrangement.file(), &config));
        Self { arrangement, screen, addresses, config, watch, hint: Hint::Due }
    }

    /// Builds and reloads until nobody reads the lines.
    pub(super) async fn work(mut self, fleet: &Fleet) -> Failure {
        let all = self.jobs(|_| true);
        let mut round = self.round(fleet, "", all).await;
        loop {
            if let Err(failure) = round {
                return failure;
            }
            let changed = self.watch.changed().await;
            round = self.after(fleet, changed).await;
        }
    }

    /// What to do about files that changed.
    async fn after(&mut self, fleet: &Fleet, changed: Vec<PathBuf>) -> Result<(), Failure> {
        let file = self.arrangement.file();
        let folder = file.parent().unwrap_or(file);
        let mut jobs = self.jobs(|build| changed.iter().any(|path| is_source_of(path, build)));
        let what = match jobs.first() {
            Some(job) => lines::changed(&sources(&changed, &job.build), &job.build.dir),
            None => lines::changed(&changed, folder),
        };
        if changed.iter().any(|path| path == file) {
            match self.arrangement.read() {
                Ok(config) => jobs.extend(self.adopt(config)),
                Err(failure) => {
                    self.screen.line(&format!(
                        "{what}   {}",
                        self.screen.paint.tone(Tone::Bad, "REFUSED, nothing is changed")
                    ))?;
                    return self.screen.under(Tone::Odd, &failure.to_string());
                }
            }
        }
        self.round(fleet, &what, jobs).await
    }

    /// Takes a configuration that was read again; what it builds otherwise than before is to be built.
    fn adopt(&mut self, config: Config) -> Vec<Job> {
        let before = std::mem::replace(&mut self.config, config);
        self.watch.retarget(targets(self.arrangement.file(), &self.config));
        let differs = |name: &&ChannelName| self.config.channels.build(name) != before.channels.build(name);
        self.config.channels.keys().filter(differs).filter_map(|name| Job::of(&self.config, name)).collect()
    }

    fn jobs(&self, wanted: impl Fn(&Build) -> bool) -> Vec<Job> {
        let jobs = self.config.channels.keys().filter_map(|name| Job::of(&self.config, name));
        jobs.filter(|job| wanted(&job.build)).collect()
    }

    /// Builds, then reloads, whatever the builds came to: others may have changed, and a bad component is refused.
    async fn round(&mut self, fleet: &Fleet, what: &str, jobs: Vec<Job>) -> Result<(), Failure> {
        let mut built = Built::new();
        for job in jobs {
            let (name, component) = (job.name.clone(), job.component.clone());
            if let Some(took) = self.build(job, what).await? {
                self.watch.mark_file(&component);
                built.insert(name, took);
            }
        }
        let prefix = if what.is_empty() { String::new() } else { format!("{what}   ") };
        let reloaded = match fleet.reload(self.config.clone()).await {
            Ok(reloaded) => reloaded,
            Err(reason) => {
                return self
                    .screen
                    .line(&format!("{prefix}{}", self.screen.paint.tone(Tone::Bad, &printable(&reason))));
            }
        };
        for section in &reloaded.needs_restart {
            self.screen.line(&format!("{prefix}{section} takes effect when dev is started again"))?;
        }
        for (name, change) in &reloaded.channels {
            if matches!(change, Change::Started { .. }) {
                self.ready(name)?;
            } else {
                let line = lines::change(name, change, built.get(name).copied(), self.screen.paint);
                self.screen.line(&format!("{prefix}{line}"))?;
            }
        }
        for (name, took) in built.iter().filter(|(name, _)| !reloaded.channels.contains_key(*name)) {
            self.screen.line(&format!("{prefix}{}", lines::unchanged(name, *took)))?;
        }
        Ok(())
    }

    /// Runs one build on a thread of its own; says when it fails. How long it took, when it did not.
    async fn build(&self, job: Job, what: &str) -> Result<Option<Duration>, Failure> {
        let name = job.name.clone();
        if what.is_empty() {
            let command = printable(&job.command.to_string());
            self.screen
                .note("building", &format!("{name}  {}", self.screen.paint.tone(Tone::Faint, &command)))?;
        }
        let began = Instant::now();
        let ended = tokio::task::spawn_blocking(move || job.run(Output::Captured)).await;
        let took = began.elapsed();
        let Err(error) = ended.map_err(Failure::internal)? else { return Ok(Some(took)) };
        let what = if what.is_empty() { String::new() } else { format!("{what}   ") };
        let failed = self.screen.paint.tone(Tone::Bad, "BUILD FAILED");
        let took = micros(took.as_micros() as u64);
        self.screen.line(&format!("{what}{name} {failed} in {took}   (what ran before goes on)"))?;
        self.screen.under(Tone::Faint, &last_lines(said(&error)))?;
        self.screen.under(Tone::Odd, &error.to_string())?;
        Ok(None)
    }

    fn ready(&mut self, name: &ChannelName) -> Result<(), Failure> {
        let Some(channel) = self.config.channels.get(name) else { return Ok(()) };
        let mut line = lines::route(name, channel);
        if std::mem::replace(&mut self.hint, Hint::Shown) == Hint::Due {
            let hint = lines::hint(channel, self.addresses.ingest);
            line += "      ";
            line += &self.screen.paint.tone(Tone::Faint, &hint);
        }
        self.screen.note("ready", &line)
    }
}

/// The configuration, every component, and the sources of every Channel that is built.
fn targets(file: &Path, config: &Config) -> Vec<Target> {
    let components = config.channels.values().map(|channel| Target::File(channel.component.clone()));
    let builds = config.channels.keys().filter_map(|name| config.channels.build(name));
    let sources = builds.flat_map(|build| watched(build).iter().cloned().map(Target::Sources));
    std::iter::once(Target::File(file.to_owned())).chain(components).chain(sources).collect()
}

/// What a build says, or all of its folder.
fn watched(build: &Build) -> &[PathBuf] {
    if build.watch.is_empty() { std::slice::from_ref(&build.dir) } else { &build.watch }
}

fn is_source_of(path: &Path, build: &Build) -> bool {
    watched(build).iter().any(|source| path.starts_with(source))
}

fn sources(changed: &[PathBuf], build: &Build) -> Vec<PathBuf> {
    changed.iter().filter(|path| is_source_of(path, build)).cloned().collect()
}

/// What the build's own tools said.
fn said(error: &build::Error) -> &str {
    match error {
        build::Error::Tool { log, .. } | build::Error::Failed { log, .. } => log,
        build::Error::Start { .. }
        | build::Error::Nothing { .. }
        | build::Error::Module { .. }
        | build::Error::Write { .. } => "",
    }
}

fn last_lines(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    match lines.len().checked_sub(MAX_BUILD_LINES) {
        None | Some(0) => lines.join("\n"),
        Some(more) => format!("… {more} lines before\n{}", lines[more..].join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_build_watches_what_it_says_or_its_folder() {
        let build = |watch: &[&str]| Build {
            dir: "/a/hello".into(),
            watch: watch.iter().map(PathBuf::from).collect(),
            ..Build::default()
        };
        let (source, manifest) = (Path::new("/a/hello/src/lib.rs"), Path::new("/a/hello/Cargo.toml"));
        assert!(is_source_of(source, &build(&[])) && is_source_of(manifest, &build(&[])));
        let narrow = build(&["/a/hello/src"]);
        assert!(is_source_of(source, &narrow) && !is_source_of(manifest, &narrow));
        assert!(!is_source_of(Path::new("/a/hello2/src/lib.rs"), &build(&[])));
    }

    #[test]
    fn of_a_long_build_the_end_is_shown() {
        let text = (0..100).map(|n| n.to_string()).collect::<Vec<_>>().join("\n");
        let last = last_lines(&text);
        assert!(last.starts_with("… 40 lines before\n40\n") && last.ends_with("\n99"), "{last}");
        assert_eq!(last_lines("one\ntwo\n"), "one\ntwo");
    }
}
