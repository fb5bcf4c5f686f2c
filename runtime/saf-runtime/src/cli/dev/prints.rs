//! What guests print, on its way from the log to the screen. A subscriber of the log may not wait, so lines go through a short queue; what does
//! not fit is counted.

use std::fmt::{Debug, Write as _};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::sync::mpsc;
use tracing::field::{Field, Visit};
use tracing::{Event, Metadata, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::layer::Context;
use tracing_subscriber::registry::LookupSpan;

/// The target of the log's lines that are a guest's.
const TARGET: &str = "guest";
/// Lines that wait for the screen.
const QUEUE_LINES: usize = 256;

/// A line that a guest printed or logged.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Printed {
    pub(super) channel: String,
    pub(super) text: String,
}

/// The screen's end.
pub(super) struct Prints {
    queue: mpsc::Receiver<Printed>,
    missed: Arc<AtomicU64>,
}

impl Prints {
    /// The screen's end, and the log's.
    pub(super) fn of<S>() -> (Self, impl Layer<S> + use<S>)
    where
        S: Subscriber + for<'a> LookupSpan<'a>,
    {
        let (sender, queue) = mpsc::channel(QUEUE_LINES);
        let missed = Arc::<AtomicU64>::default();
        let guests = |metadata: &Metadata<'_>| {
            metadata.target() == TARGET && *metadata.level() <= tracing::Level::INFO
        };
        let listener = Listener { sender, missed: missed.clone() }.with_filter(filter_fn(guests));
        (Self { queue, missed }, listener)
    }

    /// The next line; never, when the log has ended.
    pub(super) async fn next(&mut self) -> Printed {
        match self.queue.recv().await {
            Some(printed) => printed,
            None => std::future::pending().await,
        }
    }

    /// How many lines are there already.
    pub(super) fn waiting(&self) -> usize {
        self.queue.len()
    }

    /// How many lines did not fit since the last time.
    pub(super) fn missed(&self) -> u64 {
        self.missed.swap(0, Ordering::Relaxed)
    }
}

struct Listener {
    sender: mpsc::Sender<Printed>,
    missed: Arc<AtomicU64>,
}

impl<S: Subscriber> Layer<S> for Listener {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let mut printed = Printed::default();
        event.record(&mut printed);
        if self.sender.try_send(printed).is_err() {
            self.missed.fetch_add(1, Ordering::Relaxed);
        }
    }
}

impl Visit for Printed {
    fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
        let part = match field.name() {
            "channel" => &mut self.channel,
            "message" => &mut self.text,
            _ => return,
        };
        // Writing to a String cannot fail.
        let _ = write!(part, "{value:?}");
    }
}

#[cfg(test)]
mod tests {
    use tracing_subscriber::layer::SubscriberExt;

    use super::*;

    #[tokio::test]
    async fn only_lines_of_guests_come_and_the_rest_of_a_flood_is_counted() {
        let (mut prints, listener) = Prints::of();
        tracing::subscriber::with_default(tracing_subscriber::registry().with(listener), || {
            tracing::info!(channel = "upper", "the router's own");
            tracing::info!(target: "guest", channel = %"upper", stream = "stdout", "a line");
            tracing::debug!(target: "guest", channel = %"upper", "too fine");
            for n in 0..QUEUE_LINES + 4 {
                tracing::warn!(target: "guest", channel = %"upper", "{n}");
            }
        });
        assert_eq!(prints.next().await, Printed { channel: "upper".to_owned(), text: "a line".to_owned() });
        assert_eq!(prints.next().await.text, "0");
        assert_eq!((prints.missed(), prints.missed()), (5, 0));
    }
}
