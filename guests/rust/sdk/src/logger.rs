//! The `log` crate's macros, as lines that the router reads: stdout's are logged at `info`, stderr's at `warn`. A level that is
//! neither stands in front of its line.

use std::io::Write;

use log::{Level, LevelFilter, Log, Metadata, Record};

struct Lines;

/// Makes the macros write; `debug!` and `trace!` only after a `log::set_max_level` of the Channel's own.
#[cfg_attr(not(target_arch = "wasm32"), allow(dead_code, reason = "tests have loggers of their own"))]
pub(crate) fn install() {
    // A second time is an instance's second init, which there is none of; the first logger stays.
    if log::set_logger(&Lines).is_ok() {
        log::set_max_level(LevelFilter::Info);
    }
}

impl Log for Lines {
    fn enabled(&self, _metadata: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        let line = line(record);
        // A line that cannot be written is lost: there is nowhere to say so.
        let _ = match record.level() {
            Level::Error | Level::Warn => std::io::stderr().write_all(line.as_bytes()),
            Level::Info | Level::Debug | Level::Trace => std::io::stdout().write_all(line.as_bytes()),
        };
    }

    fn flush(&self) {}
}

fn line(record: &Record<'_>) -> String {
    match record.level() {
        Level::Info | Level::Warn => format!("{}\n", record.args()),
        level @ (Level::Error | Level::Debug | Level::Trace) => format!("{level} {}\n", record.args()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_that_its_stream_does_not_say_stands_in_front() {
        for (level, expected) in [
            (Level::Info, "hi 1\n"),
            (Level::Warn, "hi 1\n"),
            (Level::Error, "ERROR hi 1\n"),
            (Level::Debug, "DEBUG hi 1\n"),
        ] {
            assert_eq!(
                line(&Record::builder().level(level).args(format_args!("hi {}", 1)).build()),
                expected
            );
        }
    }
}
