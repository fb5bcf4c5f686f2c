//! What is sent, where and how often: `[telemetry]`, `[metrics]` and `[traces]`, and for what they leave open OpenTelemetry's standard
//! variables. A variable that asks for what is not there is an error, not a surprise.

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use opentelemetry::KeyValue;
use opentelemetry_sdk::Resource;
use saf_event::{EventId, Secret, Span};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const SERVICE_NAME: &str = "saf-runtime";
const TIMEOUT: Duration = Duration::from_secs(10);
const METRICS_EVERY: Duration = Duration::from_mins(1);
/// Most spans that wait: some hundred bytes each.
const MAX_QUEUE: usize = 1 << 20;

/// `[telemetry]`: where metrics and traces are sent. Nothing is sent without an endpoint.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// An OpenTelemetry collector, as the base of its OTLP/HTTP routes: `http://collector:4318`. When absent,
    /// `OTEL_EXPORTER_OTLP_ENDPOINT` and its kin count.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) endpoint: Option<String>,
    /// Headers of each request, such as `authorization = { env = "OTLP_TOKEN" }`; read once, at the start.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub(crate) headers: BTreeMap<String, Secret>,
    /// How long the collector may take to answer; 10s when absent, or `OTEL_EXPORTER_OTLP_TIMEOUT`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) timeout: Option<Span>,
    /// `service.name`; `saf-runtime` when absent, or `OTEL_SERVICE_NAME`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) service_name: Option<String>,
}

/// `[metrics]`: pushing what `/metrics` shows, when there is an endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Metrics {
    /// Push them. `/metrics` is there in any case.
    pub(crate) push: bool,
    /// How often; every minute when absent, or `OTEL_METRIC_EXPORT_INTERVAL`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) interval: Option<Span>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self { push: true, interval: None }
    }
}

/// `[traces]`: spans of posts, attempts and settlements, when there is an endpoint.
#[derive(Clone, Debug, PartialEq, Deserialize, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Traces {
    /// Which part of the traces that begin here is recorded, from 0.0 to 1.0; a trace that began elsewhere is recorded when its sender
    /// does. 1.0 when absent, or `OTEL_TRACES_SAMPLER_ARG`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) ratio: Option<f64>,
    /// Spans that may wait to be sent; what comes on top is dropped, and counted in `saf_traces_spans_total`.
    pub(crate) queue: usize,
    /// How often they are sent.
    pub(crate) interval: Span,
}

impl Default for Traces {
    fn default() -> Self {
        Self { ratio: None, queue: 8_192, interval: Span(Duration::from_secs(1)) }
    }
}

/// What is to be done.
#[derive(Debug)]
pub(super) struct Settings {
    pub(super) resource: Resource,
    pub(super) metrics: Option<Push>,
    pub(super) traces: Option<(Push, Tracing)>,
}

/// One way out.
#[derive(Clone, Debug)]
pub(super) struct Push {
    /// The whole URL.
    pub(super) endpoint: String,
    pub(super) headers: HashMap<String, String>,
    pub(super) timeout: Duration,
    pub(super) every: Duration,
}

/// Which spans.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Tracing {
    pub(super) ratio: f64,
    pub(super) queue: usize,
}

/// Metrics or traces.
#[derive(Clone, Copy)]
struct Signal {
    /// In the names of variables.
    name: &'static str,
    path: &'static str,
}

const METRICS: Signal = Signal { name: "METRICS", path: "/v1/metrics" };
const TRACES: Signal = Signal { name: "TRACES", path: "/v1/traces" };

