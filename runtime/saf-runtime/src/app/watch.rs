//! Watching files: for `[reload] watch`, and for `dev` the sources of Channels.
//!
//! What changed is found by looking (a [`Look`] compares names, sizes, times, and for sources their content); the operating system only
//! says when to look. So an editor's dance of temporary files and renames is one change, a build that writes its
//! sources again as they were is none, and where the system cannot tell, looking each second does the same.
//!
//! Deliberately absent: `.gitignore`. What builds leave behind is left out by the names that tools give it.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::fs::{self, Metadata};
use std::hash::{Hash, Hasher};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecommendedWatcher, RecursiveMode, Watcher};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep, timeout_at};

/// Quiet after the last sign of a change before it is looked for.
const DEBOUNCE: Duration = Duration::from_millis(150);
/// Files that never come to rest are looked at all the same.
const MAX_DEBOUNCE: Duration = Duration::from_secs(2);
/// Between two looks where the system does not say when.
const POLL: Duration = Duration::from_secs(1);
/// Most files of one tree; what is beyond is not watched.
const MAX_TREE_FILES: usize = 10_000;
const MAX_TREE_FOLDERS: usize = 1_000;
const MAX_TREE_DEPTH: usize = 16;
/// Larger files are known by their size and time.
const MAX_HASHED_BYTES: u64 = 1 << 20;
/// Folders that tools fill, beside hidden ones.
const FOLDERS_OF_TOOLS: [&str; 6] = ["target", "node_modules", "dist", "build", "__pycache__", "venv"];
/// What tools write beside sources, by extension.
const SOURCES_OF_NOBODY: [&str; 4] = ["wasm", "pyc", "o", "lock"];

/// What is watched.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Target {
    /// One file, which need not be there yet.
    File(PathBuf),
    /// A file or a folder with everything under it: sources. What tools leave there is left out.
    Sources(PathBuf),
}

/// A watch over targets.
pub(crate) struct Watch {
    targets: Vec<Target>,
    seen: Look,
    signs: Signs,
}

impl Watch {
    /// Watches from now on. Nothing, for ever, when there are no targets.
    pub(crate) fn new(targets: Vec<Target>) -> Self {
        let seen = Look::at(&targets);
        let signs = Signs::of(&seen.folders);
        Self { targets, seen, signs }
    }

    /// Waits for a change and names what changed, at least one. Cancel-safe: what was not returned is found by the next call.
    pub(crate) async fn changed(&mut self) -> Vec<PathBuf> {
        loop {
            if self.targets.is_empty() {
                std::future::pending::<()>().await;
            }
            self.signs.wait().await;
            let now = Look::at(&self.targets);
            let changed = self.seen.changes(&now);
            self.see(now);
            if !changed.is_empty() {
                return changed;
            }
        }
    }

    /// Takes everything as it is now for seen.
    pub(crate) fn mark(&mut self) {
        self.see(Look::at(&self.targets));
    }

    /// Takes one file as it is now for seen: whoever calls this made it.
    pub(crate) fn mark_file(&mut self, path: &Path) {
        if let Some(seen) = self.seen.files.get_mut(path) {
            *seen = Stamp::outside(path);
        }
    }

    /// Watches something else; what was watched before keeps what was seen of it.
    pub(crate) fn retarget(&mut self, targets: Vec<Target>) {
        if targets == self.targets {
            return;
        }
        let mut now = Look::at(&targets);
        for (path, stamp) in &mut now.files {
            if let Some(seen) = self.seen.files.get(path) {
                *stamp = *seen;
            }
        }
        self.targets = targets;
        self.see(now);
        // What changed between the two looks has given its sign already.
        self.signs.give();
    }

    fn see(&mut self, now: Look) {
        if now.folders != self.seen.folders {
            self.signs = Signs::of(&now.folders);
            // A folder that is new was not listened to while it was filled.
            self.signs.give();
        }
        self.seen = now;
    }
}

/// When to look.
struct Signs {
    sign: Arc<Notify>,
    source: Source,
}

/// Who says so.
enum Source {
    /// The operating system, as long as this lives.
    System { _watcher: RecommendedWatcher },
    /// The clock.
    Clock,
}

impl Signs {
    fn of(folders: &BTreeSet<PathBuf>) -> Self {
        let sign = Arc::<Notify>::default();
        let source = match Self::listen(folders, sign.clone()) {
            Ok(watcher) => Source::System { _watcher: watcher },
            Err(error) => {
                tracing::warn!(%error, "the system does not tell of changed files; looking each second");
                Source::Clock
            }
        };
        Self { sign, source }
    }

