//! `expect` in a case file: what the attempt must come to. Exactly one outcome, because an attempt has one.

use std::fmt;

use serde::Deserialize;
use serde::de::value::MapAccessDeserializer;
use serde::de::{Error as _, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::payload::Payload;
use crate::cli::text::present;

/// What a case expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Expect {
    /// Done, with exactly these, in this order.
    Emissions(Vec<Expected>),
    /// Not done.
    Failure {
        /// How it ends.
        how: How,
        /// A text that the reason contains; any reason when empty.
        reason: String,
        /// What the guest says about the next attempt.
        after: After,
    },
}

/// How an attempt that is not done ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum How {
    Retry,
    Reject,
    Trap,
    Fuel,
    Timeout,
    Memory,
    Output,
    /// The instance does not start: `init` refuses the configuration, traps, or runs into a limit. No attempt is made.
    Init,
}

impl How {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Trap => "trap",
            Self::Fuel => "fuel",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Init => "init",
        }
    }
}

/// When the guest wants the event again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum After {
    /// The case does not say.
    Any,
    /// It names no time (`"after_ms": null`).
    Unnamed,
    /// In so many milliseconds.
    Millis(u64),
}

/// An emission that a case expects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Expected {
    pub(super) subject: String,
    pub(super) payload: Payload,
    pub(super) content_type: Option<String>,
    pub(super) headers: Vec<(String, String)>,
    pub(super) id: Option<String>,
}

/// The keys of `expect`.
#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Key {
    Emissions,
    Retry,
    Reject,
    Trap,
    Fuel,
    Timeout,
    Memory,
    Output,
    Init,
}

impl<'de> Deserialize<'de> for Expect {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(ExpectVisitor)
    }
}

struct ExpectVisitor;

impl<'de> Visitor<'de> for ExpectVisitor {
    type Value = Expect;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a table with one outcome, such as {\"emissions\": []} or {\"reject\": \"not JSON\"}")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Expect, A::Error> {
        let Some(key) = map.next_key::<Key>()? else {
            return Err(A::Error::custom(
                "`expect` is empty: write one outcome, such as {\"emissions\": []} for a Channel that is done and says nothing",
            ));
        };
        let expect = match key {
            Key::Emissions => Expect::Emissions(map.next_value()?),
            Key::Retry => {
                let Retry { reason, after } = map.next_value()?;
                Expect::Failure { how: How::Retry, reason, after }
            }
            Key::Reject => failure(How::Reject, &mut map)?,
            Key::Trap => failure(How::Trap, &mut map)?,
            Key::Fuel => failure(How::Fuel, &mut map)?,
            Key::Timeout => failure(How::Timeout, &mut map)?,
            Key::Memory => failure(How::Memory, &mut map)?,
            Key::Output => failure(How::Output, &mut map)?,
            Key::Init => failure(How::Init, &mut map)?,
        };
        match map.next_key::<Key>()? {
            None => Ok(expect),
            Some(_) => Err(A::Error::custom("`expect` names two outcomes, an attempt has one: keep one")),
        }
    }
}

fn failure<'de, A: MapAccess<'de>>(how: How, map: &mut A) -> Result<Expect, A::Error> {
    Ok(Expect::Failure { how, reason: map.next_value()?, after: After::Any })
}

/// A text, or a table.
struct Retry {
    reason: String,
    after: After,
}

impl<'de> Deserialize<'de> for Retry {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RetryVisitor;
        impl<'de> Visitor<'de> for RetryVisitor {
            type Value = Retry;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a text that the reason contains, or {\"reason\": …, \"after_ms\": …}")
            }

            fn visit_str<E: serde::de::Error>(self, reason: &str) -> Result<Retry, E> {
                Ok(Retry { reason: reason.to_owned(), after: After::Any })
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Retry, A::Error> {
                let table = RetryTable::deserialize(MapAccessDeserializer::new(map))?;
                let after = match table.after_ms {
                    None => After::Any,
                    Some(None) => After::Unnamed,
                    Some(Some(millis)) => After::Millis(millis.into()),
                };
                Ok(Retry { reason: table.reason, after })
            }
        }
        deserializer.deserialize_any(RetryVisitor)
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct RetryTable {
    #[serde(default)]
    reason: String,
    #[serde(default, deserialize_with = "given")]
    after_ms: Option<Option<u32>>,
}

/// Tells a `null` from nothing.
pub(super) fn given<'de, T: Deserialize<'de>, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

impl<'de> Deserialize<'de> for Expected {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(deny_unknown_fields)]
        struct Table {
            subject: String,
            #[serde(default, deserialize_with = "present")]
            data: Option<Box<RawValue>>,
            #[serde(default)]
            data_base64: Option<String>,
            #[serde(default, deserialize_with = "given")]
            content_type: Option<Option<String>>,
            #[serde(default)]
            headers: Vec<(String, String)>,
            #[serde(default)]
            id: Option<String>,
        }
        let Table { subject, data, data_base64, content_type, headers, id } =
            Table::deserialize(deserializer)?;
        let payload = Payload::read(data.as_deref(), data_base64.as_deref()).map_err(D::Error::custom)?;
        let content_type = payload.content_type(content_type);
        Ok(Self { subject, payload, content_type, headers, id })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Expect, String> {
        serde_json::from_str(text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_outcome_is_a_key_and_its_reason_a_part_of_the_real_one() {
        let failure =
            |how, reason: &str, after| Ok(Expect::Failure { how, reason: reason.to_owned(), after });
        for (text, expect) in [
            (r#"{"reject": "never"}"#, failure(How::Reject, "never", After::Any)),
            (r#"{"retry": "later"}"#, failure(How::Retry, "later", After::Any)),
            (
                r#"{"retry": {"reason": "later", "after_ms": 5}}"#,
                failure(How::Retry, "later", After::Millis(5)),
            ),
            (r#"{"retry": {"after_ms": null}}"#, failure(How::Retry, "", After::Unnamed)),
            (r#"{"fuel": ""}"#, failure(How::Fuel, "", After::Any)),
            (r#"{"emissions": []}"#, Ok(Expect::Emissions(vec![]))),
        ] {
            assert_eq!(read(text), expect, "{text}");
        }
    }

    #[test]
    fn what_is_no_outcome_is_refused() {
        for (text, part) in [
            ("{}", "`expect` is empty"),
            (r#"{"retyr": ""}"#, "unknown variant `retyr`"),
            (r#"{"trap": "", "fuel": ""}"#, "two outcomes"),
            (r#"{"retry": 5}"#, "a text that the reason contains"),
            (r#"{"retry": {"after": 5}}"#, "unknown field `after`"),
            (r#"{"emissions": [{"data": 1}]}"#, "missing field `subject`"),
            (r#"{"emissions": [{"subject": "a", "data": 1, "data_base64": ""}]}"#, "keep one"),
            ("[]", "a table with one outcome"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
