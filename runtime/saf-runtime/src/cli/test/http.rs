//! `http` in a case file: what the Channel's requests must be, in order, and what they are answered with. Nothing leaves the machine.
//!
//! What `request` leaves out is not compared; of the headers only those that it names are.

use bytes::Bytes;
use saf_host::{HttpAnswer, HttpFailure, HttpRequest};
use serde::Deserialize;
use serde::de::Error as _;
use serde_json::value::RawValue;

use super::compare::{self, Sameness};
use super::diff::Difference;
use super::payload::{Form, Payload};
use crate::cli::text::present;

/// One request and its answer.
#[derive(Clone, Debug)]
pub(super) struct Exchange {
    request: Wanted,
    pub(super) answer: HttpAnswer,
}

/// What a request must be.
#[derive(Clone, Debug, Default)]
struct Wanted {
    method: Option<String>,
    url: Option<String>,
    headers: Vec<(String, String)>,
    payload: Option<Payload>,
}

impl<'de> Deserialize<'de> for Exchange {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[serde(default)]
            request: Wanted,
            #[serde(default)]
            response: Option<Response>,
            #[serde(default)]
            error: Option<Failed>,
        }
        let Table { request, response, error } = Table::deserialize(deserializer)?;
        let answer = match (response, error) {
            (Some(Response { status, headers, body }), None) => {
                HttpAnswer::response(status, &headers, body).map_err(D::Error::custom)?
            }
            (None, Some(failed)) => HttpAnswer::failure(failed.into()),
            (Some(_), Some(_)) => {
                return Err(D::Error::custom("`response` and `error` are both given: keep one"));
            }
            (None, None) => {
                return Err(D::Error::custom("name a `response`, such as {\"status\": 200}, or an `error`"));
            }
        };
        Ok(Self { request, answer })
    }
}

/// Why there is no response.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Failed {
    Refused,
    Terminated,
    Timeout,
}

impl From<Failed> for HttpFailure {
    fn from(failed: Failed) -> Self {
        match failed {
            Failed::Refused => Self::Refused,
            Failed::Terminated => Self::Terminated,
            Failed::Timeout => Self::Timeout,
        }
    }
}

impl<'de> Deserialize<'de> for Wanted {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            #[serde(default)]
            method: Option<String>,
            #[serde(default)]
            url: Option<String>,
            #[serde(default)]
            headers: Vec<(String, String)>,
            #[serde(default, deserialize_with = "present")]
            data: Option<Box<RawValue>>,
            #[serde(default)]
            data_base64: Option<String>,
        }
        let Table { method, url, headers, data, data_base64 } = Table::deserialize(deserializer)?;
        let payload = Payload::read(data.as_deref(), data_base64.as_deref()).map_err(D::Error::custom)?;
        let payload = (payload.form != Form::Absent).then_some(payload);
        Ok(Self { method, url, headers, payload })
    }
}

struct Response {
    status: u16,
    headers: Vec<(String, String)>,
    body: Bytes,
}

impl<'de> Deserialize<'de> for Response {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            status: u16,
            #[serde(default)]
            headers: Vec<(String, String)>,
            #[serde(default, deserialize_with = "present")]
            data: Option<Box<RawValue>>,
            #[serde(default)]
            data_base64: Option<String>,
        }
        let Table { status, mut headers, data, data_base64 } = Table::deserialize(deserializer)?;
        let payload = Payload::read(data.as_deref(), data_base64.as_deref()).map_err(D::Error::custom)?;
        if !headers.iter().any(|(name, _)| name.eq_ignore_ascii_case("content-type"))
            && let Some(content_type) = payload.content_type(None)
        {
            headers.push(("content-type".to_owned(), content_type));
        }
        Ok(Self { status, headers, body: payload.bytes })
    }
}

/// Every difference between what had to be asked and what was.
pub(super) fn compare(wanted: &[Exchange], asked: &[HttpRequest], sameness: Sameness) -> Vec<Difference> {
    let mut found = Vec::new();
    for n in 0..wanted.len().max(asked.len()) {
        let place = format!("http {}", n + 1);
        match (wanted.get(n), asked.get(n)) {
            (Some(exchange), Some(asked)) => request(&place, &exchange.request, asked, sameness, &mut found),
            (wanted, asked) => found.push(Difference {
                place,
                expected: wanted.map(|exchange| exchange.request.in_short()),
                got: asked.map(|asked| format!("{} {}", asked.method, asked.url)),
            }),
        }
    }
    found
}

