//! For a person with a damaged store: [`check`] reads everything and says what is wrong, [`cut`] gives up what lies behind a
//! damaged place so that the rest opens again. Never done by itself: a cut loses events that somebody was told are stored.
//!
//! A cut keeps what it takes away as `.cut` files beside the originals. Sequences behind the place are given out again.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use saf_event::{ChannelName, StreamName};

use super::consumer::{CONSUMERS, Consumer, Stopped};
use super::fault::{Damage, Fault};
use super::file::{Real, sync_folder};
use super::frame::{SEGMENT_HEAD_BYTES, u64_at};
use super::ground::{DEAD_MARK, EVENTS_MARK, Folders};
use super::lock::Lock;
use super::log::{Depth, Log, segment_paths};
use super::marks::{self, Mark};
use super::state::{self, State};
use super::values::{self, PROMISED};
use crate::Error;

/// What [`check`] found.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The streams, by name.
    pub streams: Vec<StreamReport>,
    /// What is damaged: the first place of each file row. Empty when all is well.
    pub findings: Vec<Finding>,
}

/// A stream in numbers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamReport {
    /// Its name.
    pub name: StreamName,
    /// Readable events.
    pub events: u64,
    /// Readable records of the dead-letter log, deletions among them.
    pub dead_records: u64,
    /// Keys of all Channels' state.
    pub keys: u64,
}

/// Which files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// The events.
    Events,
    /// The dead letters.
    Dead,
    /// `state.log`: consumers and marks.
    State,
    /// `values.log`: the Channels' state.
    Values,
}

/// A damaged place, and what cutting there costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The stream.
    pub stream: StreamName,
    /// Which of its files.
    pub part: Part,
    /// Where and why.
    pub damage: Damage,
    /// How many stored events (or dead letters) a cut gives up, as far as is known. For [`Part::State`] none: Channels are then
    /// handed events again that they have handled, and may emit twice. For [`Part::Values`] unknown: keys come back as they were, or not
    /// at all.
    pub lost: u64,
}

/// What [`cut`] did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cut {
    /// Where what was taken away is kept.
    pub kept: Vec<PathBuf>,
}

/// Reads every byte of a store that no process has open.
pub fn check(path: &Path) -> Result<Report, Error> {
    if !path.join("FORMAT").exists() {
        return Err(Error::Config(format!("{} holds no store: check broker.path", path.display())));
    }
    let _lock = Lock::take(path)?;
    let mut report = Report::default();
    let folder = path.join("streams");
    let mut names = Vec::new();
    if !folder.exists() {
        return Ok(report);
    }
    for entry in fs::read_dir(&folder).map_err(Fault::at(&folder))? {
        let name = entry.map_err(Fault::at(&folder))?.file_name();
        names.extend(name.to_str().and_then(|name| StreamName::parse(name).ok()));
    }
    names.sort_unstable();
    for name in names {
        check_stream(name, &folder, &mut report)?;
    }
    Ok(report)
}

fn check_stream(name: StreamName, folder: &Path, report: &mut Report) -> Result<(), Error> {
    let folders = Folders::of(&folder.join(name.as_str()));
    let mut find = |part, damage: Damage, known: u64| {
        let lost = known.saturating_sub(damage.after);
        report.findings.push(Finding { stream: name.clone(), part, damage, lost });
    };
    let values = match state::load(&folders.state) {
        Ok((values, _)) => values,
        Err(Fault::Damaged(damage)) => {
            find(Part::State, damage, 0);
            BTreeMap::new()
        }
        Err(fault) => return Err(fault.into()),
    };
    let mut counts = [0; 2];
    let logs = [(Part::Events, EVENTS_MARK, &folders.events), (Part::Dead, DEAD_MARK, &folders.dead)];
    for (n, (part, key, folder)) in logs.into_iter().enumerate() {
        let mark = values.get(key).and_then(|bytes| marks::decode(bytes)).unwrap_or_default();
        match Log::open(folder, mark.evidence, Depth::All) {
            Ok(log) => counts[n] = (log.last() + 1).saturating_sub(log.first()),
            Err(Fault::Damaged(damage)) => {
                let newest = segment_paths(folder)?.last().map_or(0, |(first, _)| first - 1);
                find(part, damage, mark.evidence.last.max(newest));
            }
            Err(fault) => return Err(fault.into()),
        }
    }
    let promised = values.get(PROMISED).and_then(|bytes| u64_at(bytes, 0));
    let keys = match values::load(&folders.values, promised) {
        Ok(loaded) => loaded.map_or(0, |loaded| loaded.keys()),
        Err(Fault::Damaged(damage)) => {
            find(Part::Values, damage, 0);
            0
        }
        Err(fault) => return Err(fault.into()),
    };
    report.streams.push(StreamReport { name, events: counts[0], dead_records: counts[1], keys });
    Ok(())
}

