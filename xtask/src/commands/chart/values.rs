//! `values.yaml` as its comments describe it. Read line by line, because what counts are the comments, which readers of YAML drop; so the
//! file keeps to a part of YAML: two spaces a level, a comment above each value, lists and small tables on one line, one text as a block.
//!
//! A key with a comment is a value, whatever it holds; a key without one is a section of values.

use anyhow::{Context, bail, ensure};

/// One value.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Setting {
    /// Its sections and its name.
    pub(super) path: Vec<String>,
    /// As it stands in the file; on one line where it can be.
    pub(super) default: String,
    /// What its comment says.
    pub(super) about: String,
    pub(super) kind: Kind,
    pub(super) rules: Vec<Rule>,
}

/// What a value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Text,
    Number,
    Switch,
    List,
    Table,
}

/// What its comment demands, by lines that begin with `@`.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Rule {
    /// `@enum a b`
    Enum(Vec<String>),
    /// `@min 1`
    Min(i64),
    /// `@max 10`
    Max(i64),
    /// `@pattern ^a$`
    Pattern(String),
    /// `@items string`, `object` or `component`
    Items(String),
}

const INDENT: usize = 2;

/// Every value, in the file's order.
pub(super) fn read(text: &str) -> anyhow::Result<Vec<Setting>> {
    let mut settings = Vec::new();
    let mut sections: Vec<String> = Vec::new();
    let mut comment = Vec::new();
    let mut lines = text.lines().enumerate().peekable();
    while let Some((number, line)) = lines.next() {
        let number = number + 1;
        let body = line.trim_start();
        if body.is_empty() {
            // A comment that no value follows is the file's.
            comment.clear();
            continue;
        }
        if let Some(said) = body.strip_prefix('#') {
            comment.push(said.trim().to_owned());
            continue;
        }
        let indent = line.len() - body.len();
        let (name, value) =
            body.split_once(':').with_context(|| format!("line {number} is no key: {line}"))?;
        ensure!(indent % INDENT == 0 && indent / INDENT <= sections.len(), "line {number} is indented oddly");
        sections.truncate(indent / INDENT);
        sections.push(name.to_owned());
        if comment.is_empty() {
            ensure!(value.is_empty(), "line {number}: {name} has no comment above it");
            continue;
        }
        let mut value = value.trim().to_owned();
        let mut block = Vec::new();
        if value.is_empty() || value == "|" {
            while let Some((_, line)) = lines.next_if(|(_, line)| line.is_empty() || deeper(line, indent)) {
                block.push(line.get(indent + INDENT..).unwrap_or_default().to_owned());
            }
        }
        let kind = kind(&value).with_context(|| format!("line {number}"))?;
        if value == "|" {
            block.join("\n").trim_end().clone_into(&mut value);
        } else if !block.is_empty() {
            value = format!(
                "{{ {} }}",
                block.iter().filter(|line| !line.is_empty()).cloned().collect::<Vec<_>>().join(", ")
            );
        }
        let (about, rules) = described(&comment).with_context(|| format!("line {number}"))?;
        comment.clear();
        settings.push(Setting { path: sections.clone(), default: value, about, kind, rules });
    }
    Ok(settings)
}

fn deeper(line: &str, indent: usize) -> bool {
    line.len() - line.trim_start().len() > indent
}

fn kind(value: &str) -> anyhow::Result<Kind> {
    Ok(match value {
        "" => Kind::Table,
        "true" | "false" => Kind::Switch,
        _ if value.starts_with('{') => Kind::Table,
        _ if value.starts_with('[') => Kind::List,
        _ if value.parse::<i64>().is_ok() => Kind::Number,
        "null" | "~" => bail!("a value without a kind: write an empty one, such as \"\" or []"),
        _ => Kind::Text,
    })
}

/// A comment's sentences and its rules.
fn described(comment: &[String]) -> anyhow::Result<(String, Vec<Rule>)> {
    let (rules, sentences): (Vec<_>, Vec<_>) = comment.iter().partition(|line| line.starts_with('@'));
    let rules = rules.into_iter().map(|line| rule(line)).collect::<anyhow::Result<_>>()?;
    Ok((sentences.into_iter().map(String::as_str).collect::<Vec<_>>().join(" "), rules))
}

fn rule(line: &str) -> anyhow::Result<Rule> {
    let (name, rest) = line.split_once(' ').with_context(|| format!("{line} says nothing"))?;
    Ok(match name {
        "@enum" => Rule::Enum(rest.split(' ').map(str::to_owned).collect()),
        "@min" => Rule::Min(rest.parse()?),
        "@max" => Rule::Max(rest.parse()?),
        "@pattern" => Rule::Pattern(rest.to_owned()),
        "@items" => Rule::Items(rest.to_owned()),
        _ => bail!("{name} is no rule: there are @enum, @min, @max, @pattern and @items"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_read_with_their_sections_and_comments() {
        let text = "# The file's own.\n\nimage:\n  # Where\n  # it is.\n  # @enum a b\n  name: a\nmore:\n  inner:\n    # A list.\n    list: []\n\
                    # A block.\ntext: |\n  one\n\n  two\n# A table.\ntable:\n  x: { y: 1 }\n  z: 2\n# A number.\nnumber: 3\n# Open?\nopen: true\n";
        let read = read(text).expect("values");
        let seen: Vec<_> = read
            .iter()
            .map(|setting| {
                (setting.path.join("."), setting.kind, setting.default.as_str(), setting.about.as_str())
            })
            .collect();
        let expected = [
            ("image.name", Kind::Text, "a", "Where it is."),
            ("more.inner.list", Kind::List, "[]", "A list."),
            ("text", Kind::Text, "one\n\ntwo", "A block."),
            ("table", Kind::Table, "{ x: { y: 1 }, z: 2 }", "A table."),
            ("number", Kind::Number, "3", "A number."),
            ("open", Kind::Switch, "true", "Open?"),
        ];
        assert_eq!(
            seen,
            expected.map(|(path, kind, default, about)| (path.to_owned(), kind, default, about))
        );
        assert_eq!(read[0].rules, [Rule::Enum(vec!["a".to_owned(), "b".to_owned()])]);
    }

    #[test]
    fn what_is_not_described_is_refused_with_its_line() {
        for (text, expected) in [
            ("a: 1\n", "line 1: a has no comment above it"),
            ("# A.\na: null\n", "line 2"),
            ("# A.\n# @least 1\na: 1\n", "line 3"),
            ("# A.\nno key\n", "line 2 is no key"),
        ] {
            let error = read(text).expect_err(text).to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
    }
}
