//! Random publishing, settling, killing and restarting against a model: nothing acknowledged is lost, nothing settled comes
//! again after it was saved, every emission is there exactly once.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Act {
    Publish(u8),
    /// Publishes the id of an earlier event once more.
    Repeat(prop::sample::Index),
    /// Takes so many, settles them with so many emissions each.
    Emit(u8, u8),
    Finish(u8),
    Retry(u8),
    Release(u8),
    Kill,
    Restart,
}

fn acts() -> impl Strategy<Value = Vec<Act>> {
    let act = prop_oneof![
        4 => (1u8..12).prop_map(Act::Publish),
        1 => any::<prop::sample::Index>().prop_map(Act::Repeat),
        3 => (1u8..6, 1u8..4).prop_map(|(take, emit)| Act::Emit(take, emit)),
        2 => (1u8..6).prop_map(Act::Finish),
        1 => (1u8..4).prop_map(Act::Retry),
        1 => (1u8..4).prop_map(Act::Release),
        1 => Just(Act::Kill),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..25)
}

/// What must be true.
#[derive(Default)]
struct Model {
    published: Vec<String>,
    /// Events whose emissions were acknowledged, with how many.
    emitted: BTreeMap<String, u8>,
    finished: BTreeSet<String>,
    failed: BTreeMap<String, u32>,
}

impl Model {
    fn open(&self) -> usize {
        self.published.len() - self.emitted.len() - self.finished.len()
    }
}

struct Run {
    model: Model,
    folder: TempDir,
    broker: Embedded,
    feed: Feed,
}

fn worker() -> ChannelPlan {
    channel("worker", "in")
}

impl Run {
    async fn start(folder: TempDir, model: Model) -> Self {
        let broker = open(folder.path(), &plan(stream_config(), &[worker()])).await;
        let feed = feed(&broker, &worker()).await;
        Self { model, folder, broker, feed }
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Publish(count) => {
                for _ in 0..*count {
                    let id = format!("e{}", self.model.published.len());
                    assert!(!publish(&self.broker, "in", &id).await.duplicate);
                    self.model.published.push(id);
                }
            }
            Act::Repeat(index) if !self.model.published.is_empty() => {
                let id = index.get(&self.model.published).clone();
                assert!(publish(&self.broker, "in", &id).await.duplicate, "{id}");
            }
            Act::Emit(count, emit) => {
                let deliveries = self.take(*count).await;
                let of = |id: &str| (0..*emit).map(|n| emission("out", &format!("{id}-{n}"))).collect();
                for delivery in &deliveries {
                    self.model.emitted.insert(delivery.event.id.to_string(), *emit);
                }
                settle(&self.feed, deliveries, |d| Settlement::Done { emit: of(d.event.id.as_str()) }).await;
            }
            Act::Finish(count) => {
                let deliveries = self.take(*count).await;
                self.model.finished.extend(deliveries.iter().map(|d| d.event.id.to_string()));
                settle(&self.feed, deliveries, done).await;
            }
            Act::Retry(count) => {
                let deliveries = self.take(*count).await;
                for delivery in &deliveries {
                    *self.model.failed.entry(delivery.event.id.to_string()).or_default() += 1;
                }
                settle(&self.feed, deliveries, |_| Settlement::Retry { after: Duration::ZERO }).await;
            }
            Act::Release(count) => {
                let deliveries = self.take(*count).await;
                settle(&self.feed, deliveries, |_| Settlement::Release).await;
            }
            Act::Repeat(_) | Act::Kill | Act::Restart => {}
        }
    }

    /// Up to so many, as there are; one at a time, because after a kill there is no other way.
    async fn take(&mut self, count: u8) -> Vec<Delivery> {
        let count = usize::from(count).min(self.model.open());
        let mut deliveries: Vec<Delivery> = Vec::new();
        while deliveries.len() < count {
            let mut some = Vec::new();
            let filled =
                tokio::time::timeout(PATIENCE, self.feed.source.fill(count - deliveries.len(), &mut some))
                    .await;
            if filled.is_err() {
                assert!(!deliveries.is_empty(), "something is unsettled, and nothing comes");
                break;
            }
            deliveries.extend(some);
        }
        for delivery in &deliveries {
            let id = delivery.event.id.to_string();
            assert!(
                !self.model.emitted.contains_key(&id),
                "{id} comes again although its emissions are stored"
            );
            assert!(delivery.attempt <= self.model.failed.get(&id).copied().unwrap_or_default() + 1);
        }
        deliveries
    }

    /// What is settled lazily may come again after a kill.
    async fn kill(self) -> Self {
        let copy = killed(self.folder.path());
        let mut model = self.model;
        model.finished.clear();
        let mut next = Run::start(copy, model).await;
        // Whatever was saved of it does not come; find out by looking.
        let saved = next.settled_on_disk().await;
        next.model.finished = saved;
        next
    }

    /// The ids of handled events without emissions that the broker does not hold to be open.
    async fn settled_on_disk(&mut self) -> BTreeSet<String> {
        let consumer =
            self.broker.stream(&events()).expect("open").roster.find(&worker().channel).expect("there");
        let mut settled = BTreeSet::new();
        let page =
            self.broker.read(&events(), crate::From::Sequence(1), &Filter::all(), 1000).await.expect("reads");
        assert_eq!(page.next, None);
        for event in page.items.iter().filter(|event| event.subject.as_str() == "in") {
            let id = event.id.to_string();
            if consumer.has_passed(event.sequence)
                && consumer.is_settled(event.sequence)
                && !self.model.emitted.contains_key(&id)
            {
                settled.insert(id);
            }
        }
        settled
    }

    async fn restart(self) -> Self {
        self.broker.close(HANG).await;
        let Self { model, folder, broker, feed } = self;
        drop((feed, broker));
        Run::start(folder, model).await
    }

    /// The stream holds exactly what was acknowledged.
    async fn check(&self) {
        let mut stored = ids(&self.broker).await;
        let mut expected = self.model.published.clone();
        for (id, count) in &self.model.emitted {
            expected.extend((0..*count).map(|n| format!("{id}-{n}")));
        }
        stored.sort_unstable();
        expected.sort_unstable();
        assert_eq!(stored, expected);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_is_emitted_twice(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut run = Run::start(tempfile::tempdir().expect("a temp folder"), Model::default()).await;
            for act in &acts {
                run = match act {
                    Act::Kill => run.kill().await,
                    Act::Restart => run.restart().await,
                    act => {
                        run.act(act).await;
                        run
                    }
                };
                run.check().await;
            }
            // And all of it comes to an end.
            while run.model.open() > 0 {
                run.act(&Act::Finish(10)).await;
            }
        });
    }
}
