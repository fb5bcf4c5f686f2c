//! Snippets in `docs/`: a block after `<!-- template: rust/lib.rs -->` is that file of `templates/`, which is what `saf-runtime new`
//! writes and `tests/author.rs` builds. So a snippet is code that works.

use std::path::Path;

use super::current;

const PAGES: [&str; 2] = ["docs/write-a-channel.md", "docs/test-a-channel.md"];
const MARK: &str = "<!-- template: ";

#[test]
fn snippets_are_the_templates_own_files() {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    for page in PAGES {
        let text = std::fs::read_to_string(crate_folder.join("../..").join(page)).expect("a page");
        assert!(text.contains(MARK), "{page} has no snippets");
        current(
            page,
            &with_snippets(&text, &|path| {
                let file = crate_folder.join("templates").join(path);
                std::fs::read_to_string(&file)
                    .unwrap_or_else(|error| panic!("{page}: {}: {error}", file.display()))
            }),
        );
    }
}

/// The page with the blocks behind its marks filled anew.
fn with_snippets(page: &str, template: &dyn Fn(&str) -> String) -> String {
    let mut out = String::new();
    let mut lines = page.lines();
    while let Some(line) = lines.next() {
        out.push_str(line);
        out.push('\n');
        let Some(path) = line.strip_prefix(MARK).and_then(|rest| rest.strip_suffix(" -->")) else { continue };
        let fence = lines.next().filter(|fence| fence.starts_with("```")).expect("a block behind a mark");
        let _ = lines.by_ref().find(|line| *line == "```").expect("the block's end");
        let content = template(path).replace("{{name}}", "hello");
        for part in [fence, content.trim_end(), "```"] {
            out.push_str(part);
            out.push('\n');
        }
    }
    out
}

#[test]
fn only_blocks_behind_marks_are_filled() {
    let page = "a\n```sh\nx\n```\n<!-- template: t -->\n```rust\nold\n```\nb\n";
    let filled = with_snippets(page, &|path| format!("new {path} {{{{name}}}}\n"));
    assert_eq!(filled, "a\n```sh\nx\n```\n<!-- template: t -->\n```rust\nnew t hello\n```\nb\n");
}
