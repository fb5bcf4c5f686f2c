//! Why a guest stopped, as its author wants it: the message of the panic and where it was, not the trap that the panic ends in.

use crate::cli::place;

/// Lines of a message that are shown; a traceback is one.
const MAX_LINES: usize = 12;
/// A message, and the place as `file:line:column` when it is known.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Stopped {
    pub(super) message: String,
    pub(super) place: Option<String>,
}

impl Stopped {
    pub(super) fn of(reason: &str, backtrace: Option<&str>, stderr: Option<&str>) -> Self {
        if let Some(panic) = stderr.and_then(panic) {
            return panic;
        }
        Self { message: head(reason), place: backtrace.and_then(place::authors).map(str::to_owned) }
    }
}

/// Rust's own words: `thread … panicked at src/lib.rs:14:31:`, then the message, then a hint about backtraces.
fn panic(stderr: &str) -> Option<Stopped> {
    let mut lines = stderr.lines();
    let place = lines.find_map(|line| line.split_once("panicked at ").map(|(_, place)| place))?;
    let message: Vec<_> = lines.take_while(|line| !line.starts_with("note: ")).collect();
    let place = place.trim_end_matches(':');
    Some(Stopped { message: head(message.join("\n").trim_end()), place: Some(place.to_owned()) })
}

fn head(text: &str) -> String {
    let lines: Vec<_> = text.lines().collect();
    match lines.len().checked_sub(MAX_LINES) {
        None | Some(0) => lines.join("\n"),
        Some(more) => format!("{}\n… {more} lines more", lines[..MAX_LINES].join("\n")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_told_in_its_own_words() {
        let stderr = "starting\n\nthread '<unnamed>' (1) panicked at src/lib.rs:14:31:\ncalled `Option::unwrap()` on a `None` \
                      value\nnote: run with `RUST_BACKTRACE=1` environment variable to display a backtrace\n";
        let stopped = Stopped::of("wasm trap: unreachable", Some("0: x\n  at /rustc/a.rs:1:1"), Some(stderr));
        assert_eq!(stopped.message, "called `Option::unwrap()` on a `None` value");
        assert_eq!(stopped.place.as_deref(), Some("src/lib.rs:14:31"));
    }

    #[test]
    fn anything_else_is_its_reason_at_the_first_frame_of_the_authors() {
        let backtrace = "    0:  0x1 - abort\n          at wasisdk://v30/abort.c:5:3\n    1: 0x2 - handle\n          at main.c:12:3";
        let stopped = Stopped::of("out of fuel", Some(backtrace), Some("a line"));
        assert_eq!(stopped, Stopped { message: "out of fuel".into(), place: Some("main.c:12:3".into()) });
        assert_eq!(Stopped::of("never", None, None).place, None);
        let long = Stopped::of(&"x\n".repeat(MAX_LINES + 3), None, None).message;
        assert!(long.ends_with("… 3 lines more"), "{long}");
    }
}
