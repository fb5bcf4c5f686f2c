//! `docs/cli.md`: every command with its options, as `--help` says them, but without the reader's own environment.

use std::fmt::Write;

use clap::builder::StyledStr;
use clap::{Arg, Command, CommandFactory};

use super::{cell, current, made_from};
use crate::cli::Arguments;

#[test]
fn the_page_of_the_commands_is_current() {
    let mut command = Arguments::command();
    command.build();
    let mut page = made_from("the command line's own help");
    section(&mut page, &mut command, &[], "saf-runtime");
    current("docs/cli.md", &(page.trim_end().to_owned() + "\n"));
}

/// One command, and those below it.
fn section(page: &mut String, command: &mut Command, above: &[String], path: &str) {
    let level = "#".repeat(path.split(' ').count().min(4));
    let about = command.get_long_about().or(command.get_about()).map(ToString::to_string).unwrap_or_default();
    let usage = command.render_usage().to_string();
    let usage = usage.trim_start_matches("Usage: ").lines().map(str::trim).collect::<Vec<_>>().join("\n");
    write!(page, "{level} {path}\n\n{about}\n\n```text\n{usage}\n```\n\n").expect("a string");
    let inherited = |arg: &&Arg| arg.is_global_set() && above.contains(&arg.get_id().to_string());
    let own = |arg: &&Arg| !arg.is_hide_set() && !["help", "version"].contains(&arg.get_id().as_str());
    let arguments: Vec<_> = command.get_arguments().filter(own).filter(|arg| !inherited(arg)).collect();
    if !arguments.is_empty() {
        page.push_str("| argument | what |\n| --- | --- |\n");
        for argument in arguments {
            writeln!(page, "| `{}` | {} |", cell(&name(argument)), what(argument)).expect("a string");
        }
        page.push('\n');
    }
    if let Some(after) = command.get_after_help() {
        write!(page, "```text\n{after}\n```\n\n").expect("a string");
    }
    let above: Vec<_> =
        above.iter().cloned().chain(command.get_arguments().map(|arg| arg.get_id().to_string())).collect();
    for below in command.get_subcommands_mut().filter(|command| command.get_name() != "help") {
        let path = format!("{path} {}", below.get_name());
        section(page, below, &above, &path);
    }
}

fn name(argument: &Arg) -> String {
    let value = argument.get_value_names().and_then(|names| names.first()).map(|name| format!("<{name}>"));
    let takes = argument.get_action().takes_values();
    let value = value.filter(|_| takes).unwrap_or_default();
    match (argument.get_short(), argument.get_long()) {
        (Some(short), Some(long)) => format!("-{short}, --{long} {value}"),
        (None, Some(long)) => format!("--{long} {value}"),
        _ => value,
    }
    .trim_end()
    .to_owned()
}

fn what(argument: &Arg) -> String {
    let help = argument.get_long_help().or(argument.get_help()).map(StyledStr::to_string).unwrap_or_default();
    let mut text = cell(&help.replace('<', "&lt;"));
    if !text.ends_with('.') {
        text.push('.');
    }
    let choices: Vec<_> =
        argument.get_possible_values().iter().map(|value| format!("`{}`", value.get_name())).collect();
    if argument.get_action().takes_values() && !choices.is_empty() {
        write!(text, " One of {}.", choices.join(", ")).expect("a string");
    }
    let defaults: Vec<_> =
        argument.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
    if argument.get_action().takes_values() && !defaults.is_empty() {
        write!(text, " Default: `{}`.", defaults.join(" ")).expect("a string");
    }
    if let Some(variable) = argument.get_env() {
        write!(text, " Variable: `{}`.", variable.to_string_lossy()).expect("a string");
    }
    text
}
