//! What is sent where: the URL of the configuration, and an event's headers.

use std::collections::BTreeMap;
use std::fmt;

use saf_channel::Event;

/// How the request travels.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    Http,
    Https,
}

/// Where events go, in the parts that wasi:http wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Url {
    pub(crate) scheme: Scheme,
    pub(crate) authority: String,
    pub(crate) path_with_query: String,
}

impl Url {
    /// Splits; what is wrong with the parts is the router's to say.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let (scheme, rest) = match text.split_once("://") {
            Some(("http", rest)) => (Scheme::Http, rest),
            Some(("https", rest)) => (Scheme::Https, rest),
            Some(_) | None => {
                return Err(format!("config.url = {text:?} does not begin with http:// or https://"));
            }
        };
        let path_at = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(path_at);
        if authority.is_empty() {
            return Err(format!("config.url = {text:?} names no host"));
        }
        let path = path.split('#').next().unwrap_or_default();
        let path_with_query = if path.starts_with('/') { path.into() } else { format!("/{path}") };
        Ok(Self { scheme, authority: authority.into(), path_with_query })
    }
}

/// Without the query: it may hold a secret, and this goes into dead letters.
impl fmt::Display for Url {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.scheme {
            Scheme::Http => "http",
            Scheme::Https => "https",
        };
        let path = self.path_with_query.split('?').next().unwrap_or_default();
        write!(f, "{scheme}://{}{path}", self.authority)
    }
}

/// The configured headers, the event as a `CloudEvent`, and its trace context; a name is taken from whoever comes first.
pub(crate) fn headers(configured: &BTreeMap<String, String>, event: &Event) -> Vec<(String, String)> {
    let mut headers: Vec<(String, String)> =
        configured.iter().map(|(name, value)| (name.to_lowercase(), value.clone())).collect();
    let mut add = |name: &str, value: &str| {
        if headers.iter().all(|(taken, _)| taken != name) {
            headers.push((name.to_owned(), value.to_owned()));
        }
    };
    if let Some(content_type) = &event.content_type {
        add("content-type", content_type);
    }
    for (name, value) in &event.headers {
        if name.starts_with("ce-") || matches!(&**name, "traceparent" | "tracestate") {
            add(name, value);
        }
    }
    add("ce-specversion", "1.0");
    add("ce-id", &event.id);
    add("ce-type", &event.subject);
    add("ce-source", "saf");
    add("content-length", &event.data.len().to_string());
    headers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_url_is_split_into_its_parts() {
        for (text, scheme, authority, path) in [
            ("https://api.example.com", Scheme::Https, "api.example.com", "/"),
            ("http://127.0.0.1:8080/a/b?x=1#part", Scheme::Http, "127.0.0.1:8080", "/a/b?x=1"),
            ("https://api.example.com?x=1", Scheme::Https, "api.example.com", "/?x=1"),
        ] {
            let url = Url::parse(text).expect(text);
            assert_eq!((url.scheme, &*url.authority, &*url.path_with_query), (scheme, authority, path));
        }
        for (text, words) in [("api.example.com", "does not begin"), ("http:///x", "names no host")] {
            assert!(Url::parse(text).expect_err(text).contains(words));
        }
    }

    #[test]
    fn a_url_is_shown_without_its_query() {
        let url = Url::parse("https://api.example.com/hook?token=secret").expect("valid");
        assert_eq!(url.to_string(), "https://api.example.com/hook");
    }

    #[test]
    fn an_event_is_a_cloudevent_and_the_configuration_comes_first() {
        let configured = BTreeMap::from([("Authorization".to_owned(), "Bearer x".to_owned())]);
        let event = Event {
            headers: vec![
                ("ce-source".into(), "/orders".into()),
                ("authorization".into(), "not sent".into()),
                ("x-other".into(), "not sent".into()),
                ("traceparent".into(), "00-a-b-01".into()),
            ],
            content_type: Some("application/json".into()),
            ..Event::new("ride.accepted", "{}")
        };
        let headers = headers(&configured, &event);
        let value = |name: &str| headers.iter().find(|(n, _)| n == name).map(|(_, value)| &**value);
        assert_eq!(value("authorization"), Some("Bearer x"));
        assert_eq!(value("ce-source"), Some("/orders"));
        assert_eq!(value("ce-type"), Some("ride.accepted"));
        assert_eq!(value("ce-id"), Some(&*event.id));
        assert_eq!(value("traceparent"), Some("00-a-b-01"));
        assert_eq!(value("content-length"), Some("2"));
        assert_eq!(value("x-other"), None);
    }
}
