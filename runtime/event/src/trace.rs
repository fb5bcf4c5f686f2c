//! W3C trace context, version 00: enough to pass a trace from a request through events into emissions without an exporter.
//! Deliberately absent: `tracestate` (passed on untouched as a header) and sampling decisions (the sender's flag is kept).

use std::fmt;

use bytestring::ByteString;

/// Bytes of a version 00 header.
const HEADER_BYTES: usize = 55;
/// Where the ids and the flags begin in it; a dash stands before each.
const TRACE_AT: usize = 3;
const SPAN_AT: usize = 36;
const FLAGS_AT: usize = 53;

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
        let bytes = header.as_bytes();
        let fixed: &[u8; HEADER_BYTES] = bytes.first_chunk()?;
        let version = hex(&fixed[..2])?;
        // A later version may append fields, behind another dash.
        let rest = &bytes[HEADER_BYTES..];
        let well_formed = match version {
            0 => rest.is_empty(),
            0xff => false,
            _ => rest.first().is_none_or(|byte| *byte == b'-'),
        };
        let dashes = [TRACE_AT, SPAN_AT, FLAGS_AT].iter().all(|at| fixed[at - 1] == b'-');
        let context = Self {
            trace_id: u128::from(hex(&fixed[TRACE_AT..TRACE_AT + 16])?) << 64
                | u128::from(hex(&fixed[TRACE_AT + 16..SPAN_AT - 1])?),
            span_id: hex(&fixed[SPAN_AT..FLAGS_AT - 1])?,
            flags: hex(&fixed[FLAGS_AT..])? as u8,
        };
        (well_formed && dashes && context.trace_id != 0 && context.span_id != 0).then_some(context)
    }

    /// The start of a new trace, not sampled.
    pub fn root() -> Self {
        Self { trace_id: fastrand::u128(1..), span_id: fresh_span_id(), flags: 0 }
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

    /// The header. Written for every event that is posted or emitted, so without the formatting machinery.
    pub fn header(&self) -> ByteString {
        let mut bytes = *b"00-00000000000000000000000000000000-0000000000000000-00";
        write_hex((self.trace_id >> 64) as u64, &mut bytes[TRACE_AT..TRACE_AT + 16]);
        write_hex(self.trace_id as u64, &mut bytes[TRACE_AT + 16..SPAN_AT - 1]);
        write_hex(self.span_id, &mut bytes[SPAN_AT..FLAGS_AT - 1]);
        write_hex(self.flags.into(), &mut bytes[FLAGS_AT..]);
        std::str::from_utf8(&bytes).map(ByteString::from).unwrap_or_default()
    }
}

/// Span ids only have to differ within a trace.
fn fresh_span_id() -> u64 {
    fastrand::u64(1..)
}

/// Lower case only, as the specification wants it. At most 16 digits.
fn hex(digits: &[u8]) -> Option<u64> {
    digits.iter().try_fold(0, |value, digit| {
        let digit = match digit {
            b'0'..=b'9' => digit - b'0',
            b'a'..=b'f' => digit - b'a' + 10,
            _ => return None,
        };
        Some(value << 4 | u64::from(digit))
    })
}

/// The lowest digits of a value, as many as there is room for.
fn write_hex(mut value: u64, digits: &mut [u8]) {
    for digit in digits.iter_mut().rev() {
        *digit = b"0123456789abcdef"[(value & 0xf) as usize];
        value >>= 4;
    }
}

impl fmt::Display for TraceContext {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.header())
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
        let later = VALID.replacen("00", "01", 1) + "-later";
        assert_eq!(TraceContext::parse(&later), Some(context), "a later version may say more");
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
            "00_4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01more",
        ] {
            assert_eq!(TraceContext::parse(text), None, "{text}");
        }
    }
}
