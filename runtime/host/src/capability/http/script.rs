//! Answers in the network's place, for cases: the first request gets the first answer, and so on. What may be asked, how often and how much is the
//! same as with a network; what was asked is kept, so that a case can say what it must be.
//!
//! Deliberately absent: answers that are chosen by the request. A case is one event, so its requests have an order, and an order is read more
//! easily than rules.

use std::sync::{Mutex, PoisonError};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, header};
use http_body_util::{BodyExt as _, Full};
use wasmtime_wasi_http::{Error, WasiBody};

use super::origin::Origin;

/// What a case's requests are answered with.
#[derive(Clone, Debug, Default)]
pub struct HttpScript {
    /// The Channel's `grants.http`; `None`: everything may be asked.
    pub granted: Option<Vec<Origin>>,
    /// One for each request, in order. A request beyond the last is denied.
    pub answers: Vec<HttpAnswer>,
}

/// One answer.
#[derive(Clone, Debug)]
pub struct HttpAnswer(Result<Response<Bytes>, HttpFailure>);

/// Why a request has no response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HttpFailure {
    /// Nobody listens there.
    Refused,
    /// The connection broke before the response was there.
    Terminated,
    /// The response did not come in time.
    Timeout,
}

impl HttpAnswer {
    /// A response; its `content-length` is added unless it has one. An error says what is no part of a response.
    pub fn response(status: u16, headers: &[(String, String)], body: Bytes) -> Result<Self, String> {
        const LAST_STATUS: u16 = 599;
        if !(200..=LAST_STATUS).contains(&status) {
            return Err(format!("{status} is no status of a response: write one from 200 to {LAST_STATUS}"));
        }
        let mut response = Response::builder().status(status);
        for (name, value) in headers {
            response = response.header(name, value);
        }
        let mut response = response.body(body).map_err(|_| {
            "a header's name or value is none: letters, digits and dashes for the name, no line ends in the value"
                .to_owned()
        })?;
        let length = response.body().len();
        response.headers_mut().entry(header::CONTENT_LENGTH).or_insert(HeaderValue::from(length));
        Ok(Self(Ok(response)))
    }

    /// No response.
    pub fn failure(failure: HttpFailure) -> Self {
        Self(Err(failure))
    }
}

/// A request that was granted, as it was sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    /// `GET`, `POST` and so on.
    pub method: String,
    /// The whole address.
    pub url: String,
    /// In the order of sending; names are lower case. What is no text is shown with replacement characters.
    pub headers: Vec<(String, String)>,
    /// What the guest had sent of it; all, unless it ended before or reached a limit.
    pub body: Bytes,
}

/// A script that is being played.
pub(crate) struct Stage {
    pub(super) script: HttpScript,
    requests: Mutex<Vec<HttpRequest>>,
}

impl Stage {
    pub(crate) fn new(script: HttpScript) -> Self {
        Self { script, requests: Mutex::default() }
    }

    /// Keeps a request; its number, and whether there is an answer to it.
    pub(super) fn take(&self, request: &Request<WasiBody>) -> (usize, Option<&HttpAnswer>) {
        let text = |value: &HeaderValue| String::from_utf8_lossy(value.as_bytes()).into_owned();
        let seen = HttpRequest {
            method: request.method().to_string(),
            url: request.uri().to_string(),
            headers: request.headers().iter().map(|(name, value)| (name.to_string(), text(value))).collect(),
            body: Bytes::new(),
        };
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        requests.push(seen);
        let n = requests.len() - 1;
        (n, self.script.answers.get(n))
    }

    /// Reads the request to its end, as a server does, and then answers.
    pub(super) async fn answer(
        &self,
        n: usize,
        HttpAnswer(answer): HttpAnswer,
        mut body: WasiBody,
    ) -> Result<Response<WasiBody>, Error> {
        while let Some(frame) = body.frame().await {
            if let Some(data) = frame?.data_ref() {
                self.append(n, data);
            }
        }
        match answer {
            Ok(response) => {
                Ok(response.map(|body| Full::new(body).map_err(|never| match never {}).boxed_unsync()))
            }
            Err(HttpFailure::Refused) => Err(Error::ConnectionRefused),
            Err(HttpFailure::Terminated) => Err(Error::ConnectionTerminated),
            Err(HttpFailure::Timeout) => Err(Error::ConnectionReadTimeout),
        }
    }

    fn append(&self, n: usize, data: &[u8]) {
        let mut requests = self.requests.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(request) = requests.get_mut(n) {
            // One chunk is the rule; more are rare enough to be copied. `limits.http_bytes` bounds them.
            request.body = [&request.body, data].concat().into();
        }
    }

    /// What was asked so far.
    pub(crate) fn requests(&self) -> Vec<HttpRequest> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_response_is_refused_when_the_case_is_read() {
        let header = |name: &str, value: &str| vec![(name.to_owned(), value.to_owned())];
        for (status, headers, part) in [
            (99, vec![], "no status"),
            (101, vec![], "no status"),
            (600, vec![], "no status"),
            (200, header("a b", ""), "a header's name"),
            (200, header("a", "b\nc: d"), "a header's name"),
        ] {
            let why = HttpAnswer::response(status, &headers, Bytes::new()).expect_err(part);
            assert!(why.contains(part), "{why}");
        }
        assert!(HttpAnswer::response(204, &header("retry-after", "7"), Bytes::new()).is_ok());
    }
}
