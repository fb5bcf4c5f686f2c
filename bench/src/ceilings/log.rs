//! The disk: group commit into a file that was written before (so that a sync writes no metadata), and reading it back in
//! order. Frames with a checksum, one `pwrite` and one `fdatasync` a group; no keys, no index, no readers.

use std::fs::File;
use std::mem;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use anyhow::Context;
use bytes::Bytes;
use futures::future::join_all;
use tokio::runtime::Builder;
use tokio::sync::oneshot;

use crate::bench::{Bench, Figure, Unit};
use crate::payload::{self, Size};

/// The file; groups begin again at its start when it is full.
const FILE_BYTES: u64 = 64 << 20;
/// Checksum, length of the body.
const HEAD_BYTES: usize = 8;
/// Bytes of one read.
const READ_BYTES: usize = 1 << 20;

/// Events a second of so many producers, each of which waits for its answer; beside it the records a sync.
pub(crate) fn append(bench: &Bench, size: Size, producers: usize) -> anyhow::Result<Figure> {
    let folder = tempfile::tempdir()?;
    let queue = Arc::new(Queue::default());
    let mut log = Log::create(&folder)?;
    let writer = thread::spawn({
        let queue = queue.clone();
        move || queue.write(&mut log).map(|()| log.syncs)
    });
    let end = End { queue: queue.clone(), writer: writer.thread().clone() };
    let runtime = Builder::new_multi_thread().enable_time().build()?;
    let (began, time) = (Instant::now(), bench.scale.load);
    let tasks: Vec<_> = (0..producers as u64)
        .map(|n| {
            let record = Bytes::from(payload::json(n, size));
            runtime.spawn(produce(queue.clone(), writer.thread().clone(), record, time))
        })
        .collect();
    let mut events = 0;
    for count in runtime.block_on(join_all(tasks)) {
        events += count.context("a producer panicked")?;
    }
    let rate = events as f64 / began.elapsed().as_secs_f64();
    drop(end);
    let syncs = writer.join().map_err(|_| anyhow::anyhow!("the writer panicked"))??;
    let batch = events as f64 / syncs.max(1) as f64;
    Ok(Figure::new(rate).note(format!("{batch:.0} a sync")).beside("batch", Unit::Records, batch))
}

/// Events a second in groups of a given number of records, one after another.
pub(crate) fn append_groups(bench: &Bench, size: Size, records: usize) -> anyhow::Result<f64> {
    let folder = tempfile::tempdir()?;
    let mut log = Log::create(&folder)?;
    let group: Vec<_> = (0..records as u64).map(|n| Bytes::from(payload::json(n, size))).collect();
    let (began, mut events) = (Instant::now(), 0);
    while began.elapsed() < bench.scale.load {
        log.append(group.iter())?;
        events += records;
    }
    Ok(events as f64 / began.elapsed().as_secs_f64())
}

/// Events a second, checksums checked, from the page cache: what was written a moment ago is there.
pub(crate) fn read(bench: &Bench, size: Size) -> anyhow::Result<Figure> {
    let folder = tempfile::tempdir()?;
    let mut log = Log::create(&folder)?;
    let group: Vec<_> = (0..256).map(|n| Bytes::from(payload::json(n, size))).collect();
    while log.at + (group.len() * (size.bytes() + 4) + HEAD_BYTES) as u64 <= FILE_BYTES {
        log.append(group.iter())?;
    }
    let (began, mut events) = (Instant::now(), 0);
    while began.elapsed() < bench.scale.load {
        events += log.count(log.at)?;
    }
    Ok(Figure::new(events as f64 / began.elapsed().as_secs_f64()))
}

async fn produce(queue: Arc<Queue>, writer: Thread, record: Bytes, time: Duration) -> u64 {
    let (began, mut count) = (Instant::now(), 0);
    while began.elapsed() < time {
        let (answer, answered) = oneshot::channel();
        queue.push(Item { record: record.clone(), answer });
        writer.unpark();
        if answered.await.is_err() {
            break;
        }
        count += 1;
    }
    count
}

struct Item {
    record: Bytes,
    answer: oneshot::Sender<()>,
}

/// At most an item a producer, because each waits for its answer.
#[derive(Default)]
struct Queue {
    items: Mutex<Vec<Item>>,
    closed: AtomicBool,
}

impl Queue {
    fn push(&self, item: Item) {
        self.items.lock().unwrap_or_else(PoisonError::into_inner).push(item);
    }

