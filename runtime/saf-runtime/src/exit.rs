//! How the process ends when it does not end well: one type, one code each, the codes of sysexits(3) where they fit.

use std::fmt;
use std::process::ExitCode;

/// Why a command failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// 1: what was checked or tested is not as it should be; the findings were printed.
    Check(String),
    /// 2: the arguments cannot be used together, or name something that cannot be read.
    Usage(String),
    /// 69: a server cannot be reached.
    Unreachable(String),
    /// 70: a bug.
    Internal(String),
    /// 74: the store failed; nothing that was answered before is lost, and a restart reads it.
    Store(String),
    /// 78: the configuration cannot be used.
    Config(String),
    /// 0: who read the output left (`| head`); nothing more is to be said.
    ReaderLeft,
}

impl Failure {
    pub(crate) fn code(&self) -> ExitCode {
        ExitCode::from(match self {
            Self::ReaderLeft => 0,
            Self::Check(_) => 1,
            Self::Usage(_) => 2,
            Self::Unreachable(_) => 69,
            Self::Internal(_) => 70,
            Self::Store(_) => 74,
            Self::Config(_) => 78,
        })
    }

    pub(crate) fn internal(error: impl fmt::Display) -> Self {
        Self::Internal(format!("{error:#}"))
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::ReaderLeft => f.write_str("the reader left"),
            Self::Check(text)
            | Self::Usage(text)
            | Self::Unreachable(text)
            | Self::Internal(text)
            | Self::Store(text)
            | Self::Config(text) => f.write_str(text),
        }
    }
}

impl From<saf_broker::Error> for Failure {
    fn from(error: saf_broker::Error) -> Self {
        match error {
            saf_broker::Error::Unavailable(_) => Self::Unreachable(error.to_string()),
            saf_broker::Error::Config(_) | saf_broker::Error::NotFound(_) => Self::Config(error.to_string()),
            saf_broker::Error::Failed(_) => Self::Store(error.to_string()),
        }
    }
}

impl From<crate::config::Report> for Failure {
    fn from(report: crate::config::Report) -> Self {
        Self::Config(report.to_string())
    }
}
