//! W3C trace context, version 00: enough to pass a trace from a request through events into emissions without an exporter.
//! Deliberately absent: `tracestate` (passed on untouched as a header) and sampling decisions (the sender's flag is kept).

use std::fmt;

use uuid::Uuid;

/// One span's place in a trace: the `traceparent` header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TraceContext {
    trace_id: u128,
    span_id: u64,
    flags: u8,
}

impl TraceContext {
    /// Reads a `traceparent`; `None` when it is not a valid one, which the specification says to treat as absent.
    pub fn parse(header: &str) -> Option<Self> {
        let mut parts = header.split('-');
        let (version, trace, span, flags) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
        let well_formed = version.len() == 2
            && version != "ff"
            && (version != "00" || parts.next().is_none())
            && trace.len() == 32
            && span.len() == 16
            && flags.len() == 2
            && header.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b) || b == b'-');
        let context = Self {
            trace_id: u128::from_str_radix(trace, 16).ok()?,
            span_id: u64::from_str_radix(span, 16).ok()?,
            flags: u8::from_str_radix(flags, 16).ok()?,
        };
        (well_formed && context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// The start of a new trace, not sampled.
    pub fn root() -> Self {
        Self { trace_id: Uuid::now_v7().as_u128(), span_id: fresh_span_id(), flags: 0 }
    }

    /// A new span in the same trace.
    #[must_use]
    pub fn child(self) -> Self {
        Self { span_id: fresh_span_id(), ..self }
    }

    /// The trace's id in hexadecimal, as logs carry it.
    pub fn trace_id(&self) -> impl fmt::Display {
        struct Hex(u128);
        impl fmt::Display for Hex {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{:032x}", self.0)
            }
        }
        Hex(self.trace_id)
    }
}

/// The low half of a version 7 UUID is random but for two bits, which are the same in every span of every trace.
fn fresh_span_id() -> u64 {
    Uuid::now_v7().as_u128() as u64
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "00-{:032x}-{:016x}-{:02x}", self.trace_id, self.span_id, self.flags)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALID: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_trace_context_reads_what_it_wrote() {
        let context = TraceContext::parse(VALID).expect("valid");
        assert_eq!(context.to_string(), VALID);
        let child = context.child();
        assert_eq!(child.trace_id().to_string(), context.trace_id().to_string());
        assert_ne!(child, context);
        assert!(TraceContext::parse(&TraceContext::root().to_string()).is_some());
    }

    #[test]
    fn what_is_no_trace_context_counts_as_absent() {
        for text in [
            "",
            "00",
            "00-0-0-0",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "ff-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-extra",
            "00-+bf92f3577b34da6a3ce929d0e0e473-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
