//! One process at a time: an exclusive `flock` on the file `LOCK`, which holds the owner's process id for the one who is turned
//! away. The kernel gives it back when the process ends, however it ends; the file itself stays and means nothing.

use std::fs::{File, OpenOptions, TryLockError};
use std::io::{Read, Write};
use std::path::Path;

use crate::Error;

/// Held as long as it lives.
pub(crate) struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock, or says who holds it.
    pub(crate) fn take(root: &Path) -> Result<Self, Error> {
        let path = root.join("LOCK");
        let say = |error: std::io::Error| {
            Error::Config(format!(
                "cannot lock {}: {error}; the store's folder must be writable",
                path.display()
            ))
        };
        let mut file = OpenOptions::new()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(say)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Err(held(&mut file, root)),
            Err(TryLockError::Error(error)) => return Err(say(error)),
        }
        file.set_len(0).map_err(say)?;
        file.write_all(std::process::id().to_string().as_bytes()).map_err(say)?;
        Ok(Self { _file: file })
    }
}

fn held(file: &mut File, root: &Path) -> Error {
    let mut pid = String::new();
    let owner = match file.read_to_string(&mut pid) {
        Ok(_) if !pid.trim().is_empty() => format!("process {}", pid.trim()),
        _ => "another process".to_owned(),
    };
    Error::Config(format!(
        "{} is in use by {owner}: stop it first, or give this one another broker.path; a running router is asked over its admin API",
        root.display()
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_second_is_told_who_holds_the_store_and_what_to_do() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let first = Lock::take(folder.path()).expect("free");
        let refused = Lock::take(folder.path()).err().expect("held").to_string();
        assert!(refused.contains(&format!("process {}", std::process::id())), "{refused}");
        assert!(refused.contains("stop it first"), "{refused}");
        drop(first);
        assert!(Lock::take(folder.path()).is_ok(), "free again");
    }
}
