//! The history of a stream's deliveries, in files of its own: `history/<first number>.his`. Entries are written when their deliveries
//! are settled and before the consumer knows, so that nothing is settled without its entry, whatever kills the process; what a power
//! failure takes (they are synced each second, as the consumers' snapshots are) is the end of the last file.
//!
//! ```text
//! file  = pieces
//! piece = magic (4), crc32c of all that follows (4), bytes of entries (4), entries (4), number of the first entry (8), entries
//! ```
//!
//! Settlements that store something stand in the events' log with their entry behind them, so that a crash between the two is
//! made good on opening. Not the events' log itself, because most deliveries store nothing in it: they would fill it, and number it, in
//! the events' stead. In memory: for each [`BLOCK_BYTES`] the range of its events and times. A file that cannot be read is cut short,
//! and one that cannot be written loses entries and says so: history never stops a delivery. A file is `annals/book.rs`.

mod book;

use std::collections::{HashSet, VecDeque};
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use saf_event::{ChannelName, unix_millis};

use self::book::{Block, Book, Piece, Pieces, paths};
use super::fault::Fault;
use crate::history::codec::{EntryRecord, Pack};
use crate::{Entry, HistoryConfig, HistoryFilter, Page};

/// A file is followed by another one from this size on.
const FILE_BYTES: u64 = 8 << 20;
/// The mark of the history and that of the log are two files: of so many entries before its own mark it is known that they are kept, so
/// that a log that is read again from further back tells nothing twice.
const KNOWN_BEFORE_MARK: u64 = 65_536;
/// Most bytes that a page looks through.
const PAGE_BYTES_MAX: u64 = 64 << 20;
/// Most entries on a page, whatever the caller asks for.
const PAGE_ENTRIES_MAX: usize = 1000;

/// See the file's head.
pub(crate) struct Annals {
    folder: PathBuf,
    books: Mutex<Books>,
    enabled: AtomicBool,
    max_records: AtomicU64,
    max_age_millis: AtomicU64,
    dropped: AtomicU64,
}

#[derive(Default)]
struct Books {
    all: VecDeque<Book>,
    /// The number of the newest entry.
    last: u64,
    is_dirty: bool,
    room: Vec<u8>,
}

/// The settlements that stand behind a number, as recovery needs them.
#[derive(Default)]
pub(crate) struct Behind {
    /// Channels and events that are settled.
    pub(crate) settled: Vec<(String, u64)>,
    known: HashSet<(Vec<u8>, u64, u32)>,
}

impl Behind {
    fn take(&mut self, entry: EntryRecord<'_>) {
        if entry.is_settled()
            && let Ok(channel) = String::from_utf8(entry.channel().to_vec())
        {
            self.settled.push((channel, entry.sequence()));
        }
        self.know(entry);
    }

    fn know(&mut self, entry: EntryRecord<'_>) {
        self.known.insert((entry.channel().to_vec(), entry.sequence(), entry.attempt()));
    }

    /// Whether an entry is kept already.
    pub(crate) fn knows(&self, entry: EntryRecord<'_>) -> bool {
        self.known.contains(&(entry.channel().to_vec(), entry.sequence(), entry.attempt()))
    }
}

