//! Every attempt of every Channel as a line, as long as a person can read them; then how many there were.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::stream::{BoxStream, SelectAll, unfold};
use futures::{FutureExt, StreamExt};
use saf_channel::{Channel, Observed, State, Status};
use saf_event::{ChannelName, Outcome};
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::lines;
use super::prints::{Printed, Prints};
use super::screen::Screen;
use crate::app::Fleet;
use crate::cli::paint::Tone;
use crate::cli::text::{grouped, printable};
use crate::exit::Failure;

/// More are counted.
const MAX_LINES_PER_SECOND: usize = 20;

/// What is seen of a Channel.
enum Seen {
    Attempt(Box<Observed>),
    /// So many attempts were not seen: they came too fast.
    Missed(ChannelName, u64),
    State(ChannelName, Status),
}

/// Shows what Channels do, those that come later too. Ends only when nobody reads.
pub(super) async fn show(fleet: &Fleet, prints: &mut Prints, screen: &Screen) -> Failure {
    let mut channels = fleet.channels();
    channels.mark_changed();
    let mut followed: Vec<Weak<Channel>> = Vec::new();
    let mut all = SelectAll::new();
    let mut second = interval(Duration::from_secs(1));
    second.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut rest = Rest::default();
    loop {
        let shown = tokio::select! {
            biased;
            // Its sender is the fleet's.
            _ = channels.changed() => {
                let now = channels.borrow_and_update().clone();
                followed.retain(|channel| channel.strong_count() > 0);
                for channel in now {
                    if !followed.iter().any(|known| known.ptr_eq(&Arc::downgrade(&channel))) {
                        followed.push(Arc::downgrade(&channel));
                        all.push(attempts_of(&channel));
                        all.push(states_of(&channel));
                    }
                }
                Ok(())
            }
            _ = second.tick() => {
                rest.printed += prints.missed();
                rest.tell(screen)
            }
            printed = prints.next() => show_printed(&printed, &mut rest, screen),
            Some(seen) = all.next() => {
                // A guest prints before its attempt is over: what it printed stands above. No more than is there: it may go on.
                for _ in 0..prints.waiting() {
                    if let Err(failure) = show_printed(&prints.next().await, &mut rest, screen) {
                        return failure;
                    }
                }
                match seen {
                    Seen::Attempt(attempt) if rest.has_room() => {
                        let channels = channels.borrow().clone();
                        let channel = channels.iter().find(|channel| *channel.name() == attempt.channel);
                        show_attempt(&attempt, channel.map(|channel| channel.config().max_attempts), screen)
                    }
                    Seen::Attempt(attempt) => {
                        rest.count(&attempt);
                        Ok(())
                    }
                    Seen::Missed(channel, missed) => {
                        *rest.missed.entry(channel).or_default() += missed;
                        Ok(())
                    }
                    Seen::State(channel, status) => show_state(&channel, &status, screen),
                }
            }
        };
        if let Err(failure) = shown {
            return failure;
        }
    }
}

fn attempts_of(channel: &Channel) -> BoxStream<'static, Seen> {
    let seen = (channel.name().clone(), channel.observe());
    unfold(seen, async |(name, mut attempts)| match attempts.recv().await {
        Ok(attempt) => Some((Seen::Attempt(Box::new(attempt)), (name, attempts))),
        Err(RecvError::Lagged(missed)) => Some((Seen::Missed(name.clone(), missed), (name, attempts))),
        Err(RecvError::Closed) => None,
    })
    .boxed()
}

/// What it was when this is called is no news, unless it is bad.
fn states_of(channel: &Channel) -> BoxStream<'static, Seen> {
    let mut states = channel.watch();
    if is_bad(states.borrow().state) {
        states.mark_changed();
    }
    let seen = (channel.name().clone(), states, State::Running);
    unfold(seen, |(name, mut states, mut before)| {
        async move {
            loop {
                states.changed().await.ok()?;
                let status = states.borrow_and_update().clone();
                let news = is_bad(status.state) || is_bad(before);
                before = status.state;
                if news && status.state != State::Stopped {
                    return Some((Seen::State(name.clone(), status), (name, states, before)));
                }
            }
        }
        .boxed()
    })
    .boxed()
}

