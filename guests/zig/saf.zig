//! saf.h for Zig: the same records and functions, so that nothing need be translated at build time.

pub const Text = extern struct {
    at: ?[*]const u8 = null,
    size: usize = 0,

    pub fn of(text: []const u8) Text {
        return .{ .at = text.ptr, .size = text.len };
    }
};

pub const Header = extern struct { name: Text, value: Text };

pub const Event = extern struct {
    id: Text,
    subject: Text,
    time: u64,
    content_type: Text,
    headers: ?[*]const Header,
    header_count: usize,
    data: Text,
    sequence: u64,
    attempt: u32,
};

pub const Emission = extern struct {
    subject: Text,
    data: Text,
    content_type: Text = .{},
    headers: ?[*]const Header = null,
    header_count: usize = 0,
    id: Text = .{},
};

pub const Kind = enum(c_int) { done, retry, reject };

pub const Answer = extern struct {
    kind: Kind,
    emissions: ?[*]const Emission,
    emission_count: usize,
    reason: Text,
    after_millis: u32,
};

pub const join = saf_join;
pub const emit = saf_emit;
pub const done = saf_done;
pub const reject = saf_reject;
/// After zero milliseconds means: the next step of the Channel's backoff.
pub const retry = saf_retry;

extern fn saf_join(first: Text, second: Text) Text;
extern fn saf_emit(emission: Emission) Answer;
extern fn saf_done() Answer;
extern fn saf_reject(reason: Text) Answer;
extern fn saf_retry(reason: Text, after_millis: u32) Answer;
