//! `docs/configuration.md` and `config/router.schema.json`: every key of `router.toml`, from the descriptions and defaults of the
//! types that read it.

use std::collections::BTreeMap;
use std::fmt::Write;

use serde_json::{Map, Value};

use super::{cell, current, made_from};
use crate::config::schema;

const INTRODUCTION: &str = "\
# router.toml

Every key of the configuration, with its default. `saf-runtime check --config router.toml` says what is wrong before anything
runs: an unknown key is refused with its line, and a suggestion. [config/router.toml](../config/router.toml) is a file to start from.

- **Paths** are relative to the file's folder.
- **Variables** override every key: `SAF__HTTP__LISTEN=127.0.0.1:8080`, `SAF__CHANNELS__MY_CHANNEL__CONCURRENCY=8` (`_` for `-` in
  names; lists as in TOML: `SAF__CHANNELS__PRINTER__SUBJECTS='[\"hello\"]'`).
- **Channels inherit** `[defaults.channel]`, key by key.
- **Editors** complete and check it with [config/router.schema.json](../config/router.schema.json), which is what
  `saf-runtime schema` prints.

";

#[test]
fn the_schema_for_editors_is_current() {
    let schema = serde_json::to_string_pretty(&schema()).expect("JSON");
    current("config/router.schema.json", &(schema + "\n"));
}

#[test]
fn the_page_of_the_configuration_is_current() {
    let schema = serde_json::to_value(schema()).expect("JSON");
    let mut page = Page::new(&schema);
    page.table("", &schema);
    current("docs/configuration.md", &page.finish());
}

/// The page as it is written.
struct Page<'a> {
    definitions: &'a Map<String, Value>,
    text: String,
    /// Tables that have a section, by definition.
    tables: BTreeMap<&'a str, String>,
    /// Forms of values that were mentioned, by their word.
    forms: BTreeMap<String, &'a Value>,
}

/// What a schema says a value is.
enum Meaning<'a> {
    /// A table with keys of its own.
    Table(&'a str, &'a Value),
    /// A table of such tables, by name.
    Named(&'a Value),
    Value,
}

impl<'a> Page<'a> {
    fn new(schema: &'a Value) -> Self {
        let definitions = schema["$defs"].as_object().expect("definitions");
        let text = made_from("the types of the configuration") + INTRODUCTION;
        Self { definitions, text, tables: BTreeMap::new(), forms: BTreeMap::new() }
    }

    /// A table's keys, then the tables in it.
    fn table(&mut self, path: &str, schema: &'a Value) {
        let properties = schema["properties"].as_object().expect("a table has keys");
        let mut rows = String::new();
        let mut below = Vec::new();
        for (key, property) in properties {
            match self.meaning(property) {
                Meaning::Table(name, table) => below.push((join(path, key), name, table)),
                Meaning::Named(property) => {
                    let named =
                        property["patternProperties"].as_object().and_then(|named| named.values().next());
                    if let Meaning::Table(name, table) = self.meaning(named.expect("a pattern")) {
                        below.push((format!("{}.<name>", join(path, key)), name, table));
                    }
                }
                Meaning::Value => {
                    let (form, what) = (self.form(property), self.what(property));
                    let default = property.get("default").map(toml).unwrap_or_default();
                    writeln!(rows, "| `{key}` | {form} | {default} | {what} |").expect("a string");
                }
            }
        }
        if !path.is_empty() && !rows.is_empty() {
            let about = about(schema);
            let about = if about.is_empty() { about } else { about + "\n\n" };
            write!(self.text, "## `[{path}]`\n\n{about}").expect("a string");
            write!(self.text, "| key | value | default | what |\n| --- | --- | --- | --- |\n{rows}\n")
                .expect("a string");
        }
        for (path, name, table) in below {
            if let Some(seen) = self.tables.get(name) {
                write!(self.text, "## `[{path}]`\n\nThe keys of `[{seen}]`, and of the tables in it.\n\n")
                    .expect("a string");
                continue;
            }
            self.tables.insert(name, path.clone());
            self.table(&path, table);
        }
    }

