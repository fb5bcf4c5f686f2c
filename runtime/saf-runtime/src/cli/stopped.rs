//! Why a guest stopped, as its author wants it: the message of the panic or exception and where it was, not the trap that it ends
//! in. For `dev`, `test` and `dead-letters`; the router itself keeps reason, backtrace and stderr, and reads nothing out of them.
//!
//! Every language's runtime has its own last words on stderr. Each is recognised by a function here; what none knows is told by
//! its reason, at the innermost frame of the author's, with the end of stderr under it.

use super::place;

/// Lines of a message that are shown; a traceback is one.
const MAX_LINES: usize = 12;

/// A message, and the place as `file:line` or `file:line:column` when it is known.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Stopped {
    pub(crate) message: String,
    pub(crate) place: Option<String>,
}

impl Stopped {
    /// `last_words` is stderr, when the guest ended by itself: of one that ran into a limit it says nothing about that.
    pub(crate) fn of(reason: &str, backtrace: Option<&str>, last_words: Option<&str>) -> Self {
        let words = last_words.map(|text| text.trim_matches('\n')).filter(|text| !text.is_empty());
        if let Some(known) = words.and_then(known) {
            return known;
        }
        let place = backtrace.and_then(place::authors).map(str::to_owned);
        let message = words.map_or_else(|| head(reason), |words| format!("{reason}\n{}", tail(words)));
        Self { message, place }
    }

    fn at(message: &str, place: Option<&str>) -> Self {
        Self { message: head(message), place: place.map(str::to_owned) }
    }
}

/// Python's and JavaScript's runtimes are Rust programs, which panic when the author's code does: those are asked first.
fn known(stderr: &str) -> Option<Stopped> {
    python(stderr)
        .or_else(|| javascript(stderr))
        .or_else(|| rust(stderr))
        .or_else(|| go(stderr))
        .or_else(|| c(stderr))
}

/// `thread … panicked at src/lib.rs:14:31:`, then the message, then a hint about backtraces.
fn rust(stderr: &str) -> Option<Stopped> {
    let mut lines = stderr.lines();
    let place = lines.find_map(|line| line.split_once("panicked at ").map(|(_, place)| place))?;
    let message: Vec<_> = lines.take_while(|line| !line.starts_with("note: ")).collect();
    Some(Stopped::at(message.join("\n").trim_end(), Some(place.trim_end_matches(':'))))
}

/// A traceback, outermost frame first: `File "/0/main.py", line 31, in handle`, then the exception. `/0/` is the first folder that
/// the component was made from.
fn python(stderr: &str) -> Option<Stopped> {
    let (_, trace) = stderr.rsplit_once("Traceback (most recent call last):\n")?;
    let message: Vec<_> = trace
        .lines()
        .skip_while(|line| line.starts_with(char::is_whitespace))
        .take_while(|line| !line.is_empty())
        .collect();
    let frames = trace.lines().filter_map(|line| {
        let (file, rest) = line.trim().strip_prefix("File \"")?.split_once("\", line ")?;
        Some((file, rest.split(',').next().unwrap_or(rest)))
    });
    let place = frames.rev().find(|(file, _)| !file.contains("saf_channel"));
    let place = place.map(|(file, line)| format!("{}:{line}", without_root(file)));
    let message = message.join("\n");
    // What `abort` raises has a name that only the SDK knows.
    let own = message.strip_prefix("saf_channel").and_then(|own| own.split_once(": "));
    Some(Stopped::at(own.map_or(&*message, |(_, reason)| reason), place.as_deref()))
}

/// `/0/folder/file.py` without what is not the author's.
fn without_root(file: &str) -> &str {
    let numbered = file.strip_prefix('/').and_then(|rest| rest.split_once('/'));
    match numbered {
        Some((number, rest)) if number.bytes().all(|digit| digit.is_ascii_digit()) => rest,
        _ => file.trim_start_matches('/'),
    }
}

/// `QuickJS`'s host prints the exception as Rust does a value: `Exception { message: Some("…"), stack: Some("    at f (/main.js:1:2)\n…") }`.
fn javascript(stderr: &str) -> Option<Stopped> {
    let quoted = |field: &str| {
        let (_, rest) = stderr.split_once(&format!("{field}: Some("))?;
        serde_json::Deserializer::from_str(rest).into_iter::<String>().next()?.ok()
    };
    let (message, stack) = (quoted("Exception { message")?, quoted("stack")?);
    let frame = stack.lines().find(|line| !line.contains("/node_modules/"));
    let place = frame.and_then(|line| line.rsplit_once(['(', ' '])).map(|(_, place)| place);
    let place = place.map(|place| place.trim_end_matches(')').trim_start_matches('/'));
    Some(Stopped::at(&message, place))
}

