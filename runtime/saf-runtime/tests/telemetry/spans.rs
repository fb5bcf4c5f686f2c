//! A span as it arrived, whoever took it: from protobuf, or from a line of a collector's file.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as Any;
use serde_json::Value;

#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Span {
    pub(crate) trace: String,
    pub(crate) id: String,
    /// Empty for a root.
    pub(crate) parent: String,
    pub(crate) name: String,
    /// As the protocol numbers them: 3 is a client, 4 a producer, 5 a consumer.
    pub(crate) kind: i64,
    pub(crate) began: u64,
    pub(crate) ended: u64,
    pub(crate) failed: bool,
    /// Pairs of trace and span.
    pub(crate) links: Vec<(String, String)>,
    pub(crate) attributes: BTreeMap<String, String>,
    pub(crate) service: String,
}

pub(crate) const CLIENT: i64 = 3;
pub(crate) const PRODUCER: i64 = 4;
pub(crate) const CONSUMER: i64 = 5;

impl Span {
    pub(crate) fn all(request: &ExportTraceServiceRequest) -> Vec<Self> {
        let mut spans = Vec::new();
        for resource in &request.resource_spans {
            let of_resource = resource.resource.iter().flat_map(|resource| &resource.attributes);
            let service =
                of_resource.filter(|pair| pair.key == "service.name").map(|pair| text(pair.value.as_ref()));
            let service = service.collect::<Vec<_>>().pop().unwrap_or_default();
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                let attributes = span.attributes.iter();
                spans.push(Self {
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    name: span.name.clone(),
                    kind: span.kind.into(),
                    began: span.start_time_unix_nano,
                    ended: span.end_time_unix_nano,
                    failed: span.status.as_ref().is_some_and(|status| status.code == 2),
                    links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
                    attributes: attributes
                        .map(|pair| (pair.key.clone(), text(pair.value.as_ref())))
                        .collect(),
                    service: service.clone(),
                });
            }
        }
        spans
    }

    /// From a line of a collector's file: OTLP as JSON.
    pub(crate) fn of_json(line: &Value) -> Vec<Self> {
        let list = |value: &Value| value.as_array().cloned().unwrap_or_default();
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let pairs = |value: &Value| -> BTreeMap<String, String> {
            let value_of = |pair: &Value| match pair["value"].as_object().and_then(|any| any.values().next())
            {
                Some(Value::String(text)) => text.clone(),
                Some(other) => other.to_string(),
                None => String::new(),
            };
            list(value).iter().map(|pair| (text(&pair["key"]), value_of(pair))).collect()
        };
        let mut spans = Vec::new();
        for resource in list(&line["resourceSpans"]) {
            let service =
                pairs(&resource["resource"]["attributes"]).remove("service.name").unwrap_or_default();
            for span in list(&resource["scopeSpans"]).iter().flat_map(|scope| list(&scope["spans"])) {
                let nanos =
                    |value: &Value| value.as_str().and_then(|text| text.parse().ok()).unwrap_or_default();
                let link = |link: &Value| (text(&link["traceId"]), text(&link["spanId"]));
                spans.push(Self {
                    trace: text(&span["traceId"]),
                    id: text(&span["spanId"]),
                    parent: text(&span["parentSpanId"]),
                    name: text(&span["name"]),
                    kind: span["kind"].as_i64().unwrap_or_default(),
                    began: nanos(&span["startTimeUnixNano"]),
                    ended: nanos(&span["endTimeUnixNano"]),
                    failed: span["status"]["code"] == 2,
                    links: list(&span["links"]).iter().map(link).collect(),
                    attributes: pairs(&span["attributes"]),
                    service: service.clone(),
                });
            }
        }
        spans
    }

    pub(crate) fn place(&self) -> (String, String) {
        (self.trace.clone(), self.id.clone())
    }

    #[track_caller]
    pub(crate) fn says(&self, expected: &[(&str, &str)]) {
        for (key, value) in expected {
            assert_eq!(self.attributes.get(*key).map(String::as_str), Some(*value), "{key} of {self:#?}");
        }
    }
}

/// The only span of this name.
#[track_caller]
pub(crate) fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let mut named = spans.iter().filter(|span| span.name == name);
    let first = named.next().unwrap_or_else(|| panic!("no span {name} among {spans:#?}"));
    assert!(named.next().is_none(), "more than one {name} among {spans:#?}");
    first
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |text, byte| format!("{text}{byte:02x}"))
}

fn text(value: Option<&opentelemetry_proto::tonic::common::v1::AnyValue>) -> String {
    match value.and_then(|value| value.value.as_ref()) {
        Some(Any::StringValue(text)) => text.clone(),
        Some(Any::IntValue(number)) => number.to_string(),
        Some(Any::BoolValue(truth)) => truth.to_string(),
        Some(Any::DoubleValue(number)) => number.to_string(),
        other => format!("{other:?}"),
    }
}
