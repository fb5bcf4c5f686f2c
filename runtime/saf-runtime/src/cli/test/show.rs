//! What `test` says on a terminal: a line for a case, and for one that failed what was expected, what came, and what the guest
//! itself said about it. Everything of the guest's is escaped.

use std::time::Duration;

use saf_host::{Component, LogLine, Source, Usage};

use super::came::{Answer, Came, Failed};
use super::compare::done;
use super::diff::Difference;
use crate::cli::paint::{Paint, Tone};
use crate::cli::table::Out;
use crate::cli::text::{bytes, grouped, laid_out, micros, printable, printable_lines};
use crate::exit::Failure;

/// Columns of a case's name before what it used; longer ones push it to the right.
const NAME_CHARS: usize = 44;
const MAX_BACKTRACE_LINES: usize = 24;
const MAX_LOG_LINES: usize = 50;
const MAX_DATA_CHARS: usize = 64 << 10;
const INDENT: &str = "        ";
/// Of a digest; enough to tell two builds.
pub(crate) const DIGEST_CHARS: usize = 12;

/// What became of a case.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mark {
    Passed,
    Failed,
    /// It failed, and its file now says what came.
    Updated,
}

/// The head of a suite.
pub(super) fn suite(
    name: &str,
    component: &std::path::Path,
    loaded: &Component,
    paint: Paint,
    out: &mut Out,
) -> Result<(), Failure> {
    let digest = loaded.digest().get(..DIGEST_CHARS).unwrap_or_default();
    let size = saf_event::Size(loaded.size() as u64);
    let about = format!("{} ({size}, {digest})", component.display());
    out.line(&format!("{}  {}", printable(name), paint.tone(Tone::Faint, &printable(&about))))
}

/// The line of a case.
pub(super) fn case(name: &str, mark: Mark, came: &Came, paint: Paint, out: &mut Out) -> Result<(), Failure> {
    let mark = match mark {
        Mark::Passed => paint.tone(Tone::Good, "ok     "),
        Mark::Failed => paint.tone(Tone::Bad, "FAIL   "),
        Mark::Updated => paint.tone(Tone::Odd, "updated"),
    };
    let used = came.usage.map(|usage| used(&usage)).unwrap_or_default();
    let name = printable(name);
    let line = format!("{name:<NAME_CHARS$}  {}", paint.tone(Tone::Faint, &used));
    out.line(&format!("  {mark} {}", line.trim_end()))
}

fn used(usage: &Usage) -> String {
    format!("{:>8}  {:>11} fuel", micros(usage.micros), grouped(usage.fuel))
}

/// What is wrong with a case that failed.
pub(super) fn differences(found: &[Difference], paint: Paint, out: &mut Out) -> Result<(), Failure> {
    for Difference { place, expected, got } in found {
        out.line(&format!("{INDENT}{}", printable(place)))?;
        side("expected", expected.as_deref(), Tone::Good, paint, out)?;
        side("got", got.as_deref(), Tone::Bad, paint, out)?;
    }
    Ok(())
}

fn side(name: &str, text: Option<&str>, tone: Tone, paint: Paint, out: &mut Out) -> Result<(), Failure> {
    let text = text.map_or_else(|| "nothing".to_owned(), printable_lines);
    for (n, line) in text.lines().enumerate() {
        let name = if n == 0 { name } else { "" };
        out.line(&format!("{INDENT}  {name:<8}  {}", paint.tone(tone, line)))?;
    }
    Ok(())
}

/// What the guest said: where it stopped, its stderr, and its lines.
pub(super) fn details(came: &Came, paint: Paint, out: &mut Out) -> Result<(), Failure> {
    if let Answer::Failed(failed) = &came.answer {
        stopped(failed, paint, out)?;
    }
    let stderr_is_shown = matches!(&came.answer, Answer::Failed(failed) if !failed.stderr.is_empty());
    let lines = came.log.iter().filter(|line| !(stderr_is_shown && line.source == Source::Stderr));
    let lines: Vec<String> = lines.map(said).collect();
    block("log", &lines.join("\n"), MAX_LOG_LINES, paint, out)
}

