//! The NATS server by a plain client: publishing with all answers on one inbox, and consuming with an ack an event.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use async_nats::jetstream::consumer::{AckPolicy, pull};
use async_nats::jetstream::{self, stream};
use async_nats::{Client, Subscriber};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::Semaphore;

use crate::bench::{Bench, Figure};
use crate::payload::{self, SUBJECT, Size};
use crate::stage::{Broker, MAX_ACK_PENDING, Stage};

/// The stream of the router's events, and what stands before their subjects.
pub(super) const STREAM: &str = "events";
/// Events of a pull; the router's own.
const PULL_EVENTS: usize = 1_000;
/// A server that says nothing for so long has hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// A thread a core: what a plain program would take.
pub(super) fn client_runtime() -> anyhow::Result<Runtime> {
    Ok(Builder::new_multi_thread().enable_all().build()?)
}

/// As the router connects.
pub(super) async fn connect(stage: &Stage<'_>) -> anyhow::Result<Client> {
    let nats = stage.nats.as_ref().context("the stage has a nats-server")?;
    Ok(async_nats::ConnectOptions::new().skip_subject_validation(true).connect(&nats.url).await?)
}

/// Events a second with so many answers outstanding; no headers, no key.
pub(crate) fn publish(bench: &Bench, size: Size, window: usize) -> anyhow::Result<Figure> {
    let stage = Stage::new(bench, Broker::JetStream)?;
    client_runtime()?.block_on(async {
        let client = connect(&stage).await?;
        let config =
            stream::Config { name: STREAM.into(), subjects: vec![SUBJECT.into()], ..Default::default() };
        jetstream::new(client.clone()).create_stream(config).await?;
        let inbox = client.new_inbox();
        let answers = client.subscribe(inbox.clone()).await?;
        let places = Arc::new(Semaphore::new(window));
        let began = Instant::now();
        let sender = tokio::spawn(send(client, inbox, places.clone(), size, bench.scale.load));
        let receiver = tokio::spawn(receive(answers, places));
        let sent = sender.await??;
        let stored = receiver.await??;
        ensure!(stored == sent, "{sent} were sent and {stored} answered");
        Ok(Figure::new(stored as f64 / began.elapsed().as_secs_f64()))
    })
}

/// Sends until the time is over; then takes every place, which is when all are answered, and closes the door.
async fn send(
    client: Client,
    inbox: String,
    places: Arc<Semaphore>,
    size: Size,
    time: Duration,
) -> anyhow::Result<u64> {
    let events: Vec<_> = (0..payload::VARIETY).map(|n| Bytes::from(payload::json(n, size))).collect();
    let window = u32::try_from(places.available_permits())?;
    let (began, mut sent) = (Instant::now(), 0);
    while began.elapsed() < time {
        places.acquire().await?.forget();
        let event = events[sent as usize % events.len()].clone();
        client.publish_with_reply(SUBJECT, inbox.clone(), event).await?;
        sent += 1;
    }
    tokio::time::timeout(PATIENCE, places.acquire_many(window))
        .await
        .context("answers are missing")??
        .forget();
    places.close();
    Ok(sent)
}

async fn receive(mut answers: Subscriber, places: Arc<Semaphore>) -> anyhow::Result<u64> {
    let mut stored = 0;
    while !places.is_closed() {
        // The last answer is followed by none: look at the door now and then.
        const LOOK: Duration = Duration::from_millis(20);
        let Ok(answer) = tokio::time::timeout(LOOK, answers.next()).await else { continue };
        let answer = answer.context("the connection was closed")?;
        ensure!(answer.payload.starts_with(b"{\"stream\""), "refused: {:?}", answer.payload);
        stored += 1;
        places.add_permits(1);
    }
    Ok(stored)
}

/// A new durable consumer of the events that a stage was filled with, as the router would make it.
pub(super) async fn consumer(client: &Client) -> anyhow::Result<pull::Stream> {
    let config = pull::Config {
        durable_name: Some("native".into()),
        filter_subject: format!("{STREAM}.{SUBJECT}"),
        ack_policy: AckPolicy::Explicit,
        max_ack_pending: MAX_ACK_PENDING as i64,
        ..Default::default()
    };
    let stream = jetstream::new(client.clone()).get_stream(STREAM).await?;
    let consumer = stream.create_consumer(config).await?;
    Ok(consumer.stream().max_messages_per_batch(PULL_EVENTS).messages().await?)
}

/// Events a second, an ack each.
pub(crate) fn consume(bench: &Bench, size: Size) -> anyhow::Result<Figure> {
    let stage = Stage::new(bench, Broker::JetStream)?;
    stage.fill_plain(bench.scale.events, size)?;
    client_runtime()?.block_on(async {
        let client = connect(&stage).await?;
        let mut events = consumer(&client).await?;
        let first = events.try_next().await?.context("the stream is filled")?;
        let began = Instant::now();
        ack(&first).await?;
        for _ in 1..bench.scale.events {
            let next =
                tokio::time::timeout(PATIENCE, events.try_next()).await.context("events are missing")?;
            ack(&next?.context("the consumer lives")?).await?;
        }
        client.flush().await?;
        Ok(Figure::new((bench.scale.events - 1) as f64 / began.elapsed().as_secs_f64()))
    })
}

/// async-nats' own error cannot go through `?` into anyhow.
pub(super) async fn ack(message: &jetstream::Message) -> anyhow::Result<()> {
    message.ack().await.map_err(|error| anyhow::anyhow!("an ack failed: {error}"))
}
