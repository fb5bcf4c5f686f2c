//! What the lines of `dev` say. Pure, so that they can be read in a test.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use saf_channel::{Next, Observed};
use saf_event::{ChannelName, Filter, Outcome};

use crate::app::{Change, Succession};
use crate::cli::paint::{Paint, Tone};
use crate::cli::stopped::Stopped;
use crate::cli::text::{grouped, micros, printable};

/// Of a digest; two builds of an afternoon differ in these.
const DIGEST_CHARS: usize = 4;
/// What an ingest listener has when nothing else is said: `send` needs no address for it.
const DEFAULT_INGEST_PORT: u16 = 1378;
const ARROW: &str = "──▶";

/// Where the router listens.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addresses {
    pub(super) ingest: SocketAddr,
    pub(super) admin: SocketAddr,
}

/// `hello ──▶ upper ──▶ upper.done`.
pub(super) fn route(name: &ChannelName, channel: &saf_channel::Config) -> String {
    let list = |filters: &[Filter]| filters.iter().map(Filter::as_str).collect::<Vec<_>>().join(", ");
    let takes = list(&channel.subjects);
    if channel.emit.subjects.is_empty() {
        return format!("{takes} {ARROW} {name}");
    }
    format!("{takes} {ARROW} {name} {ARROW} {}", list(&channel.emit.subjects))
}

/// `(try: saf-runtime send hello '{"a":1}')`.
pub(super) fn hint(channel: &saf_channel::Config, ingest: SocketAddr) -> String {
    let subject = channel.subjects.first().map(Filter::as_str).unwrap_or_default();
    let tokens: Vec<_> =
        subject.split('.').map(|token| if matches!(token, "*" | ">") { "example" } else { token }).collect();
    let address = match ingest.port() {
        DEFAULT_INGEST_PORT => String::new(),
        _ => format!(" --ingest-url http://{ingest}"),
    };
    format!("(try: saf-runtime send {} '{{\"a\":1}}'{address})", tokens.join("."))
}

/// The line of an attempt, and what belongs under it.
pub(super) fn attempt(seen: &Observed, max_attempts: Option<u32>, paint: Paint) -> (String, Option<String>) {
    let event = format!("{} #{} {ARROW} {}", printable(&seen.subject), seen.sequence, seen.channel);
    if seen.outcome == Outcome::Done {
        let ok = paint.tone(Tone::Good, "ok   ");
        let emissions = counted(seen.emissions as u64, "emission");
        let line =
            format!("{event}  {ok} {}   {} fuel   {emissions}", micros(seen.micros), grouped(seen.fuel));
        return (line, None);
    }
    let tone = if seen.outcome == Outcome::Retry { Tone::Odd } else { Tone::Bad };
    let word = paint.tone(tone, &seen.outcome.as_str().to_uppercase());
    let of = max_attempts.map(|max| format!("/{max}")).unwrap_or_default();
    let next = match seen.next {
        Next::Done => "done".to_owned(),
        Next::Retry(millis) => format!("retry in {}", micros(millis * 1_000)),
        Next::DeadLetter => paint.tone(Tone::Bad, "dead letter"),
        Next::Released => "given back".to_owned(),
    };
    let line = format!("{event}  {word}  attempt {}{of}, {next}", seen.attempt);
    let reason = seen.reason.as_deref().unwrap_or("no reason was given");
    let last_words = seen.stderr.as_deref().filter(|_| seen.outcome == Outcome::Trap);
    let Stopped { message, place } = Stopped::of(reason, seen.backtrace.as_deref(), last_words);
    let under = match place {
        Some(place) => at_its_place(&message, &place),
        None => message,
    };
    (line, Some(under))
}

/// The place stands behind the first line.
fn at_its_place(message: &str, place: &str) -> String {
    match message.split_once('\n') {
        Some((first, rest)) => format!("{first}   {place}\n{rest}"),
        None => format!("{message}   {place}"),
    }
}

/// What a reload did to a Channel. `built` is what its build took, when there was one.
pub(super) fn change(name: &ChannelName, change: &Change, built: Option<Duration>, paint: Paint) -> String {
    let built = built.map(|took| format!("{}   ", built_in(took))).unwrap_or_default();
    match change {
        Change::Started { digest } => format!("{built}{name} {} started", short(digest)),
        Change::Replaced(succession) => format!("{built}{name} {}", succeeded(succession, "", paint)),
        Change::Restarted(succession) => {
            format!("{built}{name} {}", succeeded(succession, "restarted, ", paint))
        }
        Change::Stopped => format!("{name} stopped: it is not configured any more"),
        Change::Refused(reason) => format!(
            "{built}{name} {}: {}   (what ran before goes on)",
            paint.tone(Tone::Bad, "REFUSED"),
            printable(reason)
        ),
        Change::NotRunning(reason) => {
            format!("{built}{name} {}: {}", paint.tone(Tone::Bad, "NOT RUNNING"), printable(reason))
        }
    }
}

