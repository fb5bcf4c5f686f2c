//! Whoever is called by an alert finds what to do: `docs/when-it-fails.md` has a section for each, `docs/operate.md` its first command;
//! and neither has one that no rule has.

use std::path::Path;

#[test]
fn every_alert_has_a_section_and_a_first_command() {
    let read = |page: &str| {
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(page);
        std::fs::read_to_string(path).unwrap_or_else(|error| panic!("{page}: {error}"))
    };
    let rules = read("deploy/prometheus/rules.yaml");
    let alerts = sorted(rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")));
    assert!(alerts.len() > 5, "the rules were not found");

    let page = read("docs/when-it-fails.md");
    let (_, sections) = page.split_once("\n## Alerts\n").expect("a chapter of alerts");
    let sections = sections.split("\n## ").next().unwrap_or_default();
    assert_eq!(sorted(sections.lines().filter_map(|line| line.strip_prefix("### "))), alerts);

    let page = read("docs/operate.md");
    let (_, table) = page.split_once("| alert |").expect("a table of alerts");
    let rows = table.lines().skip(2).take_while(|line| line.starts_with('|'));
    assert_eq!(sorted(rows.filter_map(|row| row.split('|').nth(1).map(str::trim))), alerts);
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut names: Vec<_> = names.collect();
    names.sort_unstable();
    names
}
