//! A case file: one event, and what must become of it. Read strictly: an unknown key is a slip, and is shown with its line.

use std::path::{Path, PathBuf};

use saf_event::{ByteString, Event, EventId, Headers, Subject};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;
use serde_json::{Map, Value};

use super::expect::{Expect, given};
use super::http::Exchange;
use super::payload::Payload;
use crate::cli::text::present;
use crate::config::Report;

/// Larger files are no cases.
const MAX_CASE_BYTES: u64 = 64 << 20;
/// The time of an event that names none: 2026-01-01T00:00:00Z, in milliseconds since the Unix epoch. The guest's clock stands there.
const DEFAULT_TIME_MILLIS: u64 = 1_767_225_600_000;
const DEFAULT_ID: &str = "case-1";

/// A case.
#[derive(Clone, Debug)]
pub(super) struct CaseFile {
    /// Where it stands.
    pub(super) path: PathBuf,
    /// The file as it is, for `--update`.
    pub(super) text: String,
    pub(super) event: Event,
    pub(super) attempt: u32,
    /// Instead of the Channel's own.
    pub(super) config: Option<Map<String, Value>>,
    /// What its requests must be, and what they are answered with; `None`: they are denied.
    pub(super) http: Option<Vec<Exchange>>,
    pub(super) expect: Expect,
    /// The units of fuel that it must use.
    pub(super) fuel: Option<u64>,
}

impl CaseFile {
    pub(super) fn read(path: &Path) -> Result<Self, Report> {
        let unreadable =
            |error: &std::io::Error| Report::text(format!("cannot read {}: {error}", path.display()));
        let size = std::fs::metadata(path).map_err(|error| unreadable(&error))?.len();
        if size > MAX_CASE_BYTES {
            return Err(Report::text(format!(
                "{}: {} are too much for a case, {} is the limit",
                path.display(),
                saf_event::Size(size),
                saf_event::Size(MAX_CASE_BYTES)
            )));
        }
        let text = std::fs::read_to_string(path).map_err(|error| unreadable(&error))?;
        Self::parse(path, text)
    }

    #[cfg(test)]
    pub(super) fn for_tests(text: &str) -> Self {
        Self::parse(Path::new("case.json"), text.to_owned()).expect("a case")
    }

