//! `values.log`: the Channels' state, beside the frames that changed it, because retention recycles the frames. Appended lazily with what
//! changed, and with how far in the log it reaches; rewritten when it grows. Its entries look like those of `state.log`; it is a
//! file of its own so that rewriting tens of MiB holds up nobody who saves a consumer.
//!
//! Recovery loads the file and applies the records of the frames behind its mark, in order. Values are absolute, so it changes nothing
//! that some of them are in the file already. Invariant: no frame goes whose changes are not in the part of the file that is synced
//! ([`Values::cover`]). A stream whose Channels have no state has no such file, and pays for none.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use saf_event::{ByteString, ChannelName};

use super::fault::{Damage, Fault};
use super::file::{Disk, sync_folder};
use super::frame::u64_at;
use super::record::state::StateRecord;
use super::state::{self, encode};
use super::table::{Table, Value};

/// In `state.log`: how far `values.log` was synced, so that one that is missing or cut is damage.
pub(crate) const PROMISED: &str = "values";
/// The key of the mark; no Channel's key is empty.
const MARK: &str = "";
/// Of an entry's value: the key is gone.
const GONE: u8 = 0;
/// Of an entry's value: a version (8 bytes) and the data follow.
const HELD: u8 = 1;
/// Beyond this, and beyond [`REWRITE_TIMES`] what is alive, the file is rewritten.
const REWRITE_BYTES: u64 = 4 << 20;
const REWRITE_TIMES: u64 = 4;
/// Keys that are copied under a table's lock at once.
const REWRITE_KEYS: usize = 1024;
/// A mark that only others' events move is written this often, in sequences.
const MARK_EVENTS: u64 = 64 << 10;

/// A stream's state.
pub(crate) struct Values {
    path: PathBuf,
    disk: Arc<dyn Disk>,
    tables: Mutex<BTreeMap<ChannelName, Arc<Table>>>,
    /// `None` until a Channel has state.
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    file: Arc<File>,
    end: u64,
    synced: u64,
    rewrite_at: u64,
    /// Changes in frames up to this sequence are in the file.
    mark: u64,
    /// And durable up to this one.
    synced_mark: u64,
}

/// What a file holds.
pub(crate) struct Loaded {
    tables: BTreeMap<ChannelName, Arc<Table>>,
    mark: u64,
    end: u64,
}

impl Loaded {
    /// How many keys all Channels have.
    pub(crate) fn keys(&self) -> u64 {
        self.tables.values().map(|table| table.len() as u64).sum()
    }
}

/// Reads a file; `None` when there is none, and `promised` says that there was none.
pub(crate) fn load(path: &Path, promised: Option<u64>) -> Result<Option<Loaded>, Fault> {
    if !path.exists() && promised.is_none() {
        return Ok(None);
    }
    let (entries, end) = state::load(path)?;
    let mut loaded = Loaded { tables: BTreeMap::new(), mark: 0, end };
    for (name, bytes) in entries {
        if name == MARK {
            loaded.mark = u64_at(&bytes, 0).unwrap_or_default();
            continue;
        }
        let unknown = || {
            std::io::Error::other(format!("entry {name:?} is not of this version; use the one that wrote it"))
        };
        let (channel, key) = name.split_once('/').ok_or_else(unknown).map_err(Fault::at(path))?;
        let channel = ChannelName::parse(channel).map_err(|_| Fault::at(path)(unknown()))?;
        let table = loaded.tables.entry(channel).or_default();
        match bytes.split_first() {
            Some((&GONE, _)) => {}
            Some((&HELD, rest)) if rest.len() >= size_of::<u64>() => {
                let version = u64_at(rest, 0).unwrap_or_default();
                let data = Bytes::copy_from_slice(&rest[size_of::<u64>()..]);
                table.restore(key.into(), Value { version, data });
            }
            _ => return Err(Fault::at(path)(unknown())),
        }
    }
    match promised {
        Some(promised) if promised > loaded.mark => {
            let evidence = format!("it reaches to event {}, and state.log says {promised}", loaded.mark);
            Err(Damage { path: path.to_owned(), offset: end, after: 0, evidence }.into())
        }
        _ => Ok(Some(loaded)),
    }
}

