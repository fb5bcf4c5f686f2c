//! Files as they stand in an archive or in an image: the same bytes from the same files, whenever and by whomever they are packed. So there are
//! no times, no users of this machine, and an order of their own.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, ensure};
use flate2::{Compression, GzBuilder};
use sha2::{Digest, Sha256};
use tar::{EntryType, Header};

const FOLDER: u32 = 0o755;
const FILE: u32 = 0o644;
const PROGRAM: u32 = 0o755;

/// Files by their paths, which have no `/` in front.
#[derive(Debug, Default)]
pub(super) struct Tree {
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    /// `None` for a folder.
    data: Option<Vec<u8>>,
    mode: u32,
    owner: u64,
}

impl Tree {
    /// Bytes that come from no file.
    pub(super) fn bytes(&mut self, path: &str, data: Vec<u8>) {
        self.put(path, Entry { data: Some(data), mode: FILE, owner: 0 });
    }

    /// A file.
    pub(super) fn file(&mut self, path: &str, from: &Path) -> anyhow::Result<()> {
        self.bytes(path, read(from)?);
        Ok(())
    }

    /// A file that can be run.
    pub(super) fn program(&mut self, path: &str, from: &Path) -> anyhow::Result<()> {
        self.put(path, Entry { data: Some(read(from)?), mode: PROGRAM, owner: 0 });
        Ok(())
    }

    /// An empty folder that a user owns.
    pub(super) fn owned(&mut self, path: &str, owner: u64) {
        self.put(path, Entry { data: None, mode: FOLDER, owner });
    }

    /// Every file of a folder with that extension; one at least.
    pub(super) fn folder(&mut self, from: &Path, to: &str, extension: &str) -> anyhow::Result<()> {
        let before = self.entries.len();
        for entry in fs::read_dir(from).with_context(|| format!("cannot read {}", from.display()))? {
            let path = entry?.path();
            if path.extension() == Some(OsStr::new(extension))
                && let Some(name) = path.file_name().and_then(OsStr::to_str)
            {
                self.file(&format!("{to}/{name}"), &path)?;
            }
        }
        ensure!(self.entries.len() > before, "{} holds no *.{extension}", from.display());
        Ok(())
    }

    /// With the folders above it.
    fn put(&mut self, path: &str, entry: Entry) {
        for (at, _) in path.match_indices('/') {
            let above = path[..at].to_owned();
            self.entries.entry(above).or_insert(Entry { data: None, mode: FOLDER, owner: 0 });
        }
        self.entries.insert(path.to_owned(), entry);
    }

    /// As a tar, everything below the folder `below` (`""` for none).
    pub(super) fn write(&self, to: impl Write, below: &str) -> anyhow::Result<()> {
        let mut tar = tar::Builder::new(to);
        for (path, entry) in &self.entries {
            let path = if below.is_empty() { path.clone() } else { format!("{below}/{path}") };
            let data = entry.data.as_deref().unwrap_or_default();
            let mut header = Header::new_gnu();
            header.set_entry_type(if entry.data.is_some() {
                EntryType::Regular
            } else {
                EntryType::Directory
            });
            header.set_mode(entry.mode);
            header.set_uid(entry.owner);
            header.set_gid(entry.owner);
            header.set_mtime(0);
            header.set_size(data.len() as u64);
            let path = if entry.data.is_some() { path } else { path + "/" };
            tar.append_data(&mut header, path, data)?;
        }
        tar.into_inner()?.flush()?;
        Ok(())
    }

    /// As a compressed tar.
    pub(super) fn write_gz(&self, path: &Path, below: &str) -> anyhow::Result<()> {
        let file = File::create(path).with_context(|| format!("cannot write {}", path.display()))?;
        // No name and no time of the file.
        let mut gz = GzBuilder::new().write(BufWriter::new(file), Compression::default());
        self.write(&mut gz, below)?;
        gz.finish()?.flush()?;
        Ok(())
    }

    /// As files in a folder, which may exist. Owners are left to who copies them from there.
    pub(super) fn unpack(&self, folder: &Path) -> anyhow::Result<()> {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
        for (path, entry) in &self.entries {
            let path = folder.join(path);
            match &entry.data {
                None => fs::create_dir_all(&path),
                Some(data) => fs::write(&path, data),
            }
            .with_context(|| format!("cannot write {}", path.display()))?;
            #[cfg(unix)]
            {
                use std::os::unix::fs::PermissionsExt as _;

                fs::set_permissions(&path, fs::Permissions::from_mode(entry.mode))?;
            }
        }
        Ok(())
    }
}

fn read(path: &Path) -> anyhow::Result<Vec<u8>> {
    fs::read(path).with_context(|| format!("cannot read {}", path.display()))
}

/// SHA-256 of a file, in hexadecimal.
pub(super) fn checksum(path: &Path) -> anyhow::Result<String> {
    Ok(hex(&Sha256::digest(read(path)?)))
}

/// In hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        // Writing to a string cannot fail.
        let _ = write!(text, "{byte:02x}");
        text
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tree() -> Tree {
        let mut tree = Tree::default();
        tree.bytes("z/late", b"z".to_vec());
        tree.bytes("a", b"aa".to_vec());
        tree.owned("var/lib/saf", 65532);
        tree
    }

    #[test]
    fn an_archive_has_folders_before_files_and_no_trace_of_this_machine() {
        let mut bytes = Vec::new();
        tree().write(&mut bytes, "top").expect("written");
        let mut archive = tar::Archive::new(&bytes[..]);
        let seen: Vec<_> = archive
            .entries()
            .expect("an archive")
            .map(|entry| {
                let entry = entry.expect("an entry");
                let header = entry.header();
                assert_eq!(header.mtime().expect("a time"), 0);
                (
                    entry.path().expect("a path").display().to_string(),
                    header.uid().expect("an owner"),
                    header.size().expect("a size"),
                )
            })
            .collect();
        let expected = [
            ("top/a", 0, 2),
            ("top/var/", 0, 0),
            ("top/var/lib/", 0, 0),
            ("top/var/lib/saf/", 65532, 0),
            ("top/z/", 0, 0),
            ("top/z/late", 0, 1),
        ];
        assert_eq!(seen, expected.map(|(path, owner, size)| (path.to_owned(), owner, size)));
    }

    #[test]
    fn the_same_files_make_the_same_bytes() {
        let folder = tempfile::tempdir().expect("a folder");
        let [one, two] = ["one", "two"].map(|name| folder.path().join(name));
        for path in [&one, &two] {
            tree().write_gz(path, "top").expect("written");
        }
        assert_eq!(checksum(&one).expect("readable"), checksum(&two).expect("readable"));
        tree().unpack(&folder.path().join("out")).expect("unpacked");
        assert_eq!(fs::read(folder.path().join("out/z/late")).expect("there"), b"z");
    }
}
