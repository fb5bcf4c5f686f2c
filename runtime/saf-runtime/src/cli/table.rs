//! What the commands print: tables for people, JSON for programs. A listing is printed page by page, so that its length costs no
//! memory; the first page decides the widths of the columns.
//!
//! JSON passes through as the router wrote it (numbers keep their digits, keys their order), each item on a line of its own.
//! Deliberately absent: colours, pagers, widths of a terminal (`| less -S` does that better).

use std::io::{BufWriter, ErrorKind, Stdout, Write};
use std::marker::PhantomData;

use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;

use super::client::{Client, Query};
use super::text::json_line;
use crate::exit::Failure;

/// Items that are asked for at once.
const PAGE_ITEMS: usize = 100;
/// No cell is padded beyond this.
const MAX_PADDED_CHARS: usize = 60;
const GAP: &str = "  ";

/// How the output looks.
#[derive(Debug, Default, clap::Args)]
#[command(next_help_heading = "Output")]
pub(crate) struct Output {
    /// A table for people, one JSON document, or a JSON document a line (for jq, and while it lasts).
    #[arg(long, value_enum, default_value_t = Format::Table, global = true)]
    pub(crate) format: Format,
}

/// How items are printed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    #[default]
    Table,
    Json,
    Ndjson,
}

/// How many items are listed.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Limit {
    /// Most items to print.
    #[arg(long, value_name = "N", default_value_t = PAGE_ITEMS)]
    limit: usize,
}

impl Default for Limit {
    fn default() -> Self {
        Self { limit: PAGE_ITEMS }
    }
}

/// A column: its title, and on which side its cells are ragged.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Column {
    Text(&'static str),
    Number(&'static str),
}

impl Column {
    const fn title(self) -> &'static str {
        match self {
            Self::Text(title) | Self::Number(title) => title,
        }
    }
}

/// An item of a listing, as far as a table shows it.
pub(crate) trait Row: DeserializeOwned {
    const COLUMNS: &'static [Column];
    /// What is said of an empty table.
    const NONE: &'static str;

    /// One line each, fit for a terminal.
    fn cells(&self) -> Vec<String>;
}

/// A page of a listing, as the admin API answers it.
#[derive(Debug, Deserialize)]
pub(crate) struct Page {
    pub(crate) items: Vec<Box<RawValue>>,
    pub(crate) next: Option<String>,
}

/// Prints a listing, page after page, up to the limit.
pub(crate) fn list<R: Row>(
    client: &Client,
    path: &str,
    query: &Query,
    from: Option<String>,
    limit: Limit,
    format: Format,
) -> Result<(), Failure> {
    let mut listing = Listing::<R>::new(format);
    let (mut left, mut cursor) = (limit.limit, from);
    while left > 0 {
        let query = query.clone().with("limit", Some(left.min(PAGE_ITEMS))).with("after", cursor.as_ref());
        let mut page: Page = client.get(path, &query)?;
        page.items.truncate(left);
        left -= page.items.len();
        listing.page(&page.items)?;
        let empty = page.items.is_empty();
        match page.next {
            // A router that answers an empty page and a cursor for ever is not waited for.
            Some(next) if !empty || cursor.as_ref() != Some(&next) => cursor = Some(next),
            _ => return listing.end(None),
        }
    }
    listing.end(cursor.filter(|_| limit.limit > 0))
}

/// Prints one thing: laid out by `print` for people, as the router wrote it for programs.
pub(crate) fn show<T: DeserializeOwned>(
    client: &Client,
    path: &str,
    query: &Query,
    format: Format,
    print: impl FnOnce(&T, &mut Out) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let raw: Box<RawValue> = client.get(path, query)?;
    let mut out = Out::new();
    match format {
        Format::Table => print(&read(&raw)?, &mut out)?,
        Format::Json | Format::Ndjson => out.line(&json_line(raw.get()))?,
    }
    out.flush()
}

/// A listing being printed.
pub(crate) struct Listing<R> {
    format: Format,
    out: Out,
    widths: Vec<usize>,
    printed: u64,
    rows: PhantomData<R>,
}

impl<R: Row> Listing<R> {
    pub(crate) fn new(format: Format) -> Self {
        Self { format, out: Out::new(), widths: Vec::new(), printed: 0, rows: PhantomData }
    }

    /// Prints some more items, and shows them at once.
    pub(crate) fn page(&mut self, items: &[Box<RawValue>]) -> Result<(), Failure> {
        match self.format {
            Format::Table => self.rows(items)?,
            Format::Ndjson => {
                for item in items {
                    self.out.line(&json_line(item.get()))?;
                }
            }
            Format::Json => {
                for (n, item) in items.iter().enumerate() {
                    let before = if self.printed == 0 && n == 0 { "[\n  " } else { ",\n  " };
                    self.out.text(before)?;
                    self.out.text(&json_line(item.get()))?;
                }
            }
        }
        self.printed += items.len() as u64;
        self.out.flush()
    }

