//! Compiled components on disk, by the component's digest and the engine's compatibility hash. A 126 KB guest compiles in 50 ms,
//! Python in 10 s.
//!
//! What lies here is run as machine code. So the folder is for this user alone, and a file counts only when it is whole: what
//! wasmtime serialised, then its CRC-32C and a marker. Anything else is compiled again and written over. A checksum does not stop
//! somebody who can write into the folder, whatever its kind, hence the check of its mode; that is deliberately all.
//!
//! The artefact comes first, so that wasmtime maps the file as it is: code and the images of memories are then read, and shared,
//! page by page as they are touched. Python's 50 MB were read, hashed and copied three times before, at every start: 90 ms.
//! A file is never written to once it has its name.

use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;

use crate::Error;

/// At the end, behind the checksum.
const MARKER: &[u8] = b"saf compiled component 2\n";
const CHECKSUM_BYTES: usize = 4;
/// Of a file, while it is checked.
const READ_BYTES: usize = 256 << 10;
const SUFFIX: &str = "cwasm";
/// A temporary file older than this is what a killed process left.
const STALE_SECONDS: u64 = 3600;

/// The folder.
#[derive(Debug)]
pub(crate) struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    compatibility: String,
    writes: AtomicU64,
}

impl Cache {
    /// Creates the folder when it is missing; refuses one that others may write to.
    pub(crate) fn open(folder: &Path, max_bytes: u64, compatibility: String) -> Result<Self, Error> {
        let fail = |error: io::Error| Error::Cache { folder: folder.into(), problem: error.to_string() };
        create(folder).map_err(fail)?;
        let metadata = fs::metadata(folder).map_err(fail)?;
        if let Some(problem) = exposed(&metadata) {
            return Err(Error::Cache { folder: folder.into(), problem });
        }
        Ok(Self { folder: folder.into(), max_bytes, compatibility, writes: AtomicU64::new(0) })
    }

    /// The file with what was stored for a digest, when it is whole. Blocks on the disk.
    pub(crate) fn find(&self, digest: &str) -> Option<PathBuf> {
        let path = self.path(digest);
        let file = File::open(&path).ok()?;
        if !is_whole(&file).unwrap_or(false) {
            tracing::warn!(path = %path.display(), "a compiled component is damaged; compiling it again");
            return None;
        }
        // How eviction knows what is in use; a file system that cannot say so evicts by age.
        let _ = file.set_modified(SystemTime::now());
        Some(path)
    }

    /// Stores an artefact: whole under its name, or not at all. Blocks on the disk.
    pub(crate) fn write(&self, digest: &str, artefact: &[u8]) -> io::Result<()> {
        let number = self.writes.fetch_add(1, Relaxed);
        let temporary = self.folder.join(format!("{digest}.{}.{number}.tmp", std::process::id()));
        let written = (|| {
            let mut file = File::create_new(&temporary)?;
            file.write_all(artefact)?;
            file.write_all(&crc32c::crc32c(artefact).to_le_bytes())?;
            file.write_all(MARKER)?;
            // A rename that survives a power failure without its contents would be caught by the checksum: no sync needed.
            fs::rename(&temporary, self.path(digest))
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written?;
        self.evict(digest)
    }

    fn path(&self, digest: &str) -> PathBuf {
        self.folder.join(format!("{digest}-{}.{SUFFIX}", self.compatibility))
    }

    /// Removes what was not used for longest until the rest fits, and what a killed process left half written. Another process
    /// may do the same in the same folder: what is gone already is as good.
    fn evict(&self, just_written: &str) -> io::Result<()> {
        let mut artefacts = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let path = entry?.path();
            let Ok(metadata) = fs::metadata(&path) else { continue };
            let used = metadata.modified()?;
            match path.extension().and_then(|e| e.to_str()) {
                Some("tmp") if used.elapsed().is_ok_and(|age| age.as_secs() > STALE_SECONDS) => {
                    remove(&path)?
                }
                Some(SUFFIX) => artefacts.push((used, metadata.len(), path)),
                Some(_) | None => {}
            }
        }
        let mut total: u64 = artefacts.iter().map(|(_, bytes, _)| bytes).sum();
        artefacts.sort();
        let keep = self.path(just_written);
        for (_, bytes, path) in artefacts {
            if total <= self.max_bytes {
                break;
            }
            if path != keep {
                remove(&path)?;
                total -= bytes;
            }
        }
        Ok(())
    }
}

/// Whether a file ends with the checksum of what is before it.
fn is_whole(file: &File) -> io::Result<bool> {
    let end = CHECKSUM_BYTES + MARKER.len();
    let Some(payload) = file.metadata()?.len().checked_sub(end as u64) else { return Ok(false) };
    let (mut checksum, mut left) = (0, payload);
    let (mut rest, mut buffer) = (file, vec![0; READ_BYTES]);
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        rest.read_exact(&mut buffer[..want])?;
        checksum = crc32c::crc32c_append(checksum, &buffer[..want]);
        left -= want as u64;
    }
    rest.read_exact(&mut buffer[..end])?;
    let (stored, marker) = buffer[..end].split_at(CHECKSUM_BYTES);
    Ok(payload > 0 && stored == checksum.to_le_bytes() && marker == MARKER)
}

fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        Ok(()) | Err(_) => Ok(()),
    }
}

#[cfg(unix)]
fn create(folder: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt as _;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(not(unix))]
fn create(folder: &Path) -> io::Result<()> {
    fs::create_dir_all(folder)
}

#[cfg(unix)]
fn exposed(metadata: &fs::Metadata) -> Option<String> {
    use std::os::unix::fs::MetadataExt as _;
    const WRITABLE_BY_OTHERS: u32 = 0o022;
    let (owner, ours) = (metadata.uid(), rustix::process::geteuid().as_raw());
    if owner != ours && owner != 0 {
        return Some(format!(
            "it belongs to user {owner}, not to this process' user {ours}: choose another folder"
        ));
    }
    (metadata.mode() & WRITABLE_BY_OTHERS != 0)
        .then(|| "others may write to it, and what lies there is run as machine code: chmod go-w it".into())
}

#[cfg(not(unix))]
fn exposed(_: &fs::Metadata) -> Option<String> {
    None
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn cache(folder: &Path, max_bytes: u64) -> Cache {
        Cache::open(folder, max_bytes, "engine".into()).expect("a cache")
    }

    fn age(cache: &Cache, digest: &str, seconds: u64) {
        let file = File::open(cache.path(digest)).expect("a file");
        file.set_modified(SystemTime::now() - Duration::from_secs(seconds)).expect("set");
    }

    #[test]
    fn only_what_is_whole_is_read() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path(), 1 << 20);
        assert_eq!(cache.find("d"), None);
        cache.write("d", b"artefact").expect("written");
        assert_eq!(cache.find("d"), Some(cache.path("d")));

        let whole = fs::read(cache.path("d")).expect("read");
        assert!(whole.starts_with(b"artefact"), "as wasmtime maps it");
        for at in 0..whole.len() {
            let mut flipped = whole.clone();
            flipped[at] ^= 1;
            fs::write(cache.path("d"), flipped).expect("written");
            assert_eq!(cache.find("d"), None, "a flip at {at}");
            fs::write(cache.path("d"), &whole[..at]).expect("written");
            assert_eq!(cache.find("d"), None, "a cut at {at}");
        }
        cache.write("d", b"again").expect("written over");
        assert!(fs::read(cache.find("d").expect("whole")).expect("read").starts_with(b"again"));
    }

    #[test]
    fn an_artefact_of_another_engine_is_not_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        cache(folder.path(), 1 << 20).write("d", b"artefact").expect("written");
        let other = Cache::open(folder.path(), 1 << 20, "another".into()).expect("a cache");
        assert_eq!(other.find("d"), None);
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path(), 200); // two of these fit
        for (digest, seconds) in [("old", 30), ("older", 60)] {
            cache.write(digest, &[0; 50]).expect("written");
            age(&cache, digest, seconds);
        }
        assert!(cache.find("older").is_some(), "and so is used");
        cache.write("new", &[0; 50]).expect("written");
        assert!(cache.find("old").is_none());
        assert!(cache.find("older").is_some() && cache.find("new").is_some());
    }

    #[test]
    fn an_artefact_larger_than_the_cache_is_kept_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let cache = cache(folder.path(), 10);
        cache.write("a", &[0; 50]).expect("written");
        cache.write("b", &[0; 50]).expect("written");
        assert!(cache.find("a").is_none() && cache.find("b").is_some());
    }

    #[cfg(unix)]
    #[test]
    fn a_folder_that_others_may_write_to_is_refused() {
        use std::os::unix::fs::PermissionsExt as _;
        let folder = tempfile::tempdir().expect("a folder");
        let inside = folder.path().join("made/by/us");
        cache(&inside, 1);
        assert_eq!(fs::metadata(&inside).expect("there").permissions().mode() & 0o777, 0o700);
        fs::set_permissions(&inside, fs::Permissions::from_mode(0o777)).expect("set");
        let error = Cache::open(&inside, 1, String::new()).expect_err("refused").to_string();
        assert!(error.contains("chmod go-w"), "{error}");
    }
}