fn succeeded(succession: &Succession, how: &str, paint: Paint) -> String {
    let Succession { from, to, waited, lost } = succession;
    let versions = if from == to {
        format!("{}, new settings", short(to))
    } else {
        format!("{} ▶ {}", short(from), short(to))
    };
    let lost = format!("{} lost", counted(*lost, "event"));
    let lost = if succession.lost > 0 { paint.tone(Tone::Bad, &lost) } else { lost };
    format!("{versions}   ({how}{lost}, {waited} waited)")
}

/// A build that changed nothing.
pub(super) fn unchanged(name: &ChannelName, built: Duration) -> String {
    format!("{}   {name} is the same as before", built_in(built))
}

fn built_in(took: Duration) -> String {
    format!("built {}", micros(took.as_micros() as u64))
}

/// `changed src/lib.rs and 2 more`, as seen from a folder.
pub(super) fn changed(paths: &[PathBuf], folder: &Path) -> String {
    let Some(first) = paths.first() else { return String::new() };
    let first = first.strip_prefix(folder).unwrap_or(first).display().to_string();
    match paths.len() - 1 {
        0 => format!("changed {}", printable(&first)),
        more => format!("changed {} and {more} more", printable(&first)),
    }
}

/// `1 emission`, `2 emissions`.
pub(super) fn counted(n: u64, what: &str) -> String {
    let s = if n == 1 { "" } else { "s" };
    format!("{} {what}{s}", grouped(n))
}

fn short(digest: &str) -> String {
    format!("{}…", digest.get(..DIGEST_CHARS).unwrap_or(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(text: &str) -> ChannelName {
        ChannelName::parse(text).expect("valid")
    }

    fn observed(outcome: Outcome, next: Next) -> Observed {
        Observed {
            channel: name("upper"),
            sequence: 2,
            subject: "hello".into(),
            attempt: 1,
            outcome,
            next,
            micros: 200,
            fuel: 41_302,
            emissions: 1,
            reason: Some("wasm trap".into()),
            backtrace: Some("0: handle\n at src/lib.rs:14:31".into()),
            stderr: None,
        }
    }

    #[test]
    fn an_attempt_is_a_line_and_a_failed_one_says_why_and_where() {
        let (line, under) = attempt(&observed(Outcome::Done, Next::Done), Some(5), Paint::Plain);
        assert_eq!(line, "hello #2 ──▶ upper  ok    200 us   41 302 fuel   1 emission");
        assert_eq!(under, None);
        let (line, under) = attempt(&observed(Outcome::Trap, Next::Retry(100)), Some(5), Paint::Plain);
        assert_eq!(line, "hello #2 ──▶ upper  TRAP  attempt 1/5, retry in 100.0 ms");
        assert_eq!(under.as_deref(), Some("wasm trap   src/lib.rs:14:31"));
    }

    #[test]
    fn a_ready_channel_is_shown_with_what_to_try() {
        let filter = |text: &str| Filter::parse(text).expect("valid");
        let mut channel = saf_channel::Config { subjects: vec![filter("ride.*.>")], ..Default::default() };
        assert_eq!(route(&name("upper"), &channel), "ride.*.> ──▶ upper");
        channel.emit.subjects = vec![filter("upper.done")];
        assert_eq!(route(&name("upper"), &channel), "ride.*.> ──▶ upper ──▶ upper.done");
        let at = |port| SocketAddr::from(([127, 0, 0, 1], port));
        assert_eq!(hint(&channel, at(1378)), r#"(try: saf-runtime send ride.example.example '{"a":1}')"#);
        assert!(hint(&channel, at(9)).ends_with("--ingest-url http://127.0.0.1:9)"));
    }

    #[test]
    fn a_change_says_what_it_cost() {
        let succession = Succession { from: "3f9cab".into(), to: "81aaff".into(), waited: 2, lost: 0 };
        let replaced = Change::Replaced(succession.clone());
        let took = Some(Duration::from_secs(2));
        assert_eq!(
            change(&name("upper"), &replaced, took, Paint::Plain),
            "built 2.0 s   upper 3f9c… ▶ 81aa…   (0 events lost, 2 waited)"
        );
        let same = Change::Restarted(Succession { from: "81aaff".into(), lost: 1, ..succession });
        assert_eq!(
            change(&name("upper"), &same, None, Paint::Plain),
            "upper 81aa…, new settings   (restarted, 1 event lost, 2 waited)"
        );
    }

    #[test]
    fn what_changed_is_named_as_its_author_names_it() {
        let paths = ["/a/src/lib.rs", "/a/src/other.rs", "/b"].map(PathBuf::from);
        assert_eq!(changed(&paths[..1], Path::new("/a")), "changed src/lib.rs");
        assert_eq!(changed(&paths, Path::new("/x")), "changed /a/src/lib.rs and 2 more");
    }
}