    fn parse(path: &Path, text: String) -> Result<Self, Report> {
        let json = &mut serde_json::Deserializer::from_str(&text);
        let file: File = serde_path_to_error::deserialize(&mut *json)
            .map_err(|error| Report::json(path, &text, &error))?;
        json.end().map_err(|error| Report::after_json(path, &text, &error))?;
        let File { event: GivenEvent { event, attempt }, config, http, expect, fuel } = file;
        Ok(Self { path: path.to_owned(), text, event, attempt, config, http, expect, fuel })
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    event: GivenEvent,
    #[serde(default)]
    config: Option<Map<String, Value>>,
    #[serde(default)]
    http: Option<Vec<Exchange>>,
    expect: Expect,
    #[serde(default)]
    fuel: Option<u64>,
}

struct GivenEvent {
    event: Event,
    attempt: u32,
}

impl<'de> Deserialize<'de> for GivenEvent {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            subject: String,
            #[serde(default, deserialize_with = "present")]
            data: Option<Box<RawValue>>,
            #[serde(default)]
            data_base64: Option<String>,
            #[serde(default)]
            id: Option<String>,
            #[serde(default)]
            headers: Vec<(String, String)>,
            #[serde(default, deserialize_with = "given")]
            content_type: Option<Option<String>>,
            #[serde(default)]
            time: Option<u64>,
            #[serde(default)]
            sequence: Option<u64>,
            #[serde(default)]
            attempt: Option<u32>,
        }
        let table = Table::deserialize(deserializer)?;
        let payload =
            Payload::read(table.data.as_deref(), table.data_base64.as_deref()).map_err(D::Error::custom)?;
        let mut headers = Headers::new();
        for (name, value) in table.headers {
            headers.push(name, value).map_err(D::Error::custom)?;
        }
        let id = table.id.unwrap_or_else(|| DEFAULT_ID.to_owned());
        let id = EventId::parse(id).ok_or_else(|| {
            D::Error::custom(format!(
                "`id` is no id: 1 to {} bytes without control characters",
                saf_event::MAX_ID_BYTES
            ))
        })?;
        let event = Event {
            sequence: table.sequence.unwrap_or(1),
            id,
            subject: Subject::parse(table.subject).map_err(D::Error::custom)?,
            time: table.time.unwrap_or(DEFAULT_TIME_MILLIS),
            content_type: payload.content_type(table.content_type).map(ByteString::from),
            headers,
            data: payload.bytes,
            lineage: None,
        };
        Ok(Self { event, attempt: table.attempt.unwrap_or(1) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<CaseFile, String> {
        CaseFile::parse(Path::new("cases/a.json"), text.to_owned()).map_err(|report| report.to_string())
    }

    #[test]
    fn only_the_subject_and_the_expectation_are_needed() {
        let case = parse(r#"{"event": {"subject": "hello"}, "expect": {"emissions": []}}"#).expect("valid");
        assert_eq!((case.event.id.as_str(), case.event.sequence, case.attempt), ("case-1", 1, 1));
        assert_eq!((case.event.data.len(), case.event.content_type, case.fuel), (0, None, None));
        let case = parse(
            r#"{"event": {"subject": "hello", "data": {"a": 1}, "headers": [["X-A", "1"]], "time": 5, "attempt": 3},
                "config": {"k": 1}, "expect": {"reject": ""}, "fuel": 7}"#,
        )
        .expect("valid");
        assert_eq!(&*case.event.data, br#"{"a":1}"#);
        assert_eq!(case.event.content_type.as_deref(), Some("application/json"));
        assert_eq!(case.event.headers.get("x-a").map(|v| &**v), Some("1"));
        assert_eq!((case.event.time, case.attempt, case.fuel), (5, 3, Some(7)));
    }

    #[test]
    fn what_is_wrong_is_shown_with_file_line_and_what_was_probably_meant() {
        for (text, parts) in [
            (
                "{\n  \"evnet\": {}\n}",
                &["cases/a.json:2", "unknown field `evnet`", "did you mean `event`?", "2 |   \"evnet\""][..],
            ),
            ("{\"event\": {\n\"subjet\": \"a\"}}", &["cases/a.json:2", "event", "did you mean `subject`?"]),
            (
                "{\"event\": {\"subject\": \"a\"},\n\"expect\":\n {\"retyr\": \"\"}}",
                &["cases/a.json:3", "expect", "did you mean `retry`?"],
            ),
            (
                "{\"event\": {\"subject\": \"a b\"}, \"expect\": {\"trap\": \"\"}}",
                &["cases/a.json:1", "may not"],
            ),
            ("{\"event\": {\"subject\": \"a\"}}", &["missing field `expect`"]),
            (
                "{\"event\": {\"subject\": \"a\"}, \"expect\": {\"trap\": \"\"},\n\"http\": [{\"reqest\": {}}]}",
                &["cases/a.json:2", "did you mean `request`?"],
            ),
            ("{\"event\": {\"subject\": \"a\", \"headers\": [[\"Nats-X\", \"\"]]}}", &["reserved"]),
            ("{\n\n,}", &["cases/a.json:3"]),
            (
                "{\"event\": {\"subject\": \"a\"}, \"expect\": {\"trap\": \"\"}}\n}",
                &["cases/a.json:2", "after"],
            ),
            ("", &["cases/a.json"]),
        ] {
            let error = parse(text).expect_err(text);
            for part in parts {
                assert!(error.contains(part), "{text}\n{error}\nlacks {part:?}");
            }
        }
    }
}
