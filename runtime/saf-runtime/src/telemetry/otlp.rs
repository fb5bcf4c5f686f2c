//! OTLP over HTTP by the client that the commands use too. Blocking: whoever sends has a thread for it.

use std::future::{Future, ready};
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use opentelemetry_http::{HttpClient, HttpError, Request, Response};
use opentelemetry_otlp::{
    ExporterBuildError, MetricExporter, SpanExporter, WithExportConfig, WithHttpConfig,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SpanExporter as _;
use ureq::Agent;

use super::settings::Push;
use crate::cli::system_tls;

/// A collector's answer says how many spans it did not take, and why.
const MAX_ANSWER_BYTES: u64 = 64 << 10;

pub(super) fn metrics(push: &Push) -> Result<MetricExporter, ExporterBuildError> {
    let builder = MetricExporter::builder().with_http().with_http_client(Client::new(push, "metrics"));
    let builder = builder.with_endpoint(&push.endpoint).with_timeout(push.timeout);
    builder.with_headers(push.headers.clone()).build()
}

pub(super) fn spans(push: &Push, resource: &Resource) -> Result<SpanExporter, ExporterBuildError> {
    let builder = SpanExporter::builder().with_http().with_http_client(Client::new(push, "traces"));
    let builder = builder.with_endpoint(&push.endpoint).with_timeout(push.timeout);
    let mut exporter = builder.with_headers(push.headers.clone()).build()?;
    exporter.set_resource(resource);
    Ok(exporter)
}

#[derive(Debug)]
struct Client {
    agent: Agent,
    signal: &'static str,
    /// Whether the last request failed: said once, and once when it is over.
    failing: AtomicBool,
}

impl Client {
    fn new(push: &Push, signal: &'static str) -> Self {
        let mut config = Agent::config_builder()
            .http_status_as_error(false)
            .max_redirects(0)
            .proxy(None)
            .user_agent(concat!("saf-runtime/", env!("CARGO_PKG_VERSION")))
            .timeout_global(Some(push.timeout));
        if push.endpoint.starts_with("https://") {
            config = config.tls_config(system_tls());
        }
        Self { agent: config.build().into(), signal, failing: AtomicBool::new(false) }
    }

    fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, HttpError> {
        let (head, body) = request.into_parts();
        let to = head.uri.clone();
        let sent = self.agent.run(Request::from_parts(head, &body[..]));
        let answer = sent.and_then(|mut response| {
            let body = response.body_mut().with_config().limit(MAX_ANSWER_BYTES).read_to_vec()?;
            Ok(response.map(|_| Bytes::from(body)))
        });
        let trouble = match &answer {
            Ok(answer) if answer.status().is_success() => None,
            Ok(answer) => Some(format!("answered {}", answer.status())),
            Err(error) => Some(error.to_string()),
        };
        let failed_before = self.failing.swap(trouble.is_some(), Ordering::Relaxed);
        match trouble {
            Some(reason) if !failed_before => {
                tracing::warn!(signal = self.signal, %to, reason, "the collector does not take what is sent; events go on");
            }
            None if failed_before => {
                tracing::info!(signal = self.signal, %to, "the collector takes what is sent again")
            }
            Some(_) | None => {}
        }
        Ok(answer?)
    }
}

impl HttpClient for Client {
    fn send_bytes<'client, 'answer>(
        &'client self,
        request: Request<Bytes>,
    ) -> Pin<Box<dyn Future<Output = Result<Response<Bytes>, HttpError>> + Send + 'answer>>
    where
        'client: 'answer,
        Self: 'answer,
    {
        Box::pin(ready(self.send(request)))
    }
}
