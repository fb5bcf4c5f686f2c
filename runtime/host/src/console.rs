//! Where a guest's stdout, stderr and log lines go: line by line into tracing (target `guest`), under a cap for each event, with
//! the end of stderr kept, because that is where panics and tracebacks are.
//!
//! A guest cannot forge the structure of a log: a line is one field of one event, and everything in it that a terminal or a log
//! reader could take for structure (control characters, line and paragraph separators, changes of direction) is escaped.
//! Deliberately absent: parsing what a guest writes.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use saf_event::{ByteString, ChannelName, TraceContext};

/// Longest line; a longer one is broken.
pub(crate) const MAX_LINE_BYTES: usize = 8 << 10;

/// How much of the end of stderr a [`crate::Fault`] carries.
pub const STDERR_TAIL_BYTES: usize = 4 << 10;

/// How loud a line is: WASI's levels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// The finest.
    Trace,
    /// For whoever debugs the guest.
    Debug,
    /// stdout's.
    Info,
    /// stderr's.
    Warn,
    /// Something failed.
    Error,
    /// Logged as an error.
    Critical,
}

/// Where a guest wrote a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// wasi:logging, with its context.
    Logging {
        /// The level.
        level: Level,
        /// The guest's word for the part of it that speaks; may be empty.
        context: String,
    },
    /// Nowhere: the host says how much it dropped, or what it denied.
    Host,
}

/// A line that a guest wrote, escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine {
    /// Where it wrote it.
    pub source: Source,
    /// One line.
    pub text: String,
}

/// Which of the two standard outputs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Stream {
    Stdout,
    Stderr,
}

/// Where finished lines go.
pub(crate) enum Sink {
    /// To tracing, under the Channel's name.
    Tracing(ChannelName),
    /// Kept: bounded by `limits.log`.
    Kept(Vec<LogLine>),
}

/// One instance's output. Clones write to the same place: WASI hands a guest as many streams as it asks for. The lock is never
/// contended, a store runs on one thread at a time.
#[derive(Clone)]
pub(crate) struct Console(Arc<Mutex<Sheet>>);

struct Sheet {
    sink: Sink,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    tail: Vec<u8>,
    /// Of the event, when it is recorded.
    traceparent: Option<ByteString>,
    max_bytes: usize,
    left: usize,
    dropped: u64,
}

impl Console {
    /// `max_bytes` is the cap of one event.
    pub(crate) fn new(sink: Sink, max_bytes: usize) -> Self {
        let (stdout, stderr, tail) = (Vec::new(), Vec::new(), Vec::new());
        Self(Arc::new(Mutex::new(Sheet {
            sink,
            stdout,
            stderr,
            tail,
            traceparent: None,
            max_bytes,
            left: max_bytes,
            dropped: 0,
        })))
    }

    fn sheet(&self) -> MutexGuard<'_, Sheet> {
        // Nothing of ours panics while it holds the lock; a subscriber's panic leaves the sheet whole.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The trace that lines belong to until the event ends.
    pub(crate) fn trace(&self, traceparent: &ByteString) {
        self.sheet().traceparent = Some(traceparent.clone());
    }

    pub(crate) fn write(&self, stream: Stream, bytes: &[u8]) {
        self.sheet().write(stream, bytes);
    }

    pub(crate) fn log(&self, level: Level, context: &str, message: &str) {
        self.sheet().log(level, context, message);
    }

    /// A line of the host's own about what the guest does, under the guest's cap.
    pub(crate) fn note(&self, text: &str) {
        self.sheet().note(text);
    }

    /// The end of stderr since the event began.
    pub(crate) fn stderr_tail(&self) -> String {
        let sheet = self.sheet();
        let start = sheet.tail.len().saturating_sub(STDERR_TAIL_BYTES);
        String::from_utf8_lossy(&sheet.tail[start..]).into_owned()
    }

    /// Ends an event: writes what has no line end yet, says what was dropped, and opens the next event's budget.
    pub(crate) fn finish(&self) {
        self.sheet().finish();
    }

    /// What a [`Sink::Kept`] kept.
    pub(crate) fn take_lines(&self) -> Vec<LogLine> {
        match &mut self.sheet().sink {
            Sink::Tracing(_) => Vec::new(),
            Sink::Kept(lines) => std::mem::take(lines),
        }
    }
}

impl Sheet {
    fn write(&mut self, stream: Stream, bytes: &[u8]) {
        if stream == Stream::Stderr {
            self.keep_tail(bytes);
        }
        let logged = &bytes[..bytes.len().min(self.left)];
        self.left -= logged.len();
        self.dropped += (bytes.len() - logged.len()) as u64;
        for part in logged.split_inclusive(|&b| b == b'\n') {
            self.append(stream, part);
        }
    }

