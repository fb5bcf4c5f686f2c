//! How fast the embedded store is on this disk: producers that wait for their receipt, and one Channel that drains without
//! emissions. Run it with `cargo run --release -p saf-broker --no-default-features --example embedded_bench -- <folder>`.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use saf_broker::embedded::Embedded;
use saf_broker::{Broker, ChannelPlan, Order, Plan, Settlement, Start, StreamConfig, StreamPlan};
use saf_event::{ChannelName, Dedupe, EventId, Filter, Headers, NewEvent, StreamName, Subject};

const PAYLOAD_BYTES: usize = 256;
const SECONDS: u64 = 3;

fn event(id: EventId, data: bytes::Bytes, subject: &Subject) -> NewEvent {
    let (subject, headers) = (subject.clone(), Headers::new());
    NewEvent { id, subject, content_type: None, headers, data, lineage: None, dedupe: Dedupe::SubjectAndId }
}

async fn produce(broker: Arc<Embedded>, stream: StreamName, producers: usize) -> u64 {
    let until = Instant::now() + Duration::from_secs(SECONDS);
    let subject = Subject::parse("bench.event").expect("valid");
    let work = (0..producers).map(|_| {
        let (broker, stream, subject) = (broker.clone(), stream.clone(), subject.clone());
        tokio::spawn(async move {
            let data = bytes::Bytes::from(vec![7; PAYLOAD_BYTES]);
            let mut count = 0;
            while Instant::now() < until {
                let event = event(EventId::generate(), data.clone(), &subject);
                broker.publish(&stream, event).await.expect("stored");
                count += 1;
            }
            count
        })
    });
    futures::future::join_all(work).await.into_iter().map(|count| count.expect("no panic")).sum()
}

async fn drain(broker: &Embedded, channel: &ChannelPlan, total: u64) -> Duration {
    let mut feed = broker.subscribe(channel).await.expect("prepared");
    let start = Instant::now();
    let (mut count, mut deliveries) = (0, Vec::new());
    while count < total {
        feed.source.fill(64, &mut deliveries).await.expect("fills");
        count += deliveries.len() as u64;
        let batch = deliveries.drain(..).map(|delivery| delivery.into(Settlement::Done { emit: Vec::new() }));
        assert!(feed.settler.settle(batch.collect()).await.is_empty());
    }
    start.elapsed()
}

#[tokio::main(worker_threads = 2)]
async fn main() {
    let folder = std::env::args_os().nth(1).map_or_else(|| PathBuf::from("bench-data"), PathBuf::from);
    let stream = StreamName::parse("events").expect("valid");
    let channel = ChannelPlan {
        channel: ChannelName::parse("drain").expect("valid"),
        stream: stream.clone(),
        subjects: vec![Filter::all()],
        start: Start::All,
        ack_wait: Duration::from_secs(30),
        max_ack_pending: 1000,
        order: Order::None,
        retain: false,
    };
    let plan = Plan {
        streams: vec![StreamPlan { name: stream.clone(), config: StreamConfig::default() }],
        channels: vec![channel.clone()],
    };
    let broker = Arc::new(Embedded::open(&folder).expect("opens"));
    broker.prepare(&plan).await.expect("prepares");
    let mut total = 0;
    for producers in [1, 64, 256] {
        let count = produce(broker.clone(), stream.clone(), producers).await;
        println!("{producers} producers: {} events/s", count / SECONDS);
        total += count;
    }
    let took = drain(&broker, &channel, total).await;
    println!("drain of {total}: {:.0} events/s", total as f64 / took.as_secs_f64());
    broker.close(Duration::from_secs(10)).await;
}
