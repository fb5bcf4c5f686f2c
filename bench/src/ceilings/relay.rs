//! What one would write without saf: a native loop that consumes, works, publishes, waits for the PubAck and acks. It does the
//! router's work, the same headers and the same key included. Two shapes: async-nats' own futures for PubAcks, and one inbox for
//! all of them, which is the fastest that a client over async-nats was seen to go.

use std::collections::VecDeque;
use std::future::IntoFuture;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_nats::jetstream::{self, Message};
use async_nats::{Client, HeaderMap, Subscriber};
use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};

use super::jetstream::{STREAM, ack, client_runtime, connect, consumer};
use crate::bench::{Bench, Figure};
use crate::payload::{SUBJECT, Size};
use crate::process;
use crate::stage::{Broker, Stage};

/// Most publishes that wait for their PubAck.
const WINDOW: usize = 1_024;
/// Most events that are worked on before PubAcks are looked at.
const HOP_EVENTS: usize = 64;
const PATIENCE: Duration = Duration::from_secs(30);

/// How PubAcks come back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum PubAcks {
    /// A future of async-nats for each.
    Futures,
    /// One subscription for all.
    Inbox,
}

/// What is done with an event; the guests of the same names do the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Echo,
    Enrich,
}

impl Work {
    pub(crate) const ALL: [Self; 2] = [Self::Echo, Self::Enrich];

    /// The guest's name.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Echo => "echo",
            Self::Enrich => "enrich",
        }
    }

    fn emission(self, event: &Message) -> anyhow::Result<(String, Bytes)> {
        match self {
            Self::Echo => Ok((format!("{STREAM}.echo.{SUBJECT}"), event.payload.clone())),
            Self::Enrich => {
                let mut object: serde_json::Map<_, _> = serde_json::from_slice(&event.payload)?;
                object.insert("enriched".into(), serde_json::Value::Bool(true));
                Ok((format!("{STREAM}.enriched.{SUBJECT}"), serde_json::to_vec(&object)?.into()))
            }
        }
    }
}

/// Events a second.
pub(crate) fn relay(bench: &Bench, work: Work, acks: PubAcks, size: Size) -> anyhow::Result<Figure> {
    let stage = Stage::new(bench, Broker::JetStream)?;
    stage.fill_plain(bench.scale.events, size)?;
    let nats = stage.nats.as_ref().context("the stage has a nats-server")?.pid();
    client_runtime()?.block_on(async {
        let client = connect(&stage).await?;
        let mut events = consumer(&client).await?.ready_chunks(HOP_EVENTS);
        let mut outbox = Outbox::open(client.clone(), acks).await?;
        let (cpu, nats_cpu) = (process::cpu(std::process::id()), process::cpu(nats));
        let mut began = None;
        while outbox.settled < bench.scale.events {
            let step = outbox.step(&mut events);
            let chunk = tokio::time::timeout(PATIENCE, step).await.context("the relay hangs")??;
            for event in chunk {
                began.get_or_insert_with(Instant::now);
                outbox.send(work, event?).await?;
            }
            outbox.settle_some().await?;
        }
        client.flush().await?;
        let took = began.context("the stream is filled")?.elapsed();
        let micros = |pid, before| {
            (process::cpu(pid).saturating_sub(before)).as_secs_f64() * 1e6 / bench.scale.events as f64
        };
        let note = format!(
            "us an event: {:.1} own, {:.1} nats",
            micros(std::process::id(), cpu),
            micros(nats, nats_cpu)
        );
        Ok(Figure::new(bench.scale.events as f64 / took.as_secs_f64()).note(note))
    })
}

type Events = futures::stream::ReadyChunks<jetstream::consumer::pull::Stream>;
type Chunk = Vec<Result<Message, jetstream::consumer::pull::MessagesError>>;

/// What was published and waits for its PubAck.
struct Outbox {
    client: Client,
    context: jetstream::Context,
    waiting: Waiting,
    settled: u64,
}