    /// Ends the listing; `next` is where it would go on.
    pub(crate) fn end(mut self, next: Option<String>) -> Result<(), Failure> {
        match (self.format, self.printed) {
            (Format::Json, 0) => self.out.line("[]")?,
            (Format::Json, _) => self.out.text("\n]\n")?,
            (Format::Table, 0) => eprintln!("{}", R::NONE),
            (Format::Table | Format::Ndjson, _) => {}
        }
        self.out.flush()?;
        if let Some(next) = next {
            eprintln!("there is more: --after {next}, or a higher --limit");
        }
        Ok(())
    }

    fn rows(&mut self, items: &[Box<RawValue>]) -> Result<(), Failure> {
        let rows = items.iter().map(|item| read::<R>(item).map(|row| row.cells()));
        let rows: Vec<_> = rows.collect::<Result<_, _>>()?;
        if self.widths.is_empty() && !rows.is_empty() {
            let titles: Vec<_> = R::COLUMNS.iter().map(|column| column.title().to_owned()).collect();
            self.widths = widths(std::iter::once(&titles).chain(&rows));
            self.out.line(&line(R::COLUMNS, &self.widths, &titles))?;
        }
        for row in &rows {
            self.out.line(&line(R::COLUMNS, &self.widths, row))?;
        }
        Ok(())
    }
}

/// Reads an item; one that cannot be read comes from another version.
pub(crate) fn read<T: DeserializeOwned>(item: &RawValue) -> Result<T, Failure> {
    serde_json::from_str(item.get()).map_err(|error| {
        Failure::Check(format!(
            "the router answered what this saf-runtime cannot read ({error}): use the router's version, or --format ndjson"
        ))
    })
}

fn widths<'a>(rows: impl Iterator<Item = &'a Vec<String>>) -> Vec<usize> {
    let mut widths = Vec::new();
    for row in rows {
        widths.resize(row.len().max(widths.len()), 0);
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.chars().count()).min(MAX_PADDED_CHARS);
        }
    }
    widths
}

fn line(columns: &[Column], widths: &[usize], cells: &[String]) -> String {
    let mut line = String::new();
    for (n, ((column, width), cell)) in columns.iter().zip(widths).zip(cells).enumerate() {
        if n > 0 {
            line.push_str(GAP);
        }
        let pad = width.saturating_sub(cell.chars().count());
        match column {
            Column::Text(_) => {
                line.push_str(cell);
                line.extend(std::iter::repeat_n(' ', pad));
            }
            Column::Number(_) => {
                line.extend(std::iter::repeat_n(' ', pad));
                line.push_str(cell);
            }
        }
    }
    line.truncate(line.trim_end().len());
    line
}

/// A sheet about one thing: names on the left, values on the right.
#[derive(Default)]
pub(crate) struct Sheet(Vec<(&'static str, String)>);

impl Sheet {
    /// A line; an empty value is left out.
    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        let value = value.into();
        if !value.is_empty() {
            self.0.push((name, value));
        }
        self
    }

    /// Prints it; more lines of a value stand below its first.
    pub(crate) fn print(self, out: &mut Out) -> Result<(), Failure> {
        let width = self.0.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
        for (name, value) in self.0 {
            for (n, text) in value.lines().enumerate() {
                let name = if n == 0 { name } else { "" };
                out.line(format!("{name:<width$}{GAP}{text}").trim_end())?;
            }
        }
        Ok(())
    }
}

/// Standard output, buffered. A reader that left ends the command ([`Failure::ReaderLeft`]): a tap into `head` must not go on.
pub(crate) struct Out(BufWriter<Stdout>);

impl Out {
    pub(crate) fn new() -> Self {
        Self(BufWriter::new(std::io::stdout()))
    }

    pub(crate) fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.text(text)?;
        self.text("\n")
    }

    pub(crate) fn text(&mut self, text: &str) -> Result<(), Failure> {
        self.0.write_all(text.as_bytes()).map_err(|error| left(&error))
    }

    /// Bytes as they come.
    pub(crate) fn copy(&mut self, bytes: &[u8]) -> Result<(), Failure> {
        self.0.write_all(bytes).map_err(|error| left(&error))
    }

    /// Shows what was written.
    pub(crate) fn flush(&mut self) -> Result<(), Failure> {
        self.0.flush().map_err(|error| left(&error))
    }
}

fn left(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::ReaderLeft,
        _ => Failure::Internal(format!("cannot write to standard output: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell_and_lines_end_with_their_text() {
        let columns = [Column::Number("SEQ"), Column::Text("SUBJECT"), Column::Text("DATA")];
        let row = |cells: [&str; 3]| cells.map(str::to_owned).to_vec();
        let rows = [row(["SEQ", "SUBJECT", "DATA"]), row(["7", "a", ""]), row(["12345", "größe.x", "{}"])];
        let widths = widths(rows.iter());
        let lines: Vec<_> = rows.iter().map(|row| line(&columns, &widths, row)).collect();
        assert_eq!(lines, ["  SEQ  SUBJECT  DATA", "    7  a", "12345  größe.x  {}"]);
    }

    #[test]
    fn one_long_cell_does_not_push_the_rest_away() {
        let rows = [vec!["x".repeat(500)], vec!["y".to_owned()]];
        assert_eq!(widths(rows.iter()), [MAX_PADDED_CHARS]);
    }
}
