//! Many at once: publishers, Channels with filters that come and go between live and behind, Channels that emit. Everybody sees
//! exactly what is his, once, and nobody sleeps through it.

use std::collections::BTreeMap;

use super::*;

const PUBLISHERS: usize = 8;
const EVENTS_EACH: usize = 400;
const SUBJECTS: [&str; 4] = ["a.x", "a.y", "b.x", "c"];

fn expected(filter: &str) -> usize {
    let filter = Filter::parse(filter.to_owned()).expect("valid");
    let all = (0..PUBLISHERS * EVENTS_EACH).map(|n| SUBJECTS[n % SUBJECTS.len()]);
    all.filter(|subject| filter.matches(subject)).count()
}

/// Takes until it has seen all; stalls now and then, so that it falls behind.
async fn consume(broker: Arc<Embedded>, plan: ChannelPlan, count: usize, emits: bool) -> BTreeMap<u64, u32> {
    let mut feed = broker.subscribe(&plan).await.expect("prepared before");
    let mut seen = BTreeMap::new();
    while seen.len() < count {
        let mut deliveries = Vec::new();
        let filled = tokio::time::timeout(HANG, feed.source.fill(37, &mut deliveries)).await;
        filled
            .unwrap_or_else(|_| panic!("{} sleeps after {} of {count}", plan.channel, seen.len()))
            .expect("fills");
        for delivery in &deliveries {
            *seen.entry(delivery.event.sequence).or_default() += 1;
        }
        // Every seventh comes back once.
        let how = |delivery: &Delivery| match delivery.event.sequence % 7 {
            0 if delivery.attempt == 1 => Settlement::Retry { after: Duration::from_millis(1) },
            _ if emits => Settlement::done(vec![emission(
                "out",
                &format!("{}-{}", plan.channel, delivery.event.sequence),
            )]),
            _ => Settlement::done(Vec::new()),
        };
        let batch = deliveries.into_iter().map(|delivery| {
            let settlement = how(&delivery);
            delivery.into(settlement)
        });
        let settler = feed.settler.clone();
        assert!(settler.settle(batch.collect()).await.is_empty());
        if seen.len() % 5 == 0 {
            tokio::task::yield_now().await;
        }
    }
    seen
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn everybody_sees_exactly_what_is_his() {
    let folder = tempfile::tempdir().expect("a temp folder");
    let filters = ["a.*", "b.>", "c", "*.x", "a.x", "a.y"];
    let channels: Vec<_> =
        filters.iter().enumerate().map(|(n, f)| channel(&format!("channel-{n}"), f)).collect();
    let config = StreamConfig { max_bytes: Size(16 << 20), ..stream_config() };
    let broker = Arc::new(open(folder.path(), &plan(config, &channels)).await);
    let publishing = (0..PUBLISHERS).map(|publisher| {
        let broker = broker.clone();
        tokio::spawn(async move {
            for n in (publisher..PUBLISHERS * EVENTS_EACH).step_by(PUBLISHERS) {
                publish(&broker, SUBJECTS[n % SUBJECTS.len()], &n.to_string()).await;
            }
        })
    });
    let publishing: Vec<_> = publishing.collect();
    let consuming = channels.iter().zip(filters).enumerate().map(|(n, (channel, filter))| {
        tokio::spawn(consume(broker.clone(), channel.clone(), expected(filter), n % 2 == 0))
    });
    let consuming: Vec<_> = consuming.collect();
    for publisher in publishing {
        publisher.await.expect("publishes");
    }
    let mut emitted = 0;
    for (n, consumer) in consuming.into_iter().enumerate() {
        let seen = consumer.await.expect("consumes");
        assert_eq!(seen.len(), expected(filters[n]), "{}", filters[n]);
        assert!(
            seen.iter().all(|(sequence, times)| *times <= 1 + u32::from(sequence % 7 == 0)),
            "{}",
            filters[n]
        );
        if n % 2 == 0 {
            emitted += seen.iter().filter(|(sequence, times)| *sequence % 7 != 0 || **times == 2).count();
        }
    }
    let mut stored = ids(&broker).await;
    let out = stored.iter().filter(|id| id.starts_with("channel-")).count();
    assert!(out >= emitted, "{out} emissions of {emitted}");
    stored.sort_unstable();
    let all = stored.len();
    stored.dedup();
    assert_eq!(stored.len(), all, "nothing is stored twice");
}
