//! `POST /api/event/{subject}`: the body is the payload as it is, the subject stands in the path, the id in a header. Only the
//! headers that the configuration names are kept: the rest belongs to the hop, not to the event.

use bytes::Bytes;
use bytestring::ByteString;
use http::HeaderName;
use http::header::{CONTENT_TYPE, HeaderMap};
use saf_event::{Dedupe, EventId, Headers, NewEvent, Subject};

use crate::config::Forwarding;
use crate::ingest::{percent, rules};
use crate::problem::Problem;

const IDEMPOTENCY_KEY: &str = "idempotency-key";

/// What the configuration says about headers of raw posts.
pub(super) struct HeaderRules {
    pub(super) id: Option<HeaderName>,
    pub(super) forward: Vec<Forwarding>,
}

/// The subject in the path, percent-decoded.
pub(super) fn subject(segment: &str) -> Result<Subject, Problem> {
    let decoded = percent::decode(&ByteString::from(segment))
        .ok_or_else(|| rules::invalid("the subject in the path is not UTF-8 when percent-decoded"))?;
    Subject::parse(decoded).map_err(|error| rules::invalid(format!("the subject in the path: {error}")))
}

/// The event that a raw post stands for.
pub(super) fn event(
    subject: Subject,
    headers: &HeaderMap,
    body: Bytes,
    header_rules: &HeaderRules,
) -> Result<NewEvent, Problem> {
    let id = match idempotency_key(headers)? {
        Some(id) => id,
        None => id_header(headers, header_rules)?.unwrap_or_else(EventId::generate),
    };
    let content_type = match headers.get(CONTENT_TYPE) {
        Some(value) => Some(rules::content_type(rules::text("content-type", value)?)?),
        None => None,
    };
    let mut kept = Headers::new();
    if !header_rules.forward.is_empty() {
        for (name, value) in headers {
            if header_rules.forward.iter().any(|f| f.keeps(name.as_str())) {
                let value = rules::text(name.as_str(), value)?;
                kept.push(ByteString::from(name.as_str()), value)
                    .map_err(|error| rules::invalid(error.to_string()))?;
            }
        }
    }
    Ok(NewEvent {
        id,
        subject,
        content_type,
        headers: kept,
        data: body,
        lineage: None,
        dedupe: Dedupe::SubjectAndId,
    })
}

/// The id that `Idempotency-Key` gives. The draft writes it in double quotes, most senders do not.
pub(super) fn idempotency_key(headers: &HeaderMap) -> Result<Option<EventId>, Problem> {
    let Some(value) = headers.get(IDEMPOTENCY_KEY) else { return Ok(None) };
    let text = rules::text(IDEMPOTENCY_KEY, value)?;
    let bare = match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
        // A structured field's string has two escapes.
        Some(quoted) => ByteString::from(quoted.replace("\\\"", "\"").replace("\\\\", "\\")),
        None => text,
    };
    rules::id("the Idempotency-Key", bare).map(Some)
}

fn id_header(headers: &HeaderMap, header_rules: &HeaderRules) -> Result<Option<EventId>, Problem> {
    let configured =
        header_rules.id.as_ref().and_then(|name| headers.get(name).map(|value| (name.as_str(), value)));
    let Some((name, value)) = configured.or_else(|| headers.get("ce-id").map(|value| ("ce-id", value)))
    else {
        return Ok(None);
    };
    rules::id(name, rules::text(name, value)?).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Config;

    type Pairs = &'static [(&'static str, &'static str)];

    fn post(config: &str, headers: &[(&str, &str)]) -> Result<NewEvent, Problem> {
        let config: Config = toml::from_str(config).expect("TOML");
        let header_rules = HeaderRules {
            id: config.id_header().expect("valid"),
            forward: config.forwarding().expect("valid"),
        };
        let headers =
            headers.iter().map(|(n, v)| (n.parse().expect("name"), v.parse().expect("value"))).collect();
        event(subject("a")?, &headers, Bytes::from_static(b"x"), &header_rules)
    }

    #[test]
    fn the_id_comes_from_the_first_header_that_has_one() {
        let github = "id_header = 'X-GitHub-Delivery'";
        let cases: [(&str, Pairs, Option<&str>); 7] = [
            ("", &[], None),
            ("", &[("idempotency-key", "k"), ("ce-id", "c")], Some("k")),
            ("", &[("idempotency-key", r#""k \"1\"""#)], Some(r#"k "1""#)),
            ("", &[("ce-id", "c")], Some("c")),
            ("", &[("x-github-delivery", "d")], None),
            (github, &[("x-github-delivery", "d"), ("ce-id", "c")], Some("d")),
            (github, &[("x-github-delivery", "d"), ("idempotency-key", "k")], Some("k")),
        ];
        for (config, headers, id) in cases {
            let event = post(config, headers).expect("valid");
            match id {
                Some(id) => assert_eq!(event.id.as_str(), id, "{headers:?}"),
                None => assert_eq!(event.id.as_str().len(), 36, "a fresh one: {headers:?}"),
            }
        }
        assert!(post("", &[("idempotency-key", "")]).is_err());
    }

    #[test]
    fn only_configured_headers_are_kept() {
        let headers = [
            ("host", "h"),
            ("authorization", "secret"),
            ("x-hub-a", "1"),
            ("x-hub-b", "2"),
            ("x-other", "3"),
        ];
        assert!(post("", &headers).expect("valid").headers.is_empty());
        let kept = post("forward_headers = ['x-hub-*', 'x-other']", &headers).expect("valid").headers;
        assert_eq!(kept.iter().map(|(n, _)| &**n).collect::<Vec<_>>(), ["x-hub-a", "x-hub-b", "x-other"]);
    }

    #[test]
    fn the_subject_is_percent_decoded_and_checked() {
        for (segment, subject) in [
            ("ride.accepted", Some("ride.accepted")),
            ("gr%C3%B6%C3%9Fe", Some("größe")),
            ("a%2Fb", Some("a/b")),
        ] {
            assert_eq!(super::subject(segment).ok().as_ref().map(Subject::as_str), subject, "{segment}");
        }
        for segment in ["", "a..b", "a.%2A", "%3E", "%24JS.x", "a%20b", "a%0D%0Ab", "%FF"] {
            assert!(super::subject(segment).is_err(), "{segment}");
        }
    }
}
