//! The document about the API is true: what it says is there, is there, and answers have the fields that it names, and no other.

use serde_json::{Value, json};

use crate::scene::{On, Scene, event, rejecting};

pub(crate) async fn every_answer_has_the_documented_fields(on: On) {
    let scene = Scene::start(on, &[("worker", &rejecting("job", ""))]).await;
    let document = scene.get("/api/v1/openapi.json").await;
    assert_eq!(document["openapi"], "3.1.0");
    let mut tap = scene.connect().await.open("/api/v1/tap").await;
    let mut attempts = scene.connect().await.open("/api/v1/attempts").await;
    for n in ["1", "2", "3"] {
        scene.store("events", event("job", n, Some("application/json"), b"{}")).await;
    }
    let dead = scene.dead_letters(3).await;
    let id = |n: usize| dead[n]["id"].as_str().expect("an id");

    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let content = &operation["responses"]["200"]["content"];
            let request = format!("{} {path}", method.to_uppercase());
            let asked = path.replace("{sequence}", "1").replace("{name}", "worker");
            // In the order of the document a dead letter is deleted, listed, shown and replayed.
            let (asked, body) = match request.as_str() {
                "DELETE /api/v1/dead-letters" => (asked + "?channel=nobody&count=0", ""),
                "DELETE /api/v1/dead-letters/{id}" => (asked.replace("{id}", id(0)), ""),
                "POST /api/v1/dead-letters/replay" => {
                    (asked, "{\"limit\": 1, \"filter\": {\"outcome\": \"trap\"}}")
                }
                "GET /api/v1/events/{sequence}/why" => (asked + "?channel=worker", ""),
                _ => (asked.replace("{id}", id(1)), ""),
            };
            refuses_what_is_not_documented(&scene, method, &asked, operation).await;
            if let Some(events) = content["text/event-stream"]["x-events"].as_object() {
                let name = if path.ends_with("tap") { "event" } else { "attempt" };
                let reader = if path.ends_with("tap") { &mut tap } else { &mut attempts };
                let message = reader.message().await.expect("a message");
                assert_eq!(message.name, name);
                fits(&document, &events[name], &message.data, path);
                continue;
            }
            let answer = scene.ask(&method.to_uppercase(), &asked, body).await;
            let expected = if operation["responses"].get("204").is_some() { 204 } else { 200 };
            assert_eq!(answer.status, expected, "{request}: {answer:?}");
            if content.get("application/json").is_some() {
                fits(&document, &content["application/json"]["schema"], &answer.json(), &request);
            }
        }
    }
    let problem =
        &document["components"]["responses"]["Problem"]["content"]["application/problem+json"]["schema"];
    for (method, path) in [("GET", "/api/v1/events/99"), ("DELETE", "/api/v1/dead-letters?count=99")] {
        fits(&document, problem, &scene.ask(method, path, "").await.json(), path);
    }
}

/// The list of parameters in the document is the list that a client is told which sends another one.
async fn refuses_what_is_not_documented(scene: &Scene, method: &str, path: &str, operation: &Value) {
    let parameters = operation["parameters"].as_array().expect("a list").iter();
    let in_query = parameters.filter(|parameter| parameter["in"] == "query");
    let names: Vec<_> = in_query.map(|parameter| parameter["name"].as_str().expect("a name")).collect();
    let expected = if names.is_empty() { "none".to_owned() } else { names.join(", ") };
    let path = path.split('?').next().expect("a path");
    let answer = scene.ask(&method.to_uppercase(), &format!("{path}?undocumented=1"), "").await;
    let (problem, detail) = answer.problem();
    assert_eq!(problem, "invalid-request", "{method} {path}");
    assert!(detail.ends_with(&format!("takes: {expected}")), "{method} {path}: {detail}");
}