impl Annals {
    /// Opens a folder; what cannot be read at the end of a file is cut. Returns what stands behind `mark`.
    pub(crate) fn open(
        folder: &Path,
        config: &HistoryConfig,
        mark: Option<u64>,
    ) -> Result<(Self, Behind), Fault> {
        let (mut books, mut behind) = (Books::default(), Behind::default());
        // There is no mark as long as nothing was ever saved: then all of the history is behind the snapshots.
        let mark = mark.unwrap_or(0);
        let known_behind = mark.saturating_sub(KNOWN_BEFORE_MARK);
        for path in paths(folder).map_err(Fault::at(folder))? {
            let book = Book::open(path.clone(), |number, entry| {
                books.last = books.last.max(number);
                if number > mark {
                    behind.take(entry);
                } else if number > known_behind {
                    behind.know(entry);
                }
            });
            let book = book.map_err(Fault::at(&path))?;
            if book.blocks.is_empty() {
                fs::remove_file(&path).map_err(Fault::at(&path))?;
            } else {
                books.all.push_back(book);
            }
        }
        let annals = Self {
            folder: folder.to_owned(),
            books: Mutex::new(books),
            enabled: AtomicBool::new(config.enabled),
            max_records: AtomicU64::default(),
            max_age_millis: AtomicU64::default(),
            dropped: AtomicU64::new(0),
        };
        annals.configure(config);
        Ok((annals, behind))
    }

    /// Takes over a configuration.
    pub(crate) fn configure(&self, config: &HistoryConfig) {
        self.enabled.store(config.enabled, Ordering::Relaxed);
        self.max_records.store(config.max_records, Ordering::Relaxed);
        self.max_age_millis.store(config.max_age.0.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether anything is kept.
    pub(crate) fn is_enabled(&self) -> bool {
        self.enabled.load(Ordering::Relaxed)
    }

    /// Entries that could not be written.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// The number of the newest entry.
    pub(crate) fn last(&self) -> u64 {
        self.lock().last
    }

    fn lock(&self) -> MutexGuard<'_, Books> {
        self.books.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Writes entries; not synced. One call of the operating system.
    pub(crate) fn add(&self, pack: &Pack) {
        if pack.is_empty() || !self.is_enabled() {
            return;
        }
        let mut books = self.lock();
        if let Err(error) = books.add(&self.folder, pack) {
            drop(books);
            if self.dropped.fetch_add(pack.entries, Ordering::Relaxed) == 0 {
                tracing::warn!(%error, folder = %self.folder.display(), "history cannot be written: entries are left out");
            }
        }
    }

    /// Makes durable what was written, and gives back what nobody may see any more. Blocks.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        let newest = {
            let mut books = self.lock();
            books.retire(self.max_records.load(Ordering::Relaxed), self.oldest_time());
            std::mem::take(&mut books.is_dirty).then(|| books.all.back().map(|book| book.file.clone()))
        };
        newest.flatten().map_or(Ok(()), |file| file.sync_data())
    }

    fn oldest_time(&self) -> u64 {
        unix_millis().saturating_sub(self.max_age_millis.load(Ordering::Relaxed))
    }

    /// What became of one event. Blocks.
    pub(crate) fn of(&self, sequence: u64, channel: Option<&ChannelName>) -> std::io::Result<Page<Entry>> {
        let filter = HistoryFilter { channel: channel.cloned(), ..HistoryFilter::default() };
        let page = self.read(
            0,
            |block| block.events.holds(sequence),
            PAGE_ENTRIES_MAX,
            |entry| entry.sequence() == sequence && entry.fits(&filter),
        )?;
        Ok(page)
    }

    /// A page of entries behind a number. Blocks.
    pub(crate) fn list(
        &self,
        filter: &HistoryFilter,
        after: u64,
        limit: usize,
    ) -> std::io::Result<Page<Entry>> {
        let may_hold = |block: &Block| {
            filter.since.is_none_or(|since| block.times.high >= since)
                && filter.until.is_none_or(|until| block.times.low < until)
        };
        self.read(after, may_hold, limit.clamp(1, PAGE_ENTRIES_MAX), |entry| entry.fits(filter))
    }

