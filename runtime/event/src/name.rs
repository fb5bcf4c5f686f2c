//! Names of streams and Channels. Both become parts of NATS subjects, consumer names and file names, hence the small alphabet.
//! They are copied with every emission's lineage, hence kept inline: a count that all guest threads share would be the dearest
//! part of it.

use std::fmt;

use arrayvec::ArrayString;

/// Why a name was refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} is not a name: use 1 to 32 of a-z, 0-9 and -")]
pub struct NameError {
    name: String,
}

/// Longest name, in bytes.
const MAX_NAME_BYTES: usize = 32;

fn parse(text: &str) -> Result<ArrayString<MAX_NAME_BYTES>, NameError> {
    let valid =
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-');
    match ArrayString::from(text) {
        Ok(name) if valid => Ok(name),
        _ => Err(NameError { name: text.into() }),
    }
}

macro_rules! name {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, serde::Serialize)]
        #[serde(transparent)]
        pub struct $name(ArrayString<MAX_NAME_BYTES>);

        impl $name {
            /// 1 to 32 of `a-z`, `0-9` and `-`.
            pub fn parse(text: &str) -> Result<Self, NameError> {
                parse(text).map(Self)
            }

            /// The name as text.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(&self.0)
            }
        }

        impl<'de> serde::Deserialize<'de> for $name {
            fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = <std::borrow::Cow<'de, str>>::deserialize(deserializer)?;
                Self::parse(&text).map_err(serde::de::Error::custom)
            }
        }

        impl schemars::JsonSchema for $name {
            fn schema_name() -> std::borrow::Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
                schemars::json_schema!({ "type": "string", "pattern": "^[a-z0-9-]{1,32}$" })
            }
        }
    };
}

name! {
    /// The name of a stream.
    StreamName
}
name! {
    /// The name of a Channel.
    ChannelName
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_have_a_small_alphabet() {
        for (text, valid) in [
            ("printer", true),
            ("a-1", true),
            ("", false),
            ("Printer", false),
            ("a.b", false),
            ("a/b", false),
            (&"a".repeat(33), false),
        ] {
            assert_eq!(ChannelName::parse(text).is_ok(), valid, "{text:?}");
        }
    }
}