impl Wanted {
    fn in_short(&self) -> String {
        let words = self.method.iter().chain(&self.url).map(String::as_str);
        let words: Vec<_> = words.collect();
        if words.is_empty() { "a request".to_owned() } else { words.join(" ") }
    }
}

fn request(
    place: &str,
    wanted: &Wanted,
    asked: &HttpRequest,
    sameness: Sameness,
    found: &mut Vec<Difference>,
) {
    let mut part = |name: &str, wanted: &str, got: &str| {
        if wanted != got {
            found.push(Difference::new(format!("{place}, {name}"), wanted, got));
        }
    };
    if let Some(method) = &wanted.method {
        part("method", method, &asked.method);
    }
    if let Some(url) = &wanted.url {
        part("url", url, &asked.url);
    }
    for (name, value) in &wanted.headers {
        let values: Vec<_> =
            asked.headers.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name)).map(|(_, v)| &**v).collect();
        if !values.contains(&&**value) {
            let got = if values.is_empty() { "none".to_owned() } else { values.join(", ") };
            part(&format!("header {name}"), value, &got);
        }
    }
    if let Some(payload) = &wanted.payload {
        let content_type = asked.headers.iter().find(|(name, _)| name == "content-type");
        let content_type = content_type.map(|(_, value)| &**value);
        compare::data(&format!("{place}, data"), payload, (&*asked.body, content_type), sameness, found);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Exchange>, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    fn asked(url: &str, body: &'static str) -> HttpRequest {
        let headers = vec![
            ("content-type".to_owned(), "application/json".to_owned()),
            ("ce-id".to_owned(), "1".to_owned()),
        ];
        HttpRequest { method: "POST".to_owned(), url: url.to_owned(), headers, body: body.into() }
    }

    #[test]
    fn what_is_not_named_is_not_compared() {
        for wanted in [
            r#"[{"response": {"status": 200}}]"#,
            r#"[{"request": {}, "error": "timeout"}]"#,
            r#"[{"request": {"method": "POST", "url": "http://a/b"}, "response": {"status": 429, "headers": [["Retry-After", "7"]]}}]"#,
            r#"[{"request": {"headers": [["CE-Id", "1"]], "data": {"n": 1.0}}, "response": {"status": 200, "data": {"ok": true}}}]"#,
        ] {
            let exchanges = read(wanted).expect(wanted);
            assert_eq!(
                compare(&exchanges, &[asked("http://a/b", r#"{"n":1}"#)], Sameness::Json),
                [],
                "{wanted}"
            );
        }
    }

    #[test]
    fn every_difference_is_shown_with_its_place() {
        let wanted = r#"[{"request": {"method": "PUT", "url": "http://a/c", "headers": [["ce-id", "2"], ["x", "y"]], "data": {"n": 2}},
                          "response": {"status": 200}},
                         {"request": {"url": "http://a/d"}, "response": {"status": 200}}]"#;
        let found =
            compare(&read(wanted).expect("valid"), &[asked("http://a/b", r#"{"n":1}"#)], Sameness::Json);
        let places: Vec<_> = found.iter().map(|difference| &*difference.place).collect();
        assert_eq!(
            places,
            [
                "http 1, method",
                "http 1, url",
                "http 1, header ce-id",
                "http 1, header x",
                "http 1, data.n",
                "http 2"
            ]
        );
        let last = &found[5];
        assert_eq!((last.expected.as_deref(), last.got.as_deref()), (Some("http://a/d"), None));
        let more = compare(&[], &[asked("http://a/b", "")], Sameness::Json);
        assert_eq!(more[0].got.as_deref(), Some("POST http://a/b"));
    }

    #[test]
    fn what_is_no_exchange_is_refused() {
        for (text, part) in [
            (r#"[{"request": {}}]"#, "name a `response`"),
            (r#"[{"response": {"status": 200}, "error": "timeout"}]"#, "keep one"),
            (r#"[{"response": {"status": 20}}]"#, "no status"),
            (r#"[{"response": {}}]"#, "status"),
            (r#"[{"error": "gone"}]"#, "gone"),
            (r#"[{"request": {"ulr": ""}, "error": "timeout"}]"#, "ulr"),
        ] {
            let why = read(text).expect_err(text);
            assert!(why.contains(part), "{text}: {why}");
        }
    }
}