enum Waiting {
    Futures(FuturesUnordered<BoxFuture<'static, anyhow::Result<()>>>),
    Inbox { prefix: String, answers: Subscriber, ring: VecDeque<Option<Message>>, first: u64, live: usize },
}

/// What came back: the rest is for outside of any select, or a dropped branch would lose it.
enum Came {
    Settled,
    Answer(async_nats::Message),
}

impl Outbox {
    async fn open(client: Client, acks: PubAcks) -> anyhow::Result<Self> {
        let mut context = jetstream::new(client.clone());
        context.set_timeout(PATIENCE);
        let waiting = match acks {
            PubAcks::Futures => Waiting::Futures(FuturesUnordered::new()),
            PubAcks::Inbox => {
                let prefix = format!("{}.", client.new_inbox());
                let answers = client.subscribe(format!("{prefix}*")).await?;
                Waiting::Inbox { prefix, answers, ring: VecDeque::new(), first: 0, live: 0 }
            }
        };
        Ok(Self { client, context, waiting, settled: 0 })
    }

    fn live(&self) -> usize {
        match &self.waiting {
            Waiting::Futures(futures) => futures.len(),
            Waiting::Inbox { live, .. } => *live,
        }
    }

    /// Waits for events or for a PubAck; none are taken while the window is full.
    async fn step(&mut self, events: &mut Events) -> anyhow::Result<Chunk> {
        let live = self.live();
        let came = tokio::select! {
            biased;
            chunk = events.next(), if live < WINDOW => return chunk.context("the consumer lives"),
            came = self.next(), if live > 0 => came?,
        };
        self.settle(came).await?;
        Ok(Vec::new())
    }

    async fn next(&mut self) -> anyhow::Result<Came> {
        match &mut self.waiting {
            Waiting::Futures(futures) => futures.next().await.unwrap_or(Ok(())).map(|()| Came::Settled),
            Waiting::Inbox { answers, .. } => {
                answers.next().await.map(Came::Answer).context("the connection was closed")
            }
        }
    }

    /// What has come in the meantime.
    async fn settle_some(&mut self) -> anyhow::Result<()> {
        while self.live() > 0 {
            let Some(came) = self.next().now_or_never() else { break };
            self.settle(came?).await?;
        }
        Ok(())
    }

    async fn settle(&mut self, came: Came) -> anyhow::Result<()> {
        if let (Came::Answer(answer), Waiting::Inbox { prefix, ring, first, live, .. }) =
            (came, &mut self.waiting)
        {
            ensure!(answer.payload.starts_with(b"{\"stream\""), "refused: {:?}", answer.payload);
            let number: u64 = answer.subject[prefix.len()..].parse()?;
            let place = ring.get_mut((number - *first) as usize).and_then(Option::take);
            ack(&place.context("an answer came twice")?).await?;
            *live -= 1;
            while let Some(None) = ring.front() {
                ring.pop_front();
                *first += 1;
            }
        }
        self.settled += 1;
        Ok(())
    }

    async fn send(&mut self, work: Work, event: Message) -> anyhow::Result<()> {
        let (subject, data) = work.emission(&event)?;
        let headers = headers(work, &event)?;
        match &mut self.waiting {
            Waiting::Futures(futures) => {
                let answer = self.context.publish_with_headers(subject, headers, data).await?.into_future();
                futures.push(
                    async move {
                        answer.await?;
                        ack(&event).await
                    }
                    .boxed(),
                );
            }
            Waiting::Inbox { prefix, ring, first, live, .. } => {
                let reply = format!("{prefix}{}", *first + ring.len() as u64);
                ring.push_back(Some(event));
                *live += 1;
                self.client.publish_with_reply_and_headers(subject, reply, headers, data).await?;
            }
        }
        Ok(())
    }
}

/// What the router stores with an emission.
fn headers(work: Work, event: &Message) -> anyhow::Result<HeaderMap> {
    let info = event.info().map_err(|error| anyhow::anyhow!("not from JetStream: {error}"))?;
    let (name, sequence) = (work.name(), info.stream_sequence);
    let mut headers = HeaderMap::new();
    headers.insert("Nats-Msg-Id", format!("e/{name}/{sequence}/0"));
    headers.insert("Saf-Id", format!("{STREAM}:{sequence}:{name}:0"));
    headers.insert("Content-Type", "application/json");
    headers.insert("Saf-Parent", format!("{STREAM}:{sequence}"));
    headers.insert("Saf-Root", format!("{STREAM}:{sequence}"));
    headers.insert("Saf-Hops", "1");
    let trace = event.headers.as_ref().and_then(|headers| headers.get("traceparent"));
    headers.insert("traceparent", trace.map_or("", |trace| trace.as_str()));
    Ok(headers)
}