impl Values {
    /// Opens the file if there is one; `promised` is what `state.log` says of it.
    pub(crate) fn open(path: &Path, promised: Option<u64>, disk: Arc<dyn Disk>) -> Result<Self, Fault> {
        let values = Self { path: path.to_owned(), disk, tables: Mutex::default(), kept: Mutex::default() };
        if let Some(Loaded { tables, mark, end }) = load(path, promised)? {
            *values.tables() = tables;
            values.kept().replace(values.take_file(mark, end)?);
        }
        Ok(values)
    }

    fn tables(&self) -> MutexGuard<'_, BTreeMap<ChannelName, Arc<Table>>> {
        self.tables.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn kept(&self) -> MutexGuard<'_, Option<Kept>> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn at<T>(&self, result: std::io::Result<T>) -> Result<T, Fault> {
        result.map_err(Fault::at(&self.path))
    }

    /// Takes the file for writing, cut at what is valid, and durable.
    fn take_file(&self, mark: u64, end: u64) -> Result<Kept, Fault> {
        let options = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(&self.path);
        let file = self.at(options)?;
        self.at(file.set_len(end))?;
        self.at(self.disk.sync(&file))?;
        self.at(sync_folder(self.path.parent().unwrap_or(&self.path)))?;
        let rewrite_at = REWRITE_BYTES.max(REWRITE_TIMES * end);
        Ok(Kept { file: Arc::new(file), end, synced: end, rewrite_at, mark, synced_mark: mark })
    }

    /// Makes the file, for the first Channel with state; nothing up to `applied` changed any. Whether it was made now.
    pub(crate) fn create(&self, applied: u64) -> Result<bool, Fault> {
        let mut kept = self.kept();
        if kept.is_some() {
            return Ok(false);
        }
        let fresh = kept.insert(self.take_file(applied, 0)?);
        let mut bytes = Vec::new();
        encode(MARK, &applied.to_le_bytes(), 0, &mut bytes);
        self.append(fresh, &bytes)?;
        Ok(true)
    }

    /// A Channel's table.
    pub(crate) fn table(&self, channel: &ChannelName) -> Arc<Table> {
        self.tables().entry(channel.clone()).or_default().clone()
    }

    /// On opening: a record of a frame behind the mark.
    pub(crate) fn replay(&self, record: &StateRecord<'_>) {
        if let Ok(channel) = ChannelName::parse(record.channel()) {
            self.table(&channel).apply(record);
        }
    }

    /// From which sequence on recovery needs the frames; `None` when nothing has state.
    pub(crate) fn recovers_from(&self) -> Option<u64> {
        self.kept().as_ref().map(|kept| kept.mark + 1)
    }

    /// The oldest sequence whose changes may be in frames only; `None` when nothing has state.
    pub(crate) fn needs_from(&self) -> Option<u64> {
        self.kept().as_ref().map(|kept| kept.synced_mark + 1)
    }

    /// Writes what changed; not synced. `applied` was read before: all changes in frames up to it are in the tables.
    pub(crate) fn save(&self, applied: u64) -> Result<(), Fault> {
        let mut kept = self.kept();
        let Some(kept) = &mut *kept else { return Ok(()) };
        let tables: Vec<_> =
            self.tables().iter().map(|(name, table)| (name.clone(), table.clone())).collect();
        let mut bytes = Vec::new();
        for (name, table) in &tables {
            for (key, value) in table.take_unsaved() {
                put(name, &key, value.as_ref(), kept.synced, &mut bytes);
            }
        }
        if bytes.is_empty() && applied.saturating_sub(kept.mark) < MARK_EVENTS {
            return Ok(());
        }
        encode(MARK, &applied.to_le_bytes(), kept.synced, &mut bytes);
        self.append(kept, &bytes)?;
        kept.mark = kept.mark.max(applied);
        if kept.end >= kept.rewrite_at { self.rewrite(kept, &tables) } else { Ok(()) }
    }

    fn append(&self, kept: &mut Kept, bytes: &[u8]) -> Result<(), Fault> {
        self.at(self.disk.write_at(&kept.file, bytes, kept.end))?;
        kept.end += bytes.len() as u64;
        Ok(())
    }

    /// Makes what was saved durable; returns how far it reaches, when that is further than before. Blocks.
    pub(crate) fn sync(&self) -> Result<Option<u64>, Fault> {
        let (file, end, mark) = {
            let kept = self.kept();
            match &*kept {
                Some(kept) if kept.synced < kept.end => (kept.file.clone(), kept.end, kept.mark),
                Some(_) | None => return Ok(None),
            }
        };
        self.at(self.disk.sync(&file))?;
        if let Some(kept) = &mut *self.kept() {
            if Arc::ptr_eq(&kept.file, &file) {
                kept.synced = kept.synced.max(end);
            }
            // A file that was rewritten meanwhile was synced whole.
            kept.synced_mark = kept.synced_mark.max(mark);
        }
        Ok(Some(mark))
    }

    /// For the writer, before frames below `first` go: their changes are durable here. `applied` as for [`Self::save`].
    pub(crate) fn cover(&self, first: u64, applied: u64) -> Result<Option<u64>, Fault> {
        if self.needs_from().is_none_or(|needed| needed >= first) {
            return Ok(None);
        }
        self.save(applied)?;
        if let Some(kept) = &mut *self.kept()
            && kept.mark + 1 < first
        {
            let mut bytes = Vec::new();
            encode(MARK, &applied.to_le_bytes(), kept.synced, &mut bytes);
            self.append(kept, &bytes)?;
            kept.mark = kept.mark.max(applied);
        }
        self.sync()
    }

    fn rewrite(&self, kept: &mut Kept, tables: &[(ChannelName, Arc<Table>)]) -> Result<(), Fault> {
        let mut bytes = Vec::new();
        for (name, table) in tables {
            let mut after: Option<ByteString> = None;
            loop {
                let page = table.page(after.as_deref(), REWRITE_KEYS);
                let Some((last, _)) = page.last() else { break };
                after = Some(last.clone());
                // A change that comes meanwhile is unsaved, and in a frame behind the mark.
                for (key, value) in &page {
                    put(name, key, Some(value), 0, &mut bytes);
                }
            }
        }
        encode(MARK, &kept.mark.to_le_bytes(), 0, &mut bytes);
        let temporary = self.path.with_extension("tmp");
        let file = File::create(&temporary).map_err(Fault::at(&temporary))?;
        self.disk.write_at(&file, &bytes, 0).map_err(Fault::at(&temporary))?;
        self.disk.sync(&file).map_err(Fault::at(&temporary))?;
        self.at(fs::rename(&temporary, &self.path))?;
        self.at(sync_folder(self.path.parent().unwrap_or(&self.path)))?;
        let end = bytes.len() as u64;
        let rewrite_at = REWRITE_BYTES.max(REWRITE_TIMES * end);
        let (mark, synced_mark) = (kept.mark, kept.mark);
        *kept = Kept { file: Arc::new(file), end, synced: end, rewrite_at, mark, synced_mark };
        Ok(())
    }
}

fn put(channel: &ChannelName, key: &str, value: Option<&Value>, synced: u64, bytes: &mut Vec<u8>) {
    let name = format!("{channel}/{key}");
    match value {
        None => encode(&name, &[GONE], synced, bytes),
        Some(Value { version, data }) => {
            let mut held = Vec::with_capacity(1 + size_of::<u64>() + data.len());
            held.push(HELD);
            held.extend_from_slice(&version.to_le_bytes());
            held.extend_from_slice(data);
            encode(&name, &held, synced, bytes);
        }
    }
}
