//! Web pages must not reach a listener that needs no token: a browser on the same machine would carry their requests to it,
//! straight (a form, a fetch without a content type) or by a name that resolves to loopback (DNS rebinding).

use std::net::IpAddr;

use http::header::{HOST, HeaderMap, ORIGIN};

use crate::problem::{Kind, Problem};

/// Whom a listener hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Everybody: a token, which no page knows, is needed anyway.
    Any,
    /// No page at all; browsers send `Origin` with each POST.
    NoPages,
    /// Pages of this listener, asked for by an address or as localhost; browsers send no `Origin` with a page's own GET, so the
    /// name is what counts.
    Own,
}

impl Origin {
    pub(crate) fn check(self, headers: &HeaderMap) -> Result<(), Problem> {
        let origin = headers.get(ORIGIN).map(|value| value.to_str().unwrap_or_default());
        match (self, origin) {
            (Self::Any, _) | (Self::NoPages, None) => Ok(()),
            (Self::NoPages, Some(_)) => Err(Problem::new(
                Kind::Forbidden,
                "web pages may not post events here; set http.tokens and send one to allow it",
            )),
            (Self::Own, origin) => own(headers, origin),
        }
    }
}

fn own(headers: &HeaderMap, origin: Option<&str>) -> Result<(), Problem> {
    let host = headers.get(HOST).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if !is_local(host) {
        return Err(Problem::new(
            Kind::Forbidden,
            "the Host header is neither an address nor localhost: set admin.token to reach this listener by name",
        ));
    }
    match origin {
        Some(origin) if origin.strip_prefix("http://") != Some(host) => {
            Err(Problem::new(Kind::Forbidden, "pages of other origins may not use the admin API"))
        }
        _ => Ok(()),
    }
}

fn is_local(host: &str) -> bool {
    let name = match host.strip_prefix('[') {
        Some(v6) => v6.split(']').next().unwrap_or_default(),
        None => host.split(':').next().unwrap_or_default(),
    };
    name.eq_ignore_ascii_case("localhost") || name.parse::<IpAddr>().is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Pairs = &'static [(&'static str, &'static str)];

    #[test]
    fn pages_are_kept_out_where_no_token_is_needed() {
        let cases: [(Origin, Pairs, bool); 14] = [
            (Origin::Any, &[("origin", "http://evil.example")], true),
            (Origin::NoPages, &[("host", "router:1378")], true),
            (Origin::NoPages, &[("origin", "http://evil.example")], false),
            (Origin::NoPages, &[("origin", "null")], false),
            (Origin::Own, &[("host", "127.0.0.1:1379")], true),
            (Origin::Own, &[("host", "localhost:1379")], true),
            (Origin::Own, &[("host", "LOCALHOST")], true),
            (Origin::Own, &[("host", "[::1]:1379")], true),
            (Origin::Own, &[("host", "rebound.example:1379")], false),
            (Origin::Own, &[("host", "localhost.evil.example")], false),
            (Origin::Own, &[], false),
            (Origin::Own, &[("host", "localhost:1379"), ("origin", "http://localhost:1379")], true),
            (Origin::Own, &[("host", "localhost:1379"), ("origin", "http://localhost:3000")], false),
            (Origin::Own, &[("host", "localhost:1379"), ("origin", "null")], false),
        ];
        for (heard, pairs, allowed) in cases {
            let headers =
                pairs.iter().map(|(n, v)| (n.parse().expect("name"), v.parse().expect("value"))).collect();
            assert_eq!(heard.check(&headers).is_ok(), allowed, "{heard:?} {pairs:?}");
        }
    }
}
