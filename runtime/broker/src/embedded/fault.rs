//! What goes wrong beneath the store, and its translation into the seam's errors: the only place where that is done.

use std::io;
use std::path::{Path, PathBuf};

use crate::Error;

/// A place in a file that does not hold what was stored there.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is damaged at byte {offset}, after sequence {after}: {evidence}", path.display())]
pub struct Damage {
    /// The file.
    pub path: PathBuf,
    /// Where the damage begins, in bytes.
    pub offset: u64,
    /// The last sequence before it.
    pub after: u64,
    /// Why this is no torn write of something that nobody was told about.
    pub evidence: String,
}

/// Why the store cannot do something.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Fault {
    #[error("{}: {error}", path.display())]
    Io { path: PathBuf, error: io::Error },
    #[error("{0}; run `saf-runtime store check` to see what can be saved")]
    Damaged(#[from] Damage),
}

impl Fault {
    /// For `map_err`: names the file.
    pub(crate) fn at(path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |error| Self::Io { path, error }
    }

    /// Whether the disk, or a quota, has no room: nothing is broken then.
    pub(crate) fn is_full(&self) -> bool {
        matches!(self, Self::Io { error, .. }
            if matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded))
    }
}

impl From<Fault> for Error {
    /// A full disk may get room; waiting for one that is broken would only hide it.
    fn from(fault: Fault) -> Self {
        if fault.is_full() { Self::Unavailable(fault.to_string()) } else { Self::Failed(fault.to_string()) }
    }
}
