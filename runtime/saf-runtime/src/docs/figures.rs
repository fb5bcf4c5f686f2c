//! Figures in `docs/`: a table after `<!-- figures: bench/RESULTS.md -->` has in its second column the median of the row that its first
//! column names. So a figure that people plan with is the last one measured.

use std::collections::BTreeMap;
use std::path::Path;

use super::current;

const PAGE: &str = "docs/operate.md";
const RESULTS: &str = "bench/RESULTS.md";
const MARK: &str = "<!-- figures: bench/RESULTS.md -->";

#[test]
fn figures_are_those_last_measured() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let read = |page: &str| std::fs::read_to_string(root.join(page)).expect("a page");
    let (text, results) = (read(PAGE), read(RESULTS));
    assert!(text.contains(MARK), "{PAGE} has no figures");
    current(PAGE, &with_figures(&text, &medians(&results)));
}

/// The median of each row.
fn medians(results: &str) -> BTreeMap<&str, &str> {
    let rows = results.lines().filter_map(|line| {
        let mut cells = line.split('|').map(str::trim).skip(1);
        let (row, _, median) = (cells.next()?, cells.next()?, cells.next()?);
        Some((row.strip_prefix('`')?.strip_suffix('`')?, median))
    });
    rows.collect()
}

/// The page with the figures of its marked tables filled in; one that is not measured is said so.
fn with_figures(page: &str, medians: &BTreeMap<&str, &str>) -> String {
    let mut out = String::new();
    let mut marked = false;
    for line in page.lines() {
        marked = line == MARK || (marked && line.starts_with('|'));
        let cells: Vec<_> = line.split('|').collect();
        let row = cells.get(1).and_then(|cell| cell.trim().strip_prefix('`')?.strip_suffix('`'));
        match row {
            Some(row) if marked && cells.len() > 3 => {
                let median = medians.get(row).copied().unwrap_or("not measured");
                out.extend(["| `", row, "` | ", median, " |", &cells[3..].join("|")]);
            }
            _ => out.push_str(line),
        }
        out.push('\n');
    }
    out
}

#[test]
fn only_marked_tables_are_filled() {
    let results = "| `a.b` | what | 7.0k/s | 6.9k/s 7.1k/s | more |\n| what | median |\n";
    let page = format!(
        "| `a.b` | 1 | x |\n{MARK}\n| row | figure | |\n| --- | --- | --- |\n| `a.b` | 1 | x |\n| `c` | 2 | |\n\n| `a.b` | 1 | x |\n"
    );
    assert_eq!(
        with_figures(&page, &medians(results)),
        format!(
            "| `a.b` | 1 | x |\n{MARK}\n| row | figure | |\n| --- | --- | --- |\n| `a.b` | 7.0k/s | x |\n| `c` | not measured | |\n\n| `a.b` | 1 | x |\n"
        )
    );
}
