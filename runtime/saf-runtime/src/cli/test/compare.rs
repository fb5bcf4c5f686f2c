//! A case against what came of it: the differences, none when it passes.

use saf_host::Emission;
use serde_json::Value;

use super::came::{Answer, Came, Failed};
use super::case::CaseFile;
use super::diff::{self, Difference};
use super::expect::{After, Expect, Expected, How};
use super::payload::{Form, Payload, says_json};

/// How data is compared that is JSON on both sides.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sameness {
    /// As JSON: white space and the order of keys do not count.
    Json,
    /// Byte for byte, unless the file writes it as a JSON value.
    Exact,
}

/// How far fuel may be from its golden value, in percent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tolerance(pub(super) f64);

impl Tolerance {
    /// `5%`, `0.5%`, or the number alone.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').unwrap_or(text).trim();
        match number.parse::<f64>() {
            Ok(percent) if (0.0..=1000.0).contains(&percent) => Ok(Self(percent)),
            _ => Err("write a percentage from 0 to 1000, such as 5%".to_owned()),
        }
    }

    pub(super) fn allows(self, expected: u64, got: u64) -> bool {
        expected.abs_diff(got) as f64 <= expected as f64 * self.0 / 100.0
    }
}

/// What is compared how.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rules {
    pub(super) sameness: Sameness,
    pub(super) tolerance: Tolerance,
}

/// Every difference; a case without one passes.
pub(super) fn compare(case: &CaseFile, came: &Came, rules: Rules) -> Vec<Difference> {
    let mut found = match (&case.expect, &came.answer) {
        (Expect::Emissions(expected), Answer::Done(got)) => emissions(expected, got, rules.sameness),
        (Expect::Emissions(expected), Answer::Failed(failed)) => {
            vec![Difference::new("outcome", done(expected.len()), in_short(failed))]
        }
        (Expect::Failure { how, reason, .. }, Answer::Done(got)) => {
            vec![Difference::new("outcome", wanted(*how, reason), done(got.len()))]
        }
        (Expect::Failure { how, reason, after }, Answer::Failed(failed)) => {
            failure(*how, reason, *after, failed)
        }
    };
    // The fuel of something else says nothing.
    if found.is_empty()
        && let (Some(golden), Some(usage)) = (case.fuel, &came.usage)
        && !rules.tolerance.allows(golden, usage.fuel)
    {
        found.push(Difference::new("fuel", golden.to_string(), usage.fuel.to_string()));
    }
    found
}

/// An outcome with emissions in a few words.
pub(super) fn done(emissions: usize) -> String {
    match emissions {
        0 => "done, no emission".to_owned(),
        1 => "done, 1 emission".to_owned(),
        n => format!("done, {n} emissions"),
    }
}

fn wanted(how: How, reason: &str) -> String {
    if reason.is_empty() { how.word().to_owned() } else { format!("{}: … {reason} …", how.word()) }
}

fn in_short(failed: &Failed) -> String {
    format!("{}: {}", failed.how.word(), failed.reason)
}

fn failure(how: How, reason: &str, after: After, failed: &Failed) -> Vec<Difference> {
    if how != failed.how {
        return vec![Difference::new("outcome", wanted(how, reason), in_short(failed))];
    }
    let mut found = Vec::new();
    if !failed.contains(reason) {
        found.push(Difference::new("reason", format!("… {reason} …"), &*failed.reason));
    }
    let named = failed.after.map(|after| after.as_millis() as u64);
    let in_words =
        |millis: Option<u64>| millis.map_or("no time named".to_owned(), |millis| format!("{millis} ms"));
    let expected = match after {
        After::Any => return found,
        After::Unnamed => None,
        After::Millis(millis) => Some(millis),
    };
    if expected != named {
        found.push(Difference::new("after_ms", in_words(expected), in_words(named)));
    }
    found
}

fn emissions(expected: &[Expected], got: &[Emission], sameness: Sameness) -> Vec<Difference> {
    let mut found = Vec::new();
    if expected.len() != got.len() {
        found.push(Difference::new("outcome", done(expected.len()), done(got.len())));
    }
    for n in 0..expected.len().max(got.len()) {
        let place = format!("emission {}", n + 1);
        match (expected.get(n), got.get(n)) {
            (Some(expected), Some(got)) => emission(&place, expected, got, sameness, &mut found),
            (expected, got) => found.push(Difference {
                place,
                expected: expected.map(|expected| expected.subject.clone()),
                got: got.map(|got| got.subject.clone()),
            }),
        }
    }
    found
}

fn emission(
    place: &str,
    expected: &Expected,
    got: &Emission,
    sameness: Sameness,
    found: &mut Vec<Difference>,
) {
    let mut part = |name: &str, expected: String, got: String| {
        if expected != got {
            found.push(Difference::new(format!("{place}, {name}"), expected, got));
        }
    };
    let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "none".to_owned());
    part("subject", expected.subject.clone(), got.subject.clone());
    part("content_type", or_none(&expected.content_type), or_none(&got.content_type));
    part("headers", format!("{:?}", expected.headers), format!("{:?}", got.headers));
    part("id", or_none(&expected.id), or_none(&got.id));
    let got = (&*got.data, got.content_type.as_deref());
    data(&format!("{place}, data"), &expected.payload, got, sameness, found);
}