    /// Keeps between one and two times [`STDERR_TAIL_BYTES`], so that the front is moved rarely.
    fn keep_tail(&mut self, bytes: &[u8]) {
        let bytes = &bytes[bytes.len().saturating_sub(STDERR_TAIL_BYTES)..];
        if self.tail.len() + bytes.len() > 2 * STDERR_TAIL_BYTES {
            let surplus = self.tail.len().saturating_sub(STDERR_TAIL_BYTES);
            self.tail.drain(..surplus);
        }
        self.tail.extend_from_slice(bytes);
    }

    /// `part` holds at most one line end, at its end.
    fn append(&mut self, stream: Stream, mut part: &[u8]) {
        loop {
            let line = self.line(stream);
            let taken = part.len().min(MAX_LINE_BYTES - line.len());
            line.extend_from_slice(&part[..taken]);
            part = &part[taken..];
            let ended = line.last() == Some(&b'\n');
            if ended || line.len() == MAX_LINE_BYTES {
                self.end_line(stream);
            }
            if part.is_empty() {
                return;
            }
        }
    }

    fn line(&mut self, stream: Stream) -> &mut Vec<u8> {
        match stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        }
    }

    /// Emits what the buffer holds; a character that is broken off at the end of a full one waits for its rest.
    fn end_line(&mut self, stream: Stream) {
        let mut buffer = std::mem::take(self.line(stream));
        let whole = match str::from_utf8(&buffer) {
            Err(error) if error.error_len().is_none() && error.valid_up_to() > 0 => error.valid_up_to(),
            Ok(_) | Err(_) => buffer.len(),
        };
        let text = String::from_utf8_lossy(&buffer[..whole]);
        let text = text.strip_suffix('\n').unwrap_or(&text);
        let text = text.strip_suffix('\r').unwrap_or(text);
        let source = match stream {
            Stream::Stdout => Source::Stdout,
            Stream::Stderr => Source::Stderr,
        };
        self.emit(source, text);
        buffer.drain(..whole);
        *self.line(stream) = buffer;
    }

    fn log(&mut self, level: Level, context: &str, message: &str) {
        let bytes = context.len() + message.len();
        if bytes > self.left {
            self.dropped += bytes as u64;
            return;
        }
        self.left -= bytes;
        self.emit(Source::Logging { level, context: escape(context).into_owned() }, message);
    }

    fn note(&mut self, text: &str) {
        match self.left.checked_sub(text.len()) {
            Some(left) => {
                self.left = left;
                self.emit(Source::Host, text);
            }
            None => self.dropped += text.len() as u64,
        }
    }

    fn finish(&mut self) {
        for stream in [Stream::Stdout, Stream::Stderr] {
            while !self.line(stream).is_empty() {
                self.line(stream).push(b'\n');
                self.end_line(stream);
            }
        }
        if self.dropped > 0 {
            let text =
                format!("… {} bytes of log dropped (limits.log is {} bytes)", self.dropped, self.max_bytes);
            self.emit(Source::Host, &text);
        }
        self.tail.clear();
        self.traceparent = None;
        self.left = self.max_bytes;
        self.dropped = 0;
    }

    fn emit(&mut self, source: Source, text: &str) {
        let text = escape(text);
        match &mut self.sink {
            Sink::Tracing(channel) => trace(channel, self.traceparent.as_ref(), &source, &text),
            Sink::Kept(lines) => lines.push(LogLine { source, text: text.into_owned() }),
        }
    }
}

fn trace(channel: &ChannelName, traceparent: Option<&ByteString>, source: &Source, text: &str) {
    let place = traceparent.and_then(|header| TraceContext::parse(header));
    let trace_id = place.map(|place| place.trace_id().to_string());
    let span_id = place.map(|place| format!("{:016x}", place.span_id()));
    match source {
        Source::Stdout => {
            tracing::info!(target: "guest", %channel, trace_id, span_id, stream = "stdout", "{text}")
        }
        Source::Stderr => {
            tracing::warn!(target: "guest", %channel, trace_id, span_id, stream = "stderr", "{text}")
        }
        Source::Host => {
            tracing::warn!(target: "guest", %channel, trace_id, span_id, stream = "host", "{text}")
        }
        Source::Logging { level, context } => match level {
            Level::Trace => {
                tracing::trace!(target: "guest", %channel, trace_id, span_id, stream = "log", context, "{text}")
            }
            Level::Debug => {
                tracing::debug!(target: "guest", %channel, trace_id, span_id, stream = "log", context, "{text}")
            }
            Level::Info => {
                tracing::info!(target: "guest", %channel, trace_id, span_id, stream = "log", context, "{text}")
            }
            Level::Warn => {
                tracing::warn!(target: "guest", %channel, trace_id, span_id, stream = "log", context, "{text}")
            }
            Level::Error => {
                tracing::error!(target: "guest", %channel, trace_id, span_id, stream = "log", context, "{text}")
            }
            Level::Critical => {
                tracing::error!(target: "guest", %channel, trace_id, span_id, stream = "log", critical = true, context, "{text}");
            }
        },
    }
}

