//! `saf-runtime man`: the manual pages, made from the command line's own help, for those who package saf.

use std::path::PathBuf;

use clap::CommandFactory;

use super::Arguments;
use crate::exit::Failure;

/// Write a manual page for every command into a folder.
#[derive(Debug, clap::Args)]
pub(crate) struct Man {
    /// An existing folder, for example: saf-runtime man /usr/local/share/man/man1
    folder: PathBuf,
}

impl Man {
    pub(crate) fn write(&self) -> Result<(), Failure> {
        clap_mangen::generate_to(Arguments::command(), &self.folder).map_err(|error| {
            Failure::Usage(format!("cannot write manual pages into {}: {error}", self.folder.display()))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_page() {
        let folder = tempfile::tempdir().expect("a folder");
        Man { folder: folder.path().into() }.write().expect("written");
        for command in Arguments::command().get_subcommands().filter(|command| !command.is_hide_set()) {
            let page = folder.path().join(format!("saf-runtime-{}.1", command.get_name()));
            let text =
                std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
            assert!(text.contains(".SH DESCRIPTION"), "{}", page.display());
        }
        assert!(folder.path().join("saf-runtime.1").exists());
    }
}
