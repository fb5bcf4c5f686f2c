//! `saf-runtime test`: case files, each one event and what must become of it, run in the sandbox with the Channel's own limits; no
//! broker, no port. Clock, random numbers and ids are fixed, so a case comes out the same every time.
//!
//! `find` (target.rs) -> read (case.rs, expect.rs, payload.rs) -> run (came.rs) -> compare (compare.rs, diff.rs) -> say (show.rs,
//! junit.rs) or update (update.rs); `--event` takes the event from a running router instead (stored.rs).
//!
//! Requests of a Channel get the answers that the case names (http.rs); nothing else is reached.
//!
//! Deliberately absent: sequences of events (an instance's state is no promise), mocks of other capabilities, a way to let a case onto the
//! network (it would come out otherwise tomorrow), and running cases at the same time: they take milliseconds, and their order is the one
//! that is printed.

#![allow(clippy::option_option, reason = "in a case file, null and nothing are two answers")]

mod came;
mod case;
mod compare;
mod diff;
mod expect;
mod http;
mod junit;
mod payload;
mod show;
mod stored;
mod target;
mod update;

use std::path::{Path, PathBuf};
use std::time::Instant;

use saf_event::ChannelName;
use saf_host::{Case, Component, LoadError};

use self::came::{Answer, Came};
use self::case::CaseFile;
use self::compare::{Rules, Sameness, Tolerance, compare};
use self::show::{Mark, Tally};
use self::stored::{Stored, Which};
use self::target::{Suite, Target};
use super::ConfigFile;
use super::client::Server;
use super::paint::Paint;
use super::sandbox::Sandbox;
use super::table::Out;
use crate::config::Config;
use crate::exit::Failure;

/// Test Channels: run case files in the sandbox, without a broker.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime test                                    every case of every Channel of router.toml
  saf-runtime test hello/cases/empty.json             one case
  saf-runtime test cases --component hello.wasm       cases against a component, without a router.toml
  saf-runtime test --update                           write what came into the files of cases that fail; read the diff
  saf-runtime test --junit results.xml                for CI
  saf-runtime test --event @dead-letter:events:3      does the local build handle what became a dead letter?
  saf-runtime test --event @event:12 --channel hello  what does the local build make of a stored event?