/// Data against what came, with the content type that came with it.
pub(super) fn data(
    place: &str,
    expected: &Payload,
    (got, content_type): (&[u8], Option<&str>),
    sameness: Sameness,
    found: &mut Vec<Difference>,
) {
    let says_json = content_type.is_some_and(says_json);
    let parsed = |bytes: &[u8]| serde_json::from_slice::<Value>(bytes).ok();
    let both = || parsed(&expected.bytes).zip(parsed(got));
    let as_json = match (expected.form, sameness) {
        (Form::Json, _) => true,
        (Form::Text, Sameness::Json) => says_json,
        (Form::Text, Sameness::Exact) | (Form::Bytes | Form::Absent, _) => false,
    };
    if as_json && let Some((expected, got)) = both() {
        return diff::json(place, &expected, &got, found);
    }
    let Some(difference) = diff::bytes(place, &expected.bytes, got) else { return };
    // Only the bytes must be the same, but a difference in the JSON is easier to see.
    let before = found.len();
    if says_json && let Some((expected, got)) = both() {
        diff::json(place, &expected, &got, found);
    }
    if found.len() == before {
        found.push(difference);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use saf_host::Usage;

    use super::*;

    fn expected(text: &str) -> Expected {
        serde_json::from_str(text).expect("an emission")
    }

    fn got(data: &str, content_type: Option<&str>) -> Emission {
        Emission {
            subject: "a".to_owned(),
            data: data.to_owned().into(),
            content_type: content_type.map(str::to_owned),
            headers: vec![],
            id: None,
        }
    }

    #[test]
    fn json_is_compared_as_json_unless_the_bytes_are_asked_for() {
        let json = Some("application/json");
        let text = r#"{"subject": "a", "data": "{\"a\": 1, \"b\": 2}", "content_type": "application/json"}"#;
        let value = r#"{"subject": "a", "data": {"a": 1, "b": 2}}"#;
        let as_text = r#"{"subject": "a", "data": "{\"a\": 1}"}"#;
        for (expectation, data, content_type, sameness, same) in [
            (text, r#"{"b":2,"a":1}"#, json, Sameness::Json, true),
            (text, r#"{"b":2,"a":1}"#, json, Sameness::Exact, false),
            (text, r#"{"a": 1, "b": 2}"#, json, Sameness::Exact, true),
            (value, r#"{"b":2,"a":1}"#, json, Sameness::Exact, true),
            (value, r#"{"b":2,"a":1}"#, None, Sameness::Json, false),
            (value, r#"{"b":2,"a":2}"#, json, Sameness::Json, false),
            (value, "no JSON", json, Sameness::Json, false),
            (as_text, r#"{"a":1}"#, None, Sameness::Json, false),
        ] {
            let found = emissions(&[expected(expectation)], &[got(data, content_type)], sameness);
            assert_eq!(found.is_empty(), same, "{expectation} {data} {sameness:?}: {found:?}");
        }
    }

    #[test]
    fn every_part_of_an_emission_counts() {
        let wanted = r#"{"subject": "b", "content_type": "text/plain", "headers": [["x", "1"]], "id": "7"}"#;
        let found = emissions(&[expected(wanted)], &[got("", None), got("", None)], Sameness::Json);
        let places: Vec<_> = found.iter().map(|difference| &*difference.place).collect();
        let parts = [
            "outcome",
            "emission 1, subject",
            "emission 1, content_type",
            "emission 1, headers",
            "emission 1, id",
        ];
        assert_eq!(places[..5], parts);
        assert_eq!(places[5..], ["emission 2"]);
    }

    #[test]
    fn a_failure_is_the_outcome_a_part_of_its_reason_and_its_wait() {
        let failed = Failed {
            how: How::Retry,
            reason: "503 from the shop".to_owned(),
            after: Some(Duration::from_millis(1500)),
            backtrace: None,
            stderr: "on stderr".to_owned(),
        };
        for (how, reason, after, place) in [
            (How::Retry, "503", After::Any, None),
            (How::Retry, "stderr", After::Millis(1500), None),
            (How::Retry, "404", After::Any, Some("reason")),
            (How::Retry, "", After::Unnamed, Some("after_ms")),
            (How::Retry, "", After::Millis(1), Some("after_ms")),
            (How::Trap, "503", After::Any, Some("outcome")),
        ] {
            let found = failure(how, reason, after, &failed);
            assert_eq!(found.first().map(|difference| &*difference.place), place, "{how:?} {reason}");
        }
    }

    #[test]
    fn fuel_is_golden_within_its_tolerance() {
        let text = r#"{"event": {"subject": "a"}, "expect": {"emissions": []}, "fuel": 1000}"#;
        let case = CaseFile::for_tests(text);
        let usage = Some(Usage { fuel: 1040, ..Usage::default() });
        let came = Came { answer: Answer::Done(vec![]), usage, log: vec![], requests: vec![] };
        for (tolerance, passes) in [("0", false), ("3.9%", false), ("4%", true)] {
            let tolerance = Tolerance::parse(tolerance).expect("a percentage");
            let found = compare(&case, &came, Rules { sameness: Sameness::Json, tolerance });
            assert_eq!(found.is_empty(), passes, "{found:?}");
        }
        assert!(Tolerance::parse("-1").is_err() && Tolerance::parse("much").is_err());
    }
}
