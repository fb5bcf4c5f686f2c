//! Why an event was not handled.

use std::error::Error;
use std::fmt::{self, Display, Formatter};
use std::time::Duration;

/// Why an event was not handled. `?` makes a [`Failure::Retry`] of every error: who knows that another attempt is in vain says
/// [`Failure::reject`]. (It is no [`Error`] itself: that would make the conversion ambiguous.)
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Deliver it again, later. After the Channel's `max_attempts` it becomes a dead letter.
    Retry(Retry),
    /// It can never be handled: it becomes a dead letter now, with this reason.
    Reject(String),
}

/// What a [`Failure::Retry`] says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// One line for a person; kept in the dead letter.
    pub reason: String,
    /// How long to wait, in milliseconds; none takes the next step of the Channel's `backoff`.
    pub after_ms: Option<u32>,
}

impl Failure {
    /// Again, after the next step of the Channel's `backoff`.
    pub fn retry(reason: impl Into<String>) -> Self {
        Self::Retry(Retry { reason: reason.into(), after_ms: None })
    }

    /// Again, after a while: whole milliseconds, up to 49 days.
    pub fn retry_after(reason: impl Into<String>, after: Duration) -> Self {
        let after_ms = after.as_millis().try_into().unwrap_or(u32::MAX);
        Self::Retry(Retry { reason: reason.into(), after_ms: Some(after_ms) })
    }

    /// Never again.
    pub fn reject(reason: impl Into<String>) -> Self {
        Self::Reject(reason.into())
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Retry(Retry { reason, after_ms: None }) => write!(f, "retry: {reason}"),
            Self::Retry(Retry { reason, after_ms: Some(after) }) => {
                write!(f, "retry after {after} ms: {reason}")
            }
            Self::Reject(reason) => write!(f, "reject: {reason}"),
        }
    }
}

impl<E: Error> From<E> for Failure {
    fn from(error: E) -> Self {
        let mut reason = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            reason = format!("{reason}: {error}");
            cause = error.source();
        }
        Self::retry(reason)
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;

    #[test]
    fn any_error_is_a_retry_with_its_causes() {
        #[derive(Debug)]
        struct Outer(io::Error);
        impl Display for Outer {
            fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
                f.write_str("cannot ask")
            }
        }
        impl Error for Outer {
            fn source(&self) -> Option<&(dyn Error + 'static)> {
                Some(&self.0)
            }
        }
        let ask = || -> Result<(), Failure> { Err(Outer(io::Error::other("away")))? };
        assert_eq!(ask(), Err(Failure::retry("cannot ask: away")));
    }

    #[test]
    fn a_failure_reads_as_what_will_happen() {
        let failure = Failure::retry_after("away", Duration::from_millis(1500));
        assert_eq!(failure.to_string(), "retry after 1500 ms: away");
        assert_eq!(Failure::reject("never").to_string(), "reject: never");
    }
}
