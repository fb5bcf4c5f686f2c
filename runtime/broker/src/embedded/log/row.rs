//! Whether the files of a log are a whole row: what may be missing after a stop, and what is damage when it is.

use std::collections::VecDeque;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::Evidence;
use crate::embedded::fault::{Damage, Fault};
use crate::embedded::frame::{Head, SEGMENT_HEAD_BYTES};
use crate::embedded::segment::Segment;

/// The segments of a folder by their first sequence.
pub(crate) fn segment_paths(folder: &Path) -> Result<Vec<(u64, PathBuf)>, Fault> {
    let mut paths = Vec::new();
    for entry in fs::read_dir(folder).map_err(Fault::at(folder))? {
        let path = entry.map_err(Fault::at(folder))?.path();
        if path.extension().is_some_and(|e| e == "seg") {
            let first = path.file_stem().and_then(|s| s.to_str()).and_then(|s| s.parse().ok());
            let unknown =
                || std::io::Error::other("not a segment's name; move the file away if it is not the store's");
            paths.push((first.ok_or_else(unknown).map_err(Fault::at(&path))?, path));
        }
    }
    paths.sort_unstable();
    Ok(paths)
}

/// Files that retention had given up: after a power failure some of them may be back.
pub(super) fn remove_garbage(
    mut paths: Vec<(u64, PathBuf)>,
    first: u64,
) -> Result<Vec<(u64, PathBuf)>, Fault> {
    let kept = paths.partition_point(|(begin, _)| *begin <= first).saturating_sub(1);
    for (_, path) in paths.drain(..kept) {
        fs::remove_file(path.with_extension("idx")).ok();
        fs::remove_file(&path).map_err(Fault::at(&path))?;
    }
    Ok(paths)
}

/// A segment whose head is not valid is one that was being made when the process stopped, if nothing speaks against it.
pub(super) fn discard_headless(
    path: &Path,
    first: u64,
    newest: bool,
    evidence: Evidence,
) -> Result<(), Fault> {
    let bytes = fs::read(path).map_err(Fault::at(path))?;
    let frame = bytes
        .get(SEGMENT_HEAD_BYTES..)
        .and_then(Head::parse_unchecked)
        .is_some_and(|head| head.first == first);
    let evidence = match (newest, evidence.last >= first, frame) {
        (true, false, false) => return fs::remove_file(path).map_err(Fault::at(path)),
        (false, ..) => "its head is not valid, and later segments exist".to_owned(),
        (_, true, _) => format!("its head is not valid, and sequence {} was stored", evidence.last),
        (_, _, true) => format!("its head is not valid, and a frame follows at byte {SEGMENT_HEAD_BYTES}"),
    };
    Err(Damage { path: path.to_owned(), offset: 0, after: first - 1, evidence }.into())
}

/// Nothing is missing between two segments.
pub(super) fn follows(before: &Segment, first: u64) -> Result<(), Fault> {
    if before.last() + 1 == first {
        return Ok(());
    }
    let evidence = format!("the next segment begins with sequence {first}");
    Err(Damage { path: before.path.clone(), offset: before.end(), after: before.last(), evidence }.into())
}

/// Nothing is missing at either end.
pub(super) fn reaches(
    folder: &Path,
    segments: &VecDeque<Arc<Segment>>,
    evidence: Evidence,
) -> Result<(), Fault> {
    let Evidence { first, last } = evidence;
    let there = segments.back().map_or(0, |s| s.last());
    if there < last {
        let (path, offset) = segments.back().map_or((folder.to_owned(), 0), |s| (s.path.clone(), s.end()));
        let evidence = format!("sequence {last} was stored");
        return Err(Damage { path, offset, after: there, evidence }.into());
    }
    match segments.front() {
        Some(oldest) if first > 0 && oldest.first > first => {
            let evidence = format!("the segment with sequence {first} is missing");
            Err(Damage { path: folder.to_owned(), offset: 0, after: first - 1, evidence }.into())
        }
        _ => Ok(()),
    }
}
