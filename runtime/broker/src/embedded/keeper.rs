//! The store's housekeeping thread: consumers' snapshots every [`SAVE_EVERY`], their sync and a look at retention every
//! [`SYNC_EVERY`], and after a failure the waking of everybody who waits. What a crash costs between two rounds is repeated
//! calls, never an event.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use super::fault::Fault;
use super::scout;
use super::stream::Stream;
use super::vitals::Vitals;

const SAVE_EVERY: Duration = Duration::from_millis(100);
const SYNC_EVERY: Duration = Duration::from_secs(1);

/// The thread; ends when this is dropped.
pub(crate) struct Keeper {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Keeper {
    /// `streams` gives those that are open now.
    pub(crate) fn start(
        vitals: Vitals,
        streams: impl Fn() -> Vec<Arc<Stream>> + Send + 'static,
    ) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let work = move || {
            let mut synced = Instant::now();
            while !stopped.load(Ordering::Acquire) {
                std::thread::park_timeout(SAVE_EVERY);
                let streams = streams();
                let due = synced.elapsed() >= SYNC_EVERY;
                if due {
                    synced = Instant::now();
                }
                for stream in &streams {
                    if vitals.has_failed() {
                        stream.refuse();
                    } else if let Err(fault) = round(stream, due) {
                        vitals.fail(&fault);
                    }
                }
            }
        };
        let thread = std::thread::Builder::new().name("saf-keeper".into()).spawn(work)?;
        Ok(Self { stop, thread: Some(thread) })
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Release);
        if let Some(thread) = self.thread.take() {
            thread.thread().unpark();
            thread.join().ok();
        }
    }
}

/// What cannot be read is told, and stops nobody else.
fn look_ahead(stream: &Stream) {
    let consumers = stream.roster.all();
    if let Err(fault) = scout::look_ahead(&stream.log, consumers.iter().map(|c| &**c)) {
        stream.vitals.damaged(&fault);
    }
}

fn round(stream: &Stream, sync_is_due: bool) -> Result<(), Fault> {
    stream.save()?;
    if sync_is_due {
        stream.sync()?;
        look_ahead(stream);
        stream.queue.nudge();
        stream.dead.queue.nudge();
    }
    Ok(())
}
