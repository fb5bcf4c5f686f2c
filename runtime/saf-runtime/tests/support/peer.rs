//! Somebody else on the NATS server: publishes, subscribes and looks at streams, without the router.

use std::future::Future;

use async_nats::jetstream::{self, consumer, stream};
use async_nats::{Client, ConnectOptions, HeaderMap, Subscriber};
use futures::StreamExt;
use tokio::runtime::{Builder, Runtime};

use super::{Nats, PATIENCE};

/// Most events on their way to the server at once.
const IN_FLIGHT_EVENTS: usize = 1_000;

/// A plain NATS client, for blocking callers.
pub struct Peer {
    runtime: Runtime,
    client: Client,
    jetstream: jetstream::Context,
}

impl Peer {
    pub fn connect(nats: &Nats) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("threads");
        let options = match nats.user {
            Some(user) => ConnectOptions::with_user_and_password(user.to_owned(), user.to_owned()),
            None => ConnectOptions::new(),
        };
        let client = runtime.block_on(options.connect(nats.url())).expect("connects");
        // It starts a task of its own.
        let jetstream = runtime.block_on(async { jetstream::new(client.clone()) });
        Self { runtime, client, jetstream }
    }

    fn run<T>(&self, what: &str, future: impl Future<Output = T>) -> T {
        self.runtime
            .block_on(async { tokio::time::timeout(PATIENCE, future).await })
            .unwrap_or_else(|_| panic!("waited {PATIENCE:?} for {what}"))
    }

    /// Stores one message, acknowledged by the server; its sequence.
    pub fn publish(&self, subject: &str, headers: Option<HeaderMap>, data: &[u8]) -> u64 {
        let publish = async {
            let (subject, data) = (subject.to_owned(), data.to_vec().into());
            let sent = match headers {
                Some(headers) => self.jetstream.publish_with_headers(subject, headers, data).await,
                None => self.jetstream.publish(subject, data).await,
            };
            sent.expect("sent").await.expect("acknowledged").sequence
        };
        self.run("a publish", publish)
    }

    /// Stores `count` messages with the data `0`, `1`, …; returns when every one is acknowledged.
    pub fn burst(&self, subject: &str, count: usize) {
        let publish = |n: usize| async move {
            let sent = self.jetstream.publish(subject.to_owned(), n.to_string().into()).await.expect("sent");
            sent.await.expect("acknowledged");
        };
        let all = futures::stream::iter(0..count).map(publish).buffer_unordered(IN_FLIGHT_EVENTS);
        self.run("a burst", all.for_each(|()| async {}));
    }

    /// A plain subscription: no JetStream.
    pub fn subscribe(&self, subject: &str) -> Subscriber {
        let subscribe = async {
            let subscriber = self.client.subscribe(subject.to_owned()).await.expect("subscribes");
            self.client.flush().await.expect("the server knows");
            subscriber
        };
        self.run("a subscription", subscribe)
    }

    /// The next message.
    pub fn next(&self, subscriber: &mut Subscriber) -> async_nats::Message {
        self.run("a message", subscriber.next()).expect("open")
    }

    pub fn stream(&self, name: &str) -> stream::Info {
        let info = async { self.jetstream.get_stream(name).await.expect("a stream").get_info().await };
        self.run("a stream", info).expect("its info")
    }

    pub fn consumer(&self, stream: &str, name: &str) -> consumer::Info {
        let info = async {
            let stream = self.jetstream.get_stream(stream).await.expect("a stream");
            let mut consumer: consumer::PullConsumer = stream.get_consumer(name).await.expect("a consumer");
            consumer.info().await.expect("its info").clone()
        };
        self.run("a consumer", info)
    }

    /// Makes room: everything goes.
    pub fn purge(&self, stream: &str) {
        let purge = async { self.jetstream.get_stream(stream).await.expect("a stream").purge().await };
        self.run("a purge", purge).expect("purged");
    }
}