/// `panic: …` or `fatal error: …`, then frames of two lines each, innermost first: `main.handle(…)`, and its place behind a tab. The
/// author's are those of the folder that package main is in, without the SDK's folder in it.
fn go(stderr: &str) -> Option<Stopped> {
    let (said, trace) = stderr.split_once("\ngoroutine ")?;
    let said = said.rfind("panic: ").or_else(|| said.rfind("fatal error: ")).map(|at| &said[at..])?;
    let message = said.split_once(": ").map_or(said, |(_, message)| message).trim_end();
    let frames: Vec<_> = trace
        .lines()
        .zip(trace.lines().skip(1))
        .filter_map(|(function, place)| Some((function, place.strip_prefix('\t')?.split(' ').next()?)))
        .collect();
    let main = frames.iter().find(|(function, _)| function.starts_with("main."))?.1;
    let root = main.rsplit_once('/').map_or("", |(folder, _)| folder);
    let inside = |place: &str| {
        place.strip_prefix(root).is_some_and(|rest| rest.starts_with('/') && !rest.starts_with("/saf/"))
    };
    let place = frames.iter().map(|(_, place)| *place).find(|place| inside(place)).unwrap_or(main);
    Some(Stopped::at(message, Some(place)))
}

/// The last line: `main.c:40: message` by `saf_trap`, `Assertion failed: condition (main.c: function: 40)` by `assert`.
fn c(stderr: &str) -> Option<Stopped> {
    let line = stderr.lines().last()?;
    let number = |text: &str| text.bytes().all(|digit| digit.is_ascii_digit()) && !text.is_empty();
    if line.starts_with("Assertion failed: ") {
        let (assertion, place) = line.strip_suffix(')')?.rsplit_once(" (")?;
        let ((file, _), (_, at)) = place.split_once(": ").zip(place.rsplit_once(": "))?;
        return number(at).then(|| Stopped::at(assertion, Some(&format!("{file}:{at}"))));
    }
    let (place, message) = line.split_once(": ")?;
    let (_, at) = place.rsplit_once(':')?;
    number(at).then(|| Stopped::at(message, Some(place)))
}

fn head(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    match lines.len().checked_sub(MAX_LINES) {
        None | Some(0) => lines.join("\n"),
        Some(more) => format!("{}\n… {more} lines more", lines[..MAX_LINES].join("\n")),
    }
}

fn tail(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    lines[lines.len().saturating_sub(MAX_LINES)..].join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_language_is_told_in_its_own_words() {
        let cases = [
            (
                "starting\n\nthread '<unnamed>' (1) panicked at src/lib.rs:14:31:\ncalled `Option::unwrap()` on a `None` \
                 value\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n",
                "called `Option::unwrap()` on a `None` value",
                "src/lib.rs:14:31",
            ),
            (
                "Traceback (most recent call last):\n  File \"/1/saf_channel/__init__.py\", line 153, in handle\n  File \
                 \"/0/part/main.py\", line 31, in handle\n  File \"/1/saf_channel/_failure.py\", line 51, in abort\n\
                 saf_channel._failure.Abort: why\n\nthread '<unnamed>' (1) panicked at runtime/src/lib.rs:1293:29:\nPython \
                 function threw an unexpected exception\n",
                "why",
                "part/main.py:31",
            ),
            (
                "thread '<unnamed>' (1) panicked at crates/runtime/src/interpreter.rs:51:31:\nFailed to call 'handle': \
                 Value(Exception(\nException { message: Some(\"not \\\"that\\\"\"), stack: Some(\"    at Abort \
                 (/node_modules/saf-channel/src/index.js:38:11)\\n    at trap (/main.js:15:15)\\n\") })\n)\n",
                "not \"that\"",
                "main.js:15:15",
            ),
            (
                "a line\npanic: runtime error: index out of range [1]\n\ngoroutine 1 [running]:\nstrings.Repeat(...)\n\
                 \tstrings/strings.go:9 +0x1\nchannels/hello/saf.Retry(...)\n\tchannels/hello/saf/saf.go:2 +0x1\n\
                 channels/hello/part.F()\n\tchannels/hello/part/f.go:7 +0x4\nmain.greet({0x1})\n\tchannels/hello/main.go:45 \
                 +0x52\n",
                "runtime error: index out of range [1]",
                "channels/hello/part/f.go:7",
            ),
            ("first\nmain.c:40: why not: so\n", "why not: so", "main.c:40"),
            (
                "Assertion failed: a (b) > 1 (main.c: saf_handle: 12)\n",
                "Assertion failed: a (b) > 1",
                "main.c:12",
            ),
        ];
        for (stderr, message, place) in cases {
            let backtrace = Some("0: x\n  at /rustc/a.rs:1:1");
            let stopped = Stopped::of("wasm trap: unreachable", backtrace, Some(stderr));
            assert_eq!(stopped, Stopped { message: message.into(), place: Some(place.into()) }, "{stderr}");
        }
    }

    #[test]
    fn anything_else_is_its_reason_at_the_first_frame_of_the_authors() {
        let backtrace = "    0:  0x1 - abort\n          at wasisdk://v30/abort.c:5:3\n    1: 0x2 - handle\n          at main.c:12:3";
        let stopped = Stopped::of("out of fuel", Some(backtrace), None);
        assert_eq!(stopped, Stopped { message: "out of fuel".into(), place: Some("main.c:12:3".into()) });
        let stopped = Stopped::of("it aborted", Some(backtrace), Some("12:03: a line\nSorry: no\n\n"));
        assert_eq!(stopped.message, "it aborted\n12:03: a line\nSorry: no");
        assert_eq!(Stopped::of("never", None, None).place, None);
        let long = Stopped::of(&"x\n".repeat(MAX_LINES + 3), None, None).message;
        assert!(long.ends_with("… 3 lines more"), "{long}");
    }
}
