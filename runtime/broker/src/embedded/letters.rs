//! The dead letters of all streams, as the seam wants them. An id is `<stream>:<sequence in the dead-letter log>`.

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use saf_event::Position;

use super::Embedded;
use super::fault::Fault;
use super::feed::blocking;
use super::queue::Stored;
use super::record;
use super::stream::Stream;
use super::wanted::Wanted;
use crate::history::codec::Pack;
use crate::{DeadLetterFilter, DeadLetters, Error, Fate, Page, StoredDeadLetter};

/// Most bytes that one page looks through.
const PAGE_BYTES_MAX: usize = 64 << 20;
/// Most letters on a page, whatever the caller asks for.
const PAGE_LETTERS_MAX: usize = 1000;

impl DeadLetters for Embedded {
    fn list<'a>(
        &'a self,
        filter: &'a DeadLetterFilter,
        after: Option<&'a str>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<StoredDeadLetter>, Error>> {
        async move {
            let after = after.map(position).transpose()?;
            let passed =
                |stream: &Arc<Stream>| after.as_ref().is_some_and(|after| stream.name < after.stream);
            let streams: Vec<_> = self.streams().into_iter().filter(|stream| !passed(stream)).collect();
            let (filter, limit) = (filter.clone(), limit.clamp(1, PAGE_LETTERS_MAX));
            Ok(blocking(move || page(&streams, &filter, after.as_ref(), limit)).await?)
        }
        .boxed()
    }

    fn show<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<StoredDeadLetter, Error>> {
        async move {
            let (stream, sequence) = self.letter(id)?;
            find(&stream, sequence, id).await
        }
        .boxed()
    }

    fn replay<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let (stream, sequence) = self.letter(id)?;
            let _turn = stream.dead.turn.lock().await;
            let letter = find(&stream, sequence, id).await?;
            let channel = &letter.letter.channel;
            if stream.roster.find(channel).is_none_or(|c| c.settings().is_none()) {
                return Err(Error::Config(format!(
                    "channel {channel} is not configured, so nobody would take the replay; configure it, or delete the dead letter"
                )));
            }
            let mut event = record::event_again(&letter.event);
            event.headers.replayed();
            let unit = stream.replay(&event, channel, sequence).map_err(|error| Error::Config(error.to_string()))?;
            match stream.queue.submit(unit).await {
                // A duplicate: it was handed over before, and only the deletion is missing.
                Stored::At(event) | Stored::Duplicate(event) => {
                    tell(&stream, &letter, &Fate::Replayed { sequence: event });
                    stream.dead.delete(sequence).await
                }
                Stored::Full(limit) => Err(Error::Unavailable(format!("the stream is full: {limit}"))),
                Stored::Refused | Stored::Conflict | Stored::Unknown => {
                    Err(Error::Unavailable("the store takes nothing any more; the replay can be repeated".to_owned()))
                }
            }
        }
        .boxed()
    }

    fn delete<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<(), Error>> {
        async move {
            let (stream, sequence) = self.letter(id)?;
            let _turn = stream.dead.turn.lock().await;
            let letter = find(&stream, sequence, id).await?;
            stream.dead.delete(sequence).await?;
            tell(&stream, &letter, &Fate::Deleted);
            Ok(())
        }
        .boxed()
    }
}

impl Embedded {
    fn letter(&self, id: &str) -> Result<(Arc<Stream>, u64), Error> {
        let Position { stream, sequence } = position(id)?;
        Ok((self.stream(&stream).map_err(|_| missing(id))?, sequence))
    }
}

/// What a person did to a dead letter is a part of its event's history.
fn tell(stream: &Stream, letter: &StoredDeadLetter, fate: &Fate) {
    let mut pack = Pack::default();
    let place = (letter.event.sequence, 0);
    pack.add(&letter.letter.channel, place, &letter.letter.account(), fate);
    stream.annals.add(&pack);
}

fn missing(id: &str) -> Error {
    Error::NotFound(format!("dead letter {id}"))
}

fn position(id: &str) -> Result<Position, Error> {
    Position::parse(id).ok_or_else(|| missing(id))
}

async fn find(stream: &Arc<Stream>, sequence: u64, id: &str) -> Result<StoredDeadLetter, Error> {
    let opened = stream.clone();
    let found = blocking(move || opened.dead.get(&opened.name, sequence)).await?;
    found.ok_or_else(|| missing(id))
}

fn page(
    streams: &[Arc<Stream>],
    filter: &DeadLetterFilter,
    after: Option<&Position>,
    limit: usize,
) -> Result<Page<StoredDeadLetter>, Fault> {
    let all = Wanted::everything();
    let (mut items, mut bytes) = (Vec::new(), 0);
    for stream in streams {
        let (log, mut hint) = (&stream.dead.log, None);
        let mut at = after.filter(|after| after.stream == stream.name).map_or(1, |after| after.sequence + 1);
        loop {
            let chunk = log.read(at, &all, hint)?;
            if chunk.frames.is_empty() {
                break;
            }
            (at, hint) = (chunk.from, chunk.hint);
            let start = at;
            for frame in chunk.frames.iter().filter(|frame| frame.head.next() > start) {
                bytes += frame.bytes.len();
                for (sequence, letter) in stream.dead.letters(&stream.name, frame) {
                    if sequence < at || !filter.matches(&letter) {
                        continue;
                    }
                    // One more is there: so this page has a next one, and it begins behind the last item.
                    if items.len() == limit {
                        let next = items.last().map(|letter: &StoredDeadLetter| letter.id.clone());
                        return Ok(Page { items, next });
                    }
                    items.push(letter);
                }
                at = frame.head.next();
            }
            if bytes >= PAGE_BYTES_MAX {
                return Ok(Page { items, next: Some(format!("{}:{}", stream.name, at - 1)) });
            }
        }
    }
    Ok(Page { items, next: None })
}