    fn read(
        &self,
        after: u64,
        may_hold: impl Fn(&Block) -> bool,
        limit: usize,
        fits: impl Fn(EntryRecord<'_>) -> bool,
    ) -> std::io::Result<Page<Entry>> {
        let (oldest, mut left) = (self.oldest_time(), PAGE_BYTES_MAX);
        let (blocks, last) = {
            let books = self.lock();
            let shown = books.last.saturating_sub(self.max_records.load(Ordering::Relaxed));
            let after = after.max(shown);
            let wanted = |block: &&Block| block.last > after && block.times.high >= oldest && may_hold(block);
            let of = |book: &Book| {
                let file = book.file.clone();
                book.blocks.iter().filter(wanted).map(|block| (file.clone(), *block)).collect::<Vec<_>>()
            };
            (
                books.all.iter().flat_map(of).map(|(file, block)| (file, block, after)).collect::<Vec<_>>(),
                books.last,
            )
        };
        let mut items = Vec::new();
        for (file, block, after) in blocks {
            if left < block.bytes {
                return Ok(Page { items, next: Some((block.first - 1).to_string()) });
            }
            left -= block.bytes;
            let mut bytes = vec![0; block.bytes as usize];
            file.read_exact_at(&mut bytes, block.offset)?;
            for (number, entry) in Pieces::of(&bytes).flat_map(Piece::entries) {
                if number <= after || entry.ended() < oldest || !fits(entry) {
                    continue;
                }
                items.extend(entry.read());
                if items.len() == limit {
                    return Ok(Page { items, next: (number < last).then(|| number.to_string()) });
                }
            }
        }
        Ok(Page { items, next: None })
    }
}

impl Books {
    fn add(&mut self, folder: &Path, pack: &Pack) -> std::io::Result<()> {
        let first = self.last + 1;
        if self.all.back().is_none_or(|book| book.end >= FILE_BYTES) {
            fs::create_dir_all(folder)?;
            let path = folder.join(format!("{first:020}.his"));
            let file = OpenOptions::new().read(true).write(true).create(true).truncate(true).open(&path)?;
            self.all.push_back(Book { path, file: file.into(), end: 0, blocks: Vec::new() });
        }
        let Some(book) = self.all.back_mut() else { return Ok(()) };
        let room = &mut self.room;
        book::write_piece(pack, first, room);
        // What a failed write left behind is written over by the next one.
        book.file.write_all_at(room, book.end)?;
        if let Some(piece) = Pieces::of(room).next() {
            self.last = piece.last();
            book.note(&piece, |_, _| {});
        }
        self.is_dirty = true;
        Ok(())
    }

    /// Removes files of which nothing may be seen any more.
    fn retire(&mut self, max_records: u64, oldest_time: u64) {
        let shown = self.last.saturating_sub(max_records);
        let is_over = |book: &Book| {
            let last = book.blocks.last().map_or(0, |block| block.last);
            last <= shown || book.blocks.iter().all(|block| block.times.high < oldest_time)
        };
        while self.all.len() > 1 && self.all.front().is_some_and(is_over) {
            let Some(old) = self.all.pop_front() else { return };
            fs::remove_file(&old.path).ok();
        }
    }
}

#[cfg(test)]
mod tests {
    use saf_event::Outcome;

    use super::*;
    use crate::{Account, Fate};

    fn account(started: u64) -> Account {
        Account {
            digest: [7; 8],
            outcome: Outcome::Done,
            started,
            queued_millis: 1,
            micros: 2,
            fuel: 3,
            memory: 4,
            reason: None,
        }
    }

    fn pack(sequences: impl IntoIterator<Item = u64>, started: u64) -> Pack {
        let (mut pack, channel) = (Pack::default(), ChannelName::parse("upper").expect("valid"));
        for sequence in sequences {
            let fate = Fate::Done { emitted: 0, sequences: Vec::new() };
            pack.add(&channel, (sequence, 1), &account(started), &fate);
        }
        pack
    }

    fn open(folder: &Path, config: &HistoryConfig, mark: u64) -> (Annals, Behind) {
        Annals::open(&folder.join("history"), config, Some(mark)).expect("opens")
    }

    fn sequences(page: &Page<Entry>) -> Vec<u64> {
        page.items.iter().map(|entry| entry.sequence).collect()
    }

