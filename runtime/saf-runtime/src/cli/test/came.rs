//! What came of a case, in the words of case files.

use std::time::Duration;

use saf_event::{ChannelName, EventId, Headers, MAX_ID_BYTES, Subject};
use saf_host::{Call, CaseReport, Emission, Fault, LogLine, StartError, Usage, Verdict};

use super::expect::How;
use crate::cli::place;

/// What came of a case.
#[derive(Clone, Debug)]
pub(super) struct Came {
    pub(super) answer: Answer,
    /// What the call used; `None` when there was no call.
    pub(super) usage: Option<Usage>,
    /// What the guest logged, escaped.
    pub(super) log: Vec<LogLine>,
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

    /// Where in the author's own sources it was, as `file:line:column`.
    pub(super) fn place(&self) -> Option<&str> {
        self.backtrace.as_deref().and_then(place::authors)
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
        let CaseReport { call, log } = report;
        match call {
            Err(error) => Self { answer: Answer::Failed(Failed::not_started(error)), usage: None, log },
            Ok(Call { verdict, usage }) => {
                Self { answer: answer(verdict, allowance), usage: Some(usage), log }
            }
        }
    }
}

fn answer(verdict: Verdict, allowance: Option<Allowance<'_>>) -> Answer {
    Answer::Failed(match verdict {
        Verdict::Done(emissions) => match refused(&emissions, allowance) {
            None => return Answer::Done(emissions),
            Some(reason) => Failed::said(How::Output, reason),
        },
        Verdict::Retry { reason, after } => Failed { after, ..Failed::said(How::Retry, reason) },
        Verdict::Reject { reason } => Failed::said(How::Reject, reason),
        Verdict::Trap(fault) => Failed::stopped(How::Trap, fault),
        Verdict::Fuel(fault) => Failed::stopped(How::Fuel, fault),
        Verdict::Timeout(fault) => Failed::stopped(How::Timeout, fault),
        Verdict::Memory(fault) => Failed::stopped(How::Memory, fault),
        Verdict::Output(fault) => Failed::stopped(How::Output, fault),
    })
}

/// What the router refuses to store, and why; `None` when it takes everything. The broker's largest event is not known here.
fn refused(emissions: &[Emission], allowance: Option<Allowance<'_>>) -> Option<String> {
    let check = |(n, emission)| unfit(emission, allowance).map(|why| format!("emission {n}: {why}"));
    emissions.iter().enumerate().find_map(check)
}

fn unfit(emission: &Emission, allowance: Option<Allowance<'_>>) -> Option<String> {
    if let Err(error) = Subject::parse(emission.subject.as_str()) {
        return Some(error.to_string());
    }
    if let Some(Allowance { name, config }) = allowance
        && !config.may_emit(&emission.subject)
    {
        let subject = &emission.subject;
        return Some(format!("{subject} is not allowed; add it to emit.subjects of {name} to allow it"));
    }
    let mut headers = Headers::new();
    let pushed =
        emission.headers.iter().try_for_each(|(name, value)| headers.push(name.as_str(), value.as_str()));
    if let Err(error) = pushed {
        return Some(error.to_string());
    }
    let odd =
        |text: &String| text.is_empty() || text.len() > MAX_ID_BYTES || text.chars().any(char::is_control);
    if let Some(text) = emission.content_type.as_ref().filter(|text| odd(text)) {
        return Some(format!("{text:?} is not a content type"));
    }
    let id = emission.id.as_ref().filter(|id| EventId::parse(id.as_str()).is_none());
    id.map(|_| format!("an id has 1 to {MAX_ID_BYTES} bytes and no control characters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn emission(subject: &str) -> Emission {
        Emission {
            subject: subject.to_owned(),
            data: bytes::Bytes::new(),
            content_type: None,
            headers: vec![],
            id: None,
        }
    }

    #[test]
    fn what_the_router_would_not_store_fails_the_attempt() {
        let name = ChannelName::parse("upper").expect("valid");
        let mut config = saf_channel::Config::default();
        config.emit.subjects = vec![saf_event::Filter::parse("out.*").expect("valid")];
        let allowance = Some(Allowance { name: &name, config: &config });
        assert_eq!(refused(&[emission("out.a")], allowance), None);
        assert_eq!(refused(&[emission("else")], None), None, "without a configuration everything is allowed");
        let reserved = Emission { headers: vec![("Nats-X".to_owned(), String::new())], ..emission("out.a") };
        for (emission, part) in [
            (emission("else"), "emission 1: else is not allowed; add it to emit.subjects of upper"),
            (emission("out..a"), "empty token"),
            (reserved, "reserved"),
            (Emission { content_type: Some("a\n".to_owned()), ..emission("out.a") }, "content type"),
            (Emission { id: Some(String::new()), ..emission("out.a") }, "an id has"),
        ] {
            let why = refused(&[super::tests::emission("out.a"), emission], allowance).expect("refused");
            assert!(why.contains(part), "{why}");
        }
    }
}