fn stopped(failed: &Failed, paint: Paint, out: &mut Out) -> Result<(), Failure> {
    if let Some(place) = failed.place() {
        out.line(&format!("{INDENT}at        {}", paint.tone(Tone::Odd, &printable(&place))))?;
    }
    block("stderr", &failed.stderr, MAX_LOG_LINES, paint, out)?;
    block("backtrace", failed.backtrace.as_deref().unwrap_or_default(), MAX_BACKTRACE_LINES, paint, out)
}

/// A line of the guest's, after where it wrote it.
fn said(line: &LogLine) -> String {
    let source = match &line.source {
        Source::Stdout => "stdout".to_owned(),
        Source::Stderr => "stderr".to_owned(),
        Source::Logging { level, context } if context.is_empty() => format!("{level:?}").to_lowercase(),
        Source::Logging { level, context } => format!("{} {context}", format!("{level:?}").to_lowercase()),
        Source::Host => "host".to_owned(),
    };
    format!("{source}: {}", line.text)
}

fn block(name: &str, text: &str, max_lines: usize, paint: Paint, out: &mut Out) -> Result<(), Failure> {
    let text = printable_lines(text.trim_matches('\n'));
    let lines = text.lines().count();
    for (n, line) in text.lines().take(max_lines).enumerate() {
        let name = if n == 0 { name } else { "" };
        out.line(&format!("{INDENT}{name:<9} {}", paint.tone(Tone::Faint, line)))?;
    }
    if lines > max_lines {
        out.line(&format!("{INDENT}{:<9} … {} lines more", "", lines - max_lines))?;
    }
    Ok(())
}

/// All that came, for an event that no case expects anything of.
pub(super) fn came(came: &Came, paint: Paint, out: &mut Out) -> Result<(), Failure> {
    match &came.answer {
        Answer::Done(emissions) => {
            out.line(&format!("outcome   {}", paint.tone(Tone::Good, &done(emissions.len()))))?;
            for (n, emission) in emissions.iter().enumerate() {
                out.line(&format!("emission {}  {}", n + 1, printable(&emission.subject)))?;
                for (name, value) in [("id", &emission.id), ("content type", &emission.content_type)] {
                    if let Some(value) = value {
                        out.line(&format!("{INDENT}{name}: {}", printable(value)))?;
                    }
                }
                for (name, value) in &emission.headers {
                    out.line(&format!("{INDENT}{}: {}", printable(name), printable(value)))?;
                }
                for line in data(&emission.data).lines() {
                    out.line(&format!("{INDENT}{line}"))?;
                }
            }
        }
        Answer::Failed(failed) => {
            let outcome = format!("{}: {}", failed.how.word(), printable_lines(&failed.reason));
            out.line(&format!("outcome   {}", paint.tone(Tone::Bad, &outcome)))?;
            if let Some(after) = failed.after {
                out.line(&format!("again in  {after:?}"))?;
            }
        }
    }
    if let Some(usage) = &came.usage {
        let memory = saf_event::Size(usage.peak_memory);
        let text =
            format!("used      {}, {} fuel, {memory} of memory", micros(usage.micros), grouped(usage.fuel));
        out.line(&text)?;
    }
    details(came, paint, out)
}

fn data(data: &[u8]) -> String {
    let text = std::str::from_utf8(data).ok().filter(|text| text.len() <= MAX_DATA_CHARS);
    match text {
        Some(text) if serde_json::from_str::<&serde_json::value::RawValue>(text).is_ok() => {
            printable_lines(&laid_out(text))
        }
        Some(text) => printable_lines(text),
        None => bytes(data, MAX_DATA_CHARS),
    }
}

/// How it all went.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    pub(super) passed: usize,
    pub(super) failed: usize,
    pub(super) updated: usize,
}

impl Tally {
    pub(super) fn line(self, took: Duration, paint: Paint) -> String {
        let mut parts = vec![paint.tone(Tone::Good, &format!("{} passed", self.passed))];
        if self.failed > 0 {
            parts.push(paint.tone(Tone::Bad, &format!("{} failed", self.failed)));
        }
        if self.updated > 0 {
            parts.push(paint.tone(Tone::Odd, &format!("{} updated", self.updated)));
        }
        format!("\n{} in {}", parts.join(", "), micros(took.as_micros() as u64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_line_says_what_there_was() {
        let tally = Tally { passed: 3, failed: 1, updated: 0 };
        assert_eq!(tally.line(Duration::from_millis(1500), Paint::Plain), "\n3 passed, 1 failed in 1.5 s");
    }
}
