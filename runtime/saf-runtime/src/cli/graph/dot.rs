//! A graph for Graphviz: a box a Channel, a frame a stream; dashed from posts, dotted to nobody, red and bold where it goes round.

use std::fmt::Write;

use super::{Drawing, Drawn, Fed, list};
use crate::graph::Way;

pub(super) fn draw(drawing: &Drawing<'_>) -> Drawn {
    let mut out = String::from("digraph saf {\n  rankdir = LR\n  node [shape = box, style = rounded]\n");
    let mut arrows = String::new();
    for (stream, nodes) in drawing.streams() {
        let posts = quoted(&format!("{stream}/posts"));
        writeln!(out, "  subgraph {} {{", quoted(&format!("cluster_{stream}")))?;
        writeln!(out, "    label = {}", quoted(&format!("stream {stream}")))?;
        if nodes.iter().any(|node| node.fed == Fed::ByPostsOnly) {
            writeln!(out, "    {posts} [label = \"posts\", shape = plaintext]")?;
        }
        for node in nodes {
            let name = quoted(node.name.as_str());
            let rates = drawing.rates(node.name).map_or_else(String::new, |rates| format!("\n{rates}"));
            let label = quoted(&format!("{}\n{}{rates}", node.name, list(node.takes)));
            writeln!(out, "    {name} [label = {label}]")?;
            if node.fed == Fed::ByPostsOnly {
                writeln!(arrows, "  {posts} -> {name} [style = dashed]")?;
            }
            for edge in &node.edges {
                let round = if edge.way == Way::Round { ", color = red, penwidth = 2" } else { "" };
                let (to, label) = (quoted(edge.to.as_str()), quoted(&list(edge.subjects.iter().copied())));
                writeln!(arrows, "  {name} -> {to} [label = {label}{round}]")?;
            }
            if !node.unheard.is_empty() {
                // A Channel's name has no slash, so this is nobody's.
                let nobody = quoted(&format!("{}/", node.name));
                let label = quoted(&list(node.unheard.iter().copied()));
                writeln!(out, "    {nobody} [label = {label}, shape = plaintext]")?;
                writeln!(arrows, "  {name} -> {nobody} [style = dotted]")?;
            }
        }
        out.push_str("  }\n");
    }
    out.push_str(&arrows);
    out.push_str("}\n");
    for remark in drawing.flow.remarks() {
        writeln!(out, "// {remark}")?;
    }
    Ok(out)
}

/// A string of DOT.
fn quoted(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\n' => out.push_str("\\n"),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}
