//! A disk that loses power: what was written since a file's last sync is there, or not, or there in part, write by write.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::sync::{Mutex, MutexGuard};

use super::*;

/// Drives write in whole sectors, of so many bytes.
const SECTOR_BYTES: usize = 512;

/// Remembers what is not synced, by inode, since files are renamed.
#[derive(Default)]
pub(super) struct Lossy {
    unsynced: Mutex<HashMap<u64, Vec<Write>>>,
}

struct Write {
    offset: u64,
    before: Vec<u8>,
    length: usize,
}

impl Lossy {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, Vec<Write>>> {
        self.unsynced.lock().expect("not poisoned")
    }

    /// The files as they may be found after the power failed now; `chance` decides what was lost.
    pub(super) fn power_failure(&self, folder: &Path, chance: u64) -> TempDir {
        // Nobody writes meanwhile.
        let unsynced = self.lock();
        let copy = killed(folder);
        let mut chance = Chance(chance | 1);
        lose(folder, copy.path(), &unsynced, &mut chance);
        copy
    }
}

fn lose(folder: &Path, copy: &Path, unsynced: &HashMap<u64, Vec<Write>>, chance: &mut Chance) {
    for entry in fs::read_dir(folder).expect("reads a folder") {
        let path = entry.expect("an entry").path();
        let copied = copy.join(path.file_name().expect("a name"));
        if path.is_dir() {
            lose(&path, &copied, unsynced, chance);
        } else if path.extension().is_some_and(|e| e == "idx") && chance.of(3) == 0 {
            fs::remove_file(&copied).expect("removes");
        } else if let Some(writes) = fs::metadata(&path).ok().and_then(|m| unsynced.get(&m.ino())) {
            let file = OpenOptions::new().write(true).open(&copied).expect("opens");
            writes.iter().rev().for_each(|write| undo(&file, write, chance));
        }
    }
}

fn undo(file: &File, write: &Write, chance: &mut Chance) {
    let kept = match chance.of(3) {
        0 => return,
        1 => 0,
        // Up to a sector's border, counted in the file.
        _ => {
            let border = chance.of(write.length as u64 / SECTOR_BYTES as u64 + 1) * SECTOR_BYTES as u64;
            (border.saturating_sub(write.offset % SECTOR_BYTES as u64) as usize).min(write.length)
        }
    };
    let mut before = write.before.clone();
    before.resize(write.length, 0);
    file.write_all_at(&before[kept..], write.offset + kept as u64).expect("writes");
    let grew = write.before.len() < write.length;
    let end = write.offset + write.length as u64;
    if grew && file.metadata().expect("there").len() == end {
        file.set_len(write.offset + kept.max(write.before.len()) as u64).expect("cuts");
    }
}

impl Disk for Lossy {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut unsynced = self.lock();
        let metadata = file.metadata()?;
        let there = metadata.len().saturating_sub(offset).min(bytes.len() as u64) as usize;
        let mut before = vec![0; there];
        // The state's file is opened for writing only after it was rewritten; it only grows.
        if there > 0 {
            file.read_exact_at(&mut before, offset)?;
        }
        Real.write_at(file, bytes, offset)?;
        unsynced.entry(metadata.ino()).or_default().push(Write { offset, before, length: bytes.len() });
        Ok(())
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        let mut unsynced = self.lock();
        Real.sync(file)?;
        unsynced.remove(&file.metadata()?.ino());
        Ok(())
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

/// Repeatable, so that a failing case can be shrunk.
struct Chance(u64);

impl Chance {
    fn of(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

#[test]
fn what_was_synced_stays_and_the_rest_may_go() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let path = folder.path().join("file");
    let disk = Lossy::default();
    let file = OpenOptions::new().create_new(true).read(true).write(true).open(&path).expect("makes");
    disk.write_at(&file, &[1; 2000], 0).expect("writes");
    disk.sync(&file).expect("syncs");
    disk.write_at(&file, &[2; 2000], 1000).expect("writes");
    let mut seen = std::collections::BTreeSet::new();
    for chance in 0..50 {
        let copy = disk.power_failure(folder.path(), chance * 7919);
        let bytes = fs::read(copy.path().join("file")).expect("reads");
        assert_eq!(bytes[..1000], [1; 1000]);
        let new = bytes.iter().filter(|byte| **byte == 2).count();
        assert!(bytes.len() == 2000.max(1000 + new), "{} bytes, {new} new", bytes.len());
        seen.insert(new);
    }
    assert!(seen.contains(&0) && seen.contains(&2000) && seen.len() > 3, "{seen:?}");
}
