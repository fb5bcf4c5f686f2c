//! From an endpoint's answer to what becomes of the event.

use std::time::{Duration, SystemTime};

use saf_channel::Failure;

use crate::request::Url;

/// What came back, as far as it matters.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Answered {
    pub(crate) status: u16,
    pub(crate) retry_after: Option<String>,
    /// The beginning of the body, for a person.
    pub(crate) excerpt: String,
}

/// Done, again, or never; `sent` is why there was no answer.
pub(crate) fn judge(url: &Url, sent: Result<Answered, String>, now: SystemTime) -> Result<(), Failure> {
    let answered = sent.map_err(|problem| Failure::retry(format!("{url}: {problem}")))?;
    let Answered { status, retry_after, excerpt } = answered;
    let reason = match excerpt.trim() {
        "" => format!("{url} answered {status}"),
        excerpt => format!("{url} answered {status}: {excerpt}"),
    };
    match status {
        200..=299 => Ok(()),
        408 | 429 | 500..=599 => match retry_after.and_then(|text| wait(&text, now)) {
            Some(after) => Err(Failure::retry_after(reason, after)),
            None => Err(Failure::retry(reason)),
        },
        300..=399 => Err(Failure::reject(format!(
            "{reason}; redirects are not followed, put the new address into config.url"
        ))),
        _ => Err(Failure::reject(reason)),
    }
}

/// `Retry-After`: seconds, or a date.
fn wait(text: &str, now: SystemTime) -> Option<Duration> {
    let text = text.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    let until = httpdate::parse_http_date(text).ok()?;
    Some(until.duration_since(now).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn judged(status: u16, retry_after: Option<&str>) -> Result<(), Failure> {
        let url = Url::parse("https://example.com/hook?secret").expect("valid");
        let now = httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").expect("a date");
        let answered =
            Answered { status, retry_after: retry_after.map(Into::into), excerpt: " why\n".into() };
        judge(&url, Ok(answered), now)
    }

    #[test]
    fn a_status_decides_what_becomes_of_the_event() {
        let reason = |status: u16| format!("https://example.com/hook answered {status}: why");
        for status in [200, 202, 204] {
            assert_eq!(judged(status, Some("9")), Ok(()));
        }
        for status in [408, 429, 500, 502, 503] {
            assert_eq!(judged(status, None), Err(Failure::retry(reason(status))));
            let after = Err(Failure::retry_after(reason(status), Duration::from_secs(7)));
            assert_eq!(judged(status, Some(" 7 ")), after);
        }
        for status in [400, 404, 410, 422] {
            assert_eq!(judged(status, Some("9")), Err(Failure::reject(reason(status))));
        }
        assert!(matches!(judged(301, None), Err(Failure::Reject(reason)) if reason.contains("config.url")));
    }

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        for (text, seconds) in [
            ("0", Some(0)),
            ("120", Some(120)),
            ("Tue, 24 Nov 2026 12:01:30 GMT", Some(90)),
            ("Tue, 24 Nov 2026 11:00:00 GMT", Some(0)),
            ("soon", None),
            ("-1", None),
        ] {
            let now = httpdate::parse_http_date("Tue, 24 Nov 2026 12:00:00 GMT").expect("a date");
            assert_eq!(wait(text, now), seconds.map(Duration::from_secs), "{text}");
        }
    }

    #[test]
    fn no_answer_is_another_attempt() {
        let url = Url::parse("http://example.com").expect("valid");
        let judged = judge(&url, Err("connection refused".into()), SystemTime::UNIX_EPOCH);
        assert_eq!(judged, Err(Failure::retry("http://example.com/: connection refused")));
    }
}
