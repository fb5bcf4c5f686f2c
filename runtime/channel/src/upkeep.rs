//! What a Channel does beside its events: keeps what it holds alive, and looks at how far it is behind.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use saf_broker::{From, Lag, Settler, Shared};
use saf_event::{ChannelName, unix_millis};
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::build::Build;
use crate::held::Held;

/// How often the broker is asked how far a Channel is behind; JetStream answers from memory, but with 1,000 Channels the
/// questions add up.
const LAG_EVERY: Duration = Duration::from_secs(10);
/// A delivery is kept alive this many times in an ack wait, so that two lost signs of life do no harm.
const SIGNS_PER_ACK_WAIT: u32 = 4;

/// How far a Channel was behind at the last look.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Standing {
    /// In events.
    pub(crate) lag: Lag,
    /// The age of the oldest event that was not settled then.
    pub(crate) behind: Duration,
}

pub(crate) struct Upkeep {
    pub(crate) channel: ChannelName,
    pub(crate) broker: Shared,
    pub(crate) build: Arc<ArcSwap<Build>>,
    pub(crate) settler: Arc<dyn Settler>,
    pub(crate) held: Arc<Held>,
    pub(crate) standing: Arc<Mutex<Standing>>,
    pub(crate) ack_wait: Duration,
}

impl Upkeep {
    /// Runs until it is dropped.
    pub(crate) async fn run(self) {
        let mut tick = interval(self.ack_wait / SIGNS_PER_ACK_WAIT);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut looked: Option<Instant> = None;
        loop {
            tick.tick().await;
            self.keep_alive().await;
            if looked.is_none_or(|at| at.elapsed() >= LAG_EVERY) {
                looked = Some(Instant::now());
                self.look().await;
            }
        }
    }

    async fn keep_alive(&self) {
        let tickets = self.held.tickets();
        if !tickets.is_empty()
            && let Err(error) = self.settler.extend(&tickets).await
        {
            tracing::debug!(channel = %self.channel, %error, held = tickets.len(), "not kept alive this time");
        }
    }

    async fn look(&self) {
        let Ok(lag) = self.settler.lag().await else { return };
        let behind = self.behind(&lag).await;
        let mut standing = self.standing.lock().unwrap_or_else(PoisonError::into_inner);
        // Where the oldest event cannot be read, it is at least as old as it was.
        let now = Standing { lag, behind: behind.unwrap_or(standing.behind) };
        let before = std::mem::replace(&mut *standing, now);
        drop(standing);
        let expired = lag.expired.saturating_sub(before.lag.expired);
        if expired > 0 {
            tracing::warn!(
                channel = %self.channel, expired, "retention removed events before they were handled; give the stream more \
                 room or age, or the Channel more concurrency"
            );
        }
    }

    /// The age of the oldest event that is not settled; zero when all are. `None` when it is not to be had now.
    async fn behind(&self, lag: &Lag) -> Option<Duration> {
        if lag.pending == 0 && lag.unsettled == 0 {
            return Some(Duration::ZERO);
        }
        let build = self.build.load_full();
        let journal = self.broker.journal()?;
        let mut oldest: Option<u64> = None;
        for filter in &build.config.subjects {
            let from = From::Sequence(lag.floor + 1);
            let page = journal.read(&build.config.stream, from, filter, 1).await.ok()?;
            oldest = page.items.first().map(|event| event.time).into_iter().chain(oldest).min();
        }
        oldest.map(|time| Duration::from_millis(unix_millis().saturating_sub(time)))
    }
}
