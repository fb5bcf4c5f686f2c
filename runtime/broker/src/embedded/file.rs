//! The disk as the store sees it: positioned writes, syncs, free space. A trait with three calls, so that tests can make any
//! one of them fail; reads go to the file directly, because damage is tested on real files.
//!
//! `sync` goes through std to libc's `fdatasync`, so that a preloaded shim sees it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// Where the store's bytes go.
pub(crate) trait Disk: Send + Sync + 'static {
    /// Writes all of `bytes` at `offset`. After an error an unknown part is written.
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()>;

    /// Makes what was written durable. After an error nothing is known about what was written since the last success.
    fn sync(&self, file: &File) -> io::Result<()>;

    /// Free bytes for us on the disk of this folder.
    fn free_bytes(&self, folder: &Path) -> io::Result<u64>;
}

/// The operating system's.
pub(crate) struct Real;

impl Disk for Real {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        file.write_all_at(bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        file.sync_data()
    }

    fn free_bytes(&self, folder: &Path) -> io::Result<u64> {
        let stat = rustix::fs::statvfs(folder)?;
        Ok(stat.f_bavail.saturating_mul(stat.f_frsize))
    }
}

/// Makes names that were created, renamed or removed in a folder durable.
pub(crate) fn sync_folder(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}
