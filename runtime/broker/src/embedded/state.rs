//! `state.log`: everything small that changes often, as absolute snapshots under keys: consumers, switches, and how far the logs
//! are known to reach. Appended lazily, synced each second and where a promise hangs on it, rewritten when it grows.
//!
//! ```text
//! entry = magic, crc32c of what follows, key length (2), value length (4), bytes known to be synced (8), key, value
//! ```
//!
//! A bad entry at the end is a torn tail and is cut: what it held comes again. Each entry says how much of the file was synced
//! when it was written; a bad entry inside that part is damage. All of it is in memory as well, so reading never touches the disk.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::fault::{Damage, Fault};
use super::file::{Disk, sync_folder};
use super::frame::{u16_at, u32_at, u64_at};

/// Beyond this, and beyond [`REWRITE_TIMES`] what is alive, the file is rewritten with the newest value of each key.
const REWRITE_BYTES: u64 = 4 << 20;
/// A thousand busy Channels change a megabyte ten times a second; rewriting syncs, so it must be rare even then.
const REWRITE_TIMES: u64 = 8;
const MAGIC: [u8; 4] = *b"SAFs";
const HEAD_BYTES: usize = 22;

/// The file.
pub(crate) struct State {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    inner: Mutex<Inner>,
}

struct Inner {
    values: BTreeMap<String, Vec<u8>>,
    file: Arc<File>,
    end: u64,
    synced: u64,
    rewrite_at: u64,
}

impl State {
    /// Opens the file; makes it when it is missing.
    pub(crate) fn open(path: &Path, disk: Arc<dyn Disk>) -> Result<Self, Fault> {
        let (values, end) = load(path)?;
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(path)
            .map_err(Fault::at(path))?;
        file.set_len(end).map_err(Fault::at(path))?;
        disk.sync(&file).map_err(Fault::at(path))?;
        sync_folder(path.parent().unwrap_or(path)).map_err(Fault::at(path))?;
        let inner = Inner {
            values,
            file: Arc::new(file),
            end,
            synced: end,
            rewrite_at: REWRITE_BYTES.max(REWRITE_TIMES * end),
        };
        Ok(Self { path: path.to_owned(), disk, inner: Mutex::new(inner) })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The value of a key.
    pub(crate) fn get(&self, key: &str) -> Option<Vec<u8>> {
        self.lock().values.get(key).cloned()
    }

    /// Keys that begin with a prefix, the prefix left out, with their values.
    pub(crate) fn under(&self, prefix: &str) -> Vec<(String, Vec<u8>)> {
        let inner = self.lock();
        let range = inner.values.range(prefix.to_owned()..);
        range.map_while(|(key, value)| Some((key.strip_prefix(prefix)?.to_owned(), value.clone()))).collect()
    }

    /// Sets a key; on disk, but not synced. Does nothing when it has this value. The write is one short system call.
    pub(crate) fn put(&self, key: &str, value: &[u8]) -> Result<(), Fault> {
        let mut inner = self.lock();
        if inner.values.get(key).is_some_and(|old| old == value) {
            return Ok(());
        }
        inner.values.insert(key.to_owned(), value.to_owned());
        if inner.end >= inner.rewrite_at {
            return self.rewrite(&mut inner);
        }
        let mut bytes = Vec::new();
        encode(key, value, inner.synced, &mut bytes);
        self.disk.write_at(&inner.file, &bytes, inner.end).map_err(Fault::at(&self.path))?;
        inner.end += bytes.len() as u64;
        Ok(())
    }

    /// Makes everything put before durable. Blocks; others may put meanwhile.
    pub(crate) fn sync(&self) -> Result<(), Fault> {
        let (file, end) = {
            let inner = self.lock();
            if inner.synced == inner.end {
                return Ok(());
            }
            (inner.file.clone(), inner.end)
        };
        self.disk.sync(&file).map_err(Fault::at(&self.path))?;
        let mut inner = self.lock();
        if Arc::ptr_eq(&inner.file, &file) {
            inner.synced = inner.synced.max(end);
        }
        Ok(())
    }

    fn rewrite(&self, inner: &mut Inner) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        for (key, value) in &inner.values {
            encode(key, value, 0, &mut bytes);
        }
        let (temporary, end) = (self.path.with_extension("tmp"), bytes.len() as u64);
        let file = File::create(&temporary).map_err(Fault::at(&temporary))?;
        self.disk.write_at(&file, &bytes, 0).map_err(Fault::at(&temporary))?;
        self.disk.sync(&file).map_err(Fault::at(&temporary))?;
        fs::rename(&temporary, &self.path).map_err(Fault::at(&self.path))?;
        sync_folder(self.path.parent().unwrap_or(&self.path)).map_err(Fault::at(&self.path))?;
        (inner.file, inner.end, inner.synced) = (Arc::new(file), end, end);
        inner.rewrite_at = REWRITE_BYTES.max(REWRITE_TIMES * end);
        Ok(())
    }
}

