//! What the kernel says of this process, under the names that Prometheus' own libraries use. Read when somebody asks; where there is no
//! `/proc`, nothing is said.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use opentelemetry::metrics::Meter;
use rustix::process::{Resource, getrlimit};
use saf_telemetry::instruments as table;

/// Registers the instruments.
pub(super) fn observe(meter: &Meter) {
    table::PROCESS_CPU.counted_f64(meter, |observer| {
        if let Some(stat) = read() {
            observer.observe(stat.cpu_seconds, &[]);
        }
    });
    table::PROCESS_THREADS.gauged(meter, |observer| {
        if let Some(stat) = read() {
            observer.observe(stat.threads, &[]);
        }
    });
    table::PROCESS_RESIDENT_MEMORY.gauged(meter, |observer| {
        if let Some(stat) = read() {
            observer.observe(stat.resident_bytes, &[]);
        }
    });
    table::PROCESS_VIRTUAL_MEMORY.gauged(meter, |observer| {
        if let Some(stat) = read() {
            observer.observe(stat.virtual_bytes, &[]);
        }
    });
    table::PROCESS_OPEN_FDS.gauged(meter, |observer| {
        // The folder that is read is one of them.
        if let Ok(entries) = fs::read_dir("/proc/self/fd") {
            observer.observe(entries.count().saturating_sub(1) as u64, &[]);
        }
    });
    table::PROCESS_MAX_FDS.gauged(meter, |observer| {
        if let Some(max) = getrlimit(Resource::Nofile).current {
            observer.observe(max, &[]);
        }
    });
    let started = read().and_then(|stat| started(&stat));
    table::PROCESS_START_TIME.gauged_f64(meter, move |observer| {
        if let Some(at) = started {
            observer.observe(at, &[]);
        }
    });
}

/// `/proc/self/stat`.
#[derive(Debug, PartialEq)]
struct Stat {
    cpu_seconds: f64,
    threads: u64,
    /// Since the machine started.
    started_seconds: f64,
    virtual_bytes: u64,
    resident_bytes: u64,
}

fn read() -> Option<Stat> {
    let ticks = rustix::param::clock_ticks_per_second() as f64;
    parse(&fs::read_to_string("/proc/self/stat").ok()?, ticks, rustix::param::page_size() as u64)
}

/// The fields behind the name, which may hold anything: proc(5) counts the state as field 3.
fn parse(stat: &str, ticks: f64, page_bytes: u64) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
    let field = |n: usize| fields.get(n - 3)?.parse::<u64>().ok();
    Some(Stat {
        cpu_seconds: (field(14)? + field(15)?) as f64 / ticks,
        threads: field(20)?,
        started_seconds: field(22)? as f64 / ticks,
        virtual_bytes: field(23)?,
        resident_bytes: field(24)? * page_bytes,
    })
}

/// Since the Unix epoch.
fn started(stat: &Stat) -> Option<f64> {
    let uptime = fs::read_to_string("/proc/uptime").ok()?;
    let uptime: f64 = uptime.split(' ').next()?.parse().ok()?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs_f64();
    Some(now - uptime + stat.started_seconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_line_is_read_behind_a_name_that_may_hold_anything() {
        let line = "7 (a) b (c) R 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 1000 4096000 25 18446744073709551615";
        let stat = parse(line, 100.0, 4096).expect("a line");
        let expected = Stat {
            cpu_seconds: 2.0,
            threads: 9,
            started_seconds: 10.0,
            virtual_bytes: 4_096_000,
            resident_bytes: 25 * 4096,
        };
        assert_eq!(stat, expected);
        assert_eq!(parse("nonsense", 100.0, 4096), None);
    }

    #[test]
    fn this_process_has_memory_threads_and_began_before_now() {
        let Some(stat) = read() else { return };
        assert!(stat.resident_bytes > 1 << 20 && stat.threads >= 1, "{stat:?}");
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after it").as_secs_f64();
        let age = now - started(&stat).expect("known");
        assert!((-1.0..86_400.0).contains(&age), "{age}");
    }
}