/// Gives up what lies behind a place that [`check`] found, so that the store opens again. Check again afterwards: another
/// place may come to light.
pub fn cut(path: &Path, finding: &Finding) -> Result<Cut, Error> {
    let _lock = Lock::take(path)?;
    let folders = Folders::of(&path.join("streams").join(finding.stream.as_str()));
    let Damage { path: file, offset, after, .. } = &finding.damage;
    let (folder, key) = match finding.part {
        Part::State => return Ok(Cut { kept: cut_state(&folders.state, *offset)? }),
        Part::Values => return Ok(Cut { kept: cut_values(&folders, *offset)? }),
        Part::Events => (&folders.events, EVENTS_MARK),
        Part::Dead => (&folders.dead, DEAD_MARK),
    };
    let kept = cut_log(folder, file, *offset)?;
    let state = Arc::new(State::open(&folders.state, Arc::new(Real))?);
    forget(&state, key, folder, *after)?;
    if finding.part == Part::Events {
        rewind(&state, *after)?;
    }
    state.sync()?;
    Ok(Cut { kept })
}

fn keep(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".cut");
    name.into()
}

fn cut_state(path: &Path, offset: u64) -> Result<Vec<PathBuf>, Fault> {
    let kept = keep(path);
    fs::copy(path, &kept).map_err(Fault::at(&kept))?;
    let file = OpenOptions::new().write(true).open(path).map_err(Fault::at(path))?;
    file.set_len(offset).map_err(Fault::at(path))?;
    file.sync_all().map_err(Fault::at(path))?;
    Ok(vec![kept])
}

/// What is cut off is promised no longer.
fn cut_values(folders: &Folders, offset: u64) -> Result<Vec<PathBuf>, Fault> {
    let kept = if folders.values.exists() { cut_state(&folders.values, offset)? } else { Vec::new() };
    let state = State::open(&folders.state, Arc::new(Real))?;
    state.put(PROMISED, &0u64.to_le_bytes())?;
    state.sync()?;
    Ok(kept)
}

fn cut_log(folder: &Path, damaged: &Path, offset: u64) -> Result<Vec<PathBuf>, Fault> {
    let mut kept = Vec::new();
    for (_, path) in segment_paths(folder)?.into_iter().filter(|(_, path)| path.as_path() >= damaged) {
        fs::remove_file(path.with_extension("idx")).ok();
        kept.push(keep(&path));
        if path == damaged && offset >= SEGMENT_HEAD_BYTES as u64 {
            fs::copy(&path, keep(&path)).map_err(Fault::at(&path))?;
            zero_from(&path, offset)?;
        } else {
            fs::rename(&path, keep(&path)).map_err(Fault::at(&path))?;
        }
    }
    sync_folder(folder).map_err(Fault::at(folder))?;
    Ok(kept)
}

fn zero_from(path: &Path, offset: u64) -> Result<(), Fault> {
    let file = OpenOptions::new().write(true).open(path).map_err(Fault::at(path))?;
    let size = file.metadata().map_err(Fault::at(path))?.len();
    let zeros = vec![0; size.saturating_sub(offset) as usize];
    file.write_all_at(&zeros, offset).map_err(Fault::at(path))?;
    file.sync_all().map_err(Fault::at(path))
}

/// What is given up was never stored.
fn forget(state: &State, key: &str, folder: &Path, after: u64) -> Result<(), Fault> {
    let mark = state.get(key).and_then(|bytes| marks::decode(&bytes)).unwrap_or_default();
    let oldest = segment_paths(folder)?.first().map_or(1, |(first, _)| *first);
    let mut evidence = mark.evidence;
    evidence.last = evidence.last.min(after);
    evidence.first = evidence.first.clamp(oldest, (after + 1).max(oldest));
    state.put(key, &marks::encode(Mark { applied: mark.applied.min(after), evidence }))
}

/// Consumers that stood behind the cut stand at it.
fn rewind(state: &State, last: u64) -> Result<(), Fault> {
    for (name, snapshot) in state.under(CONSUMERS) {
        let Ok(name) = ChannelName::parse(&name) else { continue };
        if let Some(consumer) = Consumer::restore(name, &snapshot, last, Stopped::Clean, Instant::now()) {
            consumer.rewind(last);
            consumer.save(state, last)?;
        }
    }
    Ok(())
}
