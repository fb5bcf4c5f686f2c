//! Commands in pages and in examples of the help: each is one that this program takes. They are parsed, not run: what they do is for
//! `tests/cli`; that a page does not name an option that is gone, or never was, is for here.

use clap::builder::Resettable;
use clap::error::ErrorKind;
use clap::{Command, CommandFactory};

use super::links::{pages, prose};
use crate::cli::Arguments;

const NAME: &str = "saf-runtime";
/// In a word: something to put in, or something left out.
const PLACEHOLDERS: [&str; 6] = ["<", "…", "...", "NAME", "FILE", "FOLDER"];

#[test]
fn every_command_in_the_pages_is_one() {
    let (root, pages) = pages();
    let mut wrong = Vec::new();
    let mut parsed = 0;
    for (path, text) in &pages {
        let shown = path.strip_prefix(&root).unwrap_or(path).display().to_string();
        let typed = shell_lines(text).map(|line| (refused(&line), line));
        let named = inline(text).map(|line| (unknown(&line), line));
        for (why, line) in typed.chain(named) {
            parsed += 1;
            wrong.extend(why.map(|why| format!("{shown}: {line}\n  {why}")));
        }
    }
    assert!(parsed > 100, "the commands were not found");
    assert!(wrong.is_empty(), "commands that are none:\n{}", wrong.join("\n"));
}

#[test]
fn every_example_in_the_help_is_a_command() {
    let mut wrong = Vec::new();
    let mut waiting = vec![Arguments::command()];
    while let Some(command) = waiting.pop() {
        waiting.extend(command.get_subcommands().cloned());
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        // Behind the example, at some distance, stands what it is for.
        let examples = help.lines().map(str::trim).filter(|line| line.starts_with(NAME));
        wrong.extend(
            examples.filter_map(|line| refused(before_gap(line)).map(|why| format!("{line}\n  {why}"))),
        );
    }
    assert!(wrong.is_empty(), "examples that are no commands:\n{}", wrong.join("\n"));
}

/// Lines of blocks of shell that call the router, from its name on; one that goes on behind a backslash is one line.
fn shell_lines(page: &str) -> impl Iterator<Item = String> {
    let blocks = page.split("```sh\n").skip(1).map(|block| block.split("\n```").next().unwrap_or_default());
    let text = blocks.collect::<Vec<_>>().join("\n").replace("\\\n", " ");
    let lines = text.lines().flat_map(commands_of_a_line).map(str::to_owned).collect::<Vec<_>>();
    lines.into_iter()
}

/// The commands of a line of shell that are the router's.
fn commands_of_a_line(line: &str) -> Vec<&str> {
    let line = line.split(" # ").next().unwrap_or_default();
    let parts = line.split("&&").flat_map(|part| part.split(" | ")).map(str::trim);
    parts.filter(|part| part.split(' ').next() == Some(NAME)).collect()
}

/// Code within text that is a whole command.
fn inline(page: &str) -> impl Iterator<Item = String> {
    let prose = prose(page).map(|(_, line)| line).collect::<Vec<_>>().join("\n");
    let codes =
        prose.split('`').skip(1).step_by(2).map(|code| code.split_whitespace().collect::<Vec<_>>().join(" "));
    codes.filter(|code| code.starts_with("saf-runtime ")).collect::<Vec<_>>().into_iter()
}

fn before_gap(line: &str) -> &str {
    line.split("  ").next().unwrap_or_default().split(" | ").next().unwrap_or_default()
}

/// Why this is no command of the router; `None` when it is one, or has something to be put in.
fn refused(line: &str) -> Option<String> {
    let error = parsed(line).err()?;
    let shown = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion];
    (!shown.contains(&error.kind())).then(|| first_line(&error))
}

/// The same of a text that may name a command without all that it needs.
fn unknown(line: &str) -> Option<String> {
    let error = parsed(line).err()?;
    let known = [ErrorKind::DisplayHelp, ErrorKind::DisplayVersion, ErrorKind::MissingRequiredArgument];
    (!known.contains(&error.kind())).then(|| first_line(&error))
}

fn parsed(line: &str) -> Result<(), clap::Error> {
    let words = words(line);
    if words.iter().any(|word| PLACEHOLDERS.iter().any(|placeholder| word.contains(placeholder))) {
        return Ok(());
    }
    command().try_get_matches_from(words).map(drop)
}

fn first_line(error: &clap::Error) -> String {
    error.to_string().lines().next().unwrap_or_default().to_owned()
}

/// Without the reader's own environment.
fn command() -> Command {
    fn plain(command: Command) -> Command {
        command.mut_args(|arg| arg.env(Resettable::Reset)).mut_subcommands(plain)
    }
    plain(Arguments::command())
}

/// As a shell splits them, up to a redirection.
fn words(line: &str) -> Vec<String> {
    let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
    for c in line.chars() {
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '\'' | '"') => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (None, ' ') => words.extend(word.take()),
            (None, '>') if word.is_none() => break,
            (_, c) => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    words
}

#[test]
fn commands_are_found_and_split_as_a_shell_does() {
    let page = "Do `saf-runtime top --once`, or `other`.\n```sh\ncd x && saf-runtime send hello '{\"a\": 1}' --wait   # what\nsaf-runtime graph \\\n  --format dot | dot\nsaf-runtime schema > x\n```\n```text\nsaf-runtime nothing\n```\n";
    let found: Vec<_> = shell_lines(page).chain(inline(page)).map(|line| words(&line).join("|")).collect();
    assert_eq!(
        found,
        [
            "saf-runtime|send|hello|{\"a\": 1}|--wait",
            "saf-runtime|graph|--format|dot",
            "saf-runtime|schema",
            "saf-runtime|top|--once"
        ]
    );
    assert_eq!(
        refused("saf-runtime top --onec").as_deref(),
        Some("error: unexpected argument '--onec' found")
    );
    assert_eq!(refused("saf-runtime channels inspect <name>"), None);
    assert_eq!(refused("saf-runtime --help"), None);
}
