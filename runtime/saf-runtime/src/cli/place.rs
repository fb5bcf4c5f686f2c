//! Where in the author's own sources a guest stopped, read from its backtrace: for [`super::stopped`].

/// In the path of a frame's source: no code of the author's.
const LIBRARIES: [&str; 10] = [
    "/rustc/",
    "/.cargo/",
    "library/std",
    "library/core",
    "library/alloc",
    "wasi-libc",
    "wasisdk://",
    // Zig's, and the SDK's own frames in C.
    "ziglang/lib/",
    "/saf.c:",
    "<unknown>",
];

/// The innermost frame that is no library's, as `file:line:column`.
pub(crate) fn authors(backtrace: &str) -> Option<&str> {
    let mut places = backtrace.lines().map(str::trim).filter_map(|line| {
        line.strip_prefix("at ").or_else(|| line.rsplit_once(" at ").map(|(_, place)| place))
    });
    places.find(|place| !LIBRARIES.iter().any(|library| place.contains(library)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_is_the_authors_own() {
        let cases = [
            (
                "    0:   0x1234 - std::panicking::begin\n                    at /rustc/abc/library/std/src/panicking.rs:5:1\n    \
                 1:   0x5678 - upper::handle\n                    at src/lib.rs:14:31\n",
                Some("src/lib.rs:14:31"),
            ),
            (
                "    0:  0x1 - abort\n          at wasisdk://v30/abort.c:5:3\n    1: 0x2 - handle at main.c:12:3",
                Some("main.c:12:3"),
            ),
            ("    0:  0x1 - <unknown>!start", None),
        ];
        for (backtrace, place) in cases {
            assert_eq!(authors(backtrace), place, "{backtrace}");
        }
    }
}
