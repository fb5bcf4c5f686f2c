//! What became of deliveries, as the seam wants it: the annals of each stream, read where reading may block.

use futures::FutureExt;
use futures::future::BoxFuture;
use saf_event::{ChannelName, StreamName};

use super::Embedded;
use super::fault::Fault;
use super::feed::blocking;
use crate::{Entry, Error, History, HistoryFilter, Page};

impl History for Embedded {
    fn of<'a>(
        &'a self,
        stream: &'a StreamName,
        sequence: u64,
        channel: Option<&'a ChannelName>,
    ) -> BoxFuture<'a, Result<Page<Entry>, Error>> {
        async move {
            let (stream, channel) = (self.stream(stream)?, channel.cloned());
            let folder = stream.log.folder.clone();
            let read = move || stream.annals.of(sequence, channel.as_ref()).map_err(Fault::at(&folder));
            Ok(blocking(read).await?)
        }
        .boxed()
    }

    fn list<'a>(
        &'a self,
        stream: &'a StreamName,
        filter: &'a HistoryFilter,
        after: Option<u64>,
        limit: usize,
    ) -> BoxFuture<'a, Result<Page<Entry>, Error>> {
        async move {
            let (stream, filter) = (self.stream(stream)?, filter.clone());
            let folder = stream.log.folder.clone();
            let read =
                move || stream.annals.list(&filter, after.unwrap_or(0), limit).map_err(Fault::at(&folder));
            Ok(blocking(read).await?)
        }
        .boxed()
    }

    fn dropped(&self) -> u64 {
        self.streams().iter().map(|stream| stream.annals.dropped()).sum()
    }
}
