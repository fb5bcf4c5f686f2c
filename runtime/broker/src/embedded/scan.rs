//! One scan of a stream's backlog for all of its consumers that are behind: see `consumer/ride`. Each piece is read once, by whoever
//! has nothing to hand out, and what is in it goes to everybody whose cursor lies in it.

use std::sync::Arc;

use super::consumer::Consumer;
use super::fault::Fault;
use super::feed::blocking;
use super::log::{Hint, Log};
use super::roster::Router;

/// How many bytes of frames in memory are scanned at once.
const SCAN_BYTES: usize = 256 << 10;

/// See the file's head. Whoever holds it scans.
pub(crate) struct Scan {
    router: Router,
    hint: Option<Hint>,
    /// How many pieces were scanned.
    #[cfg(test)]
    pub(crate) pieces: usize,
}

impl Scan {
    pub(crate) fn new(router: Router) -> Self {
        Self {
            router,
            hint: None,
            #[cfg(test)]
            pieces: 0,
        }
    }

    /// Scans a piece for a consumer, unless something was found for it meanwhile. Cancel-safe: what was not told is scanned again.
    pub(crate) async fn advance(&mut self, log: &Arc<Log>, driver: &Arc<Consumer>) -> Result<(), Fault> {
        let Some((cursor, wanted)) = driver.scans_from(log) else { return Ok(()) };
        #[cfg(test)]
        {
            self.pieces += 1;
        }
        if let Some(frames) = log.newest(cursor, SCAN_BYTES) {
            self.router.share(&frames, cursor, driver);
            return Ok(());
        }
        let (reader, hint) = (log.clone(), self.hint);
        let chunk = blocking(move || reader.read(cursor, &wanted, hint)).await?;
        self.hint = chunk.hint;
        driver.pass_over(cursor, chunk.from);
        self.router.share(&chunk.frames, chunk.from, driver);
        Ok(())
    }
}
