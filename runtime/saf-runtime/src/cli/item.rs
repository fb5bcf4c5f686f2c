//! An event as the admin API answers it, as far as the commands read it. The seam's own types are not used: a command may be older
//! or newer than the router it asks, and reads only what it shows.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::table::{Column, Row, Sheet};
use super::text::{Time, bytes, laid_out, present, printable, printable_lines, short};

const PREVIEW_CHARS: usize = 80;
const SUBJECT_CHARS: usize = 60;
/// Larger data is shown by its beginning.
const SHOWN_BYTES: usize = 64 << 10;

/// An event.
#[derive(Debug, Deserialize)]
pub(crate) struct Item {
    pub(crate) sequence: u64,
    pub(crate) subject: String,
    pub(crate) id: String,
    pub(crate) time: Time,
    #[serde(default)]
    pub(crate) content_type: Option<String>,
    #[serde(default)]
    pub(crate) headers: Vec<(String, String)>,
    #[serde(default, deserialize_with = "present")]
    data: Option<Box<RawValue>>,
    #[serde(default)]
    data_base64: Option<String>,
    #[serde(default)]
    pub(crate) parent: Option<String>,
    #[serde(default)]
    pub(crate) root: Option<String>,
    #[serde(default)]
    hops: Option<u16>,
}

impl Item {
    /// The beginning of the data, on one line.
    pub(crate) fn preview(&self) -> String {
        self.data(PREVIEW_CHARS)
    }

    fn data(&self, max_chars: usize) -> String {
        match (&self.data, &self.data_base64) {
            (Some(json), _) => short(json.get(), max_chars),
            (None, Some(text)) => match STANDARD.decode(text) {
                Ok(data) => bytes(&data, max_chars),
                Err(_) => "(not base64)".to_owned(),
            },
            (None, None) => String::new(),
        }
    }

    /// Everything about it.
    pub(crate) fn sheet(&self) -> Sheet {
        let headers =
            self.headers.iter().map(|(name, value)| format!("{}: {}", printable(name), printable(value)));
        let lineage = match (&self.parent, &self.root, self.hops) {
            (Some(parent), Some(root), Some(hops)) => {
                format!("{}, root {}, {hops} hops", printable(parent), printable(root))
            }
            _ => String::new(),
        };
        Sheet::default()
            .with("sequence", self.sequence.to_string())
            .with("subject", printable(&self.subject))
            .with("id", printable(&self.id))
            .with("time", self.time.to_string())
            .with("content type", printable(self.content_type.as_deref().unwrap_or_default()))
            .with("parent", lineage)
            .with("headers", headers.collect::<Vec<_>>().join("\n"))
            .with("data", self.shown())
    }

    /// JSON laid out, text with its lines, binary data by its size.
    fn shown(&self) -> String {
        let text = match (&self.data, &self.data_base64) {
            (Some(json), _) => Some(laid_out(json.get())),
            (None, Some(encoded)) => {
                STANDARD.decode(encoded).ok().and_then(|data| String::from_utf8(data).ok())
            }
            (None, None) => None,
        };
        match text {
            Some(text) if text.len() <= SHOWN_BYTES => printable_lines(&text),
            Some(_) | None => self.data(PREVIEW_CHARS),
        }
    }
}

impl Row for Item {
    const COLUMNS: &'static [Column] = &[
        Column::Number("SEQUENCE"),
        Column::Text("TIME"),
        Column::Text("SUBJECT"),
        Column::Text("ID"),
        Column::Text("DATA"),
    ];
    const NONE: &'static str = "no events match";

    fn cells(&self) -> Vec<String> {
        vec![
            self.sequence.to_string(),
            self.time.to_string(),
            short(&self.subject, SUBJECT_CHARS),
            short(&self.id, SUBJECT_CHARS),
            self.preview(),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(data: &str) -> Item {
        let text = format!(
            "{{\"sequence\":7,\"subject\":\"a.b\",\"id\":\"1\",\"time\":\"2026-01-31T12:00:00.000Z\",\"headers\":[[\"x\",\"y\"]]{data}}}"
        );
        serde_json::from_str(&text).expect("an event")
    }

    #[test]
    fn data_is_shown_as_what_it_is_and_never_changed() {
        for (data, preview, shown) in [
            (r#","data":{"b":1,"a":[]}"#, r#"{"b":1,"a":[]}"#, "{\n  \"b\": 1,\n  \"a\": []\n}"),
            (r#","data":null"#, "null", "null"),
            (r#","data":12345678901234567890123"#, "12345678901234567890123", "12345678901234567890123"),
            (r#","data":1.0e2"#, "1.0e2", "1.0e2"),
            (r#","data_base64":"aGkKeW91""#, "hi\\nyou", "hi\nyou"),
            (r#","data_base64":"G1sySg==""#, "\\u{1b}[2J", "\\u{1b}[2J"),
            (r#","data_base64":"/w==""#, "(1 B of binary data)", "(1 B of binary data)"),
            ("", "", ""),
        ] {
            let item = item(data);
            assert_eq!((item.preview().as_str(), item.shown().as_str()), (preview, shown), "{data}");
        }
    }
}
