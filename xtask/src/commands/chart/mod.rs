//! `cargo xtask chart`: what is made from `charts/saf-runtime/values.yaml`: its schema, and the table in its README. Also the chart's
//! copy of the alert rules, since a chart may hold no file from outside of it. A test says when they are old.

mod values;

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, ensure};
use serde_json::{Map, Value, json};

use self::values::{Kind, Rule, Setting};
use crate::workspace::Workspace;

const BEGIN: &str = "<!-- Made from values.yaml by: cargo xtask chart -->\n";
const END: &str = "<!-- End of what is made -->\n";

/// The chart's folder.
pub(crate) fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root().join("charts/saf-runtime")
}

/// Writes the files that are old.
pub(crate) fn run(workspace: &Workspace) -> anyhow::Result<()> {
    for (path, text) in made(workspace)? {
        if fs::read_to_string(&path).is_ok_and(|present| present == text) {
            continue;
        }
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
        eprintln!("==> wrote {}", path.display());
    }
    Ok(())
}

/// Every file that is made, as it should be.
fn made(workspace: &Workspace) -> anyhow::Result<Vec<(PathBuf, String)>> {
    let chart = folder(workspace);
    let settings = values::read(&read(&chart.join("values.yaml"))?)?;
    let readme = chart.join("README.md");
    let rules = read(&workspace.root().join("deploy/prometheus/rules.yaml"))?;
    Ok(vec![
        (readme.clone(), with_table(&read(&readme)?, &settings)?),
        (chart.join("values.schema.json"), schema(&settings)? + "\n"),
        (chart.join("files/rules.yaml"), rules),
    ])
}

fn read(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

/// The README with its table made anew.
fn with_table(readme: &str, settings: &[Setting]) -> anyhow::Result<String> {
    let parts = readme.split_once(BEGIN).and_then(|(before, rest)| Some((before, rest.split_once(END)?.1)));
    let (before, after) =
        parts.with_context(|| format!("the README of the chart lacks the lines {BEGIN}and {END}"))?;
    let mut table = "\n| value | default | what |\n| --- | --- | --- |\n".to_owned();
    for Setting { path, default, about, .. } in settings {
        let default = if default.contains('\n') {
            "a router with two Channels".to_owned()
        } else {
            format!("`{default}`")
        };
        writeln!(table, "| `{}` | {} | {} |", path.join("."), cell(&default), cell(about))?;
    }
    Ok(format!("{before}{BEGIN}{table}\n{END}{after}"))
}

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

/// The JSON Schema of the values. Helm checks it at install, upgrade, lint and template.
fn schema(settings: &[Setting]) -> anyhow::Result<String> {
    let mut root = section();
    for setting in settings {
        let (name, sections) = setting.path.split_last().context("a value without a name")?;
        let mut place = &mut root;
        for name in sections {
            let properties = place["properties"].as_object_mut().context("a section has properties")?;
            place = properties.entry(name.clone()).or_insert_with(section);
        }
        place["properties"][name.as_str()] = property(setting)?;
    }
    // Helm hands these to every chart.
    root["properties"]["global"] =
        json!({ "type": "object", "description": "Values that a chart above this one gives to all." });
    let mut whole = Map::new();
    whole.insert("$schema".to_owned(), json!("http://json-schema.org/draft-07/schema#"));
    whole.insert("title".to_owned(), json!("Values of the chart saf-runtime"));
    whole.extend(root.as_object().context("a section is an object")?.clone());
    Ok(serde_json::to_string_pretty(&whole)?)
}

fn section() -> Value {
    json!({ "type": "object", "additionalProperties": false, "properties": {} })
}

fn property(setting: &Setting) -> anyhow::Result<Value> {
    let kind = match setting.kind {
        Kind::Text => "string",
        Kind::Number => "integer",
        Kind::Switch => "boolean",
        Kind::List => "array",
        Kind::Table => "object",
    };
    let mut property = json!({ "type": kind, "description": setting.about });
    for rule in &setting.rules {
        match rule {
            Rule::Enum(choices) => property["enum"] = json!(choices),
            Rule::Min(least) => property["minimum"] = json!(least),
            Rule::Max(most) => property["maximum"] = json!(most),
            Rule::Pattern(pattern) => property["pattern"] = json!(pattern),
            Rule::Items(kind) => property["items"] = items(kind)?,
        }
    }
    Ok(property)
}

/// What a list holds.
fn items(kind: &str) -> anyhow::Result<Value> {
    ensure!(
        ["string", "object", "component"].contains(&kind),
        "@items {kind}: say string, object or component"
    );
    if kind != "component" {
        return Ok(json!({ "type": kind }));
    }
    let source = |name: &str| json!({ "required": [name] });
    Ok(json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["name"],
        "properties": {
            "name": { "type": "string", "pattern": "^[a-z0-9]([-a-z0-9]{0,40}[a-z0-9])?$", "description": "The folder under /components." },
            "configMap": { "type": "string", "minLength": 1, "description": "A ConfigMap with components as binaryData." },
            "claim": { "type": "string", "minLength": 1, "description": "A PersistentVolumeClaim." },
            "image": { "type": "string", "minLength": 1, "description": "The reference of an OCI image or artifact." }
        },
        "oneOf": [source("configMap"), source("claim"), source("image")]
    }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_schema_the_readme_and_the_rules_of_the_chart_are_current() {
        let workspace = Workspace::find().expect("a checkout");
        for (path, text) in made(&workspace).expect("made") {
            let present = fs::read_to_string(&path).unwrap_or_default();
            assert!(present == text, "{} is old: run `cargo xtask chart`", path.display());
        }
    }

    #[test]
    fn a_schema_knows_sections_rules_and_nothing_else() {
        let text = "a:\n  # One of two.\n  # @enum x y\n  b: x\n# Bytes.\n# @min 1\nc: 7\n";
        let schema: Value =
            serde_json::from_str(&schema(&values::read(text).expect("values")).expect("a schema"))
                .expect("JSON");
        let b = json!({ "type": "string", "description": "One of two.", "enum": ["x", "y"] });
        assert_eq!(schema["properties"]["a"]["properties"]["b"], b);
        assert_eq!(schema["properties"]["a"]["additionalProperties"], json!(false));
        assert_eq!(
            schema["properties"]["c"],
            json!({ "type": "integer", "description": "Bytes.", "minimum": 1 })
        );
    }
}
