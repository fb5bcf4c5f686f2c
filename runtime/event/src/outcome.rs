//! What became of an attempt: one enum for metric labels, span attributes, dead-letter reasons, the CLI and the API.

use std::fmt;

/// What became of one call of a guest with one event.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, Hash, serde::Serialize, serde::Deserialize, schemars::JsonSchema,
)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// The guest returned its emissions.
    Done,
    /// The guest asked for another attempt.
    Retry,
    /// The guest said that it can never handle the event.
    Reject,
    /// The guest trapped: a panic, an uncaught exception, an abort.
    Trap,
    /// The guest used up its fuel.
    Fuel,
    /// The guest ran into its wall-clock limit.
    Timeout,
    /// The guest wanted more memory than it may have.
    Memory,
    /// The guest emitted too much, or where it may not.
    Output,
    /// Retention removed the event before a guest could handle it, or it never finished.
    Expired,
}

impl Outcome {
    /// Every outcome, in the order that tables show them.
    pub const ALL: [Self; 9] = [
        Self::Done,
        Self::Retry,
        Self::Reject,
        Self::Trap,
        Self::Fuel,
        Self::Timeout,
        Self::Memory,
        Self::Output,
        Self::Expired,
    ];

    /// The word used everywhere.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Done => "done",
            Self::Retry => "retry",
            Self::Reject => "reject",
            Self::Trap => "trap",
            Self::Fuel => "fuel",
            Self::Timeout => "timeout",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Expired => "expired",
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
