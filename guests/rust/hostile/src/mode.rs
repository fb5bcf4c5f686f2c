//! The ways to misbehave, each a few lines. What each does to the router stands in the README beside this crate.

use std::hint::black_box;
use std::time::SystemTime;

use serde::Deserialize;
use serde::de::IntoDeserializer;
use serde::de::value::{Error, StrDeserializer};

use crate::exports::saf::channel::handler::{Emission, Event, Failure};
use crate::saf::channel::types::Retry;

/// More than a processor's caches hold, less than a Channel's usual memory limit.
const BUFFER_BYTES: usize = 32 << 20;
/// Lies beyond the next cache line, and beyond what a prefetcher guesses.
const STRIDE_BYTES: usize = 4096 + 64;
const HUGE_OUTPUT_BYTES: usize = 16 << 20;
const EMISSIONS: usize = 10_000;
const LOG_LINES: usize = 10_000;
const BOMB_STEP_BYTES: usize = 1 << 20;
/// `retry-then-succeed` succeeds on this attempt.
const SUCCEEDS_ON_ATTEMPT: u32 = 3;

/// A way to misbehave.
#[derive(Clone, Copy, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub(crate) enum Mode {
    Ok,
    Trap,
    Spin,
    CacheMiss,
    MemoryFill,
    HostCalls,
    MemoryBomb,
    Recursion,
    HugeOutput,
    ManyEmissions,
    LogFlood,
    Reject,
    RetryThenSucceed,
    EmitOutside,
}

/// A mode and how much of it: bytes, emissions or lines; each mode has a default.
pub(crate) struct Request {
    pub(crate) mode: Mode,
    pub(crate) amount: Option<usize>,
}

impl Request {
    /// Reads `mode` or `mode amount`; the error says what the modes are.
    pub(crate) fn parse(data: &[u8]) -> Result<Self, String> {
        let text = str::from_utf8(data).map_err(|e| format!("the data is no text: {e}"))?;
        let mut words = text.split_whitespace();
        let mode: StrDeserializer<Error> = words.next().unwrap_or_default().into_deserializer();
        let mode = Mode::deserialize(mode).map_err(|e| e.to_string())?;
        let amount =
            words.next().map(str::parse).transpose().map_err(|e| format!("the amount is no number: {e}"))?;
        Ok(Self { mode, amount })
    }

    /// Does it. The modes that return at all return what `handle` does.
    pub(crate) fn perform(self, event: Event) -> Result<Vec<Emission>, Failure> {
        let amount = |default| self.amount.unwrap_or(default);
        match self.mode {
            Mode::Ok => Ok(vec![]),
            Mode::Trap => panic!("hostile was asked to trap"),
            Mode::Spin => spin(),
            Mode::CacheMiss => miss_caches(amount(BUFFER_BYTES)),
            Mode::MemoryFill => fill_memory(amount(BUFFER_BYTES)),
            Mode::HostCalls => call_the_host(),
            Mode::MemoryBomb => allocate_until_refused(),
            Mode::Recursion => Ok(vec![emission("hostile.recursion", descend(u64::MAX).to_string().into())]),
            Mode::HugeOutput => Ok(vec![emission("hostile.huge", vec![b'x'; amount(HUGE_OUTPUT_BYTES)])]),
            Mode::ManyEmissions => {
                Ok((0..amount(EMISSIONS)).map(|n| emission("hostile.many", n.to_string().into())).collect())
            }
            Mode::LogFlood => Ok(flood_the_log(amount(LOG_LINES))),
            Mode::Reject => Err(Failure::Reject("hostile was asked to reject".into())),
            Mode::RetryThenSucceed if event.attempt < SUCCEEDS_ON_ATTEMPT => Err(Failure::Retry(Retry {
                reason: format!("attempt {} fails", event.attempt),
                after_ms: None,
            })),
            Mode::RetryThenSucceed => Ok(vec![emission("hostile.succeeded", event.data)]),
            Mode::EmitOutside => Ok(vec![emission("forbidden.subject", event.data)]),
        }
    }
}

fn emission(subject: &str, data: Vec<u8>) -> Emission {
    Emission { subject: subject.into(), data, content_type: None, headers: vec![], id: None }
}

/// Never ends, and touches nothing.
pub(crate) fn spin() -> ! {
    let mut turns = 0_u64;
    loop {
        turns = black_box(turns.wrapping_add(1));
    }
}

/// Never ends; burns little fuel a nanosecond, since nearly every load waits for memory.
fn miss_caches(bytes: usize) -> ! {
    let mut buffer = vec![1_u8; bytes.max(1)];
    let mut at = 0;
    loop {
        buffer[at] = buffer[at].wrapping_add(1);
        at = (at + STRIDE_BYTES) % buffer.len();
        black_box(&buffer);
    }
}

/// Never ends; one instruction fills the whole buffer, so that there is no yield in between.
fn fill_memory(bytes: usize) -> ! {
    let mut buffer = vec![0_u8; bytes];
    let mut byte = 0_u8;
    loop {
        byte = byte.wrapping_add(1);
        buffer.fill(byte);
        black_box(&buffer);
    }
}

/// Never ends; spends its time in the host, where fuel does not count.
fn call_the_host() -> ! {
    loop {
        black_box(SystemTime::now());
    }
}

/// Touches every page it gets; ends in the allocator's abort.
fn allocate_until_refused() -> ! {
    let mut kept = Vec::new();
    loop {
        kept.push(black_box(vec![1_u8; BOMB_STEP_BYTES]));
    }
}

/// Overflows the stack: the addition afterwards keeps it from being a loop.
fn descend(depth: u64) -> u64 {
    if depth == 0 { 0 } else { black_box(descend(depth - 1)) + 1 }
}

fn flood_the_log(lines: usize) -> Vec<Emission> {
    for n in 0..lines {
        println!("{n:>8} {:-<100}", "a line that nobody needs ");
    }
    vec![]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_a_mode_and_perhaps_an_amount() {
        let cases =
            [("ok", Some(None)), (" huge-output\n", Some(None)), ("huge-output 100", Some(Some(100)))];
        let refused = [("", None), ("nonsense", None), ("ok much", None), ("ok -1", None)];
        for (data, expected) in cases.into_iter().chain(refused) {
            let amount = Request::parse(data.as_bytes()).ok().map(|request| request.amount);
            assert_eq!(amount, expected, "{data:?}");
        }
    }

    #[test]
    fn an_unknown_mode_is_told_the_known_ones() {
        let error = Request::parse(b"nonsense").err().expect("refused");
        assert!(error.contains("`nonsense`") && error.contains("`memory-bomb`"), "{error}");
    }
}