A case is a JSON file in the folder cases/ beside a Channel's sources or component:
  {\"event\": {\"subject\": \"hello\", \"data\": {\"a\": 1}},
   \"expect\": {\"emissions\": [{\"subject\": \"hello.done\", \"data\": {\"a\": 1}}]}}

Exit codes: 0 all passed, 1 a case failed, 2 usage, 69 the router of --event cannot be reached, 78 bad configuration, component or
case file.")]
pub(crate) struct Test {
    /// Case files, or folders of them; the cases/ folders of the Channels when absent.
    #[arg(value_name = "PATH")]
    paths: Vec<PathBuf>,
    #[command(flatten)]
    file: ConfigFile,
    /// The component to test, with default limits and no router.toml; with --channel, instead of that Channel's own.
    #[arg(long, value_name = "FILE")]
    component: Option<PathBuf>,
    /// Only this Channel's cases; with paths, the Channel that they are for.
    #[arg(long, value_name = "CHANNEL")]
    channel: Option<String>,
    /// Write what came into the files of the cases that fail: the expectation, and the fuel where there is one.
    #[arg(long, conflicts_with = "event")]
    update: bool,
    /// Write the results as JUnit XML.
    #[arg(long, value_name = "FILE", conflicts_with = "event")]
    junit: Option<PathBuf>,
    /// How far from its golden value the fuel of a case may be, in percent.
    #[arg(long, value_name = "PERCENT", default_value = "0%", value_parser = Tolerance::parse)]
    fuel_tolerance: Tolerance,
    /// Compare data byte for byte, JSON too, unless the case writes it as a JSON value.
    #[arg(long)]
    exact: bool,
    /// Run a stored event of a running router on the local build, without side effects: @dead-letter:<id>, @event:<sequence> or
    /// @event:<stream>:<sequence>.
    #[arg(long, value_name = "EVENT", value_parser = Which::parse, conflicts_with = "paths")]
    event: Option<Which>,
    #[command(flatten)]
    server: Server,
}

impl Test {
    pub(crate) fn run(self) -> Result<(), Failure> {
        match &self.event {
            Some(which) => self.stored(which),
            None => self.cases(),
        }
    }

    fn cases(&self) -> Result<(), Failure> {
        let (sandbox, suites) = self.suites()?;
        if suites.iter().all(|suite| suite.files.is_empty()) {
            return Err(Failure::Usage(
                "there are no case files: write one into the folder cases/ beside a Channel's sources or component, or name files; \
                 `saf-runtime test --help` shows one"
                    .to_owned(),
            ));
        }
        let mut run = Run {
            sandbox,
            rules: Rules {
                sameness: if self.exact { Sameness::Exact } else { Sameness::Json },
                tolerance: self.fuel_tolerance,
            },
            on_failure: if self.update { OnFailure::Update } else { OnFailure::Show },
            paint: Paint::of_stdout(),
            out: Out::new(),
            tally: Tally::default(),
            junit: junit::Report::default(),
        };
        let began = Instant::now();
        for suite in &suites {
            run.suite(suite)?;
        }
        run.out.line(&run.tally.line(began.elapsed(), run.paint))?;
        run.out.flush()?;
        if let Some(path) = &self.junit {
            run.junit.write(path)?;
        }
        match run.tally.failed {
            0 => Ok(()),
            1 => Err(Failure::Check("1 case failed".to_owned())),
            n => Err(Failure::Check(format!("{n} cases failed"))),
        }
    }

    fn suites(&self) -> Result<(Sandbox, Vec<Suite>), Failure> {
        if let (Some(component), None) = (&self.component, &self.channel) {
            let suites = target::for_one(Target::of_component(component), &self.paths)?;
            return Ok((Sandbox::without_configuration()?, suites));
        }
        let config = self.file.load()?;
        let suites = match &self.channel {
            Some(name) if !self.paths.is_empty() => {
                target::for_one(self.channel(&config, name)?, &self.paths)?
            }
            Some(name) => {
                let target = self.channel(&config, name)?;
                let mut suites = target::for_channels(&config, &[])?;
                suites.retain(|suite| suite.target.name == target.name);
                for suite in &mut suites {
                    suite.target = target.clone();
                }
                suites
            }
            None => target::for_channels(&config, &self.paths)?,
        };
        Ok((Sandbox::new(&config.host)?, suites))
    }

    /// The Channel of that name; with `--component`, of that component.
    fn channel(&self, config: &Config, name: &str) -> Result<Target, Failure> {
        let name = ChannelName::parse(name).map_err(|error| Failure::Usage(error.to_string()))?;
        Target::of_channel(config, &name, self.component.as_deref())
    }

    fn stored(&self, which: &Which) -> Result<(), Failure> {
        let Stored { event, attempt, channel, about } = stored::fetch(&self.server.admin()?, which)?;
        let (sandbox, target) = match (&self.channel, &self.component) {
            (None, Some(component)) => (Sandbox::without_configuration()?, Target::of_component(component)),
            (named, _) => {
                let config = self.file.load()?;
                let name = match named.clone().or(channel) {
                    Some(name) => name,
                    None => subscriber(&config, event.subject.as_str())?,
                };
                (Sandbox::new(&config.host)?, self.channel(&config, &name)?)
            }
        };
        let component = load(&sandbox, &target)?;
        let (mut out, paint) = (Out::new(), Paint::of_stdout());
        out.line(&about)?;
        show::suite(&target.name, &target.component, &component, paint, &mut out)?;
        let case = Case {
            event,
            attempt,
            config_json: target.channel_config_json(),
            limits: target.limits(),
            http: None,
        };
        let came = Came::of(sandbox.run(&component, &case), target.allowance());
        show::came(&came, paint, &mut out)?;
        out.flush()?;
        match came.answer {
            Answer::Done(_) => Ok(()),
            Answer::Failed(failed) => Err(Failure::Check(format!(
                "{} does not handle the event: {}",
                target.name,
                failed.how.word()
            ))),
        }
    }
}

/// The one Channel that subscribes to a subject.
fn subscriber(config: &Config, subject: &str) -> Result<String, Failure> {
    let subscribes =
        |channel: &saf_channel::Config| channel.subjects.iter().any(|filter| filter.matches(subject));
    let names: Vec<_> =
        config.channels.iter().filter(|(_, channel)| subscribes(channel)).map(|(name, _)| name).collect();
    match names[..] {
        [name] => Ok(name.to_string()),
        [] => Err(Failure::Usage(format!("no Channel subscribes to {subject}: name one with --channel"))),
        _ => {
            let names: Vec<_> = names.into_iter().map(ChannelName::as_str).collect();
            Err(Failure::Usage(format!(
                "{} subscribe to {subject}: name one with --channel",
                names.join(", ")
            )))
        }
    }
}

fn load(sandbox: &Sandbox, target: &Target) -> Result<Component, Failure> {
    sandbox.load(&target.component).map_err(|error| {
        let file = target.component.display();
        match error {
            LoadError::Read { error, .. } if error.kind() == std::io::ErrorKind::NotFound => {
                Failure::Config(format!(
                    "{}: there is no {file}: build it first (saf-runtime build {})",
                    target.name, target.name
                ))
            }
            error => Failure::Config(format!("{}: {file}: {error}", target.name)),
        }
    })
}

/// What is done with a case that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum OnFailure {
    Show,
    Update,
}

