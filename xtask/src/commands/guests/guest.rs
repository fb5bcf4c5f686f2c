//! A guest: a folder with sources that becomes one component. Whether it must be built again is asked of the contents of
//! what goes into it, not of time stamps: a checkout of another branch writes those anew.

use std::fs;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Instant;

use anyhow::Context;

use super::Language;
use crate::workspace::Workspace;

/// Folders that a language's own tools leave among the sources.
const NO_SOURCES: [&str; 5] = ["node_modules", "__pycache__", ".pytest_cache", ".venv", "target"];

/// How the guests of a language are built.
pub(super) struct Recipe<'a> {
    pub(super) workspace: &'a Workspace,
    pub(super) language: Language,
    /// Tools and options that make the component, with versions: another text builds every guest again.
    pub(super) tools: String,
    /// Files and folders, beside a guest's own, that go into every one of them: the SDK, the contract.
    pub(super) shared: Vec<PathBuf>,
}

/// One guest.
pub(super) struct Guest {
    /// Its folder's name, its component's, and its Channel's.
    pub(super) name: String,
    pub(super) folder: PathBuf,
}

/// The folders in `folder` that hold the file `mark`, in order of their names.
pub(super) fn find(folder: &Path, mark: &str) -> anyhow::Result<Vec<Guest>> {
    let mut guests = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        if entry.path().join(mark).is_file() {
            let name = entry.file_name().to_string_lossy().into_owned();
            guests.push(Guest { name, folder: entry.path() });
        }
    }
    guests.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(guests)
}

impl Recipe<'_> {
    /// Has `make` build each guest that changed since it was built last; `make` answers with the component.
    pub(super) fn build(
        &self,
        guests: &[Guest],
        make: impl Fn(&Guest) -> anyhow::Result<Vec<u8>>,
    ) -> anyhow::Result<()> {
        let language = self.language.name();
        for guest in guests {
            let component = component(self.workspace, self.language, &guest.name);
            let stamp = self.workspace.guests_target().join("stamps").join(language).join(&guest.name);
            let current = self.fingerprint(guest)?;
            if component.is_file() && fs::read_to_string(&stamp).is_ok_and(|built| built == current) {
                continue;
            }
            eprintln!("==> building {language}/{}", guest.name);
            let begun = Instant::now();
            let made = make(guest).with_context(|| format!("cannot build {language}/{}", guest.name))?;
            let kilobytes = made.len().div_ceil(1000);
            replace(&made, &component)?;
            replace(current.as_bytes(), &stamp)?;
            let seconds = begun.elapsed().as_secs_f32();
            eprintln!("    building {language}/{}: {kilobytes} KB in {seconds:.1} s", guest.name);
        }
        Ok(())
    }

    fn fingerprint(&self, guest: &Guest) -> anyhow::Result<String> {
        let mut hasher = DefaultHasher::new();
        self.tools.hash(&mut hasher);
        for source in self.shared.iter().chain([&guest.folder]) {
            let root = source.parent().unwrap_or(source);
            hash(source, root, &mut hasher)
                .with_context(|| format!("cannot read the sources of {}", guest.name))?;
        }
        Ok(format!("{:016x}", hasher.finish()))
    }
}

/// Where a guest's component goes.
pub(super) fn component(workspace: &Workspace, language: Language, name: &str) -> PathBuf {
    workspace.components().join(language.name()).join(format!("{name}.wasm"))
}

/// A file's place below `root` and its contents; of a folder those of all that is in it, in order.
fn hash(source: &Path, root: &Path, hasher: &mut DefaultHasher) -> anyhow::Result<()> {
    if !source.is_dir() {
        source.strip_prefix(root)?.hash(hasher);
        fs::read(source).with_context(|| format!("cannot read {}", source.display()))?.hash(hasher);
        return Ok(());
    }
    let mut entries = Vec::new();
    for entry in fs::read_dir(source)? {
        let entry = entry?;
        if !NO_SOURCES.iter().any(|name| entry.file_name() == *name) {
            entries.push(entry.path());
        }
    }
    entries.sort_unstable();
    entries.iter().try_for_each(|entry| hash(entry, root, hasher))
}

/// Puts `content` into the file `to`, unless it is there already: a router that watches a component reloads it, and must
/// never see half of it.
pub(super) fn replace(content: &[u8], to: &Path) -> anyhow::Result<()> {
    match fs::read(to) {
        Ok(present) if present == content => return Ok(()),
        Err(e) if e.kind() != ErrorKind::NotFound => return Err(e.into()),
        Ok(_) | Err(_) => {}
    }
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    let partial = to.with_extension(format!("partial.{}", process::id()));
    fs::write(&partial, content).with_context(|| format!("cannot write {}", partial.display()))?;
    fs::rename(&partial, to).with_context(|| format!("cannot write {}", to.display()))
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_guest_is_built_again_when_what_goes_into_it_changed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let workspace = Workspace::at(folder.path());
        let sources = folder.path().join("guests/c");
        for (file, text) in [("sdk/sdk.h", "1"), ("one/main.c", "1"), ("two/main.c", "1"), ("README.md", "")]
        {
            replace(text.as_bytes(), &sources.join(file)).expect("written");
        }
        let steps: [(&str, &str, &str, &[&str]); 7] = [
            ("one/main.c", "1", "v1", &["one", "two"]),
            ("one/main.c", "1", "v1", &[]),
            ("one/main.c", "2", "v1", &["one"]),
            ("two/more.c", "", "v1", &["two"]),
            ("sdk/sdk.h", "2", "v1", &["one", "two"]),
            ("two/__pycache__/main", "2", "v1", &[]),
            ("two/main.c", "1", "v2", &["one", "two"]),
        ];
        for (file, text, tools, expected) in steps {
            replace(text.as_bytes(), &sources.join(file)).expect("written");
            let guests = find(&sources, "main.c").expect("a folder");
            let recipe = Recipe {
                workspace: &workspace,
                language: Language::C,
                tools: tools.into(),
                shared: vec![sources.join("sdk")],
            };
            let built = RefCell::new(Vec::new());
            let make = |guest: &Guest| {
                built.borrow_mut().push(guest.name.clone());
                Ok(vec![1])
            };
            recipe.build(&guests, make).expect("built");
            assert_eq!(built.into_inner(), expected, "{file} = {text:?}, tools {tools}");
        }
        assert!(component(&workspace, Language::C, "one").is_file());
    }

    #[test]
    fn a_component_is_replaced_only_when_it_changed() {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let to = folder.path().join("c/guest.wasm");
        for (new, modified) in [("one", true), ("one", false), ("two", true)] {
            if to.exists() {
                // An old time stamp shows whether the file was written again.
                let file = fs::File::options().append(true).open(&to).expect("opened");
                file.set_modified(std::time::UNIX_EPOCH).expect("set");
            }
            replace(new.as_bytes(), &to).expect("replaced");
            let time = fs::metadata(&to).and_then(|m| m.modified()).expect("a time");
            assert_eq!(time != std::time::UNIX_EPOCH, modified, "{new}");
            assert_eq!(fs::read_to_string(&to).expect("read"), new);
        }
        let left = fs::read_dir(folder.path().join("c")).expect("a folder").count();
        assert_eq!(left, 1, "no partial file is left");
    }
}