    fn listen(folders: &BTreeSet<PathBuf>, sign: Arc<Notify>) -> notify::Result<RecommendedWatcher> {
        let mut watcher = notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            // Our own looking is access; an error (a queue that overflowed) is a reason to look.
            if event.is_ok_and(|event| event.kind.is_access()) {
                return;
            }
            sign.notify_one();
        })?;
        for folder in folders {
            watcher.watch(folder, RecursiveMode::NonRecursive)?;
        }
        Ok(watcher)
    }

    fn give(&self) {
        self.sign.notify_one();
    }

    /// Waits for a sign, then until none comes for a moment. Cancel-safe but for the moment, which begins anew with the sign kept.
    async fn wait(&self) {
        match self.source {
            Source::Clock => return sleep(POLL).await,
            Source::System { .. } => self.sign.notified().await,
        }
        let kept = Kept(&self.sign);
        let latest = Instant::now() + MAX_DEBOUNCE;
        while timeout_at(latest.min(Instant::now() + DEBOUNCE), self.sign.notified()).await.is_ok() {}
        std::mem::forget(kept);
    }
}

/// A sign that is given again when the wait that took it is dropped.
struct Kept<'a>(&'a Notify);

impl Drop for Kept<'_> {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

/// What a file was like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stamp {
    Absent,
    /// Size, time of change in nanoseconds, and which file it is.
    Outside(u64, i128, u64),
    /// A hash of what is in it.
    Content(u64),
}

impl Stamp {
    fn outside(path: &Path) -> Self {
        fs::metadata(path).map_or(Self::Absent, |metadata| Self::of(&metadata))
    }

    fn of(metadata: &Metadata) -> Self {
        let nanos = i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec());
        Self::Outside(metadata.len(), nanos, metadata.ino())
    }

    fn content(path: &Path) -> Self {
        let Ok(metadata) = fs::metadata(path) else { return Self::Absent };
        if metadata.len() > MAX_HASHED_BYTES {
            return Self::of(&metadata);
        }
        let Ok(bytes) = fs::read(path) else { return Self::Absent };
        let mut hasher = DefaultHasher::new();
        bytes.hash(&mut hasher);
        Self::Content(hasher.finish())
    }
}

/// Everything that is watched, at one moment.
#[derive(Debug, Default)]
struct Look {
    files: BTreeMap<PathBuf, Stamp>,
    /// Where something may change.
    folders: BTreeSet<PathBuf>,
}

impl Look {
    fn at(targets: &[Target]) -> Self {
        let mut look = Self::default();
        for target in targets {
            match target {
                Target::File(path) => {
                    look.files.insert(path.clone(), Stamp::outside(path));
                    look.folder(folder_of(path));
                }
                Target::Sources(path) if path.is_dir() => look.tree(path, MAX_TREE_DEPTH),
                Target::Sources(path) => {
                    look.files.insert(path.clone(), Stamp::content(path));
                    look.folder(folder_of(path));
                }
            }
        }
        look
    }

    /// The nearest folder that is there: one that is made later changes it.
    fn folder(&mut self, path: &Path) {
        let there = path.ancestors().map(or_here).find(|folder| folder.is_dir());
        self.folders.extend(there.map(Path::to_path_buf));
    }

    fn tree(&mut self, folder: &Path, depth: usize) {
        if depth == 0 || self.folders.len() >= MAX_TREE_FOLDERS {
            return;
        }
        let Ok(entries) = fs::read_dir(folder) else { return };
        self.folders.insert(folder.to_owned());
        for entry in entries.flatten() {
            let (path, Ok(kind)) = (entry.path(), entry.file_type()) else { continue };
            // Links are not followed into folders: they may go round.
            if kind.is_dir() && !is_of_tools(&path) {
                self.tree(&path, depth - 1);
            } else if !kind.is_dir() && is_source(&path) && self.files.len() < MAX_TREE_FILES {
                self.files.insert(path.clone(), Stamp::content(&path));
            }
        }
    }

    fn changes(&self, now: &Self) -> Vec<PathBuf> {
        let paths: BTreeSet<_> = self.files.keys().chain(now.files.keys()).collect();
        let differs = |path: &&&PathBuf| self.files.get(**path) != now.files.get(**path);
        paths.iter().filter(differs).map(|path| (*path).clone()).collect()
    }
}

fn folder_of(path: &Path) -> &Path {
    or_here(path.parent().unwrap_or(path))
}

fn or_here(path: &Path) -> &Path {
    if path.as_os_str().is_empty() { Path::new(".") } else { path }
}

fn is_of_tools(folder: &Path) -> bool {
    let name = folder.file_name().and_then(OsStr::to_str).unwrap_or_default();
    name.starts_with('.') || FOLDERS_OF_TOOLS.contains(&name)
}

