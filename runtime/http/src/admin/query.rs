//! What the path and the query of an admin request name. Each route has one list of [`Parameter`]s: what it takes, what its
//! documentation says, and what a client is told that sends another one, are the same list.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use axum::extract::{FromRequestParts, Path, Query};
use http::Uri;
use http::request::Parts;

use crate::problem::{Kind, Problem};

/// Most bytes of what a client wrote that are repeated to it.
const ECHO_BYTES: usize = 64;

/// A parameter that a route takes.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parameter {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
    pub(super) form: Form,
}

/// What a parameter's value is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Text,
    Integer,
    Number,
    Time,
}

impl Parameter {
    pub(super) const fn new(name: &'static str, form: Form, about: &'static str) -> Self {
        Self { name, about, form }
    }
}

/// The parameters of one request that were not taken yet.
#[derive(Debug)]
pub(super) struct Parameters(BTreeMap<&'static str, String>);

impl Parameters {
    /// Refuses what is not in the list, and what is there twice.
    pub(super) fn read(uri: &Uri, known: &[&'static [Parameter]]) -> Result<Self, Problem> {
        let known: Vec<_> =
            known.iter().flat_map(|list| list.iter()).map(|parameter| parameter.name).collect();
        let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(uri).map_err(|error| {
            Problem::new(Kind::InvalidRequest, format!("the query cannot be read: {error}"))
        })?;
        let mut taken = BTreeMap::new();
        for (name, value) in pairs {
            let Some(known) = known.iter().find(|known| **known == name) else {
                return Err(unknown(&name, &known));
            };
            if taken.insert(*known, value).is_some() {
                return Err(Problem::new(
                    Kind::InvalidRequest,
                    format!("?{known}= is there twice: give it once"),
                ));
            }
        }
        Ok(Self(taken))
    }

    /// Takes a parameter; the error names it.
    pub(super) fn take<T, E: Display>(
        &mut self,
        name: &'static str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Result<Option<T>, Problem> {
        let parsed =
            self.0.remove(name).map(|value| parse(&value).map_err(|error| wrong(name, &value, error)));
        parsed.transpose()
    }

    /// Takes a text as it is.
    pub(super) fn text(&mut self, name: &'static str) -> Option<String> {
        self.0.remove(name)
    }

    /// Takes a number within a range.
    pub(super) fn number<T>(
        &mut self,
        name: &'static str,
        range: std::ops::RangeInclusive<T>,
    ) -> Result<Option<T>, Problem>
    where
        T: FromStr + PartialOrd + Display,
    {
        self.take(name, |text| {
            let number = text.parse().ok().filter(|number| range.contains(number));
            number.ok_or_else(|| format!("write a number from {} to {}", range.start(), range.end()))
        })
    }
}

/// The one part of a path that varies, percent-decoded.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let path = Path::from_request_parts(parts, state).await;
        path.map(|Path(name)| Self(name)).map_err(|refused| {
            Problem::new(Kind::InvalidRequest, format!("the path cannot be read: {}", refused.body_text()))
        })
    }
}

/// What is wrong with a parameter, and what to write instead.
pub(super) fn wrong(name: &str, value: &str, error: impl Display) -> Problem {
    Problem::new(Kind::InvalidRequest, format!("?{name}={}: {error}", echo(value)))
}

fn unknown(name: &str, known: &[&str]) -> Problem {
    let takes = if known.is_empty() { "none".to_owned() } else { known.join(", ") };
    Problem::new(
        Kind::InvalidRequest,
        format!("?{}= is not a parameter here; this path takes: {takes}", echo(name)),
    )
}

fn echo(text: &str) -> &str {
    &text[..text.floor_char_boundary(ECHO_BYTES)]
}
