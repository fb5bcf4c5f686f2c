//! The routes and their description, made together: a route that is served is in `openapi.json`, because both come from one call.
//!
//! The schemas come from the types that are serialised, by schemars, as the configuration's do: JSON Schema 2020-12 is what OpenAPI
//! 3.1 uses. Deliberately absent: examples of answers, and problems by route (any may be answered anywhere; `docs/http.md` lists them).

use std::sync::Arc;

use axum::handler::Handler;
use axum::routing::{MethodFilter, on};
use axum::{Extension, Router};
use http::{Method, Uri};
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde_json::{Map, Value};

use crate::admin::answer::{Answered, json};
use crate::admin::desk::Desk;
use crate::admin::query::{Form, Parameter, Parameters};
use crate::problem::Document;

/// Where the routes stand.
pub(super) const PREFIX: &str = "/api/v1";

type SchemaOf = fn(&mut SchemaGenerator) -> Schema;

/// The schema of a type.
pub(super) fn of<T: JsonSchema>(generator: &mut SchemaGenerator) -> Schema {
    generator.subschema_for::<T>()
}

pub(super) fn routes(api: Api) -> Api {
    let answer = Answer::Json(of::<Value>);
    let operation = Operation { summary: "This document.", parameters: &[], body: None, answer };
    api.route(&Method::GET, "/openapi.json", show, &operation)
}

async fn show(Extension(document): Extension<Arc<Value>>, uri: Uri) -> Answered {
    Parameters::read(&uri, &[])?;
    json(&*document)
}

/// What a route does, for its readers.
pub(super) struct Operation {
    pub(super) summary: &'static str,
    pub(super) parameters: &'static [&'static [Parameter]],
    pub(super) body: Option<SchemaOf>,
    pub(super) answer: Answer,
}

/// What a route answers when all goes well.
pub(super) enum Answer {
    /// 200 with this.
    Json(SchemaOf),
    /// 204.
    Nothing,
    /// 200 with bytes of any type.
    Bytes(&'static str),
    /// 200 with server-sent events of these names.
    Stream(&'static [(&'static str, SchemaOf)]),
}

/// Routes that know what they are.
pub(super) struct Api {
    router: Router<Arc<Desk>>,
    paths: Map<String, Value>,
    generator: SchemaGenerator,
}

impl Api {
    pub(super) fn new() -> Self {
        let settings = SchemaSettings::draft2020_12().with(|settings| {
            settings.definitions_path = "/components/schemas".into();
            settings.meta_schema = None;
        });
        let generator = settings.for_serialize().into_generator();
        Self { router: Router::new(), paths: Map::new(), generator }
    }

    /// Serves a path under [`PREFIX`].
    pub(super) fn route<H, T>(
        mut self,
        method: &Method,
        path: &'static str,
        handler: H,
        operation: &Operation,
    ) -> Self
    where
        H: Handler<T, Arc<Desk>>,
        T: 'static,
    {
        let described = self.describe(path, operation);
        let methods = self.paths.entry(format!("{PREFIX}{path}")).or_insert_with(|| serde_json::json!({}));
        methods[method.as_str().to_ascii_lowercase()] = described;
        self.router = self.router.route(path, on(filter(method), handler));
        self
    }

    /// The router, which shows the document about it too.
    pub(super) fn finish(mut self) -> Router<Arc<Desk>> {
        let problem = of::<Document<'static>>(&mut self.generator);
        let schemas = self.generator.take_definitions(true);
        let document = serde_json::json!({
            "openapi": "3.1.0",
            "info": {
                "title": "saf admin API",
                "version": env!("CARGO_PKG_VERSION"),
                "description": "Looks at streams, Channels and dead letters of a running router, and changes them."
            },
            "security": [{}, { "token": [] }],
            "paths": self.paths,
            "components": {
                "schemas": schemas,
                "responses": {
                    "Problem": {
                        "description": "What went wrong and what to do next (RFC 9457).",
                        "content": { "application/problem+json": { "schema": problem } }
                    }
                },
                "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } }
            }
        });
        self.router.layer(Extension(Arc::new(document)))
    }

    fn describe(&mut self, path: &str, operation: &Operation) -> Value {
        let in_path = names_in(path).map(|name| {
            serde_json::json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } })
        });
        let in_query = operation.parameters.iter().flat_map(|list| list.iter()).map(|parameter| {
            serde_json::json!({
                "name": parameter.name,
                "in": "query",
                "description": parameter.about,
                "schema": schema(parameter.form)
            })
        });
        let (status, answer) = self.answer(&operation.answer);
        let mut described = serde_json::json!({
            "summary": operation.summary,
            "parameters": in_path.chain(in_query).collect::<Vec<_>>(),
            "responses": { status: answer, "default": { "$ref": "#/components/responses/Problem" } }
        });
        if let Some(body) = operation.body {
            described["requestBody"] =
                serde_json::json!({ "content": { "application/json": { "schema": taken(body) } } });
        }
        described
    }

    fn answer(&mut self, answer: &Answer) -> (&'static str, Value) {
        match answer {
            Answer::Json(of) => {
                let schema = of(&mut self.generator);
                (
                    "200",
                    serde_json::json!({ "description": "Done.", "content": { "application/json": { "schema": schema } } }),
                )
            }
            Answer::Nothing => ("204", serde_json::json!({ "description": "Done." })),
            Answer::Bytes(about) => {
                ("200", serde_json::json!({ "description": about, "content": { "*/*": {} } }))
            }
            Answer::Stream(events) => {
                let schemas = events.iter().map(|(name, of)| ((*name).to_owned(), of(&mut self.generator)));
                let schemas: Map<_, _> = schemas.map(|(name, schema)| (name, schema.into())).collect();
                (
                    "200",
                    serde_json::json!({
                        "description": "Server-sent events, and a comment at least every 15 seconds.",
                        // OpenAPI 3.1 has no words for streams; the schemas of the events' data stand beside it.
                        "content": { "text/event-stream": { "schema": { "type": "string" }, "x-events": schemas } }
                    }),
                )
            }
        }
    }
}

/// What is read has other needs than what is written: its defaults may be left out.
fn taken(body: SchemaOf) -> Schema {
    let settings = SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    body(&mut settings.for_deserialize().into_generator())
}

fn names_in(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

fn schema(form: Form) -> Value {
    match form {
        Form::Text => serde_json::json!({ "type": "string" }),
        Form::Integer => serde_json::json!({ "type": "integer", "minimum": 0 }),
        Form::Number => serde_json::json!({ "type": "number" }),
        Form::Time => serde_json::json!({
            "oneOf": [
                { "type": "string", "format": "date-time" },
                { "type": "integer", "description": "Milliseconds since the Unix epoch." }
            ]
        }),
    }
}

/// The filters of the methods that routes use.
fn filter(method: &Method) -> MethodFilter {
    MethodFilter::try_from(method.clone()).unwrap_or(MethodFilter::GET)
}
