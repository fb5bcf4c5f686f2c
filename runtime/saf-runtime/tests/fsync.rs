//! 202 means synced: one fdatasync of the event log precedes it, and when that fails nobody is told otherwise: the process ends with
//! the reason, and a restart reads everything that was answered before. A preloaded shim (`support/failing_sync.c`) counts
//! and fails the calls, because SIGKILL cannot test this: the page cache survives it.

#![cfg(target_os = "linux")]
#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::json;
use support::load::{Habit, SUBJECT, Storm, check_each_once, stored_ids};
use support::{On, Router, Stage};

const EVENTS: usize = 200;
/// Events of several clients before the disk fails.
const BEFORE: usize = 2_000;
/// sysexits(3): an input/output error.
const IO_ERROR: i32 = 74;

struct Shim {
    count: PathBuf,
    trigger: PathBuf,
}

impl Shim {
    /// Compiles it, and has routers of the stage preload it.
    fn install(mut stage: Stage) -> (Stage, Self) {
        let folder = stage.folder.path().to_path_buf();
        let library = folder.join("failing_sync.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/support/failing_sync.c");
        let mut compile = Command::new("cc");
        compile.args(["-shared", "-fPIC", "-O1", "-Wall", "-o"]).arg(&library).arg(source).arg("-ldl");
        let compiled = compile.status().expect("a C compiler named cc: install gcc or clang");
        assert!(compiled.success(), "the shim does not compile");
        let shim = Self { count: folder.join("syncs"), trigger: folder.join("disk-is-broken") };
        fs::write(&shim.count, 0_u64.to_ne_bytes()).expect("writable");
        for (name, path) in
            [("LD_PRELOAD", &library), ("SAF_SYNC_COUNT", &shim.count), ("SAF_SYNC_FAIL", &shim.trigger)]
        {
            stage = stage.env(name, &path.display().to_string());
        }
        (stage, shim)
    }

    fn syncs(&self) -> u64 {
        u64::from_ne_bytes(fs::read(&self.count).expect("there").try_into().expect("eight bytes"))
    }

    fn break_disk(&self) {
        fs::write(&self.trigger, "").expect("writable");
    }

    fn mend_disk(&self) {
        fs::remove_file(&self.trigger).expect("there");
    }
}

#[test]
fn one_sync_of_the_log_precedes_every_202() {
    let (stage, shim) = Shim::install(Stage::new(On::Embedded).channel("sink", "sink", &["other"], ""));
    let router = stage.start();
    for n in 0..EVENTS {
        let before = shim.syncs();
        assert_eq!(router.post(&json!({"subject": SUBJECT, "data": n})).status, 202);
        assert!(shim.syncs() > before, "event {n} was answered before it was synced");
    }
    let (syncs, with_the_segment) = (shim.syncs() as usize, EVENTS + 2);
    assert!(syncs <= with_the_segment, "{syncs} syncs for {EVENTS} events, one after the other");
    let batch: Vec<_> = (0..EVENTS).map(|n| json!({"subject": SUBJECT, "data": n})).collect();
    let before = shim.syncs();
    assert_eq!(router.post(&json!(batch)).status, 202);
    let syncs = shim.syncs() - before;
    assert!((1..=10).contains(&syncs), "{syncs} syncs for a batch of {EVENTS}");
}

#[test]
fn a_failed_sync_is_no_202_and_ends_the_process_and_a_restart_reads_all_that_was_answered() {
    let stage = Stage::new(On::Embedded).channel("echo", "echo", &[SUBJECT], "emit.subjects = [\"echo.>\"]");
    let (stage, shim) = Shim::install(stage);
    let mut router = stage.start();
    let storm = Storm::start(&router, usize::MAX, Habit::GoOn);
    storm.wait_stored(BEFORE);
    shim.break_disk();
    check_end(&mut router);
    storm.stop();
    let answers = storm.finish();
    let refused = answers.iter().filter(|answer| answer.status >= 500);
    assert!(refused.clone().all(|answer| answer.status == 503), "{:?}", refused.collect::<Vec<_>>());

    shim.mend_disk();
    let router = stage.start();
    check_each_once(&stage, &router, &answers);
    assert!(stored_ids(&router).len() >= BEFORE);
    assert_eq!(router.post(&json!({"subject": SUBJECT, "id": "last", "data": 0})).status, 202);
}

#[test]
fn a_disk_that_cannot_sync_at_start_is_said_at_once() {
    let (stage, shim) = Shim::install(Stage::new(On::Embedded).channel("echo", "sink", &[SUBJECT], ""));
    shim.break_disk();
    let (status, log) = stage.start_that_fails();
    assert_eq!(status.code(), Some(IO_ERROR), "{log}");
    assert!(log.contains("Input/output error"), "{log}");
}

fn check_end(router: &mut Router) {
    let status = router.wait();
    let log = router.log();
    assert_eq!(status.code(), Some(IO_ERROR), "{log}");
    let last = log.lines().last().unwrap_or_default();
    assert!(
        last.starts_with("saf-runtime: ") && last.contains("Input/output error"),
        "the last line says why: {last}"
    );
}
