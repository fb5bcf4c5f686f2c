//! Where `dev` writes: one line a happening, after its time or a word, with what belongs to it under it.

use std::cell::RefCell;

use saf_event::unix_millis;

use crate::cli::paint::{Paint, Tone};
use crate::cli::table::Out;
use crate::cli::text::{printable, rfc3339};
use crate::exit::Failure;

/// Columns of the time, or of the word in its place.
const MARGIN_CHARS: usize = 8;
/// Of an RFC 3339 time, `12:03:07`.
const CLOCK: std::ops::Range<usize> = 11..19;

pub(super) struct Screen {
    /// Borrowed for a line at a time, never over an await.
    out: RefCell<Out>,
    pub(super) paint: Paint,
}

impl Screen {
    pub(super) fn new() -> Self {
        Self { out: RefCell::new(Out::new()), paint: Paint::of_stdout() }
    }

    /// A line with the time. `text` must be fit for a terminal.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        let now = rfc3339(unix_millis());
        self.write(now.get(CLOCK).unwrap_or_default(), text)
    }

    /// A line with a word in the place of the time.
    pub(super) fn note(&self, word: &str, text: &str) -> Result<(), Failure> {
        self.write(word, text)
    }

    /// What belongs to the line above; made fit for a terminal here.
    pub(super) fn under(&self, tone: Tone, text: &str) -> Result<(), Failure> {
        text.lines().try_for_each(|line| self.write("", &self.paint.tone(tone, &printable(line))))
    }

    fn write(&self, margin: &str, text: &str) -> Result<(), Failure> {
        let mut out = self.out.borrow_mut();
        let margin = self.paint.tone(Tone::Faint, &format!("{margin:<MARGIN_CHARS$}"));
        out.line(format!("{margin} {text}").trim_end())?;
        out.flush()
    }
}
