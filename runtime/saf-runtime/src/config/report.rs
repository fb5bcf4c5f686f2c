//! A configuration error as a person wants to see it: the file, the line, the text of the line, and what to do.

use std::fmt;
use std::path::Path;

use super::check::Problem;

/// What is wrong with a configuration.
#[derive(Debug)]
pub(crate) struct Report(String);

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::error::Error for Report {}

impl Report {
    pub(super) fn unreadable(path: &Path, error: &std::io::Error) -> Self {
        let hint = match error.kind() {
            std::io::ErrorKind::NotFound => {
                "\nName another file with --config, or make one: `saf-runtime new <NAME> --lang <LANG>` writes it with a first Channel."
            }
            _ => "",
        };
        Self(format!("cannot read {}: {error}{hint}", path.display()))
    }

    pub(super) fn syntax(path: &Path, text: &str, error: &toml::de::Error) -> Self {
        Self::at(path, text, error.span().map(|span| span.start), error.message())
    }

    pub(super) fn value(
        path: &Path,
        text: &str,
        error: &serde_path_to_error::Error<toml::de::Error>,
    ) -> Self {
        let inner = error.inner();
        let message = match error.path().to_string() {
            place if place == "." => inner.message().to_owned(),
            place => format!("{place}: {}", inner.message()),
        };
        Self::at(path, text, inner.span().map(|span| span.start), &message)
    }

    /// After merging there is no line: the mistake is in the environment.
    pub(super) fn merged(path: &Path, error: &serde_path_to_error::Error<toml::de::Error>) -> Self {
        let place = error.path().to_string();
        let name = place.replace('.', "__").replace('-', "_").to_uppercase();
        let unknown =
            quoted(error.inner().message()).filter(|_| error.inner().message().starts_with("unknown field"));
        let name = match unknown {
            Some(field) if !place.ends_with(field) => format!("SAF__{name}__{}", field.to_uppercase()),
            _ => format!("SAF__{name}"),
        };
        let message = with_suggestion(error.inner().message());
        Self(format!("{} with the environment: {name}: {message}", path.display()))
    }

    /// A message that names its own place.
    pub(crate) fn text(message: String) -> Self {
        Self(message)
    }

    /// What is wrong in a JSON file.
    pub(crate) fn json(
        path: &Path,
        text: &str,
        error: &serde_path_to_error::Error<serde_json::Error>,
    ) -> Self {
        let message = without_place(error.inner());
        let message = match error.path().to_string() {
            place if place == "." || place == "?" => message,
            place => format!("{place}: {message}"),
        };
        Self::at(path, text, offset(text, error.inner()), &message)
    }

    /// What follows a JSON document in its file.
    pub(crate) fn after_json(path: &Path, text: &str, error: &serde_json::Error) -> Self {
        Self::at(path, text, offset(text, error), &format!("{} after the document", without_place(error)))
    }

    pub(super) fn problem(path: &Path, text: &str, problem: &Problem) -> Self {
        let header = format!("[{}", problem.section);
        let is_header = |line: &str| {
            let rest = line.trim_start().strip_prefix(&header);
            rest.is_some_and(|rest| rest.starts_with(['.', ']']))
        };
        let mut at = 0;
        let mut found = None;
        for line in text.split_inclusive('\n') {
            if is_header(line) {
                found = Some(at);
                break;
            }
            at += line.len();
        }
        Self::at(path, text, found, &format!("[{}] {}", problem.section, problem.message))
    }

    fn at(path: &Path, text: &str, offset: Option<usize>, message: &str) -> Self {
        let message = with_suggestion(message);
        let Some(before) = offset.and_then(|offset| text.get(..offset)) else {
            return Self(format!("{}: {message}", path.display()));
        };
        let line = before.matches('\n').count();
        let source = text.lines().nth(line).unwrap_or_default();
        let gutter = (line + 1).to_string();
        let pad = " ".repeat(gutter.len());
        Self(format!("{}:{gutter}: {message}\n{pad} |\n{gutter} | {source}\n{pad} |", path.display()))
    }
}

/// Where serde_json stopped, in bytes.
fn offset(text: &str, error: &serde_json::Error) -> Option<usize> {
    let lines = text.split_inclusive('\n').take(error.line().checked_sub(1)?);
    Some(lines.map(str::len).sum())
}

/// The line is shown with its text.
fn without_place(error: &serde_json::Error) -> String {
    let text = error.to_string();
    text.rsplit_once(" at line ").map_or(text.clone(), |(message, _)| message.to_owned())
}

/// serde says what it expected; a slip of the finger is told what was probably meant.
fn with_suggestion(message: &str) -> String {
    let Some(wrong) =
        quoted(message).filter(|_| message.starts_with("unknown") || message.contains(": unknown"))
    else {
        return message.to_owned();
    };
    let known = message.split('`').skip(3).step_by(2);
    let best = known.map(|known| (strsim::damerau_levenshtein(wrong, known), known)).min();
    match best {
        Some((distance, known)) if distance <= 1 + wrong.len() / 4 => {
            format!("{message}; did you mean `{known}`?")
        }
        _ => message.to_owned(),
    }
}

fn quoted(message: &str) -> Option<&str> {
    message.split('`').nth(1)
}
