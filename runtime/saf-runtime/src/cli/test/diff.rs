//! What is different between what was expected and what came: for JSON the places, for text and bytes the part around the first
//! difference. Bounded: the first differences are the ones that are read.

use std::fmt::Write;

use serde_json::{Number, Value};

/// Most differences of one emission.
const MAX_DIFFERENCES: usize = 20;
/// Longest value that is shown.
const MAX_VALUE_CHARS: usize = 200;
/// Bytes on a line of a dump, and lines.
const DUMP_LINE_BYTES: usize = 16;
const DUMP_LINES: usize = 3;

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Difference {
    /// Where: `emission 1, data.driver.name`.
    pub(super) place: String,
    /// What was expected there; may have several lines. `None`: nothing.
    pub(super) expected: Option<String>,
    /// What came.
    pub(super) got: Option<String>,
}

impl Difference {
    pub(super) fn new(place: impl Into<String>, expected: impl Into<String>, got: impl Into<String>) -> Self {
        Self { place: place.into(), expected: Some(expected.into()), got: Some(got.into()) }
    }
}

/// Where two JSON values differ; the order of keys does not count, `1` and `1.0` are the same number.
pub(super) fn json(place: &str, expected: &Value, got: &Value, found: &mut Vec<Difference>) {
    if found.len() >= MAX_DIFFERENCES {
        return;
    }
    match (expected, got) {
        (Value::Object(wanted), Value::Object(came)) => {
            for (key, value) in wanted {
                one(&member(place, key), Some(value), came.get(key), found);
            }
            for (key, value) in came.iter().filter(|(key, _)| !wanted.contains_key(*key)) {
                one(&member(place, key), None, Some(value), found);
            }
        }
        (Value::Array(wanted), Value::Array(came)) => {
            for n in 0..wanted.len().max(came.len()) {
                one(&format!("{place}[{n}]"), wanted.get(n), came.get(n), found);
            }
        }
        (Value::Number(a), Value::Number(b)) if same_number(a, b) => {}
        (expected, got) if expected == got => {}
        (expected, got) => found.push(Difference::new(place, shown(expected), shown(got))),
    }
}

fn one(place: &str, expected: Option<&Value>, got: Option<&Value>, found: &mut Vec<Difference>) {
    match (expected, got) {
        (Some(expected), Some(got)) => json(place, expected, got, found),
        (expected, got) if found.len() < MAX_DIFFERENCES => {
            let place = place.to_owned();
            found.push(Difference { place, expected: expected.map(shown), got: got.map(shown) });
        }
        (_, _) => {}
    }
}

fn same_number(a: &Number, b: &Number) -> bool {
    // Two integers are compared exactly, beyond 2^53 too.
    a == b || ((a.is_f64() || b.is_f64()) && a.as_f64() == b.as_f64())
}

fn member(place: &str, key: &str) -> String {
    let plain = !key.is_empty() && key.chars().all(|c| c.is_alphanumeric() || c == '_' || c == '-');
    if plain { format!("{place}.{key}") } else { format!("{place}[{key:?}]") }
}

fn shown(value: &Value) -> String {
    let text = value.to_string();
    if text.chars().count() <= MAX_VALUE_CHARS {
        return text;
    }
    text.chars().take(MAX_VALUE_CHARS).chain(['…']).collect()
}

/// The first difference of two texts or of bytes. `None` when they are the same.
pub(super) fn bytes(place: &str, expected: &[u8], got: &[u8]) -> Option<Difference> {
    if expected == got {
        return None;
    }
    let same = expected.iter().zip(got).take_while(|(a, b)| a == b).count();
    let place = format!("{place}, from byte {same} on");
    let short = |bytes: &[u8]| bytes.len() <= MAX_VALUE_CHARS;
    match (std::str::from_utf8(expected), std::str::from_utf8(got)) {
        (Ok(a), Ok(b)) if short(expected) && short(got) => {
            Some(Difference::new(place, format!("{a:?}"), format!("{b:?}")))
        }
        _ => Some(Difference::new(place, dump(expected, same), dump(got, same))),
    }
}

/// Hexadecimal and text, from the line before `at`.
fn dump(bytes: &[u8], at: usize) -> String {
    let first = (at / DUMP_LINE_BYTES).saturating_sub(1);
    let mut out = format!("{} bytes", bytes.len());
    for (n, line) in bytes.chunks(DUMP_LINE_BYTES).enumerate().skip(first).take(DUMP_LINES) {
        let hex = line.iter().fold(String::new(), |mut hex, byte| {
            // Writing to a string cannot fail.
            let _ = write!(hex, "{byte:02x} ");
            hex
        });
        let text: String =
            line.iter().map(|&b| if b.is_ascii_graphic() || b == b' ' { b as char } else { '.' }).collect();
        let _ =
            write!(out, "\n{:08x}  {hex:<width$} {text}", n * DUMP_LINE_BYTES, width = 3 * DUMP_LINE_BYTES);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(expected: &str, got: &str) -> Vec<(String, Option<String>, Option<String>)> {
        let value = |text| serde_json::from_str(text).expect("JSON");
        let mut found = Vec::new();
        json("data", &value(expected), &value(got), &mut found);
        found.into_iter().map(|Difference { place, expected, got }| (place, expected, got)).collect()
    }

    #[test]
    fn json_differs_at_places() {
        let some = |text: &str| Some(text.to_owned());
        for (expected, got, found) in [
            (r#"{"a": 1, "b": 2}"#, r#"{"b":2,"a":1.0}"#, vec![]),
            (
                r#"{"a": {"b": [1, 2]}}"#,
                r#"{"a": {"b": [1, 3]}}"#,
                vec![("data.a.b[1]".to_owned(), some("2"), some("3"))],
            ),
            (
                r#"{"a": 1}"#,
                r#"{"b": 1}"#,
                vec![("data.a".to_owned(), some("1"), None), ("data.b".to_owned(), None, some("1"))],
            ),
            ("[1]", "[1, null]", vec![("data[1]".to_owned(), None, some("null"))]),
            (
                r#"{"a.b": "x"}"#,
                r#"{"a.b": 1}"#,
                vec![("data[\"a.b\"]".to_owned(), some("\"x\""), some("1"))],
            ),
            (
                "9007199254740993",
                "9007199254740992",
                vec![("data".to_owned(), some("9007199254740993"), some("9007199254740992"))],
            ),
        ] {
            assert_eq!(places(expected, got), found, "{expected} {got}");
        }
        let many = |n: u32| format!("[{}]", vec![n.to_string(); 100].join(","));
        assert_eq!(places(&many(1), &many(2)).len(), MAX_DIFFERENCES);
    }

    #[test]
    fn bytes_are_dumped_around_the_first_difference() {
        assert_eq!(bytes("data", b"same", b"same"), None);
        let text = bytes("data", "grün".as_bytes(), "grau".as_bytes()).expect("different");
        assert_eq!(text, Difference::new("data, from byte 2 on", "\"grün\"", "\"grau\""));
        let mut got = vec![0xff; 100];
        got[40] = b'A';
        let dumped = bytes("data", &[0xff; 100], &got).expect("different");
        assert_eq!(dumped.place, "data, from byte 40 on");
        let got = dumped.got.expect("bytes");
        assert!(got.starts_with("100 bytes\n00000010  ff ff") && got.contains("........A......."), "{got}");
        assert_eq!(got.lines().count(), 1 + DUMP_LINES);
    }
}
