//! Making strangers' bytes fit for a terminal: control characters escaped, long text cut, times in RFC 3339, sizes readable.
//! What goes into a file or a pipe by `events data` does not pass through here: that is byte for byte.

use std::fmt::Write;
use std::time::{Duration, UNIX_EPOCH};

use serde::Deserialize;
use serde_json::value::RawValue;

/// The last millisecond of the year 9999, beyond which RFC 3339 does not go.
const MAX_MILLIS: u64 = 253_402_300_799_999;

/// Whether a terminal might act on it: control characters, and those that turn the direction of writing.
fn acts(c: char) -> bool {
    c.is_control() || matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// With everything escaped that a terminal might act on; on one line.
pub(crate) fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// [`printable`], but line breaks and tabs stay: for blocks of text.
pub(crate) fn printable_lines(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if acts(c) && !matches!(c, '\n' | '\t') { out.extend(c.escape_default()) } else { out.push(c) }
    }
    out
}

/// Thousands apart: `41 302`.
pub(crate) fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut out = String::with_capacity(digits.len() * 4 / 3 + 1);
    for (at, digit) in digits.char_indices() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            out.push(' ');
        }
        out.push(digit);
    }
    out
}

/// [`printable`], at most `max_chars` long.
pub(crate) fn short(text: &str, max_chars: usize) -> String {
    // One more than may be shown tells whether something is cut; escapes make it longer, so it is cut once more.
    let head: String = text.chars().take(max_chars + 1).collect();
    let head = printable(&head);
    if head.chars().count() <= max_chars {
        return head;
    }
    head.chars().take(max_chars.saturating_sub(1)).chain(['…']).collect()
}

/// JSON on one line, the same value: line breaks between tokens become spaces, characters that a terminal might act on can only
/// stand in strings, where they are escaped.
pub(crate) fn json_line(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len());
    let mut units = [0; 2];
    for c in raw.chars() {
        match c {
            '\n' | '\r' | '\t' => out.push(' '),
            c if acts(c) => {
                for unit in c.encode_utf16(&mut units) {
                    // Writing to a string cannot fail.
                    let _ = write!(out, "\\u{unit:04x}");
                }
            }
            c => out.push(c),
        }
    }
    out
}

/// JSON laid out over lines. Works on the text, so that numbers keep their digits and keys their order.
pub(crate) fn laid_out(raw: &str) -> String {
    let mut out = String::with_capacity(raw.len() * 2);
    let (mut place, mut depth, mut opened) = (Place::Between, 0_usize, false);
    for c in raw.chars() {
        if place == Place::Between {
            if matches!(c, ' ' | '\n' | '\r' | '\t') {
                continue;
            }
            let closes = matches!(c, '}' | ']');
            depth = depth.saturating_sub(usize::from(closes));
            if opened != closes || out.ends_with(',') {
                break_line(&mut out, depth);
            }
            opened = matches!(c, '{' | '[');
            depth += usize::from(opened);
        }
        out.push(c);
        if place == Place::Between && c == ':' {
            out.push(' ');
        }
        place = place.after(c);
    }
    out
}

/// Where a reader of JSON stands.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Between,
    Text,
    Escape,
}

impl Place {
    const fn after(self, c: char) -> Self {
        match (self, c) {
            (Self::Between, '"') | (Self::Escape, _) => Self::Text,
            (Self::Between, _) | (Self::Text, '"') => Self::Between,
            (Self::Text, '\\') => Self::Escape,
            (Self::Text, _) => Self::Text,
        }
    }
}

fn break_line(out: &mut String, depth: usize) {
    out.push('\n');
    out.extend(std::iter::repeat_n("  ", depth));
}

/// RFC 3339 with milliseconds.
pub(crate) fn rfc3339(millis: u64) -> String {
    humantime::format_rfc3339_millis(UNIX_EPOCH + Duration::from_millis(millis.min(MAX_MILLIS))).to_string()
}

/// A time in an answer: RFC 3339, or milliseconds since the Unix epoch.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(untagged)]
pub(crate) enum Time {
    Millis(u64),
    Text(String),
}

impl std::fmt::Display for Time {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Millis(millis) => f.write_str(&rfc3339(*millis)),
            Self::Text(text) => f.write_str(&printable(text)),
        }
    }
}

/// Microseconds as a person reads them.
pub(crate) fn micros(micros: u64) -> String {
    match micros {
        0..1_000 => format!("{micros} us"),
        1_000..1_000_000 => format!("{:.1} ms", micros as f64 / 1e3),
        _ => format!("{:.1} s", micros as f64 / 1e6),
    }
}

