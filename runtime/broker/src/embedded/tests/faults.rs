//! Failing disks: no answer is Ok after a failed write or sync, and it says so; a full disk refuses and recovers.

use std::fs::File;
use std::io;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use super::*;
use crate::{Health, PublishError};

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    None,
    /// Writing fails with this error number, after so many bytes.
    Write(i32, usize),
    /// Syncing does.
    Sync(i32),
}

const EIO: i32 = 5;
const ENOSPC: i32 = 28;

/// A disk that fails on demand.
struct Bad {
    fault: Mutex<Fault>,
    free: AtomicU64,
}

impl Bad {
    fn new() -> Arc<Self> {
        Arc::new(Self { fault: Mutex::new(Fault::None), free: AtomicU64::new(u64::MAX) })
    }

    fn set(&self, fault: Fault) {
        *self.fault.lock().expect("not poisoned") = fault;
    }

    fn fault(&self) -> Fault {
        *self.fault.lock().expect("not poisoned")
    }
}

impl Disk for Bad {
    fn write_at(&self, file: &File, bytes: &[u8], offset: u64) -> io::Result<()> {
        if let Fault::Write(number, after) = self.fault() {
            Real.write_at(file, &bytes[..after.min(bytes.len())], offset)?;
            return Err(io::Error::from_raw_os_error(number));
        }
        Real.write_at(file, bytes, offset)
    }

    fn sync(&self, file: &File) -> io::Result<()> {
        match self.fault() {
            Fault::Sync(number) => Err(io::Error::from_raw_os_error(number)),
            _ => Real.sync(file),
        }
    }

    fn free_bytes(&self, _: &Path) -> io::Result<u64> {
        Ok(self.free.load(Ordering::Relaxed))
    }
}

#[tokio::test]
async fn after_a_failed_write_or_sync_nothing_is_taken_and_the_reason_is_told() {
    for fault in [
        Fault::Write(EIO, 0),
        Fault::Write(EIO, 17),
        Fault::Write(ENOSPC, 17),
        Fault::Write(EIO, usize::MAX),
        Fault::Sync(EIO),
        Fault::Sync(ENOSPC),
    ] {
        let folder = tempfile::tempdir().expect("a temp folder");
        let disk = Bad::new();
        let worker = channel("worker", "a");
        let plan = plan(stream_config(), std::slice::from_ref(&worker));
        let broker = open_on(folder.path(), &plan, disk.clone()).await;
        publish_many(&broker, "a", 0..5).await;
        let mut worker_feed = feed(&broker, &worker).await;
        let deliveries = take(&mut worker_feed, 1).await;
        let mut health = broker.health();
        disk.set(fault);
        let failed = broker.publish(&events(), event("a", "lost?")).await;
        // The keeper may have met the fault first; then nothing was sent.
        let honest = matches!(failed, Err(PublishError::Unknown { .. } | PublishError::Unavailable { .. }));
        assert!(honest, "{fault:?}: {failed:?}");
        disk.set(Fault::None);
        let told = tokio::time::timeout(HANG, health.wait_for(|h| matches!(h, Health::Failed { .. }))).await;
        let Health::Failed { reason } = &*told.expect("no hang").expect("open") else { panic!("{fault:?}") };
        assert!(reason.contains("os error") && reason.contains("restart"), "{reason}");
        for result in broker.publish_all(&events(), &[event("a", "x"), event("a", "y")]).await {
            assert!(result.is_err(), "{fault:?}: {result:?}");
        }
        let settling = deliveries.into_iter().map(|d| d.into(Settlement::done(vec![emission("b", "e")])));
        assert_eq!(worker_feed.settler.settle(settling.collect()).await.len(), 1, "{fault:?}");
        let mut more = Vec::new();
        let filled =
            tokio::time::timeout(HANG, worker_feed.source.fill(1, &mut more)).await.expect("no hang");
        assert!(filled.is_err(), "{fault:?}");
        drop((more, worker_feed, broker));

        let broker = open(folder.path(), &plan).await;
        let stored = ids(&broker).await;
        assert_eq!(stored[..5], ["0", "1", "2", "3", "4"], "{fault:?}");
        assert!(stored.len() <= 6, "{fault:?}: {stored:?}");
        let repeated = publish(&broker, "a", "lost?").await;
        assert_eq!(repeated.duplicate, stored.len() == 6, "{fault:?}: repeating it stores it once");
    }
}

#[tokio::test]
async fn a_disk_with_less_room_than_a_segment_refuses_and_takes_again() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let disk = Bad::new();
    let broker = open_on(folder.path(), &plan(stream_config(), &[]), disk.clone()).await;
    publish(&broker, "a", "1").await;
    disk.free.store(100, Ordering::Relaxed);
    let becomes_full = async {
        let mut n = 0;
        loop {
            n += 1;
            match broker.publish(&events(), event("a", &format!("full-{n}"))).await {
                Err(PublishError::Full { limit }) => return limit,
                other => drop(other),
            }
        }
    };
    let limit = tokio::time::timeout(HANG, becomes_full).await.expect("asked again after a while");
    assert!(limit.contains("free on the disk"), "{limit}");
    disk.free.store(u64::MAX, Ordering::Relaxed);
    let takes_again = async { while broker.publish(&events(), event("a", "2")).await.is_err() {} };
    tokio::time::timeout(HANG, takes_again).await.expect("takes again");
    assert!(matches!(&*broker.health().borrow(), Health::Up));
}

#[tokio::test]
async fn damage_that_a_reader_meets_stops_that_reader_only() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let (early, late) = (channel("early", "a"), ChannelPlan { start: Start::New, ..channel("late", "a") });
    // Opening reads the duplicate window, so there must be something outside of it.
    let config = StreamConfig { duplicate_window: Span(Duration::ZERO), ..stream_config() };
    let first = plan(config.clone(), std::slice::from_ref(&early));
    let broker = open(folder.path(), &first).await;
    publish_many(&broker, "a", 0..200).await;
    broker.close(HANG).await;
    // The payload of an event in a sealed segment, which is not read on opening.
    let path = folder.path().join("streams/events/events/00000000000000000001.seg");
    let mut bytes = fs::read(&path).expect("reads");
    bytes[90] ^= 1;
    fs::write(&path, bytes).expect("writes");

    let both = plan(config, &[early.clone(), late.clone()]);
    let broker = open(folder.path(), &both).await;
    let mut early_feed = feed(&broker, &early).await;
    let mut none = Vec::new();
    let error = early_feed.source.fill(1, &mut none).await.expect_err("damaged").to_string();
    assert!(error.contains("00000000000000000001.seg is damaged at byte"), "{error}");
    assert!(matches!(&*broker.health().borrow(), Health::Down { .. }));
    publish(&broker, "a", "new").await;
    let mut late_feed = feed(&broker, &late).await;
    assert_eq!(take(&mut late_feed, 1).await[0].event.id.as_str(), "new");
}
