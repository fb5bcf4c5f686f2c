//! What became of an event, as the admin API answers it and as people read it: a line a delivery, and the tree of what came of it.

use serde::Deserialize;

use crate::cli::paint::{Paint, Tone};
use crate::cli::table::Out;
use crate::cli::text::{Time, grouped, micros, printable, short};
use crate::exit::Failure;

const REASON_CHARS: usize = 120;
const SUBJECT_CHARS: usize = 60;

/// A settled delivery.
#[derive(Debug, Deserialize)]
pub(crate) struct Delivery {
    pub(crate) channel: String,
    attempt: u32,
    outcome: String,
    next: String,
    ended: Time,
    queued_ms: u64,
    micros: u64,
    fuel: u64,
    emitted: u64,
    #[serde(default)]
    retry_at: Option<Time>,
    #[serde(default)]
    dead_letter: Option<String>,
    #[serde(default)]
    replayed_as: Option<u64>,
    #[serde(default)]
    reason: Option<String>,
}

/// An event, in short.
#[derive(Debug, Deserialize)]
struct Head {
    sequence: u64,
    subject: Option<String>,
    id: Option<String>,
}

/// An event of a tree.
#[derive(Debug, Deserialize)]
pub(crate) struct Node {
    event: Head,
    deliveries: Vec<Delivery>,
    children: Vec<Node>,
}

/// An event, and what came of it.
#[derive(Debug, Deserialize)]
pub(crate) struct Tree {
    ancestors: Vec<Head>,
    event: Node,
    cut: Option<String>,
}

impl Delivery {
    /// One line.
    pub(crate) fn line(&self, paint: Paint) -> String {
        let tone = match (self.outcome.as_str(), self.next.as_str()) {
            ("done", "done") => Tone::Good,
            (_, "dead_letter") => Tone::Bad,
            _ => Tone::Odd,
        };
        let at = &self.ended;
        let text = |text: &Option<String>| text.as_deref().map(printable).unwrap_or_default();
        let became = match self.next.as_str() {
            "done" => format!("{} emitted", self.emitted),
            "retry" => {
                format!("again at {}", self.retry_at.as_ref().map(ToString::to_string).unwrap_or_default())
            }
            "dead_letter" => format!("dead letter {}", text(&self.dead_letter)),
            "replayed" => {
                let event = self.replayed_as.map_or("an event".to_owned(), |event| format!("event {event}"));
                return format!(
                    "{}  its dead letter was replayed as {event}  {at}",
                    printable(&self.channel)
                );
            }
            "deleted" => return format!("{}  its dead letter was deleted  {at}", printable(&self.channel)),
            other => printable(other),
        };
        let mut line = format!(
            "{}  attempt {} {}  {}, waited {} ms, fuel {}  {became}",
            printable(&self.channel),
            self.attempt,
            paint.tone(tone, &printable(&self.outcome)),
            micros(self.micros),
            grouped(self.queued_ms),
            grouped(self.fuel)
        );
        if let Some(reason) = &self.reason {
            line.push_str(": ");
            line.push_str(&short(reason, REASON_CHARS));
        }
        line
    }
}

impl Head {
    fn line(&self) -> String {
        match (&self.subject, &self.id) {
            (Some(subject), Some(id)) => {
                format!("{}  {}  {}", self.sequence, short(subject, SUBJECT_CHARS), short(id, SUBJECT_CHARS))
            }
            _ => format!("{}  (removed by retention)", self.sequence),
        }
    }
}

impl Tree {
    pub(crate) fn print(&self, out: &mut Out, paint: Paint) -> Result<(), Failure> {
        for (depth, head) in self.ancestors.iter().enumerate() {
            let line = format!("{}{}", "    ".repeat(depth), head.line());
            out.line(&paint.tone(Tone::Faint, &line))?;
        }
        self.event.print(out, paint, self.ancestors.len())?;
        match &self.cut {
            Some(cut) => out.line(&paint.tone(Tone::Odd, &format!("({})", printable(cut)))),
            None => Ok(()),
        }
    }
}

impl Node {
    fn print(&self, out: &mut Out, paint: Paint, depth: usize) -> Result<(), Failure> {
        let indent = "    ".repeat(depth);
        out.line(&format!("{indent}{}", self.event.line()))?;
        for delivery in &self.deliveries {
            out.line(&format!("{indent}  ──▶ {}", delivery.line(paint)))?;
        }
        self.children.iter().try_for_each(|child| child.print(out, paint, depth + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn delivery(next: &str) -> Delivery {
        let text = format!(
            r#"{{"channel":"upper","attempt":2,"outcome":"{}","next":{next},"ended":"2026-01-31T12:00:00.000Z","queued_ms":1234,
                "micros":1500,"fuel":5000,"emitted":2,"retry_at":"2026-01-31T12:00:09.000Z","dead_letter":"events:3",
                "replayed_as":7,"reason":"no\u001b"}}"#,
            if next == "\"done\"" { "done" } else { "trap" }
        );
        serde_json::from_str(&text).expect("a delivery")
    }

    #[test]
    fn a_delivery_says_what_became_of_it_and_moves_no_cursor() {
        for (next, part) in [
            ("\"done\"", "attempt 2 done  1.5 ms, waited 1 234 ms, fuel 5 000  2 emitted"),
            ("\"retry\"", "again at 2026-01-31T12:00:09.000Z: no\\u{1b}"),
            ("\"dead_letter\"", "dead letter events:3"),
            ("\"replayed\"", "replayed as event 7"),
            ("\"deleted\"", "was deleted"),
            ("\"later\"", "later"),
        ] {
            let line = delivery(next).line(Paint::Plain);
            assert!(line.contains(part) && !line.contains('\u{1b}'), "{line}");
        }
    }
}