    fn definition(&self, schema: &Value) -> Option<(&'a str, &'a Value)> {
        let name = schema["$ref"].as_str()?.strip_prefix("#/$defs/")?;
        self.definitions.get_key_value(name).map(|(name, definition)| (name.as_str(), definition))
    }

    fn meaning(&self, schema: &'a Value) -> Meaning<'a> {
        match self.definition(schema) {
            Some((name, definition)) if definition["properties"].is_object() => {
                Meaning::Table(name, definition)
            }
            None if schema["patternProperties"].is_object() => Meaning::Named(schema),
            _ => Meaning::Value,
        }
    }

    /// What a value looks like: a word that is explained at the end, or the choices.
    fn form(&mut self, schema: &'a Value) -> String {
        if let Some((name, definition)) = self.definition(schema) {
            let choices: Vec<_> = choices(definition).map(|(choice, _)| format!("`\"{choice}\"`")).collect();
            if !choices.is_empty() {
                return choices.join(" or ");
            }
            let word = word(name);
            if definition["description"].is_null() {
                return word;
            }
            self.forms.insert(word.clone(), definition);
            return format!("[{word}](#values)");
        }
        let parts = schema["anyOf"].as_array().into_iter().flatten();
        if let Some(part) = parts.into_iter().find(|part| part["$ref"].is_string()) {
            return self.form(part);
        }
        match schema["type"].as_str().or_else(|| schema["type"][0].as_str()) {
            Some("array") => format!("list of {}", self.form(&schema["items"])),
            Some("object") => "table".to_owned(),
            Some("boolean") => "`true` or `false`".to_owned(),
            Some("integer" | "number") => "number".to_owned(),
            Some("string") => "text".to_owned(),
            other => panic!("a form that the page has no word for: {other:?} {schema}"),
        }
    }

    /// The description, and that of each choice.
    fn what(&self, schema: &Value) -> String {
        let mut text = about(schema);
        if let Some((_, definition)) = self.definition(schema) {
            for (choice, about) in choices(definition) {
                write!(text, " `{choice}`: {about}").expect("a string");
            }
        }
        cell(&text)
    }

    fn finish(mut self) -> String {
        self.text.push_str("## Values\n\n| value | what | such as |\n| --- | --- | --- |\n");
        for (word, definition) in &self.forms {
            let examples = definition["examples"].as_array().into_iter().flatten();
            let examples: Vec<_> = examples.map(toml).collect();
            writeln!(self.text, "| {word} | {} | {} |", cell(&about(definition)), examples.join(", "))
                .expect("a string");
        }
        self.text
    }
}

fn join(path: &str, key: &str) -> String {
    if path.is_empty() { key.to_owned() } else { format!("{path}.{key}") }
}

/// A description, without the heading that the types' docs begin with; a sentence.
fn about(schema: &Value) -> String {
    let text = schema["description"].as_str().unwrap_or_default();
    let rest = text.strip_prefix("`[").and_then(|text| text.split_once("]`")).map(|(_, rest)| rest);
    let text = rest.unwrap_or(text).trim_start_matches([':', ';', '.', ' ']);
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    // `embedded:` and `jetstream:` name the broker that a key is for.
    if text.starts_with("embedded:") || text.starts_with("jetstream:") {
        return text;
    }
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

/// The values of an enum, with what each means.
fn choices(definition: &Value) -> impl Iterator<Item = (&str, String)> {
    let one_of = definition["oneOf"].as_array().into_iter().flatten();
    one_of.filter_map(|choice| Some((choice["const"].as_str()?, about(choice))))
}

/// The word for a type that has a form of its own.
fn word(definition: &str) -> String {
    match definition {
        "Span" => "duration".to_owned(),
        "StreamName" => "name".to_owned(),
        "Start" => "text or number".to_owned(),
        "Filter" => "subject filter".to_owned(),
        other => other.to_lowercase(),
    }
}

/// A value as it stands in the file; nothing for what is absent.
fn toml(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Object(table) if table.is_empty() => "`{}`".to_owned(),
        value => format!("`{}`", cell(&value.to_string())),
    }
}
