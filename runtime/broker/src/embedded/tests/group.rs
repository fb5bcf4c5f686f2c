//! Group commit: nobody is told before the sync, nobody reads what is not durable, and what waits goes together.

use std::fs::File;
use std::io;
use std::sync::{Condvar, Mutex};

use futures::FutureExt;

use super::*;

/// A disk whose syncs of segments wait at a gate, and are counted.
#[derive(Default)]
struct Gated {
    gate: Mutex<Gate>,
    moved: Condvar,
}

#[derive(Default)]
struct Gate {
    shut: bool,
    waiting: usize,
    syncs: usize,
}

impl Gated {
    fn set(&self, shut: bool) {
        self.gate.lock().expect("not poisoned").shut = shut;
        self.moved.notify_all();
    }

    fn syncs(&self) -> usize {
        self.gate.lock().expect("not poisoned").syncs
    }

    /// Until the writer stands at the gate.
    fn await_sync(&self) {
        let gate = self.gate.lock().expect("not poisoned");
        let (_gate, timeout) =
            self.moved.wait_timeout_while(gate, HANG, |gate| gate.waiting == 0).expect("not poisoned");
        assert!(!timeout.timed_out(), "nobody syncs");
    }
}

impl Disk for Gated {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        Real.write_at(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        // The state's file grows; segments have their size from the beginning.
        if file.metadata()?.len() == TINY.segment_bytes_max {
            let mut gate = self.gate.lock().expect("not poisoned");
            gate.waiting += 1;
            gate.syncs += 1;
            self.moved.notify_all();
            gate = self.moved.wait_while(gate, |gate| gate.shut).expect("not poisoned");
            gate.waiting -= 1;
        }
        Real.sync(file)
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

#[tokio::test]
async fn nobody_is_told_or_reads_before_the_sync_and_what_waits_goes_together() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let disk = Arc::new(Gated::default());
    let worker = channel("worker", "a");
    let broker =
        open_on(folder.path(), &plan(stream_config(), std::slice::from_ref(&worker)), disk.clone()).await;
    publish(&broker, "a", "first").await;
    let mut worker_feed = feed(&broker, &worker).await;
    assert_eq!(take(&mut worker_feed, 1).await.len(), 1);

    disk.set(true);
    let stream = events();
    let mut one = broker.publish(&stream, event("a", "one"));
    assert!((&mut one).now_or_never().is_none());
    disk.await_sync();
    let before = disk.syncs();
    let mut others: Vec<_> =
        (0..30).map(|n| broker.publish(&stream, event("a", &(n % 15).to_string()))).collect();
    for publishing in others.iter_mut().chain([&mut one]) {
        assert!(publishing.now_or_never().is_none(), "told before the sync");
    }
    let mut seen = Vec::new();
    let reading = tokio::time::timeout(PATIENCE, worker_feed.source.fill(10, &mut seen)).await;
    assert!(reading.is_ok_and(|r| r.is_ok()) && seen.len() == 1, "only the first, which was given back");
    assert!(broker.get(&stream, 2).await.is_err(), "not durable, not there");

    disk.set(false);
    assert_eq!(one.await.expect("stored"), Receipt { sequence: 2, duplicate: false });
    for (n, publishing) in others.into_iter().enumerate() {
        let receipt = publishing.await.expect("stored");
        assert_eq!(receipt, Receipt { sequence: 3 + n as u64 % 15, duplicate: n >= 15 });
    }
    assert_eq!(disk.syncs() - before, 1, "thirty publishers, one sync");
}

#[tokio::test]
async fn a_publisher_who_hangs_up_has_stored_his_event() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let disk = Arc::new(Gated::default());
    let broker = open_on(folder.path(), &plan(stream_config(), &[]), disk.clone()).await;
    publish(&broker, "a", "first").await;
    disk.set(true);
    let stream = events();
    assert!(broker.publish(&stream, event("a", "hung up")).now_or_never().is_none());
    disk.await_sync();
    disk.set(false);
    publish(&broker, "a", "last").await;
    assert_eq!(ids(&broker).await, ["first", "hung up", "last"]);
}

#[tokio::test]
async fn what_is_stored_together_may_be_larger_than_a_young_logs_segment() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let worker = channel("worker", "a");
    let config = StreamConfig::default();
    let plan = plan(config, std::slice::from_ref(&worker));
    let broker = Embedded::open(folder.path()).expect("opens");
    broker.prepare(&plan).await.expect("prepares");
    publish(&broker, "a", "small").await;
    let mut worker_feed = feed(&broker, &worker).await;
    let deliveries = take(&mut worker_feed, 1).await;
    let large = |n: usize| NewEvent { data: vec![7; 1 << 19].into(), ..emission("b", &format!("large-{n}")) };
    settle(&worker_feed, deliveries, |_| Settlement::done((0..20).map(large).collect())).await;
    assert_eq!(ids(&broker).await.len(), 21);
    let segments =
        super::super::log::segment_paths(&folder.path().join("streams/events/events")).expect("reads");
    let sizes: Vec<_> =
        segments.iter().map(|(_, path)| fs::metadata(path).expect("there").len() >> 20).collect();
    assert_eq!(sizes, [4, 16], "MiB");
}
