//! A graph as lines: each Channel, what it takes, and what it may hand to whom.

use std::fmt::Write;

use super::{Drawing, Drawn, Fed, Node, list};
use crate::graph::Way;

const NOBODY: &str = "(no Channel)";

pub(super) fn draw(drawing: &Drawing<'_>) -> Drawn {
    let mut out = String::new();
    for (stream, nodes) in drawing.streams() {
        if !out.is_empty() {
            out.push('\n');
        }
        writeln!(out, "stream {stream}")?;
        let width = nodes.iter().map(|node| node.name.as_str().len()).max().unwrap_or(0);
        for node in &nodes {
            let posts = if node.fed == Fed::ByPostsOnly { "   (posts only)" } else { "" };
            writeln!(out, "  {:<width$}  takes {}{posts}", node.name.as_str(), list(node.takes))?;
            if let Some(rates) = drawing.rates(node.name) {
                writeln!(out, "  {:<width$}  {rates}", "")?;
            }
            arrows(&mut out, node, width)?;
        }
    }
    if out.is_empty() {
        out.push_str("no Channels\n");
    }
    let remarks = drawing.flow.remarks();
    if !remarks.is_empty() {
        out.push('\n');
    }
    for remark in remarks {
        writeln!(out, "{remark}")?;
    }
    Ok(out)
}

fn arrows(out: &mut String, node: &Node<'_>, indent: usize) -> std::fmt::Result {
    let width = node.edges.iter().map(|edge| edge.to.as_str().len()).max().unwrap_or(0).max(NOBODY.len());
    for edge in &node.edges {
        let round = if edge.way == Way::Round { "   (goes round)" } else { "" };
        let subjects = list(edge.subjects.iter().copied());
        writeln!(out, "  {:<indent$}  ──▶ {:<width$}  {subjects}{round}", "", edge.to.as_str())?;
    }
    if !node.unheard.is_empty() {
        writeln!(out, "  {:<indent$}  ──▶ {NOBODY:<width$}  {}", "", list(node.unheard.iter().copied()))?;
    }
    Ok(())
}
