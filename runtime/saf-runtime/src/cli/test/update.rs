//! `--update`: the expectation of a case becomes what came. Only `expect` (and `fuel`, where there is one) is written anew; every
//! other byte of the file stays.

use std::fs;
use std::io::Write as _;
use std::ops::Range;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use saf_host::Emission;
use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use super::came::{Answer, Came, Failed};
use super::case::CaseFile;
use super::expect::{Expect, How};
use super::payload::{Form, JSON, says_json};
use crate::exit::Failure;

const INDENT: &str = "  ";

/// Writes the file anew, whole or not at all.
pub(super) fn update(case: &CaseFile, came: &Came) -> Result<(), Failure> {
    let text = updated(case, came)?;
    let failed =
        |error: std::io::Error| Failure::Usage(format!("cannot write {}: {error}", case.path.display()));
    let folder = case.path.parent().filter(|folder| !folder.as_os_str().is_empty());
    let name = case.path.file_name().unwrap_or_default().to_string_lossy();
    let beside = folder.unwrap_or(std::path::Path::new(".")).join(format!(".{name}.new"));
    let written = fs::File::create(&beside).and_then(|mut file| file.write_all(text.as_bytes()));
    written.and_then(|()| fs::rename(&beside, &case.path)).map_err(failed)
}

/// The places of a file that are written anew.
#[derive(Deserialize)]
struct Places<'a> {
    #[serde(borrow)]
    expect: &'a RawValue,
    #[serde(borrow, default)]
    fuel: Option<&'a RawValue>,
}

fn updated(case: &CaseFile, came: &Came) -> Result<String, Failure> {
    let places: Places<'_> = serde_json::from_str(&case.text).map_err(Failure::internal)?;
    let mut changes = vec![(range(&case.text, places.expect), expectation(case, came)?)];
    if let (Some(fuel), Some(usage)) = (places.fuel, came.usage) {
        changes.push((range(&case.text, fuel), usage.fuel.to_string()));
    }
    // From behind, so that the places before stay where they are.
    changes.sort_by_key(|(range, _)| std::cmp::Reverse(range.start));
    let mut text = case.text.clone();
    for (range, new) in changes {
        text.replace_range(range, &new);
    }
    Ok(text)
}

/// Where a borrowed value stands in its text.
fn range(text: &str, raw: &RawValue) -> Range<usize> {
    let start = raw.get().as_ptr().addr() - text.as_ptr().addr();
    start..start + raw.get().len()
}

fn expectation(case: &CaseFile, came: &Came) -> Result<String, Failure> {
    let expect = match &came.answer {
        Answer::Done(emissions) => {
            let emissions =
                emissions.iter().enumerate().map(|(n, emission)| Written::of(emission, form(case, n)));
            Outcome::Emissions(emissions.collect())
        }
        Answer::Failed(failed) => Outcome::failed(failed),
    };
    let one_line = !case.text.trim_end().contains('\n');
    if one_line {
        return serde_json::to_string(&expect).map_err(Failure::internal);
    }
    let pretty = serde_json::to_string(&expect).map_err(Failure::internal)?;
    // Laid out here and not by serde, which would leave a JSON value in `data` as it is.
    Ok(crate::cli::text::laid_out(&pretty).replace('\n', &format!("\n{INDENT}")))
}

/// The form in which the file has the data of an emission, when it has one.
fn form(case: &CaseFile, n: usize) -> Option<Form> {
    match &case.expect {
        Expect::Emissions(expected) => expected.get(n).map(|expected| expected.payload.form),
        Expect::Failure { .. } => None,
    }
}

#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Outcome<'a> {
    Emissions(Vec<Written<'a>>),
    Retry {
        reason: &'a str,
        after_ms: Option<u64>,
    },
    #[serde(untagged)]
    Other(std::collections::BTreeMap<&'static str, &'a str>),
}

impl<'a> Outcome<'a> {
    fn failed(failed: &'a Failed) -> Self {
        // Reasons are matched in part; their first line is the one that stays the same.
        let reason = failed.reason.lines().next().unwrap_or_default();
        match failed.how {
            How::Retry => {
                let after_ms = failed.after.map(|after| after.as_millis() as u64);
                Self::Retry { reason, after_ms }
            }
            how => Self::Other([(how.word(), reason)].into()),
        }
    }
}

