//! One file of the history: pieces that were written together, and what is known of them without reading them. Deliberately absent: which of
//! it may still be seen (`annals.rs` knows).

use std::fs::{self, File, OpenOptions};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::embedded::frame::{u32_at, u64_at};
use crate::history::codec::{EntryRecord, Pack};

const MAGIC: [u8; 4] = *b"SAFH";
const HEAD_BYTES: usize = 24;
/// What is known of entries without reading them is known of so many bytes together, about.
const BLOCK_BYTES: u64 = 64 << 10;

/// One file.
pub(super) struct Book {
    pub(super) path: PathBuf,
    pub(super) file: Arc<File>,
    pub(super) end: u64,
    pub(super) blocks: Vec<Block>,
}

/// What is known of a part of a file.
#[derive(Clone, Copy, Debug)]
pub(super) struct Block {
    pub(super) offset: u64,
    pub(super) bytes: u64,
    /// Numbers of its entries.
    pub(super) first: u64,
    pub(super) last: u64,
    /// The events that it speaks of.
    pub(super) events: Range,
    /// When they were over.
    pub(super) times: Range,
}

/// From the smallest to the largest.
#[derive(Clone, Copy, Debug)]
pub(super) struct Range {
    pub(super) low: u64,
    pub(super) high: u64,
}

impl Range {
    const NONE: Self = Self { low: u64::MAX, high: 0 };

    fn take(&mut self, number: u64) {
        (self.low, self.high) = (self.low.min(number), self.high.max(number));
    }

    pub(super) fn holds(&self, number: u64) -> bool {
        (self.low..=self.high).contains(&number)
    }
}

impl Book {
    pub(super) fn open(path: PathBuf, mut visit: impl FnMut(u64, EntryRecord<'_>)) -> std::io::Result<Self> {
        let file = OpenOptions::new().read(true).write(true).open(&path)?;
        let bytes = fs::read(&path)?;
        let mut book = Self { path, file: file.into(), end: 0, blocks: Vec::new() };
        for piece in Pieces::of(&bytes) {
            book.note(&piece, &mut visit);
        }
        if book.end < bytes.len() as u64 {
            let (path, kept) = (book.path.display(), book.end);
            tracing::warn!(%path, kept, of = bytes.len(), "the end of a file of the history cannot be read, and is cut");
            book.file.set_len(book.end)?;
        }
        Ok(book)
    }

    pub(super) fn note(&mut self, piece: &Piece<'_>, mut visit: impl FnMut(u64, EntryRecord<'_>)) {
        let bytes = (HEAD_BYTES + piece.bytes.len()) as u64;
        if self.blocks.last().is_none_or(|block| block.bytes >= BLOCK_BYTES) {
            let (events, times) = (Range::NONE, Range::NONE);
            self.blocks.push(Block {
                offset: self.end,
                bytes: 0,
                first: piece.first,
                last: 0,
                events,
                times,
            });
        }
        let Some(block) = self.blocks.last_mut() else { return };
        for (number, entry) in piece.entries() {
            block.events.take(entry.sequence());
            block.times.take(entry.ended());
            visit(number, entry);
        }
        block.bytes += bytes;
        block.last = piece.last();
        self.end += bytes;
    }
}

/// Entries that were written together.
#[derive(Clone, Copy)]
pub(super) struct Piece<'a> {
    first: u64,
    count: u64,
    bytes: &'a [u8],
}

impl<'a> Piece<'a> {
    pub(super) fn last(&self) -> u64 {
        self.first + self.count - 1
    }

    pub(super) fn entries(self) -> impl Iterator<Item = (u64, EntryRecord<'a>)> {
        (self.first..).zip(EntryRecord::all(self.bytes))
    }
}

/// Walks the pieces of a file; ends at what is none.
pub(super) struct Pieces<'a>(&'a [u8]);

impl<'a> Pieces<'a> {
    pub(super) fn of(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }
}

impl<'a> Iterator for Pieces<'a> {
    type Item = Piece<'a>;

    fn next(&mut self) -> Option<Piece<'a>> {
        let head = self.0.get(..HEAD_BYTES)?;
        let end = HEAD_BYTES.checked_add(u32_at(head, 8)? as usize)?;
        let piece = self.0.get(..end)?;
        if head[..4] != MAGIC || crc32c::crc32c(&piece[8..]) != u32_at(head, 4)? {
            return None;
        }
        let (count, first) = (u64::from(u32_at(head, 12)?), u64_at(head, 16)?);
        self.0 = &self.0[end..];
        (count > 0).then_some(Piece { first, count, bytes: &piece[HEAD_BYTES..] })
    }
}

/// A piece as it stands in a file, in the place of what was in `room`.
pub(super) fn write_piece(pack: &Pack, first: u64, room: &mut Vec<u8>) {
    room.clear();
    room.extend_from_slice(&MAGIC);
    room.extend_from_slice(&[0; 4]);
    room.extend_from_slice(&(pack.bytes.len() as u32).to_le_bytes());
    room.extend_from_slice(&(pack.entries as u32).to_le_bytes());
    room.extend_from_slice(&first.to_le_bytes());
    room.extend_from_slice(&pack.bytes);
    let sum = crc32c::crc32c(&room[8..]);
    room[4..8].copy_from_slice(&sum.to_le_bytes());
}

/// The files of a folder, in order.
pub(super) fn paths(folder: &Path) -> std::io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "his") {
            paths.push(path);
        }
    }
    paths.sort_unstable();
    Ok(paths)
}