/// Does not allocate for a line that has nothing to escape.
fn escape(text: &str) -> Cow<'_, str> {
    if !text.contains(is_structure) {
        return Cow::Borrowed(text);
    }
    let mut escaped = String::with_capacity(text.len() + 16);
    for c in text.chars() {
        if is_structure(c) {
            // Writing to a String cannot fail.
            let _ = write!(escaped, "{}", c.escape_default());
        } else {
            escaped.push(c);
        }
    }
    Cow::Owned(escaped)
}

fn is_structure(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn console(max_bytes: usize) -> Console {
        Console::new(Sink::Kept(Vec::new()), max_bytes)
    }

    fn texts(console: &Console) -> Vec<String> {
        console.take_lines().into_iter().map(|line| line.text).collect()
    }

    #[test]
    fn a_line_is_whole_however_it_was_written() {
        let console = console(1000);
        for part in ["one\ntw", "o", "\r\n\nthr", "ee"] {
            console.write(Stream::Stdout, part.as_bytes());
        }
        assert_eq!(texts(&console), ["one", "two", ""]);
        console.finish();
        assert_eq!(texts(&console), ["three"]);
    }

    #[test]
    fn the_streams_do_not_mix() {
        let console = console(1000);
        console.write(Stream::Stdout, b"out");
        console.write(Stream::Stderr, b"err\n");
        console.write(Stream::Stdout, b"put\n");
        let lines: Vec<_> = console.take_lines().into_iter().map(|line| (line.source, line.text)).collect();
        assert_eq!(lines, [(Source::Stderr, "err".into()), (Source::Stdout, "output".into())]);
    }

    #[test]
    fn a_guest_cannot_forge_the_structure_of_a_log() {
        for (written, logged) in [
            ("plain größe 👍", "plain größe 👍"),
            ("a\rb\x1b[31mred", "a\\rb\\u{1b}[31mred"),
            ("nul\0 tab\t bell\x07", "nul\\u{0} tab\\t bell\\u{7}"),
            ("c1\u{9b}31m", "c1\\u{9b}31m"),
            ("sep\u{2028}arated", "sep\\u{2028}arated"),
            ("\u{202e}desrever", "\\u{202e}desrever"),
        ] {
            let console = console(1000);
            console.write(Stream::Stdout, written.as_bytes());
            console.finish();
            assert_eq!(texts(&console), [logged], "{written:?}");
        }
        let console = console(1000);
        console.log(Level::Info, "a\nb", "c\nINFO forged");
        let [line] = &console.take_lines()[..] else { panic!("one line") };
        assert_eq!(line.text, "c\\nINFO forged");
        assert_eq!(line.source, Source::Logging { level: Level::Info, context: "a\\nb".into() });
    }

    #[test]
    fn what_is_beyond_the_cap_is_dropped_and_counted_for_each_event() {
        let console = console(10);
        console.write(Stream::Stdout, b"0123456\n89abcdef\n");
        console.log(Level::Warn, "", "too much");
        console.finish();
        assert_eq!(texts(&console), ["0123456", "89", "… 15 bytes of log dropped (limits.log is 10 bytes)"]);
        console.write(Stream::Stdout, b"next\n");
        console.finish();
        assert_eq!(texts(&console), ["next"]);
    }

    #[test]
    fn a_long_line_is_broken_between_characters() {
        let console = console(usize::MAX);
        let text = format!("a{}", "ü".repeat(MAX_LINE_BYTES));
        console.write(Stream::Stdout, text.as_bytes());
        console.finish();
        let lines = texts(&console);
        assert_eq!(lines.concat(), text);
        assert!(lines.len() == 3 && lines.iter().all(|line| line.len() <= MAX_LINE_BYTES));
    }

    #[test]
    fn what_is_no_text_is_logged_all_the_same() {
        let console = console(1000);
        console.write(Stream::Stdout, b"\xff\xfe ok\n\xc3");
        console.finish();
        assert_eq!(texts(&console), ["\u{fffd}\u{fffd} ok", "\u{fffd}"]);
    }

    #[test]
    fn the_end_of_stderr_is_kept_even_beyond_the_cap() {
        let console = console(0);
        for n in 0..10_000 {
            console.write(Stream::Stderr, format!("line {n}\n").as_bytes());
        }
        let tail = console.stderr_tail();
        assert!(tail.len() <= STDERR_TAIL_BYTES && tail.len() > STDERR_TAIL_BYTES - 16, "{}", tail.len());
        assert!(tail.ends_with("line 9998\nline 9999\n"));
        console.finish();
        assert_eq!(console.stderr_tail(), "");
    }
}
