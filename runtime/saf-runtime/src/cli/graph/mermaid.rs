//! A graph for Mermaid, as Markdown shows it: dotted from posts and to nobody, thick where it goes round. Nodes are numbered: a Channel
//! may have the name of one of Mermaid's words (`end`).

use std::collections::BTreeMap;
use std::fmt::Write;

use super::{Drawing, Drawn, Fed, list};
use crate::graph::Way;

pub(super) fn draw(drawing: &Drawing<'_>) -> Drawn {
    let streams = drawing.streams();
    let names = streams.iter().flat_map(|(_, nodes)| nodes).map(|node| node.name);
    let numbers: BTreeMap<_, _> = names.enumerate().map(|(n, name)| (name, n)).collect();
    let (mut out, mut arrows) = (String::from("flowchart LR\n"), String::new());
    for (s, (stream, nodes)) in streams.iter().enumerate() {
        writeln!(out, "  subgraph s{s}[{}]", quoted(&format!("stream {stream}")))?;
        if nodes.iter().any(|node| node.fed == Fed::ByPostsOnly) {
            writeln!(out, "    p{s}([\"posts\"])")?;
        }
        for node in nodes {
            let n = numbers[node.name];
            let rates = drawing.rates(node.name).map_or_else(String::new, |rates| format!("\n{rates}"));
            writeln!(out, "    c{n}[{}]", quoted(&format!("{}\n{}{rates}", node.name, list(node.takes))))?;
            if node.fed == Fed::ByPostsOnly {
                writeln!(arrows, "  p{s} -.-> c{n}")?;
            }
            for edge in &node.edges {
                let arrow = if edge.way == Way::Round { "==>" } else { "-->" };
                let label = quoted(&list(edge.subjects.iter().copied()));
                writeln!(arrows, "  c{n} {arrow}|{label}| c{}", numbers[edge.to])?;
            }
            if !node.unheard.is_empty() {
                writeln!(out, "    u{n}([{}])", quoted(&list(node.unheard.iter().copied())))?;
                writeln!(arrows, "  c{n} -.-> u{n}")?;
            }
        }
        out.push_str("  end\n");
    }
    out.push_str(&arrows);
    for remark in drawing.flow.remarks() {
        writeln!(out, "  %% {remark}")?;
    }
    Ok(out)
}

/// A text of Mermaid, which has entities with `#` in place of `&`.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("#quot;"),
            '#' => out.push_str("#35;"),
            '`' => out.push_str("#96;"),
            '&' => out.push_str("#amp;"),
            '<' => out.push_str("#lt;"),
            '>' => out.push_str("#gt;"),
            '\n' => out.push_str("<br/>"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
