//! What came of a case, in the words of case files.

use std::time::Duration;

use saf_event::ChannelName;
use saf_host::{Call, CaseReport, Emission, Fault, HttpRequest, LogLine, StartError, Usage, Verdict};

use super::expect::How;
use crate::cli::stopped::Stopped;

/// What came of a case.
#[derive(Clone, Debug)]
pub(super) struct Came {
    pub(super) answer: Answer,
    /// What the call used; `None` when there was no call.
    pub(super) usage: Option<Usage>,
    /// What the guest logged, escaped.
    pub(super) log: Vec<LogLine>,
    /// The requests that the case grants.
    pub(super) requests: Vec<HttpRequest>,
}

/// How it ended.
#[derive(Clone, Debug)]
pub(super) enum Answer {
    Done(Vec<Emission>),
    Failed(Failed),
}

/// An attempt that is not done.
#[derive(Clone, Debug)]
pub(super) struct Failed {
    pub(super) how: How,
    pub(super) reason: String,
    pub(super) after: Option<Duration>,
    pub(super) backtrace: Option<String>,
    pub(super) stderr: String,
}

impl Failed {
    fn said(how: How, reason: String) -> Self {
        Self { how, reason, after: None, backtrace: None, stderr: String::new() }
    }

    fn stopped(how: How, fault: Fault) -> Self {
        let Fault { message, backtrace, stderr } = fault;
        Self { how, reason: message, after: None, backtrace, stderr }
    }

    fn not_started(error: StartError) -> Self {
        let reason = error.to_string();
        match error {
            StartError::Refused { stderr, .. } => Self { stderr, ..Self::said(How::Init, reason) },
            StartError::Stopped { fault, .. } => Self { reason, ..Self::stopped(How::Init, fault) },
            StartError::NoRoom(_) => Self::said(How::Init, reason),
        }
    }

    /// Whether a case that expects `text` means this failure: in the reason, where it was, or on stderr.
    pub(super) fn contains(&self, text: &str) -> bool {
        self.reason.contains(text)
            || self.stderr.contains(text)
            || self.backtrace.as_deref().is_some_and(|backtrace| backtrace.contains(text))
    }

    /// Where in the author's own sources it was, as `file:line` or `file:line:column`.
    pub(super) fn place(&self) -> Option<String> {
        let last_words = match self.how {
            How::Trap | How::Init => Some(&*self.stderr),
            How::Retry | How::Reject | How::Fuel | How::Timeout | How::Memory | How::Output => None,
        };
        Stopped::of(&self.reason, self.backtrace.as_deref(), last_words).place
    }
}

/// What a Channel of the configuration may emit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Allowance<'a> {
    pub(super) name: &'a ChannelName,
    pub(super) config: &'a saf_channel::Config,
}

impl Came {
    /// As the router would judge it: an emission that it would not store fails the attempt.
    pub(super) fn of(report: CaseReport, allowance: Option<Allowance<'_>>) -> Self {
        let CaseReport { call, log, requests } = report;
        match call {
            Err(error) => {
                Self { answer: Answer::Failed(Failed::not_started(error)), usage: None, log, requests }
            }
            Ok(Call { verdict, usage, .. }) => {
                Self { answer: answer(verdict, allowance), usage: Some(usage), log, requests }
            }
        }
    }
}

fn answer(verdict: Verdict, allowance: Option<Allowance<'_>>) -> Answer {
    Answer::Failed(match verdict {
        Verdict::Done(emissions) => {
            let channel = allowance.map(|Allowance { name, config }| (name, config));
            match saf_channel::check_emissions(&emissions, channel) {
                Ok(()) => return Answer::Done(emissions),
                Err(reason) => Failed::said(How::Output, reason),
            }
        }
        Verdict::Retry { reason, after } => Failed { after, ..Failed::said(How::Retry, reason) },
        Verdict::Reject { reason } => Failed::said(How::Reject, reason),
        Verdict::Trap(fault) => Failed::stopped(How::Trap, fault),
        Verdict::Fuel(fault) => Failed::stopped(How::Fuel, fault),
        Verdict::Timeout(fault) => Failed::stopped(How::Timeout, fault),
        Verdict::Memory(fault) => Failed::stopped(How::Memory, fault),
        Verdict::Output(fault) => Failed::stopped(How::Output, fault),
    })
}