/// A run of all cases.
struct Run {
    sandbox: Sandbox,
    rules: Rules,
    on_failure: OnFailure,
    paint: Paint,
    out: Out,
    tally: Tally,
    junit: junit::Report,
}

impl Run {
    fn suite(&mut self, suite: &Suite) -> Result<(), Failure> {
        // Files first: a slip in one is found before anything is compiled.
        let cases: Vec<_> = suite.files.iter().map(|file| CaseFile::read(file)).collect::<Result<_, _>>()?;
        let component = load(&self.sandbox, &suite.target)?;
        show::suite(&suite.target.name, &suite.target.component, &component, self.paint, &mut self.out)?;
        self.junit.suite(&suite.target.name);
        cases.into_iter().try_for_each(|case| self.case(&suite.target, &component, &case))
    }

    fn case(&mut self, target: &Target, component: &Component, file: &CaseFile) -> Result<(), Failure> {
        let case = Case {
            event: file.event.clone(),
            attempt: file.attempt,
            config_json: target.config_json(file),
            limits: target.limits(),
            http: file.http.as_ref().map(|exchanges| target.script(exchanges)),
        };
        let came = Came::of(self.sandbox.run(component, &case), target.allowance());
        let mut differences = compare(file, &came, self.rules);
        let asked =
            file.http.as_ref().map(|wanted| http::compare(wanted, &came.requests, self.rules.sameness));
        let asked = asked.unwrap_or_default();
        let mark = match (differences.is_empty(), asked.is_empty(), self.on_failure) {
            (true, true, _) => Mark::Passed,
            (false, true, OnFailure::Update) => Mark::Updated,
            // What a server would say to other requests, nobody here knows.
            (_, false, _) | (false, true, OnFailure::Show) => Mark::Failed,
        };
        differences.extend(asked);
        let name = shown(&file.path);
        show::case(&name, mark, &came, self.paint, &mut self.out)?;
        match mark {
            Mark::Passed => self.tally.passed += 1,
            Mark::Failed => {
                self.tally.failed += 1;
                show::differences(&differences, self.paint, &mut self.out)?;
                show::details(&came, self.paint, &mut self.out)?;
            }
            Mark::Updated => {
                self.tally.updated += 1;
                update::update(file, &came)?;
            }
        }
        let micros = came.usage.map_or(0, |usage| usage.micros);
        self.junit.case(junit::Result { name, micros, mark, differences });
        self.out.flush()
    }
}

/// A path as it is read best: without the folder one is in.
fn shown(path: &Path) -> String {
    let here = std::env::current_dir().unwrap_or_default();
    let path = path.strip_prefix(&here).unwrap_or(path);
    path.strip_prefix(".").unwrap_or(path).display().to_string()
}
