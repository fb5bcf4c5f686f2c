//! Subjects and filters, in NATS' own language: dot-separated tokens, `*` for one token, `>` for one or more at the end.

use std::fmt;

use bytestring::ByteString;

use crate::MAX_SUBJECT_BYTES;

/// Why a subject or a filter was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SubjectError {
    /// Nothing, or nothing between two dots.
    #[error("{0:?} has an empty token: write tokens joined by single dots, such as ride.accepted")]
    EmptyToken(String),
    /// White space, a control character, or a wildcard in a place where none may be.
    #[error("{0:?} holds {1:?}, which a subject may not")]
    Character(String, char),
    /// `$JS`, `$SYS` and friends.
    #[error("{0:?} starts with $: those subjects belong to the broker")]
    Reserved(String),
    /// Longer than [`MAX_SUBJECT_BYTES`].
    #[error("a subject of {0} bytes is longer than {MAX_SUBJECT_BYTES}")]
    TooLong(usize),
}

/// A concrete subject, safe to put before a broker. Cheap to clone.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Subject(ByteString);

impl Subject {
    /// Checks a subject that a client, a guest or a peer gave. Does not copy a [`ByteString`].
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, SubjectError> {
        let text = text.into();
        check(&text)?;
        if has_empty_token(&text) {
            return Err(SubjectError::EmptyToken(text.to_string()));
        }
        if let Some(wildcard) = text.bytes().find(|b| matches!(b, b'*' | b'>')) {
            return Err(SubjectError::Character(text.to_string(), wildcard.into()));
        }
        Ok(Self(text))
    }

    /// The subject as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The text itself, without a copy.
    pub fn into_inner(self) -> ByteString {
        self.0
    }
}

impl fmt::Display for Subject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// What a Channel subscribes to or may emit to: a subject that may hold wildcards.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Filter(ByteString);

impl Filter {
    /// The filter that matches every subject.
    pub fn all() -> Self {
        Self(ByteString::from_static(">"))
    }

    /// Checks a filter; `*` and `>` must be whole tokens, and `>` the last.
    pub fn parse(text: impl Into<ByteString>) -> Result<Self, SubjectError> {
        let text = text.into();
        check(&text)?;
        let mut tokens = text.split('.').peekable();
        while let Some(token) = tokens.next() {
            if token.is_empty() {
                return Err(SubjectError::EmptyToken(text.to_string()));
            }
            let whole = token == "*" || (token == ">" && tokens.peek().is_none());
            if !whole && let Some(wildcard) = token.chars().find(|c| matches!(c, '*' | '>')) {
                return Err(SubjectError::Character(text.to_string(), wildcard));
            }
        }
        Ok(Self(text))
    }

    /// The filter as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether a subject is one of those the filter means.
    pub fn matches(&self, subject: &str) -> bool {
        let mut tokens = subject.split('.');
        for wanted in self.0.split('.') {
            match (wanted, tokens.next()) {
                (">", Some(_)) => return true,
                ("*", Some(_)) => {}
                (wanted, Some(token)) if wanted == token => {}
                _ => return false,
            }
        }
        tokens.next().is_none()
    }

    /// Whether some subject is matched by both. JetStream refuses one consumer with overlapping filters (10138).
    pub fn overlaps(&self, other: &Self) -> bool {
        let (mut ours, mut theirs) = (self.0.split('.'), other.0.split('.'));
        loop {
            match (ours.next(), theirs.next()) {
                (None, None) | (Some(">"), Some(_)) | (Some(_), Some(">")) => return true,
                (Some(a), Some(b)) if a == b || a == "*" || b == "*" => {}
                _ => return false,
            }
        }
    }
}

impl fmt::Display for Filter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> serde::Deserialize<'de> for Filter {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(text).map_err(serde::de::Error::custom)
    }
}

impl serde::Serialize for Filter {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&self.0)
    }
}

impl schemars::JsonSchema for Filter {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Filter".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({ "type": "string", "description": "A subject; * stands for one token, > for one or more at the end.", "examples": ["ride.>"] })
    }
}

fn check(text: &str) -> Result<(), SubjectError> {
    if text.len() > MAX_SUBJECT_BYTES {
        return Err(SubjectError::TooLong(text.len()));
    }
    if text.starts_with('$') {
        return Err(SubjectError::Reserved(text.into()));
    }
    // Nearly every subject is plain ASCII, which is quick to see.
    if text.bytes().all(|b| b.is_ascii_graphic()) {
        return Ok(());
    }
    match text.chars().find(|c| c.is_whitespace() || c.is_control()) {
        Some(c) => Err(SubjectError::Character(text.into(), c)),
        None => Ok(()),
    }
}

fn has_empty_token(text: &str) -> bool {
    let mut before = b'.';
    let doubled = text.bytes().any(|byte| std::mem::replace(&mut before, byte) == b'.' && byte == b'.');
    doubled || before == b'.'
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn filter(text: &str) -> Filter {
        Filter::parse(text).expect("a valid filter")
    }

    #[test]
    fn subjects_are_checked_before_a_broker_sees_them() {
        for text in ["hello", "ride.accepted", "a.b.c-1_2", "größe.ändern"] {
            assert!(Subject::parse(text).is_ok(), "{text}");
        }
        for text in [
            "",
            ".",
            "a.",
            ".a",
            "a..b",
            "a b",
            "a\tb",
            "a\r\nPUB x",
            "*",
            "a.*",
            ">",
            "a.>",
            "a>b",
            "$JS.API",
            "$SYS",
            "nul\0",
        ] {
            assert!(Subject::parse(text).is_err(), "{text:?}");
        }
        assert!(matches!(Subject::parse("x".repeat(256)), Err(SubjectError::TooLong(256))));
    }

    #[test]
    fn filters_match_as_in_nats() {
        let cases = [
            ("hello", "hello", true),
            ("hello", "hello.world", false),
            ("ride.*", "ride.accepted", true),
            ("ride.*", "ride", false),
            ("ride.*", "ride.a.b", false),
            ("ride.>", "ride.a.b", true),
            ("ride.>", "ride", false),
            ("*.b", "a.b", true),
            (">", "anything.at.all", true),
        ];
        for (wanted, subject, matched) in cases {
            assert_eq!(filter(wanted).matches(subject), matched, "{wanted} {subject}");
        }
        for text in ["a.>.b", "a*", ">a", "", "a..b", "$JS.>"] {
            assert!(Filter::parse(text).is_err(), "{text:?}");
        }
    }

    #[test]
    fn filters_overlap_when_a_subject_fits_both() {
        let cases = [
            ("a", "a", true),
            ("a", "b", false),
            ("a.*", "a.b", true),
            ("a.*", "*.b", true),
            ("a.>", "a", false),
            ("a.>", "a.b.c", true),
            (">", "x", true),
            ("a.*", "a.b.c", false),
        ];
        for (a, b, overlap) in cases {
            assert_eq!(filter(a).overlaps(&filter(b)), overlap, "{a} {b}");
            assert_eq!(filter(b).overlaps(&filter(a)), overlap, "{b} {a}");
        }
    }

    proptest! {
        #[test]
        fn parsing_never_panics_and_what_matches_both_overlaps(a in "[ab*>.]{0,7}", b in "[ab*>.]{0,7}", subject in "[ab.]{1,7}") {
            if let (Ok(a), Ok(b)) = (Filter::parse(a), Filter::parse(b)) && Subject::parse(subject.clone()).is_ok() {
                prop_assert!(!(a.matches(&subject) && b.matches(&subject)) || a.overlaps(&b));
            }
        }
    }
}