/// Editors leave hidden files and ones with a tilde beside what they write; compilers what they make.
fn is_source(file: &Path) -> bool {
    let name = file.file_name().and_then(OsStr::to_str).unwrap_or_default();
    let extension = file.extension().and_then(OsStr::to_str).unwrap_or_default();
    !(name.starts_with('.') || name.ends_with('~') || SOURCES_OF_NOBODY.contains(&extension))
}

#[cfg(test)]
mod tests {
    use tokio::time::timeout;

    use super::*;

    /// It does not hang.
    const PATIENCE: Duration = Duration::from_secs(30);
    /// Long enough for a change to be found, if there was one.
    const QUIET: Duration = Duration::from_millis(700);

    async fn next(watch: &mut Watch) -> Vec<PathBuf> {
        timeout(PATIENCE, watch.changed()).await.expect("a change")
    }

    async fn nothing(watch: &mut Watch) {
        let changed = timeout(QUIET, watch.changed()).await;
        assert!(changed.is_err(), "{changed:?}");
    }

    #[tokio::test]
    async fn a_file_that_is_written_renamed_over_made_or_removed_has_changed() {
        let folder = tempfile::tempdir().expect("a folder");
        let (file, later) = (folder.path().join("a.wasm"), folder.path().join("later/b.wasm"));
        fs::write(&file, "1").expect("writable");
        let mut watch = Watch::new(vec![Target::File(file.clone()), Target::File(later.clone())]);
        fs::write(&file, "22").expect("writable");
        assert_eq!(next(&mut watch).await, std::slice::from_ref(&file));
        fs::write(folder.path().join("beside"), "333").expect("writable");
        nothing(&mut watch).await;
        fs::rename(folder.path().join("beside"), &file).expect("renames");
        assert_eq!(next(&mut watch).await, std::slice::from_ref(&file));
        fs::create_dir(folder.path().join("later")).expect("writable");
        fs::write(&later, "b").expect("writable");
        assert_eq!(next(&mut watch).await, [later]);
        fs::remove_file(&file).expect("removes");
        assert_eq!(next(&mut watch).await, [file]);
    }

    #[tokio::test]
    async fn sources_change_with_their_content_wherever_they_are_and_builds_are_no_change() {
        let folder = tempfile::tempdir().expect("a folder");
        let root = folder.path();
        for made in ["src/deep", "target/debug", ".git"] {
            fs::create_dir_all(root.join(made)).expect("writable");
        }
        let source = root.join("src/deep/lib.rs");
        fs::write(&source, "one").expect("writable");
        let mut watch = Watch::new(vec![Target::Sources(root.to_owned())]);
        for made in ["target/debug/lib.d", ".git/index", "out.wasm", "src/lib.rs~"] {
            fs::write(root.join(made), "made").expect("writable");
        }
        fs::write(&source, "one").expect("writable");
        nothing(&mut watch).await;
        fs::write(&source, "two").expect("writable");
        assert_eq!(next(&mut watch).await, [source]);
        // A folder that is new is watched from then on.
        fs::create_dir(root.join("new")).expect("writable");
        fs::write(root.join("new/a.py"), "1").expect("writable");
        assert_eq!(next(&mut watch).await, [root.join("new/a.py")]);
        fs::write(root.join("new/a.py"), "2").expect("writable");
        assert_eq!(next(&mut watch).await, [root.join("new/a.py")]);
    }

    #[tokio::test]
    async fn where_the_system_does_not_tell_looking_does() {
        let folder = tempfile::tempdir().expect("a folder");
        let file = folder.path().join("a");
        let mut watch = Watch::new(vec![Target::File(file.clone())]);
        watch.signs.source = Source::Clock;
        fs::write(&file, "1").expect("writable");
        assert_eq!(next(&mut watch).await, [file]);
    }

    #[tokio::test]
    async fn what_is_marked_is_no_change_and_what_changes_during_a_reload_is() {
        let folder = tempfile::tempdir().expect("a folder");
        let (old, new) = (folder.path().join("old"), folder.path().join("new"));
        let mut watch = Watch::new(vec![Target::File(old.clone())]);
        fs::write(&old, "1").expect("writable");
        watch.mark();
        nothing(&mut watch).await;
        fs::write(&old, "333").expect("writable");
        watch.mark_file(&old);
        nothing(&mut watch).await;
        fs::write(&old, "22").expect("writable");
        watch.retarget(vec![Target::File(old.clone()), Target::File(new.clone())]);
        assert_eq!(next(&mut watch).await, [old]);
        fs::write(&new, "1").expect("writable");
        assert_eq!(next(&mut watch).await, [new]);
        watch.retarget(Vec::new());
        nothing(&mut watch).await;
    }
}
