//! Reading JSON bodies without copying them: texts and payloads become slices of the body. What an item of a batch is does not
//! matter here, only that each gets a result of its own.

use std::fmt;
use std::marker::PhantomData;

use bytestring::ByteString;
use saf_event::{HeaderError, Headers};
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::error::Category;
use serde_json::value::RawValue;

use crate::problem::{Kind, Problem};

/// Reads one value and nothing behind it.
pub(super) fn parse<'b, S: DeserializeSeed<'b>>(text: &'b str, seed: S) -> Result<S::Value, Problem> {
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let value = seed.deserialize(&mut deserializer).map_err(|error| problem(&error))?;
    deserializer.end().map_err(|error| problem(&error))?;
    Ok(value)
}

/// Reads a JSON array of at most `limit` items, a result each.
pub(super) fn array<'b, S>(
    text: &'b str,
    limit: usize,
    seed: S,
) -> Result<Vec<Result<S::Value, Problem>>, Problem>
where
    S: DeserializeSeed<'b> + Copy,
{
    // Nearly always every item is well formed: one pass. Only when one is not, the array is taken apart first.
    if let Ok(items) = parse(text, Bounded { limit, seed }) {
        return Ok(items.within(limit)?.into_iter().map(Ok).collect());
    }
    let items = parse(text, Bounded { limit, seed: PhantomData::<&RawValue> })?.within(limit)?;
    Ok(items.into_iter().map(|item| parse(item.get(), seed)).collect())
}

/// Reads at most `limit` lines with a value each; empty lines are left out.
pub(super) fn lines<'b, S>(
    text: &'b str,
    limit: usize,
    seed: S,
) -> Result<Vec<Result<S::Value, Problem>>, Problem>
where
    S: DeserializeSeed<'b> + Copy,
{
    let mut results = Vec::new();
    for line in text.split('\n').map(str::trim).filter(|line| !line.is_empty()) {
        if results.len() == limit {
            return Err(too_many(limit));
        }
        results.push(parse(line, seed));
    }
    Ok(results)
}

fn problem(error: &serde_json::Error) -> Problem {
    match error.classify() {
        Category::Data => Problem::new(Kind::InvalidEvent, error.to_string()),
        Category::Io | Category::Syntax | Category::Eof => Problem::new(
            Kind::MalformedBody,
            format!("the body is not the JSON that its content type says: {error}"),
        ),
    }
}

fn too_many(limit: usize) -> Problem {
    Problem::new(
        Kind::BatchTooLarge,
        format!("a batch may have {limit} events (http.max_batch): send several"),
    )
}

/// An array that stops collecting at `limit`, so that a body of commas is not turned into megabytes of items.
struct Bounded<S> {
    limit: usize,
    seed: S,
}

enum Items<T> {
    All(Vec<T>),
    TooMany,
}

impl<T> Items<T> {
    fn within(self, limit: usize) -> Result<Vec<T>, Problem> {
        match self {
            Self::All(items) => Ok(items),
            Self::TooMany => Err(too_many(limit)),
        }
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> DeserializeSeed<'de> for Bounded<S> {
    type Value = Items<S::Value>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de, S: DeserializeSeed<'de> + Copy> Visitor<'de> for Bounded<S> {
    type Value = Items<S::Value>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of events")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Self::Value, A::Error> {
        let mut items = Vec::new();
        while items.len() < self.limit {
            match seq.next_element_seed(self.seed)? {
                Some(item) => items.push(item),
                None => return Ok(Items::All(items)),
            }
        }
        if seq.next_element::<IgnoredAny>()?.is_none() {
            return Ok(Items::All(items));
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Items::TooMany)
    }
}

/// A string of the body, as a slice of it; one with escapes is copied.
#[derive(Clone, Copy)]
pub(super) struct Text<'b>(pub(super) &'b ByteString);

impl<'b> DeserializeSeed<'b> for Text<'b> {
    type Value = ByteString;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<ByteString, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'b> Visitor<'b> for Text<'b> {
    type Value = ByteString;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_borrowed_str<E>(self, text: &'b str) -> Result<ByteString, E> {
        Ok(self.0.slice_ref(text))
    }

    fn visit_str<E>(self, text: &str) -> Result<ByteString, E> {
        Ok(ByteString::from(text))
    }
}

/// The same, where `null` counts as absent.
#[derive(Clone, Copy)]
pub(super) struct OptionalText<'b>(pub(super) &'b ByteString);

impl<'b> DeserializeSeed<'b> for OptionalText<'b> {
    type Value = Option<ByteString>;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_option(self)
    }
}

impl<'b> Visitor<'b> for OptionalText<'b> {
    type Value = Option<ByteString>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string")
    }

    fn visit_none<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_some<D: Deserializer<'b>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        Text(self.0).deserialize(deserializer).map(Some)
    }
}

/// `{"name": "value", "repeated": ["a", "b"]}`.
#[derive(Clone, Copy)]
pub(super) struct HeaderMap<'b>(pub(super) &'b ByteString);

impl<'b> DeserializeSeed<'b> for HeaderMap<'b> {
    type Value = Headers;

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<Headers, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for HeaderMap<'b> {
    type Value = Headers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of headers")
    }

    fn visit_unit<E>(self) -> Result<Headers, E> {
        Ok(Headers::new())
    }

    fn visit_map<A: MapAccess<'b>>(self, mut map: A) -> Result<Headers, A::Error> {
        let mut headers = Headers::new();
        while let Some(name) = map.next_key_seed(Text(self.0))? {
            map.next_value_seed(HeaderValues { body: self.0, name, headers: &mut headers })?;
        }
        Ok(headers)
    }
}

struct HeaderValues<'b, 'h> {
    body: &'b ByteString,
    name: ByteString,
    headers: &'h mut Headers,
}

impl<'b> DeserializeSeed<'b> for HeaderValues<'b, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'b>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'b> Visitor<'b> for HeaderValues<'b, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a string, or an array of strings, as the value of header {:?}", &*self.name)
    }

    fn visit_borrowed_str<E: serde::de::Error>(self, value: &'b str) -> Result<(), E> {
        let value = self.body.slice_ref(value);
        self.headers.push(self.name, value).map_err(|error: HeaderError| E::custom(error))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<(), E> {
        self.headers.push(self.name, value).map_err(E::custom)
    }

    fn visit_seq<A: SeqAccess<'b>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(value) = seq.next_element_seed(Text(self.body))? {
            self.headers.push(self.name.clone(), value).map_err(A::Error::custom)?;
        }
        Ok(())
    }
}
