//! Dead letters: a stream of their own beside each stream, read and deleted through the JSON API.
//!
//! A replay goes to the Channel's private subject under a key of its own, so that one which is repeated after a crash hands the
//! event over once. Deliberately absent: an index; a filter by outcome, reason or time looks at every letter of its stream.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use saf_event::Position;

use super::answer::Answer;
use super::codec::{self, Head};
use super::letter::{HEADER_BYTES, decode};
use super::names::Route;
use super::publisher::{Answers, Outgoing};
use super::{Core, JetStream};
use crate::history::codec::Pack;
use crate::{DeadLetterFilter, DeadLetters, Error, Fate, Page, PublishError, Receipt, StoredDeadLetter};

/// Most dead letters that one page looks at, whatever the filter leaves of them.
const SCAN_LETTERS: usize = 10_000;

impl JetStream {
    /// The dead letter's stream and place in it.
    fn locate(&self, id: &str) -> Result<(Arc<Route>, u64), Error> {
        let missing = || Error::NotFound(format!("dead letter {id}"));
        let position = Position::parse(id).ok_or_else(missing)?;
        let route = self.core.route(&position.stream).ok_or_else(missing)?;
        Ok((route, position.sequence))
    }

    async fn find(&self, id: &str) -> Result<(Arc<Route>, StoredDeadLetter), Error> {
        let (route, sequence) = self.locate(id)?;
        let message = self.core.api.message(&route.dead_stream(), sequence).await;
        let message = message.map_err(|failure| failure.about("the dead letters"))?;
        let dead = message.and_then(|message| decode(&route, &message));
        dead.map(|dead| (route, dead)).ok_or_else(|| Error::NotFound(format!("dead letter {id}")))
    }

    async fn page(
        &self,
        filter: &DeadLetterFilter,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page<StoredDeadLetter>, Error> {
        let wrong = || Error::Config("the cursor is not one that a page returned".into());
        let start = after.map(|text| Position::parse(text).ok_or_else(wrong)).transpose()?;
        let mut items = Vec::new();
        let mut looked_at = 0;
        for route in self.core.routes() {
            let before = start.as_ref().is_some_and(|start| route.stream < start.stream);
            if before || filter.stream.as_ref().is_some_and(|stream| *stream != route.stream) {
                continue;
            }
            let mut next =
                start.as_ref().filter(|start| start.stream == route.stream).map_or(1, |start| start.sequence);
            let (stream, subject) = (route.dead_stream(), route.dead(filter.channel.as_ref()));
            loop {
                let message = self.core.api.message_from(&stream, next, &subject).await;
                let Some(message) = message.map_err(|failure| failure.about("the dead letters"))? else {
                    break;
                };
                if items.len() == limit || looked_at == SCAN_LETTERS {
                    return Ok(Page { items, next: Some(format!("{}:{}", route.stream, message.sequence)) });
                }
                looked_at += 1;
                next = message.sequence + 1;
                items.extend(decode(&route, &message).filter(|dead| filter.matches(dead)));
            }
        }
        Ok(Page { items, next: None })
    }

    async fn hand_over(&self, id: &str) -> Result<(), Error> {
        let (route, mut dead) = self.find(id).await?;
        if !route.managed {
            return Err(Error::Config(format!(
                "stream {} is not managed here (streams.{0}.manage = false), so it has no subject that reaches one Channel alone; \
                 publish the event again under its subject instead",
                route.stream
            )));
        }
        let data =
            if dead.data_omitted { self.left_behind(&route, &dead).await? } else { dead.event.data.clone() };
        dead.event.headers.replayed();
        let mut head = Head::of_stored(&dead.event, format!("r/{id}"));
        head.set(codec::SUBJECT, dead.event.subject.as_str());
        if head.bytes > HEADER_BYTES || head.bytes + data.len() > self.core.publisher.max_bytes() {
            return Err(Error::Config(format!(
                "dead letter {id} is too large to be handed to one Channel: raise the server's max_payload, or publish the event \
                 again with fewer headers"
            )));
        }
        let subject = route.to(&dead.letter.channel);
        let stored = self.core.store(Outgoing { subject, head, data }).await;
        let receipt = stored.map_err(|error| refused("a replay", &error))?;
        self.tell(&route, &dead, &Fate::Replayed { sequence: receipt.sequence });
        self.delete_letter(id).await
    }

    async fn throw_away(&self, id: &str) -> Result<(), Error> {
        let (route, dead) = self.find(id).await?;
        self.delete_letter(id).await?;
        self.tell(&route, &dead, &Fate::Deleted);
        Ok(())
    }

    /// What a person did to a dead letter is a part of its event's history.
    fn tell(&self, route: &Route, dead: &StoredDeadLetter, fate: &Fate) {
        let (mut pack, channel) = (Pack::default(), &dead.letter.channel);
        pack.add(channel, (dead.event.sequence, 0), &dead.letter.account(), fate);
        self.core.scribe.offer(&route.stream, channel, pack);
    }

    async fn left_behind(&self, route: &Route, dead: &StoredDeadLetter) -> Result<Bytes, Error> {
        let sequence = dead.event.sequence;
        let message = self.core.api.message(route.stream.as_str(), sequence).await;
        let message = message.map_err(|failure| failure.about("the event of a dead letter"))?;
        let gone = || Error::NotFound(format!("event {}:{sequence}: retention removed it", route.stream));
        message.map(|message| message.data).ok_or_else(gone)
    }

    async fn delete_letter(&self, id: &str) -> Result<(), Error> {
        let (route, sequence) = self.locate(id)?;
        let deleted = self.core.api.delete(&route.dead_stream(), sequence).await;
        if !deleted.map_err(|failure| failure.about("deleting a dead letter"))? {
            return Err(Error::NotFound(format!("dead letter {id}")));
        }
        Ok(())
    }
}

fn refused(what: &str, error: &PublishError) -> Error {
    match error {
        PublishError::Refused(_) | PublishError::Full { .. } => {
            Error::Config(format!("NATS refuses {what}: {error}"))
        }
        PublishError::Unavailable { .. } | PublishError::Unknown { .. } => {
            Error::Unavailable(format!("{what}: {error}; try again, it is handed over once"))
        }
    }
}

impl Core {
    /// Stores one message and waits until it is.
    pub(super) async fn store(&self, message: Outgoing) -> Result<Receipt, PublishError> {
        let answers = Answers::new(1);
        self.publisher.send(message, &answers, 0).await;
        let mut came = Vec::with_capacity(1);
        answers.take(&mut came).await;
        let answer = came.pop().map_or(Answer::NotSent, |(_, answer)| answer);
        answer.receipt(self.publisher.max_bytes())
    }
}

impl DeadLetters for JetStream {
    fn list<'a>(
        &'a self,
        filter: &'a DeadLetterFilter,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<StoredDeadLetter>, Error>> {
        Box::pin(self.page(filter, after, limit))
    }

    fn show<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<StoredDeadLetter, Error>> {
        Box::pin(async move { self.find(id).await.map(|(_, dead)| dead) })
    }

    fn replay<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.hand_over(id))
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        Box::pin(self.throw_away(id))
    }
}
