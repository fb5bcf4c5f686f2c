//! What was measured on: the table's first lines.

use std::fs::{self, File};
use std::os::unix::fs::FileExt;
use std::process::Command;
use std::time::Instant;

use crate::bench::median;

/// Syncs that are timed.
const SYNCS: usize = 200;
const SYNC_BYTES: usize = 4 << 10;

pub(crate) struct Machine {
    cores: usize,
    model: String,
    memory_gib: f64,
    kernel: String,
    /// Median of a 4 KiB write and its fdatasync into a file that was written before.
    fdatasync_millis: f64,
    /// Runnable threads before the first row, 1-minute mean: other people's work spoils a run.
    load: String,
    versions: Vec<String>,
}

impl Machine {
    pub(crate) fn look() -> anyhow::Result<Self> {
        let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
        let cpu = read("/proc/cpuinfo");
        let model = cpu.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown");
        let memory = read("/proc/meminfo");
        let kib = memory.split_whitespace().nth(1).and_then(|kib| kib.parse::<f64>().ok()).unwrap_or(0.0);
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            model: model.trim_start_matches(['\t', ' ', ':']).to_owned(),
            memory_gib: kib / f64::from(1 << 20),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            fdatasync_millis: fdatasync_millis()?,
            load: read("/proc/loadavg").split(' ').next().unwrap_or("unknown").to_owned(),
            versions: versions(),
        })
    }

    /// Lines of Markdown.
    pub(crate) fn lines(&self) -> Vec<String> {
        vec![
            format!(
                "- {} cores ({}), {:.0} GiB, Linux {}",
                self.cores, self.model, self.memory_gib, self.kernel
            ),
            format!(
                "- 4 KiB write + fdatasync into a written file: {:.2} ms (median)",
                self.fdatasync_millis
            ),
            format!("- load average before the first row: {} (a quiet machine is below 1)", self.load),
            format!("- {}", self.versions.join(", ")),
        ]
    }
}

fn fdatasync_millis() -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let file = File::create(folder.path().join("sync"))?;
    let block = [7; SYNC_BYTES];
    for n in 0..SYNCS {
        file.write_all_at(&block, (n * SYNC_BYTES) as u64)?;
    }
    file.sync_all()?;
    let mut took = Vec::with_capacity(SYNCS);
    for n in 0..SYNCS {
        let began = Instant::now();
        file.write_all_at(&block, (n * SYNC_BYTES) as u64)?;
        file.sync_data()?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(took).unwrap_or(0.0))
}

fn versions() -> Vec<String> {
    let nats = std::env::var_os("NATS_SERVER").unwrap_or_else(|| "nats-server".into());
    let asked = [nats, "rustc".into()].map(|program| {
        let output = Command::new(program).arg("--version").output();
        output.map_or_else(
            |_| "unknown".to_owned(),
            |output| String::from_utf8_lossy(&output.stdout).trim().to_owned(),
        )
    });
    std::iter::once(format!("saf {}", env!("CARGO_PKG_VERSION"))).chain(asked).collect()
}
