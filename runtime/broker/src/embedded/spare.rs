//! Segments made ahead: a helper thread writes files full of zeros and syncs them, so that a group commit overwrites blocks that
//! exist (twice as fast as growing a file, and no metadata to sync). One thread for all logs of a store; one spare a log.
//! What retention frees is renamed instead of made; its old frames are invalid under the next segment's salt.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::JoinHandle;

use super::fault::Fault;
use super::file::sync_folder;

/// Orders that wait for the thread; one for each log is the most there can be, and a full queue only makes a log wait.
const ORDERS_MAX: usize = 64;
/// How much is written between two syncs, in bytes: short enough not to hold up the writers' own syncs.
const SYNC_BYTES: u64 = 8 << 20;
static ZEROS: [u8; 1 << 16] = [0; 1 << 16];

/// The thread that makes files.
pub(crate) struct Workshop {
    orders: Option<SyncSender<Order>>,
    thread: Option<JoinHandle<()>>,
}

struct Order {
    path: PathBuf,
    size: u64,
    done: SyncSender<Result<PathBuf, Fault>>,
}

impl Workshop {
    pub(crate) fn start() -> std::io::Result<Self> {
        let (orders, waiting) = sync_channel::<Order>(ORDERS_MAX);
        let work = move || {
            for order in waiting {
                // The log that ordered it may be closed by now.
                order.done.send(make(&order.path, order.size)).ok();
            }
        };
        let thread = std::thread::Builder::new().name("saf-spare".into()).spawn(work)?;
        Ok(Self { orders: Some(orders), thread: Some(thread) })
    }

    /// The spare of one log. Cleans up after a process that stopped in the middle.
    pub(crate) fn spare(&self, folder: &Path) -> Result<Spare, Fault> {
        let mut ready = None;
        for entry in fs::read_dir(folder).map_err(Fault::at(folder))? {
            let path = entry.map_err(Fault::at(folder))?.path();
            match path.extension().and_then(|e| e.to_str()) {
                Some("spare") if ready.is_none() => ready = Some(path),
                Some("spare" | "making") => fs::remove_file(&path).map_err(Fault::at(&path))?,
                _ => {}
            }
        }
        let orders = self.orders.clone();
        Ok(Spare {
            folder: folder.to_owned(),
            orders,
            state: ready.map_or(State::None, State::Ready),
            made: 0,
        })
    }
}

impl Drop for Workshop {
    fn drop(&mut self) {
        self.orders = None;
        if let Some(thread) = self.thread.take() {
            thread.join().ok();
        }
    }
}

/// One log's next segment.
pub(crate) struct Spare {
    folder: PathBuf,
    orders: Option<SyncSender<Order>>,
    state: State,
    made: u64,
}

enum State {
    None,
    Ready(PathBuf),
    Ordered(Receiver<Result<PathBuf, Fault>>),
}

impl Spare {
    /// Has a file made unless there is one, or one is on its way.
    pub(crate) fn order(&mut self, size: u64) {
        if !matches!(self.state, State::None) {
            return;
        }
        self.made += 1;
        let path = self.folder.join(format!("{}-{}.spare", std::process::id(), self.made));
        let (done, result) = sync_channel(1);
        let sent = self.orders.as_ref().is_some_and(|orders| orders.send(Order { path, size, done }).is_ok());
        self.state = if sent { State::Ordered(result) } else { State::None };
    }

    /// Takes a file of this size, waiting for it when it is being made.
    pub(crate) fn take(&mut self, size: u64) -> Result<PathBuf, Fault> {
        self.order(size);
        let path = match std::mem::replace(&mut self.state, State::None) {
            State::Ready(path) => path,
            State::Ordered(result) => match result.recv() {
                Ok(made) => made?,
                Err(_) => make(&self.folder.join("last.spare"), size)?,
            },
            State::None => make(&self.folder.join("last.spare"), size)?,
        };
        let length = fs::metadata(&path).map_err(Fault::at(&path))?.len();
        if length == size {
            return Ok(path);
        }
        // The limits changed since it was made.
        fs::remove_file(&path).map_err(Fault::at(&path))?;
        make(&path, size)
    }

    /// Takes a file that retention freed, or removes it when it is of no use.
    pub(crate) fn recycle(&mut self, old: &Path, size: u64) -> Result<(), Fault> {
        let fits = fs::metadata(old).is_ok_and(|m| m.len() == size);
        if !fits || !matches!(self.state, State::None) {
            return fs::remove_file(old).map_err(Fault::at(old));
        }
        self.made += 1;
        let path = self.folder.join(format!("{}-{}.spare", std::process::id(), self.made));
        fs::rename(old, &path).map_err(Fault::at(old))?;
        self.state = State::Ready(path);
        Ok(())
    }
}

/// A file of zeros under its final name, which it gets only when it is whole.
fn make(path: &Path, size: u64) -> Result<PathBuf, Fault> {
    let making = path.with_extension("making");
    let result = fill(&making, size).and_then(|()| fs::rename(&making, path));
    let folder = path.parent().unwrap_or(path);
    match result.and_then(|()| sync_folder(folder)) {
        Ok(()) => Ok(path.to_owned()),
        Err(error) => {
            // A half-made file would keep the room that is missing.
            fs::remove_file(&making).ok();
            Err(Fault::at(path)(error))
        }
    }
}

fn fill(path: &Path, size: u64) -> std::io::Result<()> {
    let file = File::create(path)?;
    let mut offset = 0;
    while offset < size {
        let length = (size - offset).min(ZEROS.len() as u64);
        file.write_all_at(&ZEROS[..length as usize], offset)?;
        offset += length;
        if offset % SYNC_BYTES == 0 {
            file.sync_data()?;
        }
    }
    file.sync_all()
}