/// Appends an entry; `synced` is how many bytes of the file are known to be synced.
pub(crate) fn encode(key: &str, value: &[u8], synced: u64, bytes: &mut Vec<u8>) {
    let start = bytes.len();
    bytes.extend_from_slice(&MAGIC);
    bytes.extend_from_slice(&[0; 4]);
    bytes.extend_from_slice(&(key.len() as u16).to_le_bytes());
    bytes.extend_from_slice(&(value.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&synced.to_le_bytes());
    bytes.extend_from_slice(key.as_bytes());
    bytes.extend_from_slice(value);
    let sum = crc32c::crc32c(&bytes[start + 8..]);
    bytes[start + 4..start + 8].copy_from_slice(&sum.to_le_bytes());
}

struct Entry<'a> {
    key: &'a str,
    value: &'a [u8],
    synced: u64,
    bytes: usize,
}

fn parse(bytes: &[u8]) -> Option<Entry<'_>> {
    if bytes.get(..4)? != MAGIC {
        return None;
    }
    let key = usize::from(u16_at(bytes, 8)?);
    let length = HEAD_BYTES.checked_add(key)?.checked_add(u32_at(bytes, 10)? as usize)?;
    let entry = bytes.get(..length)?;
    if crc32c::crc32c(&entry[8..]) != u32_at(entry, 4)? {
        return None;
    }
    let text = std::str::from_utf8(&entry[HEAD_BYTES..HEAD_BYTES + key]).ok()?;
    Some(Entry { key: text, value: &entry[HEAD_BYTES + key..], synced: u64_at(entry, 14)?, bytes: length })
}

/// The values, and where the valid part of the file ends.
pub(crate) fn load(path: &Path) -> Result<(BTreeMap<String, Vec<u8>>, u64), Fault> {
    let bytes = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(Fault::at(path)(error)),
    };
    let (mut values, mut at) = (BTreeMap::new(), 0);
    while let Some(entry) = parse(&bytes[at..]) {
        values.insert(entry.key.to_owned(), entry.value.to_owned());
        at += entry.bytes;
    }
    let rest = &bytes[at..];
    let starts = rest.windows(MAGIC.len()).enumerate().filter(|(_, window)| *window == MAGIC);
    let proof = starts.filter_map(|(n, _)| parse(&rest[n..])).find(|entry| entry.synced > at as u64);
    match proof {
        None => Ok((values, at as u64)),
        Some(entry) => {
            let evidence = format!("a later entry says that {} bytes were synced", entry.synced);
            Err(Damage { path: path.to_owned(), offset: at as u64, after: 0, evidence }.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded::file::Real;

    fn open(path: &Path) -> Result<State, Fault> {
        State::open(path, Arc::new(Real))
    }

    #[test]
    fn the_newest_value_of_each_key_survives_reopening_and_rewriting() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("state.log");
        let state = open(&path).expect("opens");
        let large = vec![7; 1 << 20];
        for n in 0..40u8 {
            state.put("c/a", &[n]).expect("writes");
            state.put("c/b", &[&large[..], &[n]].concat()).expect("writes");
        }
        state.put("d", b"x").expect("writes");
        assert!(fs::metadata(&path).expect("there").len() < 20 << 20, "rewritten");
        drop(state);
        let state = open(&path).expect("opens");
        assert_eq!(state.get("c/a"), Some(vec![39]));
        assert_eq!(state.under("c/").len(), 2);
        assert_eq!(state.get("none"), None);
    }

    #[test]
    fn a_cut_gives_an_earlier_state_and_a_flip_an_earlier_one_or_a_refusal() {
        let folder = tempfile::tempdir().expect("a temp folder");
        let path = folder.path().join("state.log");
        let state = open(&path).expect("opens");
        for n in 0..6u8 {
            state.put("k", &[n]).expect("writes");
            if n == 2 {
                state.sync().expect("syncs");
            }
        }
        drop(state);
        let whole = fs::read(&path).expect("reads");
        let entry = whole.len() / 6;
        for length in 0..whole.len() {
            fs::write(&path, &whole[..length]).expect("writes");
            let value = open(&path).expect("opens").get("k");
            assert_eq!(value, (length / entry).checked_sub(1).map(|n| vec![n as u8]), "cut at {length}");
        }
        for at in 0..whole.len() {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            fs::write(&path, &bytes).expect("writes");
            match open(&path) {
                Err(Fault::Damaged(damage)) => assert_eq!(damage.offset, (at / entry * entry) as u64),
                Err(fault) => panic!("{fault}"),
                Ok(state) => {
                    assert!(at >= 3 * entry, "byte {at} was synced, and its damage went unnoticed");
                    assert_eq!(state.get("k"), Some(vec![(at / entry - 1) as u8]));
                }
            }
        }
    }
}
