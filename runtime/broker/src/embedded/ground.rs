//! What a stream stands on: its folders, and its `state.log` with the logs' marks and the marker of a clean stop.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::consumer::Stopped;
use super::fault::{Damage, Fault};
use super::file::{Disk, sync_folder};
use super::log::segment_paths;
use super::marks::Marks;
use super::state::State;

/// In `state.log`: whether the last stop was a clean one.
const CLEAN: &str = "clean";
/// In `state.log`: the mark of the events' log.
pub(crate) const EVENTS_MARK: &str = "log/events";
/// In `state.log`: the mark of the dead letters' log.
pub(crate) const DEAD_MARK: &str = "log/dead";
/// From a stream's folder to the store's.
const FOLDERS_DEEP: usize = 3;

/// Where a stream's parts are.
pub(crate) struct Folders {
    pub(crate) events: PathBuf,
    pub(crate) dead: PathBuf,
    pub(crate) state: PathBuf,
    pub(crate) values: PathBuf,
    pub(crate) history: PathBuf,
}

impl Folders {
    pub(crate) fn of(root: &Path) -> Self {
        let names = ["events", "dead", "state.log", "values.log", "history"];
        let [events, dead, state, values, history] = names.map(|name| root.join(name));
        Self { events, dead, state, values, history }
    }
}

/// See the file's head.
pub(crate) struct Ground {
    pub(crate) state: Arc<State>,
    pub(crate) marks: Marks,
    pub(crate) dead_marks: Marks,
    pub(crate) stopped: Stopped,
}

impl Ground {
    /// Opens it; makes it for a new stream.
    pub(crate) fn open(folder: &Path, folders: &Folders, disk: &Arc<dyn Disk>) -> Result<Self, Fault> {
        make(folder, folders).map_err(Fault::at(folder))?;
        let is_new = is_new(folders)?;
        let state = Arc::new(State::open(&folders.state, disk.clone())?);
        let marks = |key| match (Marks::load(&state, key), is_new) {
            (Some(marks), _) => Ok(marks),
            (None, true) => Marks::create(&state, key),
            (None, false) => Err(stateless(folders, "its beginning is missing")),
        };
        let (marks, dead_marks) = (marks(EVENTS_MARK)?, marks(DEAD_MARK)?);
        let was_clean = is_new || state.get(CLEAN).is_some_and(|value| value == [1]);
        let stopped = if was_clean { Stopped::Clean } else { Stopped::Unclean };
        Ok(Self { state, marks, dead_marks, stopped })
    }
}

/// Takes the marker of a clean stop away, durably.
pub(crate) fn begin(state: &State) -> Result<(), Fault> {
    state.put(CLEAN, &[0])?;
    state.sync()
}

/// Leaves the marker of a clean stop, durably.
pub(crate) fn end(state: &State) -> Result<(), Fault> {
    state.put(CLEAN, &[1])?;
    state.sync()
}

/// Makes the folders, and their names durable up to the store's own.
fn make(folder: &Path, folders: &Folders) -> std::io::Result<()> {
    fs::create_dir_all(&folders.events)?;
    fs::create_dir_all(&folders.dead)?;
    folder.ancestors().take(FOLDERS_DEEP).try_for_each(sync_folder)
}

fn is_new(folders: &Folders) -> Result<bool, Fault> {
    let empty = segment_paths(&folders.events)?.is_empty() && segment_paths(&folders.dead)?.is_empty();
    if empty || folders.state.exists() {
        // A state without a mark was being made when the process stopped.
        return Ok(empty);
    }
    Err(stateless(folders, "it is missing, and there are segments"))
}

fn stateless(folders: &Folders, evidence: &str) -> Fault {
    let (path, evidence) = (folders.state.clone(), format!("{evidence}: nobody knows what was handled"));
    Damage { path, offset: 0, after: 0, evidence }.into()
}