/// As much of JSON Schema as the document uses for its answers.
fn fits(document: &Value, schema: &Value, value: &Value, at: &str) {
    if let Some(reference) = schema["$ref"].as_str() {
        let target = document
            .pointer(reference.trim_start_matches('#'))
            .unwrap_or_else(|| panic!("{at}: {reference}"));
        return fits(document, target, value, at);
    }
    if let Some(choices) = schema["anyOf"].as_array().or_else(|| schema["oneOf"].as_array()) {
        let is_fitting = |choice: &&Value| choice["type"] != "null" || value.is_null();
        // Of objects with a tag, the one with that tag.
        let is_tagged = |choice: &&Value| {
            let tags = choice["properties"].as_object().into_iter().flatten();
            tags.filter_map(|(name, property)| Some((name, property.get("const")?)))
                .all(|(name, tag)| value[name] == *tag)
        };
        let mut choices = choices.iter().filter(is_fitting).filter(is_tagged);
        let choice = choices.find(|choice| value.is_null() == (choice["type"] == "null"));
        return fits(
            document,
            choice.unwrap_or_else(|| panic!("{at}: {value} is none of {schema}")),
            value,
            at,
        );
    }
    if let Some(properties) = schema["properties"].as_object() {
        let object = value.as_object().unwrap_or_else(|| panic!("{at}: {value} is no object"));
        for required in schema["required"].as_array().into_iter().flatten() {
            assert!(
                object.contains_key(required.as_str().expect("a name")),
                "{at}: {value} lacks {required}"
            );
        }
        for (name, value) in object {
            let property = properties.get(name).unwrap_or_else(|| panic!("{at}: {name} is not documented"));
            fits(document, property, value, &format!("{at}.{name}"));
        }
    }
    if let Some(types) = schema.get("type") {
        let types = types.as_array().cloned().unwrap_or_else(|| vec![types.clone()]);
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) if types.contains(&json!("integer")) => "integer",
            Value::Number(_) => "number",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        assert!(types.contains(&json!(kind)), "{at}: {value} is no {types:?}");
    }
    if let (Some(items), Some(values)) = (schema.get("items"), value.as_array()) {
        for value in values {
            fits(document, items, value, &format!("{at}[]"));
        }
    }
}

/// What people read names every path and every problem with its status.
pub(crate) async fn the_reference_names_every_path_and_every_problem(on: On) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");
    let text = std::fs::read_to_string(path).expect("docs/http.md");
    let scene = Scene::start(on, &[]).await;
    let document = scene.get("/api/v1/openapi.json").await;
    for (path, methods) in document["paths"].as_object().expect("paths") {
        for (method, operation) in methods.as_object().expect("methods") {
            let route = format!("`{} {path}", method.to_uppercase());
            let line = text
                .lines()
                .find(|line| line.split(&route).nth(1).is_some_and(|rest| rest.starts_with(['`', '?'])));
            let line = line.unwrap_or_else(|| panic!("docs/http.md lacks {route}"));
            let parameters = operation["parameters"].as_array().expect("a list").iter();
            for name in parameters.filter(|p| p["in"] == "query").map(|p| p["name"].as_str().expect("a name"))
            {
                let shown = line.contains(&format!("{name}=")) || line.contains("<filter>");
                assert!(shown, "docs/http.md: {route} lacks {name}");
            }
        }
    }
    let rows: Vec<_> =
        text.lines().filter(|line| line.starts_with("| `") && line.matches(" | ").count() == 2).collect();
    for kind in saf_http::ProblemKind::ALL {
        let name = kind.urn().rsplit(':').next().expect("a name");
        let row = format!("| `{name}` | {} | ", kind.status().as_u16());
        assert!(rows.iter().any(|line| line.starts_with(&row)), "docs/http.md lacks {row}");
    }
}

/// The examples that people read have the fields that answers have, all that are always there and no other.
pub(crate) async fn examples_in_the_reference_fit_what_they_show(on: On) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/http.md");
    let text = std::fs::read_to_string(path).expect("docs/http.md");
    let document = Scene::start(on, &[]).await.get("/api/v1/openapi.json").await;
    let mut shown = Vec::new();
    for behind in text.split("<!-- schema: ").skip(1) {
        let (name, rest) = behind.split_once(" -->\n```json\n").expect("a block of JSON behind the mark");
        let example = rest.split("\n```").next().expect("a block");
        let example =
            serde_json::from_str(example).unwrap_or_else(|error| panic!("docs/http.md: {name}: {error}"));
        let schema = &document["components"]["schemas"][name];
        assert!(schema.is_object(), "there is no schema {name}");
        fits(&document, schema, &example, &format!("docs/http.md: {name}"));
        shown.push(name);
    }
    for name in ["Channel", "DeadLetter", "Event", "Problem", "SettledAttempt", "Stream"] {
        assert!(shown.contains(&name), "docs/http.md shows no {name}");
    }
    let saf_http::Config { max_body, max_batch, max_in_flight, max_connections, header_timeout, .. } =
        saf_http::Config::default();
    let limits = format!(
        "`max_body` ({} MiB), `max_batch` ({max_batch} events), `max_in_flight` ({} MiB of",
        max_body.0 >> 20,
        max_in_flight.0 >> 20
    );
    let more = format!("`body_timeout` ({header_timeout} each");
    let connections = format!("`max_connections` ({} {:03})", max_connections / 1000, max_connections % 1000);
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    for part in [limits, more, connections] {
        assert!(flat.contains(&part), "docs/http.md lacks the limit {part:?}");
    }
}