    /// Takes what waits, never waits for more.
    fn write(&self, log: &mut Log) -> anyhow::Result<()> {
        loop {
            let items = mem::take(&mut *self.items.lock().unwrap_or_else(PoisonError::into_inner));
            if items.is_empty() {
                if self.closed.load(Ordering::Acquire) {
                    return Ok(());
                }
                thread::park();
                continue;
            }
            log.append(items.iter().map(|item| &item.record))?;
            for item in items {
                // A producer that is gone needs no answer.
                let _ = item.answer.send(());
            }
        }
    }
}

/// Ends the writer, also when a producer failed.
struct End {
    queue: Arc<Queue>,
    writer: Thread,
}

impl Drop for End {
    fn drop(&mut self) {
        self.queue.closed.store(true, Ordering::Release);
        self.writer.unpark();
    }
}

struct Log {
    file: File,
    at: u64,
    syncs: u64,
    frame: Vec<u8>,
}

impl Log {
    fn create(folder: &tempfile::TempDir) -> anyhow::Result<Self> {
        let path = folder.path().join("log");
        let file = File::options().read(true).write(true).create(true).truncate(true).open(path)?;
        let zeros = vec![0; READ_BYTES];
        for n in 0..FILE_BYTES / READ_BYTES as u64 {
            file.write_all_at(&zeros, n * READ_BYTES as u64)?;
        }
        file.sync_all()?;
        Ok(Self { file, at: 0, syncs: 0, frame: Vec::new() })
    }

    fn append<'r>(&mut self, records: impl Iterator<Item = &'r Bytes>) -> anyhow::Result<()> {
        self.frame.clear();
        self.frame.resize(HEAD_BYTES, 0);
        for record in records {
            self.frame.extend_from_slice(&(record.len() as u32).to_le_bytes());
            self.frame.extend_from_slice(record);
        }
        let body = self.frame.len() - HEAD_BYTES;
        let sum = crc32c::crc32c(&self.frame[HEAD_BYTES..]);
        self.frame[..4].copy_from_slice(&sum.to_le_bytes());
        self.frame[4..HEAD_BYTES].copy_from_slice(&(body as u32).to_le_bytes());
        if self.at + self.frame.len() as u64 > FILE_BYTES {
            self.at = 0;
        }
        self.file.write_all_at(&self.frame, self.at)?;
        self.file.sync_data()?;
        self.at += self.frame.len() as u64;
        self.syncs += 1;
        Ok(())
    }

    /// The records in the frames up to `end`.
    fn count(&self, end: u64) -> anyhow::Result<u64> {
        let (mut buffer, mut at, mut records) = (vec![0; READ_BYTES], 0, 0);
        while at < end {
            let wanted = READ_BYTES.min((end - at) as usize);
            self.file.read_exact_at(&mut buffer[..wanted], at)?;
            let (read, found) = frames(&buffer[..wanted])?;
            anyhow::ensure!(read > 0, "a frame is longer than a read");
            at += read as u64;
            records += found;
        }
        Ok(records)
    }
}

/// Bytes and records of the whole frames at the start.
fn frames(bytes: &[u8]) -> anyhow::Result<(usize, u64)> {
    let (mut at, mut records) = (0, 0);
    while let Some(head) = bytes.get(at..at + HEAD_BYTES) {
        let sum = u32::from_le_bytes([head[0], head[1], head[2], head[3]]);
        let length = u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize;
        let Some(mut body) = bytes.get(at + HEAD_BYTES..at + HEAD_BYTES + length) else { break };
        anyhow::ensure!(crc32c::crc32c(body) == sum, "a frame is damaged");
        while let Some((length, rest)) = body.split_first_chunk::<4>() {
            body = rest.get(u32::from_le_bytes(*length) as usize..).context("a record is cut")?;
            records += 1;
        }
        at += HEAD_BYTES + length;
    }
    Ok((at, records))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_appended_is_read_back_and_damage_is_seen() {
        let folder = tempfile::tempdir().expect("a folder");
        let mut log = Log::create(&folder).expect("a log");
        let records = [Bytes::from_static(b"one"), Bytes::new(), Bytes::from_static(b"three")];
        log.append(records.iter()).expect("appended");
        log.append(records[..1].iter()).expect("appended");
        assert_eq!((log.count(log.at).expect("read"), log.syncs), (4, 2));
        log.file.write_all_at(b"X", HEAD_BYTES as u64 + 4).expect("written");
        assert!(log.count(log.at).is_err());
    }
}
