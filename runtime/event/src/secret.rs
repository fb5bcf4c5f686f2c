//! A secret in a configuration is never written there: it is named, by environment variable or file, and read when needed, so
//! that a rotated file is picked up at the next reconnect. Printing one shows where it comes from, never what it is.

use std::path::PathBuf;
use std::{env, fmt, fs, io};

/// Where a secret is to be found: `{ env = "NATS_TOKEN" }` or `{ file = "/run/secrets/token" }`.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Secret {
    /// In this environment variable.
    Env(String),
    /// In this file; white space at the end is left out.
    File(PathBuf),
}

impl Secret {
    /// Reads it, afresh each time.
    pub fn read(&self) -> io::Result<String> {
        match self {
            Self::Env(name) => env::var(name).map_err(|error| {
                io::Error::new(io::ErrorKind::NotFound, format!("environment variable {name}: {error}"))
            }),
            Self::File(path) => fs::read_to_string(path)
                .map(|text| text.trim_end().to_owned())
                .map_err(|error| io::Error::new(error.kind(), format!("{}: {error}", path.display()))),
        }
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Env(name) => write!(f, "(environment variable {name})"),
            Self::File(path) => write!(f, "(file {})", path.display()),
        }
    }
}
