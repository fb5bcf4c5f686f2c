//! One table: how it was measured, the ratios with their targets, then every row. What misses its target is marked.

// Writing to a string cannot fail, so what `writeln!` gives is dropped here.
use std::fmt::Write as _;

use crate::bench::{Figure, Results, Row, Scale};
use crate::language::{self, LANGUAGES, Work};
use crate::machine::Machine;
use crate::ratio::{Ratio, Target};
use crate::stage::MAX_ACK_PENDING;

/// One line as a row ends.
pub(crate) fn progress(round: usize, rounds: usize, row: &Row, figure: &anyhow::Result<Figure>) {
    match figure {
        Ok(figure) => {
            let beside: Vec<_> =
                figure.beside.iter().map(|b| format!("{} {}", b.name, b.unit.show(b.value))).collect();
            eprintln!(
                "{round}/{rounds} {:44} {:>10}  {} {}",
                row.name,
                row.unit.show(figure.value),
                figure.note,
                beside.join(", ")
            );
        }
        Err(error) => eprintln!("{round}/{rounds} {:44} FAILED: {error:#}", row.name),
    }
}

/// The whole report, in Markdown.
pub(crate) fn table(machine: &Machine, scale: &Scale, results: &Results, ratios: &[Ratio]) -> String {
    let mut text = head(machine, scale, results);
    text += &ratio_table(ratios);
    text += &language_table(results);
    text += &row_table(results);
    text
}

fn head(machine: &Machine, scale: &Scale, results: &Results) -> String {
    let mut text = "# What saf costs\n\nWritten by `cargo xtask bench`; `README.md` beside this file says how to read it.\n\n"
        .to_owned();
    for line in machine.lines() {
        text += &line;
        text.push('\n');
    }
    let _ = writeln!(
        text,
        "- {} of {} rounds, shapes taking turns; {} stored events a drain, {:.1} s a load; at most {MAX_ACK_PENDING} deliveries out \
         at once. The load generator (our own, one thread, no pipelining), the native loops, nats-server (file storage, its lazy \
         default sync) and the router share these cores",
        results.rounds(),
        scale.rounds,
        scale.events,
        scale.load.as_secs_f64()
    );
    text
}

fn ratio_table(ratios: &[Ratio]) -> String {
    let mut text =
        "\n## Ratios, within a round\n\n| what | median | rounds | target | |\n| --- | --- | --- | --- | --- |\n".to_owned();
    for ratio in ratios {
        let Ratio { what, median, least, most, target } = ratio;
        let (mark, target) = (mark(ratio), show(*target));
        let _ = writeln!(text, "| {what} | {median:.2} | {least:.2}-{most:.2} | {target} | {mark} |");
    }
    text
}

fn mark(ratio: &Ratio) -> &'static str {
    match ratio.holds() {
        Some(true) => "ok",
        Some(false) => "**MISSED**",
        None => "",
    }
}

fn show(target: Target) -> String {
    match target {
        Target::AtLeast(least) => format!(">= {least:.2}"),
        Target::BelowMillis(most) => format!("< {most:.0} ms"),
        Target::None => "-".to_owned(),
    }
}

/// Medians, a line a language; nothing when no row of them was chosen.
fn language_table(results: &Results) -> String {
    let median = |name: &str| {
        let series = results.series().iter().find(|series| series.name == name)?;
        series.median().map(|value| series.unit.show(value))
    };
    let mut lines = String::new();
    for work in Work::ALL {
        for language in LANGUAGES {
            let row = language::name(language, work);
            let Some(rate) = median(&row) else { continue };
            let _ = write!(lines, "| {} | {language} | {rate} |", work.name());
            for column in ["p99", "fuel", "instance", "size", "cold"] {
                let _ = write!(lines, " {} |", median(&format!("{row}:{column}")).unwrap_or_default());
            }
            lines.push('\n');
        }
    }
    if lines.is_empty() {
        return lines;
    }
    let head = "\n## Languages, on the embedded broker\n\n| Channel | language | drain | p99, one at a time | fuel an event | memory of an \
                instance | component | start to first event |\n| --- | --- | --- | --- | --- | --- | --- | --- |\n";
    head.to_owned() + &lines
}

fn row_table(results: &Results) -> String {
    let mut text =
        "\n## Rows\n\n| row | what | median | rounds | last round |\n| --- | --- | --- | --- | --- |\n"
            .to_owned();
    for series in results.series() {
        let show = |value: f64| series.unit.show(value);
        let rounds: Vec<_> =
            series.rounds.iter().map(|round| round.map_or_else(|| "-".to_owned(), show)).collect();
        let median = series.median().map_or_else(|| "**none**".to_owned(), show);
        let _ = writeln!(
            text,
            "| `{}` | {} | {median} | {} | {} |",
            series.name,
            series.what,
            rounds.join(" "),
            series.note
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_misses_its_target_is_marked() {
        let ratio =
            |median, target| Ratio { what: "a / b".to_owned(), median, least: median, most: median, target };
        let text = ratio_table(&[
            ratio(0.79, Target::AtLeast(0.8)),
            ratio(0.81, Target::AtLeast(0.8)),
            ratio(10.0, Target::BelowMillis(10.0)),
            ratio(0.1, Target::None),
        ]);
        let marks: Vec<_> = text
            .lines()
            .skip(5)
            .map(|line| line.trim_end_matches(" |").rsplit("| ").next().unwrap_or(""))
            .collect();
        assert_eq!(marks[..3], ["**MISSED**", "ok", "**MISSED**"], "{text}");
    }
}
