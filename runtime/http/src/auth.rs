//! Bearer tokens. They are read from where the configuration says and read again now and then, so that rotating one needs no
//! restart; while a source cannot be read, the tokens known before go on to count.

use std::hint::black_box;
use std::io;
use std::sync::{PoisonError, RwLock};
use std::time::{Duration, Instant};

use http::header::{AUTHORIZATION, HeaderMap};
use saf_event::Secret;

use crate::problem::Problem;

/// A token that was withdrawn is let in no longer than this.
const REREAD_AFTER: Duration = Duration::from_secs(10);
/// An unknown token may be a new one, but guessing must not turn into file reads.
const REREAD_UNKNOWN_AFTER: Duration = Duration::from_secs(1);

pub(crate) struct Tokens {
    sources: Vec<Secret>,
    known: RwLock<Known>,
}

struct Known {
    tokens: Vec<String>,
    read: Instant,
}

impl Tokens {
    /// Reads every source once.
    pub(crate) fn read(sources: Vec<Secret>) -> io::Result<Self> {
        let tokens = read(&sources)?;
        Ok(Self { sources, known: RwLock::new(Known { tokens, read: Instant::now() }) })
    }

    /// Lets a request in, or says why not. May read small files, at most once in [`REREAD_UNKNOWN_AFTER`].
    pub(crate) fn check(&self, headers: &HeaderMap) -> Result<(), Problem> {
        let Some(header) = headers.get(AUTHORIZATION) else {
            return Err(Problem::unauthorized("a token is needed: send Authorization: Bearer <token>"));
        };
        let given = header
            .to_str()
            .ok()
            .and_then(|h| h.split_once(' '))
            .filter(|(s, _)| s.eq_ignore_ascii_case("bearer"));
        let Some((_, given)) = given else {
            return Err(Problem::unauthorized("the Authorization header is not of the form Bearer <token>"));
        };
        let (known, age) = self.knows(given.trim());
        if known && age < REREAD_AFTER || !known && age < REREAD_UNKNOWN_AFTER {
            return verdict(known);
        }
        self.reread();
        verdict(self.knows(given.trim()).0)
    }

    fn knows(&self, given: &str) -> (bool, Duration) {
        let known = self.known.read().unwrap_or_else(PoisonError::into_inner);
        // Every token is looked at, so that time tells nothing.
        let found = known.tokens.iter().fold(false, |found, token| found | same(token, given));
        (found, known.read.elapsed())
    }

    fn reread(&self) {
        let fresh = read(&self.sources);
        let mut known = self.known.write().unwrap_or_else(PoisonError::into_inner);
        known.read = Instant::now();
        match fresh {
            Ok(tokens) => known.tokens = tokens,
            Err(error) => {
                tracing::warn!(%error, "a token cannot be read again; the tokens read before go on to count")
            }
        }
    }
}

fn verdict(known: bool) -> Result<(), Problem> {
    if known {
        Ok(())
    } else {
        Err(Problem::unauthorized("the token is not known: check that it is the current one"))
    }
}

fn read(sources: &[Secret]) -> io::Result<Vec<String>> {
    sources.iter().map(|source| source.read().and_then(|token| not_empty(token, source))).collect()
}

/// An empty file must not let everybody in who sends an empty token.
fn not_empty(token: String, source: &Secret) -> io::Result<String> {
    if token.is_empty() {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("the token is empty {source}")));
    }
    Ok(token)
}

/// Compares in a time that depends on the lengths only.
fn same(token: &str, given: &str) -> bool {
    token.len() == given.len()
        && black_box(token.bytes().zip(given.bytes()).fold(0, |diff, (a, b)| diff | (a ^ b))) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(tokens: &Tokens, authorization: Option<&str>) -> bool {
        let headers =
            authorization.map(|value| (AUTHORIZATION, value.parse().expect("value"))).into_iter().collect();
        tokens.check(&headers).is_ok()
    }

    #[test]
    fn a_request_needs_one_of_the_tokens() {
        let folder = tempfile::tempdir().expect("a folder");
        let source = |name: &str, token: &str| {
            std::fs::write(folder.path().join(name), token).expect("written");
            Secret::File(folder.path().join(name))
        };
        let tokens = Tokens::read(vec![source("a", "first\n"), source("b", "second")]).expect("readable");
        for (header, allowed) in [
            (Some("Bearer first"), true),
            (Some("bearer second"), true),
            (Some("Bearer third"), false),
            (Some("Bearer "), false),
            (Some("Bearer"), false),
            (Some("Basic first"), false),
            (Some("first"), false),
            (None, false),
        ] {
            assert_eq!(check(&tokens, header), allowed, "{header:?}");
        }
        assert!(Tokens::read(vec![source("c", "\n")]).is_err(), "an empty token lets everybody in");
        assert!(Tokens::read(vec![Secret::File(folder.path().join("none"))]).is_err());
    }

    #[test]
    fn a_rotated_token_is_noticed_and_a_missing_file_locks_nobody_out() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("token");
        std::fs::write(&path, "old").expect("written");
        let tokens = Tokens::read(vec![Secret::File(path.clone())]).expect("readable");
        let age = |by: Duration| {
            let mut known = tokens.known.write().expect("not poisoned");
            known.read = known.read.checked_sub(by).expect("the clock has run for so long");
        };
        std::fs::write(&path, "new").expect("written");
        assert!(!check(&tokens, Some("Bearer new")), "not read again at once");
        assert!(check(&tokens, Some("Bearer old")));
        age(REREAD_UNKNOWN_AFTER);
        assert!(check(&tokens, Some("Bearer new")));
        assert!(!check(&tokens, Some("Bearer old")));
        std::fs::remove_file(&path).expect("removed");
        age(REREAD_AFTER);
        assert!(check(&tokens, Some("Bearer new")));
    }
}
