//! What a process took, by Linux's /proc: CPU seconds, and the most memory it had.

use std::fs;
use std::time::Duration;

/// /proc counts in hundredths of a second on every Linux that Rust runs on (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// CPU time that a process used so far, user and kernel together.
pub(crate) fn cpu(pid: u32) -> Duration {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    Duration::from_secs_f64(ticks(&stat) / TICKS_PER_SECOND)
}

/// The 14th and 15th field; the second one is a name in brackets that may hold anything.
fn ticks(stat: &str) -> f64 {
    let fields = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
    fields.split(' ').skip(11).take(2).filter_map(|field| field.parse::<f64>().ok()).sum()
}

/// The most resident memory that a process had so far, in MiB.
pub(crate) fn peak_rss_mib(pid: u32) -> f64 {
    field_mib(pid, "VmHWM:")
}

/// The resident memory that a process has now, in MiB.
pub(crate) fn rss_mib(pid: u32) -> f64 {
    field_mib(pid, "VmRSS:")
}

fn field_mib(pid: u32, field: &str) -> f64 {
    const KIB_PER_MIB: f64 = 1024.0;
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|line| line.split_whitespace().next()).and_then(|kib| kib.parse::<f64>().ok());
    kib.unwrap_or(0.0) / KIB_PER_MIB
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_takes_memory_and_a_line_of_stat_is_read_past_its_name() {
        assert!(peak_rss_mib(std::process::id()) > 1.0);
        assert!(rss_mib(std::process::id()) > 1.0);
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20 0";
        assert!((ticks(stat) - 200.0).abs() < f64::EPSILON);
        assert!(ticks("").abs() < f64::EPSILON);
    }
}
