//! A part of the deployment's test: a name, how long it takes, what it does.

use super::Fetch;
use crate::commands::guests::Outcome;
use crate::workspace::Workspace;

/// Returns an error when something is wrong, `Missing` when it cannot be tried here.
type Try = fn(&Workspace, Fetch) -> anyhow::Result<Outcome>;

#[derive(Clone, Copy)]
pub(super) struct Part {
    name: &'static str,
    pace: Pace,
    what: Try,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Pace {
    /// Seconds.
    Quick,
    /// A minute or more.
    Slow,
}

impl Part {
    pub(super) const fn quick(name: &'static str, what: Try) -> Self {
        Self { name, pace: Pace::Quick, what }
    }

    pub(super) const fn slow(name: &'static str, what: Try) -> Self {
        Self { name, pace: Pace::Slow, what }
    }

    pub(super) fn name(&self) -> &'static str {
        self.name
    }

    pub(super) fn is_quick(&self) -> bool {
        self.pace == Pace::Quick
    }

    pub(super) fn run(&self, workspace: &Workspace, fetch: Fetch) -> anyhow::Result<Outcome> {
        (self.what)(workspace, fetch)
    }
}
