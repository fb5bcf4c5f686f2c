//! `saf-runtime completions <shell>`.

use clap::CommandFactory;
use clap_complete::Shell;

use super::Arguments;
use crate::exit::Failure;

#[derive(Debug, clap::Args)]
pub(crate) struct Completions {
    /// The shell, for example: saf-runtime completions bash > /etc/bash_completion.d/saf-runtime
    shell: Shell,
}

impl Completions {
    pub(crate) fn print(&self) -> Result<(), Failure> {
        let mut script = Vec::new();
        clap_complete::generate(self.shell, &mut Arguments::command(), "saf-runtime", &mut script);
        super::print(&String::from_utf8_lossy(&script))
    }
}