impl Settings {
    /// From the file and the variables; one that is set to nothing is none.
    pub(super) fn read(
        telemetry: &Telemetry,
        metrics: &Metrics,
        traces: &Traces,
        variable: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        ensure!(
            (1..=MAX_QUEUE).contains(&traces.queue),
            "traces.queue is {}: write a number from 1 to {MAX_QUEUE}",
            traces.queue
        );
        let reader = Reader { telemetry, variable: &variable };
        let push_metrics = if metrics.push { reader.push(METRICS)? } else { None };
        let push_metrics = push_metrics.map(|push| {
            let every = metrics.interval.map(|interval| interval.0);
            let every = every
                .map_or_else(|| reader.millis("OTEL_METRIC_EXPORT_INTERVAL"), |every| Ok(Some(every)))?;
            Ok::<_, anyhow::Error>(Push { every: every.unwrap_or(METRICS_EVERY), ..push })
        });
        let push_traces = reader.push(TRACES)?.map(|push| {
            let ratio =
                traces.ratio.map_or_else(|| reader.ratio(), |ratio| checked(ratio, "traces.ratio"))?;
            let push = Push { every: traces.interval.0, ..push };
            Ok::<_, anyhow::Error>((push, Tracing { ratio, queue: traces.queue }))
        });
        Ok(Self {
            resource: reader.resource(),
            metrics: push_metrics.transpose()?,
            traces: push_traces.transpose()?,
        })
    }
}

struct Reader<'a> {
    telemetry: &'a Telemetry,
    variable: &'a dyn Fn(&str) -> Option<String>,
}

impl Reader<'_> {
    /// A signal's own variable, else the one for all.
    fn either(&self, signal: Signal, what: &str) -> Option<String> {
        let own = (self.variable)(&format!("OTEL_EXPORTER_OTLP_{}_{what}", signal.name));
        own.or_else(|| (self.variable)(&format!("OTEL_EXPORTER_OTLP_{what}")))
    }

    fn push(&self, signal: Signal) -> anyhow::Result<Option<Push>> {
        let off = |name: &str, word: &str| {
            (self.variable)(name).is_some_and(|value| value.eq_ignore_ascii_case(word))
        };
        if off("OTEL_SDK_DISABLED", "true") || off(&format!("OTEL_{}_EXPORTER", signal.name), "none") {
            return Ok(None);
        }
        let at = |base: &str| base.trim_end_matches('/').to_owned() + signal.path;
        let configured = self.telemetry.endpoint.as_deref().map(at);
        let own = || (self.variable)(&format!("OTEL_EXPORTER_OTLP_{}_ENDPOINT", signal.name));
        let shared = || (self.variable)("OTEL_EXPORTER_OTLP_ENDPOINT").map(|base| at(&base));
        let Some(endpoint) = configured.or_else(own).or_else(shared) else { return Ok(None) };
        ensure!(
            ["http://", "https://"].iter().any(|scheme| endpoint.starts_with(scheme)),
            "{endpoint:?} is no URL of a collector: write one such as \"http://127.0.0.1:4318\" into telemetry.endpoint or \
             OTEL_EXPORTER_OTLP_ENDPOINT"
        );
        if let Some(protocol) = self.either(signal, "PROTOCOL") {
            ensure!(
                protocol == "http/protobuf",
                "OTEL_EXPORTER_OTLP_PROTOCOL is {protocol:?}, and only http/protobuf is spoken here: set it to that, and the endpoint to \
                 the collector's HTTP port (4318 by default)"
            );
        }
        let timeout = match self.telemetry.timeout {
            Some(timeout) => timeout.0,
            None => self.timeout(signal)?.unwrap_or(TIMEOUT),
        };
        Ok(Some(Push { endpoint, headers: self.headers()?, timeout, every: Duration::ZERO }))
    }

    fn headers(&self) -> anyhow::Result<HashMap<String, String>> {
        let read = |(name, secret): (&String, &Secret)| {
            let value = secret.read().with_context(|| format!("telemetry.headers.{name}"))?;
            Ok((name.clone(), value))
        };
        self.telemetry.headers.iter().map(read).collect()
    }

    fn timeout(&self, signal: Signal) -> anyhow::Result<Option<Duration>> {
        let own = self.millis(&format!("OTEL_EXPORTER_OTLP_{}_TIMEOUT", signal.name))?;
        Ok(own.or(self.millis("OTEL_EXPORTER_OTLP_TIMEOUT")?))
    }

    fn millis(&self, name: &str) -> anyhow::Result<Option<Duration>> {
        let Some(text) = (self.variable)(name) else { return Ok(None) };
        let millis = text.parse().ok().filter(|millis| *millis > 0);
        let millis =
            millis.with_context(|| format!("{name} is {text:?}: write milliseconds, such as 10000"))?;
        Ok(Some(Duration::from_millis(millis)))
    }

    /// What the sampler's variables come to. All of them follow the parent here, so those that do not are refused.
    fn ratio(&self) -> anyhow::Result<f64> {
        let argument = || -> anyhow::Result<f64> {
            let Some(text) = (self.variable)("OTEL_TRACES_SAMPLER_ARG") else { return Ok(1.0) };
            let ratio = text
                .parse()
                .ok()
                .with_context(|| format!("OTEL_TRACES_SAMPLER_ARG is {text:?}: write 0.1"))?;
            checked(ratio, "OTEL_TRACES_SAMPLER_ARG")
        };
        match (self.variable)("OTEL_TRACES_SAMPLER").as_deref() {
            None | Some("parentbased_traceidratio") => argument(),
            Some("parentbased_always_on") => Ok(1.0),
            Some("parentbased_always_off") => Ok(0.0),
            Some(other) => bail!(
                "OTEL_TRACES_SAMPLER is {other:?}: use parentbased_traceidratio, parentbased_always_on or parentbased_always_off, or set \
                 traces.ratio"
            ),
        }
    }

    fn resource(&self) -> Resource {
        let named = (self.variable)("OTEL_SERVICE_NAME").is_some()
            || (self.variable)("OTEL_RESOURCE_ATTRIBUTES").is_some_and(|all| all.contains("service.name="));
        let default = || (!named).then(|| SERVICE_NAME.to_owned());
        let builder = Resource::builder().with_attributes([
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("service.instance.id", EventId::generate().to_string()),
        ]);
        match self.telemetry.service_name.clone().or_else(default) {
            Some(name) => builder.with_service_name(name).build(),
            None => builder.build(),
        }
    }
}