/// Bytes as a person reads them: as text when they are text, else how many.
pub(crate) fn bytes(bytes: &[u8], max_chars: usize) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => short(text, max_chars),
        Err(_) => format!("({} of binary data)", saf_event::Size(bytes.len() as u64)),
    }
}

/// Reads a field that is there, `null` included.
pub(crate) fn present<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Box<RawValue>>, D::Error> {
    Box::<RawValue>::deserialize(deserializer).map(Some)
}

/// A point in time as people type it: RFC 3339, milliseconds since the epoch, or how long ago (`10m`).
pub(crate) fn since(text: &str) -> Result<String, String> {
    if text.parse::<u64>().is_ok() {
        return Ok(text.to_owned());
    }
    if let Ok(time) = humantime::parse_rfc3339_weak(text) {
        return Ok(rfc3339(time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)));
    }
    let ago = humantime::parse_duration(text).map_err(|_| {
        "write a time such as 2026-01-31T12:00:00Z, or how long ago, such as 10m or 2h".to_owned()
    })?;
    Ok(rfc3339(saf_event::unix_millis().saturating_sub(ago.as_millis() as u64)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (n, text) in
            [(0, "0"), (999, "999"), (1_000, "1 000"), (41_302, "41 302"), (1_234_567, "1 234 567")]
        {
            assert_eq!(grouped(n), text);
        }
    }

    #[test]
    fn nothing_a_stranger_sent_moves_the_cursor() {
        for (text, shown) in [
            ("plain, grün 👍", "plain, grün 👍"),
            ("\u{1b}[2J", "\\u{1b}[2J"),
            ("a\r\nb\tc", "a\\r\\nb\\tc"),
            ("\u{9b}31m\u{7f}", "\\u{9b}31m\\u{7f}"),
            ("\u{202e}evil", "\\u{202e}evil"),
        ] {
            assert_eq!(printable(text), shown);
        }
        assert_eq!(printable_lines("a\n\tb\u{7}"), "a\n\tb\\u{7}");
    }

    #[test]
    fn long_text_is_cut_and_stays_within_its_width() {
        for (text, shown) in [("12345", "12345"), ("123456", "1234…"), ("\u{1b}\u{1b}", "\\u{1…"), ("", "")]
        {
            assert_eq!(short(text, 5), shown);
        }
    }

    #[test]
    fn json_stays_the_same_value_on_one_line() {
        let raw = "{\n  \"big\": 12345678901234567890123,\r\n\t\"text\": \"\u{9b}\u{202e}\\n\"\n}";
        let line = json_line(raw);
        assert!(!line.contains(['\n', '\r', '\u{9b}', '\u{202e}']), "{line}");
        assert!(line.contains("12345678901234567890123"), "{line}");
        let value = |text: &str| serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert_eq!(value(raw)["text"], value(&line)["text"]);
    }

    #[test]
    fn laying_out_changes_white_space_only() {
        for (raw, shown) in [
            ("1", "1"),
            ("[]", "[]"),
            ("{ }", "{}"),
            ("[1,[2 , {}]]", "[\n  1,\n  [\n    2,\n    {}\n  ]\n]"),
            (r#"{"a":1.0e2,"b":"x\", {"}"#, "{\n  \"a\": 1.0e2,\n  \"b\": \"x\\\", {\"\n}"),
        ] {
            assert_eq!(laid_out(raw), shown);
            assert_eq!(laid_out(shown), shown, "laid out already");
        }
    }

    #[test]
    fn times_are_rfc_3339_and_may_be_given_as_how_long_ago() {
        assert_eq!(rfc3339(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(rfc3339(u64::MAX), "9999-12-31T23:59:59.999Z");
        for (text, sent) in [
            ("1700000000123", "1700000000123"),
            ("2026-01-31T12:00:00Z", "2026-01-31T12:00:00.000Z"),
            ("2026-01-31 12:00:00", "2026-01-31T12:00:00.000Z"),
        ] {
            assert_eq!(since(text), Ok(sent.to_owned()));
        }
        let ago = since("10m").expect("a duration");
        assert!(ago < rfc3339(saf_event::unix_millis()) && ago.ends_with('Z'), "{ago}");
        assert!(since("yesterday").is_err_and(|error| error.contains("10m")));
    }

    #[test]
    fn durations_are_readable() {
        for (n, text) in [(999, "999 us"), (1_500, "1.5 ms"), (2_000_000, "2.0 s")] {
            assert_eq!(micros(n), text);
        }
    }
}