    #[test]
    fn what_was_written_is_there_after_a_kill_and_a_torn_end_is_cut() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = HistoryConfig::default();
        let now = unix_millis();
        {
            let (annals, _) = open(folder.path(), &config, 0);
            annals.add(&pack(1..=3, now));
            annals.add(&pack([4], now));
        }
        let path = paths(&folder.path().join("history")).expect("files").pop().expect("one");
        let whole = fs::read(&path).expect("bytes");
        for kept in 0..=whole.len() {
            fs::write(&path, &whole[..kept]).expect("written");
            let (annals, behind) = open(folder.path(), &config, 1);
            let found = sequences(&annals.list(&HistoryFilter::default(), 0, 100).expect("a page"));
            let expected: &[u64] = match kept {
                _ if kept == whole.len() => &[1, 2, 3, 4],
                _ if !found.is_empty() => &[1, 2, 3],
                _ => &[],
            };
            assert_eq!(found, expected, "{kept} bytes");
            let settled: Vec<_> = behind.settled.iter().map(|(_, sequence)| *sequence).collect();
            assert_eq!(settled, expected.get(1..).unwrap_or_default(), "{kept} bytes");
            annals.add(&pack([9], now));
            assert_eq!(sequences(&annals.of(9, None).expect("a page")), [9], "{kept} bytes");
            drop(annals);
            paths(&folder.path().join("history"))
                .expect("files")
                .iter()
                .for_each(|path| fs::remove_file(path).expect("removed"));
        }
    }

    #[test]
    fn at_most_so_many_entries_are_shown_and_files_go() {
        let folder = tempfile::tempdir().expect("a folder");
        let config = HistoryConfig { max_records: 1_000, ..HistoryConfig::default() };
        let (annals, _) = open(folder.path(), &config, 0);
        let now = unix_millis();
        for n in 0..300 {
            annals.add(&pack(n * 1_000 + 1..=n * 1_000 + 1_000, now));
        }
        annals.sync().expect("synced");
        let files = paths(&folder.path().join("history")).expect("files");
        assert_eq!(files.len(), 1, "{files:?}");
        let page = annals.list(&HistoryFilter::default(), 0, 1_000).expect("a page");
        assert_eq!((page.items[0].sequence, page.items.len(), page.next), (299_001, 1_000, None));
        assert!(sequences(&annals.of(5, None).expect("a page")).is_empty());
    }

    #[test]
    fn what_is_too_old_is_not_shown_and_pages_go_on_where_they_ended() {
        let folder = tempfile::tempdir().expect("a folder");
        let (annals, _) = open(folder.path(), &HistoryConfig::default(), 0);
        let now = unix_millis();
        annals.add(&pack(1..=5, 1_000));
        annals.add(&pack(6..=10, now));
        let (mut after, mut found) = (0, Vec::new());
        loop {
            let page = annals.list(&HistoryFilter::default(), after, 2).expect("a page");
            found.extend(sequences(&page));
            match page.next {
                Some(next) => after = next.parse().expect("a number"),
                None => break,
            }
        }
        assert_eq!(found, [6, 7, 8, 9, 10]);
        let since = HistoryFilter { since: Some(now + 1), ..HistoryFilter::default() };
        assert!(annals.list(&since, 0, 10).expect("a page").items.is_empty());
    }

    #[test]
    fn what_cannot_be_written_is_counted_and_stops_nobody() {
        let folder = tempfile::tempdir().expect("a folder");
        fs::write(folder.path().join("file"), b"").expect("written");
        let path = folder.path().join("file").join("history");
        let annals = Annals {
            folder: path,
            books: Mutex::default(),
            enabled: true.into(),
            max_records: 10.into(),
            max_age_millis: u64::MAX.into(),
            dropped: 0.into(),
        };
        annals.add(&pack(1..=3, 1));
        assert_eq!((annals.dropped(), annals.last()), (3, 0));
    }
}