fn checked(ratio: f64, key: &str) -> anyhow::Result<f64> {
    ensure!((0.0..=1.0).contains(&ratio), "{key} is {ratio}: write a part of 1, such as 0.1");
    Ok(ratio)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(file: &str, variables: &[(&str, &str)]) -> anyhow::Result<Settings> {
        #[derive(Default, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        struct File {
            telemetry: Telemetry,
            metrics: Metrics,
            traces: Traces,
        }
        let file: File = toml::from_str(file).expect("TOML");
        let variable =
            |name: &str| variables.iter().find(|(n, _)| *n == name).map(|(_, value)| (*value).to_owned());
        Settings::read(&file.telemetry, &file.metrics, &file.traces, variable)
    }

    type Variables = &'static [(&'static str, &'static str)];

    const FILE: &str = "telemetry.endpoint = 'http://c:4318/'";
    const ENDPOINT: (&str, &str) = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318");

    #[test]
    fn nothing_is_sent_without_an_endpoint_and_the_file_comes_first() {
        let endpoints = |file: &str, variables: &[(&str, &str)]| {
            let settings = read(file, variables).expect("valid");
            (settings.metrics.map(|push| push.endpoint), settings.traces.map(|(push, _)| push.endpoint))
        };
        let both = |base: &str| (Some(format!("{base}/v1/metrics")), Some(format!("{base}/v1/traces")));
        assert_eq!(endpoints("", &[]), (None, None));
        assert_eq!(endpoints(FILE, &[]), both("http://c:4318"));
        assert_eq!(endpoints(FILE, &[ENDPOINT]), both("http://c:4318"));
        assert_eq!(endpoints("", &[ENDPOINT]), both("http://env:4318"));
        assert_eq!(endpoints("", &[ENDPOINT, ("OTEL_SDK_DISABLED", "true")]), (None, None));
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t/x");
        assert_eq!(endpoints("", &[own]), (None, Some("http://t/x".to_owned())));
        assert_eq!(endpoints("", &[ENDPOINT, ("OTEL_METRICS_EXPORTER", "none")]).0, None);
        assert_eq!(endpoints(&format!("{FILE}\nmetrics.push = false"), &[]).0, None);
    }

    #[test]
    fn every_key_and_every_standard_variable_takes_effect() {
        let file = format!(
            "{FILE}\ntelemetry.timeout = '2s'\nmetrics.interval = '3s'\n[traces]\nratio = 0.25\nqueue = 7\ninterval = '4s'\n"
        );
        let settings = read(&file, &[]).expect("valid");
        let (metrics, (traces, tracing)) = (settings.metrics.expect("on"), settings.traces.expect("on"));
        assert_eq!((metrics.timeout, metrics.every), (Duration::from_secs(2), Duration::from_secs(3)));
        assert_eq!(traces.every, Duration::from_secs(4));
        assert_eq!(tracing, Tracing { ratio: 0.25, queue: 7 });

        let variables = [
            ENDPOINT,
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "1500"),
            ("OTEL_EXPORTER_OTLP_TRACES_TIMEOUT", "2500"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "500"),
            ("OTEL_TRACES_SAMPLER", "parentbased_traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.5"),
        ];
        let settings = read("", &variables).expect("valid");
        let (metrics, (traces, tracing)) = (settings.metrics.expect("on"), settings.traces.expect("on"));
        assert_eq!(
            (metrics.timeout, metrics.every),
            (Duration::from_millis(1500), Duration::from_millis(500))
        );
        assert_eq!(traces.timeout, Duration::from_millis(2500));
        assert_eq!(tracing, Tracing { ratio: 0.5, queue: 8_192 });
        for (sampler, ratio) in [("parentbased_always_on", 1.0), ("parentbased_always_off", 0.0)] {
            let settings = read("", &[ENDPOINT, ("OTEL_TRACES_SAMPLER", sampler)]).expect("valid");
            assert!((settings.traces.expect("on").1.ratio - ratio).abs() < f64::EPSILON, "{sampler}");
        }
    }

    #[test]
    fn the_service_has_a_name() {
        let name = |file: &str, variables: &[(&str, &str)]| {
            let resource = read(file, variables).expect("valid").resource;
            resource.get(&"service.name".into()).map(|name| name.to_string())
        };
        assert_eq!(name("", &[]).as_deref(), Some("saf-runtime"));
        let file = "telemetry.service_name = 'rides'";
        assert_eq!(name(file, &[("OTEL_SERVICE_NAME", "env")]).as_deref(), Some("rides"));
        assert_ne!(
            name("", &[("OTEL_SERVICE_NAME", "env")]).as_deref(),
            Some("saf-runtime"),
            "the SDK reads it"
        );
    }

    #[test]
    fn what_cannot_be_used_is_said_with_what_to_write() {
        let cases: [(&str, Variables, &str); 9] = [
            ("telemetry.endpoint = 'c:4318'", &[], "write one such as"),
            ("", &[ENDPOINT, ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc")], "http/protobuf"),
            ("", &[ENDPOINT, ("OTEL_TRACES_SAMPLER", "always_on")], "parentbased_always_on"),
            ("", &[ENDPOINT, ("OTEL_TRACES_SAMPLER_ARG", "2")], "a part of 1"),
            ("", &[ENDPOINT, ("OTEL_TRACES_SAMPLER_ARG", "x")], "write 0.1"),
            ("", &[ENDPOINT, ("OTEL_EXPORTER_OTLP_TIMEOUT", "1s")], "milliseconds"),
            ("telemetry.endpoint = 'http://c'\ntraces.ratio = 1.5", &[], "traces.ratio"),
            ("traces.queue = 0", &[], "traces.queue"),
            (
                "telemetry.endpoint = 'http://c'\ntelemetry.headers.a = { env = 'NO_SUCH' }",
                &[],
                "telemetry.headers.a",
            ),
        ];
        for (file, variables, part) in cases {
            let error = format!("{:#}", read(file, variables).expect_err(part));
            assert!(error.contains(part), "{error}");
        }
    }
}
