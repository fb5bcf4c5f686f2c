//! Links in every Markdown file of the repository: the file is there, and so is the heading. Nothing is asked of the network: a link to
//! another site is believed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Component, Path, PathBuf};

/// Folders without pages of ours.
const SKIPPED: [&str; 4] = ["target", "node_modules", "dist", "__pycache__"];

#[test]
fn every_link_leads_to_a_file_and_a_heading() {
    let (root, pages) = pages();
    let broken: Vec<_> = pages.iter().flat_map(|(path, text)| broken(&root, path, text, &pages)).collect();
    assert!(broken.is_empty(), "links that lead nowhere:\n{}", broken.join("\n"));
}

/// The repository's root, and every page in it by its path.
pub(super) fn pages() -> (PathBuf, BTreeMap<PathBuf, String>) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("the repository");
    let mut pages = BTreeMap::new();
    collect(&root, &mut pages);
    assert!(pages.contains_key(&root.join("README.md")), "the walk begins at the repository's root");
    (root, pages)
}

fn collect(folder: &Path, pages: &mut BTreeMap<PathBuf, String>) {
    for entry in fs::read_dir(folder).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, kind, name) = (entry.path(), entry.file_type().expect("a type"), entry.file_name());
        let name = name.to_string_lossy();
        if kind.is_dir() && !name.starts_with('.') && !SKIPPED.contains(&&*name) {
            collect(&path, pages);
        } else if kind.is_file() && name.ends_with(".md") {
            let text = fs::read_to_string(&path).expect("text");
            pages.insert(path, text);
        }
    }
}

/// What is wrong with a page's links.
fn broken(root: &Path, page: &Path, text: &str, pages: &BTreeMap<PathBuf, String>) -> Vec<String> {
    let mut found = Vec::new();
    for (line, target) in links(text) {
        if target.contains("://") || target.starts_with("mailto:") {
            continue;
        }
        let (file, anchor) =
            target.split_once('#').map_or((target.as_str(), None), |(file, anchor)| (file, Some(anchor)));
        let path = if file.is_empty() { page.to_owned() } else { resolved(page, file) };
        let wrong = if !path.starts_with(root) || !path.exists() {
            Some("no such file")
        } else {
            let known = |anchor: &str| pages.get(&path).is_none_or(|text| anchors(text).contains(anchor));
            anchor.filter(|anchor| !known(anchor)).map(|_| "no such heading")
        };
        let shown = page.strip_prefix(root).unwrap_or(page).display();
        found.extend(wrong.map(|wrong| format!("{shown}:{line}: {target}: {wrong}")));
    }
    found
}

/// A path as a page names it, without `.` and `..`.
fn resolved(page: &Path, file: &str) -> PathBuf {
    let mut path = page.parent().expect("a page is in a folder").to_owned();
    for component in Path::new(file).components() {
        match component {
            Component::ParentDir => {
                path.pop();
            }
            Component::CurDir => {}
            other => path.push(other),
        }
    }
    path
}

/// The lines that are not in a block of code, with their numbers.
pub(super) fn prose(text: &str) -> impl Iterator<Item = (usize, String)> {
    let mut fence: Option<String> = None;
    text.lines().enumerate().filter_map(move |(n, line)| {
        let trimmed = line.trim_start();
        let mark: String = trimmed.chars().take_while(|c| *c == '`').collect();
        match &fence {
            Some(open) if mark.len() >= open.len() && trimmed.trim_end() == mark => {
                fence = None;
                return None;
            }
            Some(_) => return None,
            None if mark.len() >= 3 => {
                fence = Some(mark);
                return None;
            }
            None => {}
        }
        Some((n + 1, line.to_owned()))
    })
}

/// Targets of `[text](target)` and `[name]: target`, with their lines; what stands in code is none.
fn links(text: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (n, line) in prose(text) {
        let line = without_code(&line);
        let mut rest = line.as_str();
        while let Some((_, behind)) = rest.split_once("](") {
            let target = behind.split([')', ' ']).next().unwrap_or_default();
            found.push((n, target.trim_matches(['<', '>']).to_owned()));
            rest = behind;
        }
        let definition = line.trim_start().strip_prefix('[').and_then(|line| line.split_once("]: "));
        found.extend(
            definition.map(|(_, target)| (n, target.split(' ').next().unwrap_or_default().to_owned())),
        );
    }
    found
}

/// A line without what stands between backticks.
fn without_code(line: &str) -> String {
    line.split('`').step_by(2).collect::<Vec<_>>().join("``")
}

/// The anchors that GitHub gives a page's headings.
fn anchors(text: &str) -> BTreeSet<String> {
    let mut counts: BTreeMap<String, usize> = BTreeMap::new();
    let headings = prose(text).filter_map(|(_, line)| {
        let title = line.trim_start_matches('#');
        let level = line.len() - title.len();
        ((1..=6).contains(&level) && title.starts_with(' ')).then(|| slug(title.trim()))
    });
    let numbered = headings.map(|slug| {
        let before = counts.entry(slug.clone()).or_default();
        *before += 1;
        if *before == 1 { slug } else { format!("{slug}-{}", *before - 1) }
    });
    numbered.collect()
}

fn slug(title: &str) -> String {
    // Of a link only its text is seen.
    let mut seen = String::new();
    let mut rest = title;
    while let Some((before, behind)) = rest.split_once("](") {
        seen.push_str(before);
        rest = behind.split_once(')').map_or("", |(_, rest)| rest);
    }
    seen.push_str(rest);
    let kept = seen.chars().filter(|c| c.is_alphanumeric() || matches!(c, ' ' | '-' | '_'));
    kept.map(|c| if c == ' ' { '-' } else { c }).flat_map(char::to_lowercase).collect()
}

#[test]
fn links_are_found_in_text_and_not_in_code() {
    let page = "\
[a](b.md) and [c](d.md#e \"title\"), `[no](link)` ![f](<g.svg>)
```sh
[no](code)
# no heading
```
   [h]: i.md
";
    let found: Vec<_> = links(page).into_iter().map(|(line, target)| format!("{line} {target}")).collect();
    assert_eq!(found, ["1 b.md", "1 d.md#e", "1 g.svg", "6 i.md"]);
}

#[test]
fn headings_have_the_anchors_that_github_gives_them() {
    let page = "# One, two\n## `[channels.<name>]`\n## One, two\n###no heading\n```\n# code\n```\n## See [this](x.md): größe_1 - 2\n";
    let found: Vec<_> = anchors(page).into_iter().collect();
    assert_eq!(found, ["channelsname", "one-two", "one-two-1", "see-this-größe_1---2"]);
}

#[test]
fn a_link_that_leads_nowhere_is_named_with_its_line() {
    let folder = tempfile::tempdir().expect("a folder");
    let root = folder.path().canonicalize().expect("a path");
    let page = "[1](b.md) [2](b.md#there) [3](#here)\n# Here\n[4](none.md)\n[5](b.md#none) [6](../../x) [7](https://x.y/#z)\n";
    fs::write(root.join("a.md"), page).expect("written");
    fs::write(root.join("b.md"), "## There\n").expect("written");
    let mut pages = BTreeMap::new();
    collect(&root, &mut pages);
    let found = broken(&root, &root.join("a.md"), page, &pages);
    assert_eq!(
        found,
        [
            "a.md:3: none.md: no such file",
            "a.md:4: b.md#none: no such heading",
            "a.md:4: ../../x: no such file"
        ]
    );
}
