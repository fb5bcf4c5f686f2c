//! Points in time as the API writes and reads them: RFC 3339 in UTC with milliseconds; milliseconds since the Unix epoch are read
//! too, because that is what logs and metrics have at hand.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// The last millisecond of the year 9999, beyond which RFC 3339 does not go.
const MAX_MILLIS: u64 = 253_402_300_799_999;

/// Milliseconds since the Unix epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Time(pub(super) u64);

impl FromStr for Time {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(millis) = text.parse() {
            return Ok(Self(millis));
        }
        let time = humantime::parse_rfc3339_weak(text).ok();
        let since = time.and_then(|time| time.duration_since(UNIX_EPOCH).ok());
        since
            .map(|since| Self(since.as_millis() as u64))
            .ok_or("write a time in UTC such as 2026-01-31T12:00:00Z, or milliseconds since the Unix epoch")
    }
}

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = UNIX_EPOCH + Duration::from_millis(self.0.min(MAX_MILLIS));
        humantime::format_rfc3339_millis(time).fmt(f)
    }
}

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Written<'a> {
            Millis(u64),
            Text(Cow<'a, str>),
        }
        match Written::deserialize(deserializer)? {
            Written::Millis(millis) => Ok(Self(millis)),
            Written::Text(text) => text.parse().map_err(serde::de::Error::custom),
        }
    }
}

impl JsonSchema for Time {
    fn schema_name() -> Cow<'static, str> {
        "Time".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({
            "type": "string",
            "format": "date-time",
            "description": "RFC 3339, in UTC, with milliseconds.",
            "examples": ["2026-01-31T12:00:00.000Z"]
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_read_in_both_forms_and_written_in_one() {
        for (text, written) in [
            ("0", Some("1970-01-01T00:00:00.000Z")),
            ("1769860800123", Some("2026-01-31T12:00:00.123Z")),
            ("2026-01-31T12:00:00Z", Some("2026-01-31T12:00:00.000Z")),
            ("2026-01-31T12:00:00.5Z", Some("2026-01-31T12:00:00.500Z")),
            ("18446744073709551615", Some("9999-12-31T23:59:59.999Z")),
            ("yesterday", None),
            ("-1", None),
            ("", None),
        ] {
            assert_eq!(text.parse::<Time>().ok().map(|time| time.to_string()).as_deref(), written, "{text}");
        }
        assert_eq!(serde_json::from_str::<Time>("5").expect("milliseconds"), Time(5));
        assert_eq!(serde_json::from_str::<Time>("\"1970-01-01T00:00:05Z\"").expect("a time"), Time(5000));
    }
}
