//! What a dead letter keeps of long texts: the part that one mends a Channel by, and how much is missing.
//!
//! A backtrace begins with what every panic goes through (a dozen frames of std, core and libc, 2 KiB of paths), and only
//! then comes the guest's own code. So a backtrace that is too long loses the frames of the language's runtime first. Both
//! brokers shorten here. Deliberately absent: knowledge of any one guest; what cannot be told apart is kept as long as it fits.

use std::fmt::Write as _;

/// Room for the words that say how much was cut, in bytes.
const MARK_BYTES: usize = 32;
/// In the path of a frame's source: the language's own libraries, as rustc, wasi-sdk, Go, `TinyGo` and Zig name them.
const RUNTIME_PATHS: [&str; 8] = [
    "/rustc/",
    "/library/std/src/",
    "/library/core/src/",
    "/library/alloc/src/",
    "wasisdk://",
    "wasi-libc",
    "/src/runtime/",
    "/lib/std/",
];
/// How the name of a frame without a source begins, when it is the language's own.
const RUNTIME_NAMES: [&str; 12] = [
    "core[", "core::", "std[", "std::", "alloc[", "alloc::", "__rust", "<core", "<std", "<alloc", "abort",
    "runtime.",
];

/// A text of at most `limit` bytes; when something is missing, its end says how much.
pub(crate) fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let kept = text.floor_char_boundary(limit.saturating_sub(MARK_BYTES));
    format!("{}… ({} bytes cut)", &text[..kept], text.len() - kept)
}

/// A backtrace of at most `limit` bytes: whole when it fits, then [`own_frames`], then cut.
pub(crate) fn fit_backtrace(backtrace: &str, limit: usize) -> String {
    if backtrace.len() <= limit {
        return backtrace.to_owned();
    }
    cut(&own_frames(backtrace), limit)
}

/// A backtrace without the frames of the language's runtime, and with a line that says how many were left out. Unchanged when
/// every frame is such a one, or none.
pub(crate) fn own_frames(backtrace: &str) -> String {
    let frames = frames(backtrace);
    let own: Vec<_> = frames.iter().filter(|frame| !is_runtime(frame)).collect();
    let left_out = frames.len() - own.len();
    if own.is_empty() || left_out == 0 {
        return backtrace.to_owned();
    }
    let mut text = own.iter().flat_map(|frame| frame.iter().copied()).collect::<Vec<_>>().join("\n");
    let _ = write!(text, "\n    ({left_out} frames of the language's runtime left out)");
    text
}

/// A frame is a line with its name and, where the component knows it, one with its place (`at <file>:<line>`). Frames that were
/// inlined into it are frames of their own, without a number.
fn frames(backtrace: &str) -> Vec<Vec<&str>> {
    let mut frames: Vec<Vec<&str>> = Vec::new();
    for line in backtrace.lines() {
        match frames.last_mut() {
            Some(frame) if line.trim_start().starts_with("at ") => frame.push(line),
            _ => frames.push(vec![line]),
        }
    }
    frames
}

fn is_runtime(frame: &[&str]) -> bool {
    match frame {
        [_, places @ ..] if !places.is_empty() => {
            places.iter().all(|place| RUNTIME_PATHS.iter().any(|path| place.contains(path)))
        }
        [name, ..] => {
            let name =
                name.rsplit_once(" - ").or_else(|| name.rsplit_once("- ")).map_or(*name, |(_, name)| name);
            RUNTIME_NAMES.iter().any(|known| name.trim_start().starts_with(known))
        }
        [] => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A panic of a Rust guest, as wasmtime prints it.
    const PANIC: &str = "    0:  0x13ae9 - abort
                    at wasisdk://v30.0/build/sysroot/src/wasi-libc/libc-bottom-half/sources/abort.c:5:3
    1:  0x1042f - std[d123b7a1a2ed1472]::process::abort
                    at /rustc/59807616e1fa2540724bfbac14d7976d7e4a3860/library/std/src/process.rs:2533:5
    2:   0x3cb3 - core[6d9e98711c484d2e]::panicking::panic_fmt
    3:   0x6dc0 - perform
                    at guests/rust/hostile/src/mode.rs:67:27
                - handle
                    at guests/rust/hostile/src/lib.rs:59:17
    4:   0x7000 - main.Handle";

    #[test]
    fn a_backtrace_that_is_too_long_loses_the_frames_of_the_runtime_first() {
        assert_eq!(fit_backtrace(PANIC, PANIC.len()), PANIC, "whole when it fits");
        let fitted = fit_backtrace(PANIC, PANIC.len() - 1);
        assert_eq!(
            fitted,
            "    3:   0x6dc0 - perform
                    at guests/rust/hostile/src/mode.rs:67:27
                - handle
                    at guests/rust/hostile/src/lib.rs:59:17
    4:   0x7000 - main.Handle
    (3 frames of the language's runtime left out)"
        );
        let cut = fit_backtrace(PANIC, 150);
        assert!(cut.len() <= 150 && cut.contains("mode.rs:67:27") && cut.ends_with(" bytes cut)"), "{cut}");
    }

    #[test]
    fn frames_that_cannot_be_told_apart_are_kept() {
        for backtrace in
            ["    0: 0x1 - abort\n    1: 0x2 - core::panicking::panic", "    0: 0x1 - mine", "", "no frame"]
        {
            assert_eq!(own_frames(backtrace), backtrace);
        }
    }

    #[test]
    fn a_text_that_was_cut_says_how_much_is_missing() {
        assert_eq!(cut("short", 5), "short");
        let cut = cut(&"ö".repeat(100), 101);
        assert!(cut.len() <= 101, "{}", cut.len());
        assert_eq!(cut, format!("{}… (132 bytes cut)", "ö".repeat(34)));
    }
}
