//! W3C trace context, version 00: enough to pass a trace from a request through events into emissions without an exporter.
//! Deliberately absent: `tracestate` (passed on untouched as a header) and sampling decisions, which are `saf-telemetry`'s.

use std::fmt;

use bytestring::ByteString;

/// The header with an event's place in a trace.
pub const TRACEPARENT: &str = "traceparent";
/// In a dead letter's event that was handed over again, what was its `traceparent`: a replay begins a trace of its own.
pub const REPLAYED: &str = "replayed-traceparent";

/// Bytes of a version 00 header.
const HEADER_BYTES: usize = 55;
/// The flag that says that somebody records the trace.
const SAMPLED: u8 = 1;
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

    /// The same place, in a trace that is recorded.
    #[must_use]
    pub fn sampled(self) -> Self {
        Self { flags: self.flags | SAMPLED, ..self }
    }

    /// Whether somebody records the trace.
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }

    /// The same of a header, by a look at one byte: for every event, of which few are recorded. Also of one that is not valid.
    pub fn says_sampled(header: &str) -> bool {
        header.as_bytes().get(FLAGS_AT + 1).is_some_and(|digit| match digit {
            b'0'..=b'9' => digit & SAMPLED != 0,
            b'a'..=b'f' => digit & SAMPLED == 0,
            _ => false,
        })
    }

    /// The trace's id.
    pub fn trace(&self) -> u128 {
        self.trace_id
    }

    /// The span's id.
    pub fn span_id(&self) -> u64 {
        self.span_id
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

/// What no digit is worth.
const NO_DIGIT: u8 = 0xf0;

/// What each byte is worth as a digit: lower case only, as the specification wants it.
const DIGITS: [u8; 256] = {
    let mut worth = [NO_DIGIT; 256];
    let mut digit = 0;
    while digit < 16 {
        worth[b"0123456789abcdef"[digit] as usize] = digit as u8;
        digit += 1;
    }
    worth
};

/// At most 16 digits. Read for every emission, so without a branch a digit.
fn hex(digits: &[u8]) -> Option<u64> {
    let (mut value, mut seen) = (0, 0);
    for digit in digits {
        let worth = DIGITS[usize::from(*digit)];
        seen |= worth;
        value = value << 4 | u64::from(worth & !NO_DIGIT);
    }
    (seen & NO_DIGIT == 0).then_some(value)
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
    fn one_byte_says_whether_a_trace_is_recorded() {
        for (flags, sampled) in
            [("00", false), ("01", true), ("03", true), ("02", false), ("0a", false), ("0b", true)]
        {
            let header = VALID[..FLAGS_AT].to_owned() + flags;
            assert_eq!(TraceContext::says_sampled(&header), sampled, "{header}");
            assert_eq!(TraceContext::parse(&header).expect("valid").is_sampled(), sampled, "{header}");
        }
        assert!(!TraceContext::says_sampled("00"));
        assert!(!TraceContext::root().is_sampled() && TraceContext::root().sampled().is_sampled());
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
