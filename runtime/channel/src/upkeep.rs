//! What a Channel does beside its events: keeps what it holds alive, and looks at how far it is behind.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use saf_broker::{Lag, Settler};
use saf_event::ChannelName;
use tokio::time::{Instant, MissedTickBehavior, interval};

use crate::held::Held;

/// How often the broker is asked how far a Channel is behind; JetStream answers from memory, but with 1,000 Channels the
/// questions add up.
const LAG_EVERY: Duration = Duration::from_secs(10);
/// A delivery is kept alive this many times in an ack wait, so that two lost signs of life do no harm.
const SIGNS_PER_ACK_WAIT: u32 = 4;

pub(crate) struct Upkeep {
    pub(crate) channel: ChannelName,
    pub(crate) settler: Arc<dyn Settler>,
    pub(crate) held: Arc<Held>,
    pub(crate) lag: Arc<Mutex<Lag>>,
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
        let Ok(now) = self.settler.lag().await else { return };
        let before = std::mem::replace(&mut *self.lag.lock().unwrap_or_else(PoisonError::into_inner), now);
        let expired = now.expired.saturating_sub(before.expired);
        if expired > 0 {
            tracing::warn!(
                channel = %self.channel, expired, "retention removed events before they were handled; give the stream more \
                 room or age, or the Channel more concurrency"
            );
        }
    }
}
