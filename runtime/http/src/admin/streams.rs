//! `/streams`: what there is to read.

use std::sync::Arc;

use axum::extract::State;
use http::{Method, Uri};
use saf_broker::Summary;
use schemars::JsonSchema;
use serde::Serialize;

use crate::admin::answer::{Answered, json};
use crate::admin::desk::Desk;
use crate::admin::openapi::{Answer, Api, Operation, of};
use crate::admin::page::{self, Page};
use crate::admin::query::Parameters;
use crate::problem::Problem;

/// A stream in numbers.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "Stream")]
struct StreamView {
    /// Its name.
    name: String,
    #[serde(flatten)]
    summary: Summary,
}

pub(super) fn routes(api: Api) -> Api {
    api.route(
        &Method::GET,
        "/streams",
        list,
        &Operation {
            summary: "Lists the configured streams by name.",
            parameters: &[page::PARAMETERS],
            body: None,
            answer: Answer::Json(of::<Page<StreamView>>),
        },
    )
}

async fn list(State(desk): State<Arc<Desk>>, uri: Uri) -> Answered {
    let mut query = Parameters::read(&uri, &[page::PARAMETERS])?;
    let after = query.text("after");
    let limit = page::limit(&mut query)?;
    let journal = desk.journal()?;
    let streams = desk.streams.borrow().clone();
    let page = page::of_names(streams, |stream| stream.as_str(), after.as_deref(), limit);
    let mut items = Vec::with_capacity(page.items.len());
    for stream in page.items {
        let summary = journal.summary(&stream).await.map_err(Problem::broker)?;
        items.push(StreamView { name: stream.to_string(), summary });
    }
    json(&Page { items, next: page.next })
}