#[derive(Serialize)]
struct Written<'a> {
    subject: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<Data<'a>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    data_base64: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    content_type: Option<Option<&'a str>>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    headers: &'a [(String, String)],
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum Data<'a> {
    Text(&'a str),
    Json(&'a RawValue),
}

impl<'a> Written<'a> {
    /// In the form that the file has; a new emission in the one that reads best.
    fn of(emission: &'a Emission, form: Option<Form>) -> Self {
        let Emission { subject, data, content_type, headers, id } = emission;
        let text = std::str::from_utf8(data).ok();
        let json = content_type.as_deref().is_some_and(says_json).then_some(text).flatten();
        let json = json.and_then(|text| serde_json::from_str::<&RawValue>(text).ok());
        // A JSON text would be read as plain text.
        let json = json.filter(|raw| {
            !raw.get().starts_with('"') && matches!(form, None | Some(Form::Json | Form::Absent))
        });
        let (data, data_base64) = match (json, text) {
            (Some(raw), _) => (Some(Data::Json(raw)), None),
            (None, Some("")) => (None, None),
            (None, Some(text)) if form != Some(Form::Bytes) => (Some(Data::Text(text)), None),
            (None, _) => (None, Some(STANDARD.encode(data))),
        };
        let implied = matches!(data, Some(Data::Json(_))).then_some(JSON);
        let content_type = content_type.as_deref();
        let content_type = (content_type != implied).then_some(content_type);
        Self { subject, data, data_base64, content_type, headers, id: id.as_deref() }
    }
}

#[cfg(test)]
mod tests {
    use saf_host::Usage;

    use super::*;

    fn emission(data: &[u8], content_type: Option<&str>) -> Emission {
        Emission {
            subject: "a".to_owned(),
            data: bytes::Bytes::copy_from_slice(data),
            content_type: content_type.map(str::to_owned),
            headers: vec![],
            id: None,
        }
    }

    fn came(answer: Answer) -> Came {
        Came { answer, usage: Some(Usage { fuel: 42, ..Usage::default() }), log: vec![], requests: vec![] }
    }

    /// What is written passes.
    fn check(text: &str, answer: Answer, updated_text: &str) {
        let came = came(answer);
        let updated = updated(&CaseFile::for_tests(text), &came).expect("valid");
        assert_eq!(updated, updated_text);
        let rules = super::super::compare::Rules {
            sameness: super::super::compare::Sameness::Exact,
            tolerance: super::super::compare::Tolerance(0.0),
        };
        let found = super::super::compare::compare(&CaseFile::for_tests(&updated), &came, rules);
        assert!(found.is_empty(), "{found:?}");
    }

    #[test]
    fn only_the_expectation_and_the_fuel_are_written_anew() {
        check(
            "{\n  \"fuel\": 1,\n  \"expect\": {\"reject\": \"x\"},\n  \"event\": { \"subject\":   \"a\" }\n}\n",
            Answer::Done(vec![emission(b"{\"b\": [1]}", Some("application/json"))]),
            "{\n  \"fuel\": 42,\n  \"expect\": {\n    \"emissions\": [\n      {\n        \"subject\": \"a\",\n        \"data\": {\n          \
             \"b\": [\n            1\n          ]\n        }\n      }\n    ]\n  },\n  \"event\": { \"subject\":   \"a\" }\n}\n",
        );
    }

    #[test]
    fn data_keeps_its_form_and_a_line_stays_a_line() {
        let case = |expect: &str| format!("{{\"event\": {{\"subject\": \"a\"}}, \"expect\": {expect}}}");
        let emissions = |rest: &str| format!("{{\"emissions\":[{{\"subject\":\"a\"{rest}}}]}}");
        let json = Some("application/json");
        for (before, data, content_type, after) in [
            (r#"{"reject": ""}"#, &b"1.0e2"[..], json, r#","data":1.0e2"#),
            (
                r#"{"reject": ""}"#,
                b"\"text\"",
                json,
                r#","data":"\"text\"","content_type":"application/json""#,
            ),
            (r#"{"reject": ""}"#, b"{}", Some("text/json"), r#","data":{},"content_type":"text/json""#),
            (r#"{"reject": ""}"#, b"hi", None, r#","data":"hi""#),
            (r#"{"reject": ""}"#, b"\xff", None, r#","data_base64":"/w==""#),
            (r#"{"reject": ""}"#, b"", None, ""),
            (
                r#"{"emissions": [{"subject": "a", "data": "x"}]}"#,
                b"{}",
                json,
                r#","data":"{}","content_type":"application/json""#,
            ),
            (
                r#"{"emissions": [{"subject": "a", "data_base64": "AA=="}]}"#,
                b"hi",
                None,
                r#","data_base64":"aGk=""#,
            ),
        ] {
            check(&case(before), Answer::Done(vec![emission(data, content_type)]), &case(&emissions(after)));
        }
        let failed = |how, after| Failed {
            how,
            reason: "why\nat length".to_owned(),
            after,
            backtrace: None,
            stderr: String::new(),
        };
        let retry = failed(How::Retry, Some(std::time::Duration::from_millis(5)));
        check(
            &case("{\"trap\": \"\"}"),
            Answer::Failed(retry),
            &case(r#"{"retry":{"reason":"why","after_ms":5}}"#),
        );
        check(
            &case("{\"retry\": \"\"}"),
            Answer::Failed(failed(How::Trap, None)),
            &case(r#"{"trap":"why"}"#),
        );
    }
}
