//! Names the cause when a guest was stopped. Wasmtime's errors say what happened to the machine (`unreachable` executed); a person
//! wants to know why (the memory limit), so the meter is asked first. The only place that reads wasmtime's errors.

use wasmtime::{Store, Trap, WasmBacktrace};
use wasmtime_wasi::I32Exit;

use crate::config::Limits;
use crate::verdict::{Cause, Fault};
use crate::world::{Growth, Stop, World};

/// Longest message and longest backtrace, in bytes.
const MAX_MESSAGE_BYTES: usize = 1 << 10;
const MAX_BACKTRACE_BYTES: usize = 8 << 10;

/// Wasmtime's private error for an export result or a host call's arguments above the store's hostcall fuel; it is neither a
/// trap nor a public type. `tests/limits.rs` fails when the words change.
const TOO_MUCH_DATA: &str = "fuel allocated for hostcalls has been exhausted";

/// Longest reason of a guest that is kept, in bytes: it goes into dead letters and log lines.
pub(crate) const MAX_REASON_BYTES: usize = 4 << 10;

/// How a call of a guest failed.
#[derive(Debug)]
pub(crate) enum Failure {
    /// It was dropped at its deadline, while it ran or waited.
    Elapsed,
    /// It ended with an error.
    Error(wasmtime::Error),
}

impl From<wasmtime::Error> for Failure {
    fn from(error: wasmtime::Error) -> Self {
        Self::Error(error)
    }
}

/// Reads cause, message, backtrace and the end of stderr. The store is dead after this.
pub(crate) fn examine(failure: &Failure, store: &Store<World>, limits: &Limits) -> (Cause, Fault) {
    let world = store.data();
    let (cause, message, backtrace) = match failure {
        Failure::Elapsed => (Cause::Timeout, timeout(limits), None),
        Failure::Error(error) => {
            let (cause, message) = name(error, world.meter.refused(), limits);
            (cause, message, error.downcast_ref::<WasmBacktrace>().and_then(frames))
        }
    };
    let message = cut(message, MAX_MESSAGE_BYTES);
    (cause, Fault { message, backtrace, stderr: world.console.stderr_tail() })
}

fn name(error: &wasmtime::Error, refused: Option<Growth>, limits: &Limits) -> (Cause, String) {
    match error.downcast_ref::<Stop>() {
        Some(Stop::Deadline) => return (Cause::Timeout, timeout(limits)),
        Some(Stop::HostCalls) => {
            let text =
                format!("more than {} host calls; limits.host_calls allows no more", limits.host_calls);
            return (Cause::Fuel, text);
        }
        Some(Stop::Output) => {
            let (emissions, bytes) = (limits.emissions, limits.output);
            let text = format!(
                "more was published than limits.emissions ({emissions}) and limits.output ({bytes}) allow"
            );
            return (Cause::Output, text);
        }
        None => {}
    }
    if let Some(exit) = error.downcast_ref::<I32Exit>() {
        return (Cause::Trap, format!("the guest exited with status {}; a Channel returns instead", exit.0));
    }
    let trap = error.downcast_ref::<Trap>();
    if trap == Some(&Trap::OutOfFuel) {
        return (Cause::Fuel, format!("all fuel used; limits.fuel is {}", limits.fuel));
    }
    match refused {
        Some(Growth::Memory(bytes)) => {
            let text = format!(
                "{bytes} bytes more memory were refused, and the guest gave up; limits.memory is {}",
                limits.memory
            );
            return (Cause::Memory, text);
        }
        Some(Growth::Table(elements)) => {
            return (
                Cause::Memory,
                format!("{elements} table elements more were refused, and the guest gave up"),
            );
        }
        Some(Growth::Impossible) => {
            return (
                Cause::Memory,
                "more memory than there can be was refused, and the guest gave up".into(),
            );
        }
        None => {}
    }
    let root = error.root_cause().to_string();
    if root.contains(TOO_MUCH_DATA) {
        let text = format!("more data in one piece than limits.output allows ({})", limits.output);
        return (Cause::Output, text);
    }
    let message = match trap {
        Some(Trap::StackOverflow) => "stack overflow: the guest's calls are nested too deeply".into(),
        Some(Trap::UnreachableCodeReached) => {
            "the guest aborted (a panic or a failed assertion; see stderr)".into()
        }
        Some(trap) => format!("trap: {trap}"),
        None => root,
    };
    (Cause::Trap, message)
}

fn timeout(limits: &Limits) -> String {
    format!("not finished in time; limits.timeout is {}", limits.timeout)
}

/// Wasmtime prints the frames demangled, innermost first, under a heading of its own.
fn frames(backtrace: &WasmBacktrace) -> Option<String> {
    let text = backtrace.to_string();
    let (_heading, frames) = text.split_once('\n')?;
    Some(cut(frames.to_owned(), MAX_BACKTRACE_BYTES))
}

/// Cuts at a character.
pub(crate) fn cut(mut text: String, max_bytes: usize) -> String {
    if text.len() > max_bytes {
        text.truncate(text.floor_char_boundary(max_bytes));
        text.push('…');
    }
    text
}
