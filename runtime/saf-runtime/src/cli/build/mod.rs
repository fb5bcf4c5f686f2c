//! `saf-runtime build`: runs each Channel's own build command, then checks what it made as the router would. What a build is stands
//! in job.rs, for `dev` too.
//!
//! Deliberately absent: a build graph, and rebuilding only what changed: the author's tools know that better.

mod job;
mod module;
mod tools;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use saf_event::ChannelName;
use saf_host::{Component, Grants};

pub(crate) use self::job::{Error, Job, Output};
pub(crate) use self::module::CONTRACT;
use super::ConfigFile;
use super::paint::{Paint, Tone};
use super::sandbox::Sandbox;
use super::table::Out;
use super::text::{micros, printable, printable_lines};
use crate::config::Config;
use crate::exit::Failure;

const DIGEST_CHARS: usize = 12;

/// Build Channels with their own build commands, and check the components.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  saf-runtime build          every Channel that has a [channels.<name>.build]
  saf-runtime build hello    one

In router.toml:
  [channels.hello.build]
  command = \"cargo build --release --target wasm32-wasip2\"   run by sh -c; or a list of words
  dir = \"hello\"                                              where it runs
  module = \"hello.core.wasm\"                                 only for tools that end at a core module, such as Go's

Exit codes: 0 all built, 1 a build failed, 2 usage, 78 bad configuration.")]
pub(crate) struct BuildArgs {
    /// The Channels; all that can be built when absent.
    #[arg(value_name = "CHANNEL")]
    channels: Vec<String>,
    /// Show what a build says only when it fails.
    #[arg(short, long)]
    quiet: bool,
    #[command(flatten)]
    file: ConfigFile,
}

impl BuildArgs {
    pub(crate) fn run(self) -> Result<(), Failure> {
        let config = self.file.load()?;
        let jobs = self.jobs(&config)?;
        let mut run = Run {
            sandbox: Sandbox::new(&config.host)?,
            output: if self.quiet { Output::Captured } else { Output::Passed },
            paint: Paint::of_stdout(),
            out: Out::new(),
        };
        let mut failed = Vec::new();
        for job in &jobs {
            let grants =
                config.channels.get(&job.name).map(|channel| channel.grants.clone()).unwrap_or_default();
            if run.job(job, &grants)? == Ended::Failed {
                failed.push(job.name.as_str());
            }
        }
        if failed.is_empty() {
            return Ok(());
        }
        Err(Failure::Check(format!("not built: {}", failed.join(", "))))
    }

    fn jobs(&self, config: &Config) -> Result<Vec<Job>, Failure> {
        if self.channels.is_empty() {
            let jobs: Vec<_> = config.channels.keys().filter_map(|name| Job::of(config, name)).collect();
            if jobs.is_empty() {
                return Err(Failure::Config(
                    "no Channel says how it is built: add a [channels.<name>.build] with a command, or begin one with `saf-runtime new`"
                        .to_owned(),
                ));
            }
            return Ok(jobs);
        }
        let job = |text: &String| {
            let name = ChannelName::parse(text).map_err(|error| Failure::Usage(error.to_string()))?;
            if !config.channels.contains_key(&name) {
                let known: Vec<_> = config.channels.keys().map(ChannelName::as_str).collect();
                return Err(Failure::Usage(format!(
                    "there is no Channel {name}; there are: {}",
                    known.join(", ")
                )));
            }
            Job::of(config, &name).ok_or_else(|| {
                Failure::Config(format!(
                    "{name} does not say how it is built: add [channels.{name}.build] with command = \"…\""
                ))
            })
        };
        self.channels.iter().map(job).collect()
    }
}

/// How one build ended; why was said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ended {
    Built,
    Failed,
}

/// All builds of a command.
struct Run {
    sandbox: Sandbox,
    output: Output,
    paint: Paint,
    out: Out,
}

impl Run {
    fn job(&mut self, job: &Job, grants: &Grants) -> Result<Ended, Failure> {
        let about = format!("{}    (in {})", job.command, job.build.dir.display());
        self.out.line(&format!("{}  {}", job.name, self.paint.tone(Tone::Faint, &printable(&about))))?;
        self.out.flush()?;
        let began = Instant::now();
        let problem = match job.run(self.output) {
            Ok(_) => match self.sandbox.load(&job.component) {
                Ok(component) => {
                    self.built(job, &component, grants, began.elapsed())?;
                    return Ok(Ended::Built);
                }
                Err(error) => format!("the component cannot be run: {error}"),
            },
            Err(error) => {
                self.out.text(&printable_lines(error.log()))?;
                error.to_string()
            }
        };
        self.out.line(&format!("  {}  {problem}", self.paint.tone(Tone::Bad, "FAILED ")))?;
        self.out.flush()?;
        Ok(Ended::Failed)
    }

    fn built(
        &mut self,
        job: &Job,
        component: &Component,
        grants: &Grants,
        took: Duration,
    ) -> Result<(), Failure> {
        let digest = component.digest().get(..DIGEST_CHARS).unwrap_or_default();
        let size = saf_event::Size(component.size() as u64);
        let (file, took) = (job.component.display(), micros(took.as_micros() as u64));
        let mark = self.paint.tone(Tone::Good, "built  ");
        self.out.line(&format!("  {mark}  {file}  {size}  {digest}  in {took}"))?;
        let mut imports: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for import in component.imports_under(grants) {
            let grant =
                import.would_grant().map(|line| format!(" ({line} would grant it)")).unwrap_or_default();
            let name = printable(&import.name) + &grant;
            imports.entry(import.access.to_string()).or_default().push(name);
        }
        if imports.is_empty() {
            self.out.line("  imports  nothing")?;
        }
        for (access, names) in imports {
            self.out.line(&format!("  imports  {access}: {}", names.join(", ")))?;
        }
        self.out.flush()
    }
}