fn is_bad(state: State) -> bool {
    match state {
        State::Sick | State::Faulted => true,
        State::Starting | State::Running | State::Paused | State::Stopped => false,
    }
}

fn show_printed(printed: &Printed, rest: &mut Rest, screen: &Screen) -> Result<(), Failure> {
    if rest.has_room_for_print() {
        screen.note("", &printable(&format!("{} │ {}", printed.channel, printed.text)))
    } else {
        rest.printed += 1;
        Ok(())
    }
}

fn show_attempt(attempt: &Observed, max_attempts: Option<u32>, screen: &Screen) -> Result<(), Failure> {
    let (line, under) = lines::attempt(attempt, max_attempts, screen.paint);
    screen.line(&line)?;
    under.map_or(Ok(()), |under| screen.under(Tone::Odd, &under))
}

fn show_state(channel: &ChannelName, status: &Status, screen: &Screen) -> Result<(), Failure> {
    let tone = if is_bad(status.state) { Tone::Bad } else { Tone::Good };
    let word = screen.paint.tone(tone, &status.state.as_str().to_uppercase());
    let reason =
        status.reason.as_deref().map(|reason| format!(": {}", printable(reason))).unwrap_or_default();
    screen.line(&format!("{channel} {word}{reason}"))
}

/// Lines of this second, and what had no room in it.
#[derive(Default)]
struct Rest {
    lines: usize,
    prints: usize,
    more: BTreeMap<ChannelName, BTreeMap<&'static str, u64>>,
    missed: BTreeMap<ChannelName, u64>,
    /// Lines that guests printed, and that had no room.
    printed: u64,
}

impl Rest {
    /// Whether there may be one more line; counts it.
    fn has_room(&mut self) -> bool {
        self.lines += 1;
        self.lines <= MAX_LINES_PER_SECOND
    }

    /// The same for what a guest printed, which takes no room from attempts: a traceback has many lines.
    fn has_room_for_print(&mut self) -> bool {
        self.prints += 1;
        self.prints <= MAX_LINES_PER_SECOND
    }

    fn count(&mut self, attempt: &Observed) {
        let word = if attempt.outcome == Outcome::Done { "ok" } else { attempt.outcome.as_str() };
        *self.more.entry(attempt.channel.clone()).or_default().entry(word).or_default() += 1;
    }

    /// Ends the second.
    fn tell(&mut self, screen: &Screen) -> Result<(), Failure> {
        match std::mem::take(self).text() {
            Some(text) => screen.line(&screen.paint.tone(Tone::Faint, &text)),
            None => Ok(()),
        }
    }

    fn text(self) -> Option<String> {
        let mut text = String::new();
        for (channel, outcomes) in &self.more {
            let outcomes: Vec<_> =
                outcomes.iter().map(|(word, n)| format!("{} {word}", grouped(*n))).collect();
            let _ = write!(text, "; {channel} {}", outcomes.join(", "));
        }
        for (channel, missed) in &self.missed {
            let _ = write!(text, "; {channel} {} not looked at", grouped(*missed));
        }
        let total = self.more.values().flat_map(BTreeMap::values).chain(self.missed.values()).sum();
        let attempts =
            (total > 0).then(|| format!("{} more: {}", lines::counted(total, "attempt"), &text[2..]));
        let printed =
            (self.printed > 0).then(|| format!("{} more printed", lines::counted(self.printed, "line")));
        match (attempts, printed) {
            (Some(attempts), Some(printed)) => Some(format!("{attempts}; {printed}")),
            (attempts, printed) => attempts.or(printed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_line_is_counted() {
        let name = |text| ChannelName::parse(text).expect("valid");
        let mut rest = Rest::default();
        assert!((0..MAX_LINES_PER_SECOND).all(|_| rest.has_room()));
        assert!(!rest.has_room());
        rest.more.insert(name("upper"), BTreeMap::from([("ok", 1_190), ("trap", 14)]));
        rest.missed.insert(name("other"), 6);
        let text = rest.text();
        assert_eq!(
            text.as_deref(),
            Some("1 210 attempts more: upper 1 190 ok, 14 trap; other 6 not looked at")
        );
        assert_eq!(Rest::default().text(), None);
        let printed = Rest { printed: 3, ..Rest::default() };
        assert_eq!(printed.text().as_deref(), Some("3 lines more printed"));
    }
}
