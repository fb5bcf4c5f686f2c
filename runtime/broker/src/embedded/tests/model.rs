//! Random publishing, settling, killing, cutting the power and restarting against a model, under retention by count: nothing acknowledged is lost,
//! nothing settled comes again after it was saved, every emission is there exactly once and in order.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::lossy::Lossy;
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
    /// With what decides what was lost.
    PowerFailure(u64),
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
        1 => any::<u64>().prop_map(Act::PowerFailure),
        1 => Just(Act::Restart),
    ];
    prop::collection::vec(act, 1..25)
}

/// How many events the stream keeps.
const KEPT: usize = 40;

/// What must be true.
#[derive(Default)]
struct Model {
    /// Every id that was ever stored, in order; the stream holds the last [`KEPT`].
    stored: Vec<String>,
    published: usize,
    /// Events whose emissions were acknowledged.
    emitted: BTreeSet<String>,
    finished: BTreeSet<String>,
    failed: BTreeMap<String, u32>,
}

impl Model {
    fn kept(&self) -> &[String] {
        &self.stored[self.stored.len().saturating_sub(KEPT)..]
    }

    fn open(&self) -> usize {
        let settled = |id: &&String| self.emitted.contains(*id) || self.finished.contains(*id);
        self.kept().iter().filter(|id| id.starts_with('e')).filter(|id| !settled(id)).count()
    }
}

struct Run {
    model: Model,
    folder: TempDir,
    disk: Arc<Lossy>,
    broker: Embedded,
    feed: Feed,
}

fn worker() -> ChannelPlan {
    channel("worker", "in")
}

impl Run {
    async fn start(folder: TempDir, model: Model) -> Self {
        let config = StreamConfig { max_messages: Some(KEPT as u64), ..stream_config() };
        let disk = Arc::new(Lossy::default());
        let broker = open_on(folder.path(), &plan(config, &[worker()]), disk.clone()).await;
        let feed = feed(&broker, &worker()).await;
        Self { model, folder, disk, broker, feed }
    }

    async fn act(&mut self, act: &Act) {
        match act {
            Act::Publish(count) => {
                for _ in 0..*count {
                    let id = format!("e{}", self.model.published);
                    assert!(!publish(&self.broker, "in", &id).await.duplicate);
                    self.model.published += 1;
                    self.model.stored.push(id);
                }
            }
            Act::Repeat(index) => {
                let kept: Vec<_> = self.model.kept().iter().filter(|id| id.starts_with('e')).collect();
                if !kept.is_empty() {
                    let id = *index.get(&kept);
                    assert!(publish(&self.broker, "in", id).await.duplicate, "{id}");
                }
            }
            Act::Emit(count, emit) => {
                let deliveries = self.take(*count).await;
                let names = |id: &str| (0..*emit).map(|n| format!("of-{id}-{n}")).collect::<Vec<_>>();
                let of = |id: &str| names(id).iter().map(|name| emission("out", name)).collect();
                for delivery in &deliveries {
                    self.model.emitted.insert(delivery.event.id.to_string());
                    self.model.stored.extend(names(delivery.event.id.as_str()));
                }
                settle(&self.feed, deliveries, |d| Settlement::done(of(d.event.id.as_str()))).await;
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
            Act::Kill | Act::PowerFailure(_) | Act::Restart => {}
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
            assert!(!self.model.emitted.contains(&id), "{id} comes again although its emissions are stored");
            assert!(delivery.attempt <= self.model.failed.get(&id).copied().unwrap_or_default() + 1);
        }
        deliveries
    }

    /// What is settled lazily may come again after a kill.
    async fn kill(self, copy: TempDir) -> Self {
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
                && !self.model.emitted.contains(&id)
            {
                settled.insert(id);
            }
        }
        settled
    }

    async fn restart(self) -> Self {
        self.broker.close(HANG).await;
        let Self { model, folder, broker, feed, .. } = self;
        drop((feed, broker));
        Run::start(folder, model).await
    }

    /// The stream holds exactly what was acknowledged, in order; after a kill perhaps a few more of the oldest, until the next
    /// look at retention.
    async fn check(&self, after: &Act) {
        let stored = ids(&self.broker).await;
        if matches!(after, Act::Publish(_)) {
            assert_eq!(stored, self.model.kept());
        } else {
            assert!(
                self.model.stored.ends_with(&stored) && stored.ends_with(self.model.kept()),
                "{stored:?}"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16, ..ProptestConfig::default() })]

    #[test]
    fn nothing_is_lost_and_nothing_is_emitted_twice(acts in acts()) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        runtime.block_on(async {
            let mut run = Run::start(tempfile::tempdir().expect("a temp folder"), Model::default()).await;
            for act in &acts {
                run = match act {
                    Act::Kill => {
                        let copy = killed(run.folder.path());
                        run.kill(copy).await
                    }
                    Act::PowerFailure(chance) => {
                        let copy = run.disk.power_failure(run.folder.path(), *chance);
                        run.kill(copy).await
                    }
                    Act::Restart => run.restart().await,
                    act => {
                        run.act(act).await;
                        run
                    }
                };
                run.check(act).await;
            }
            // And all of it comes to an end.
            while run.model.open() > 0 {
                run.act(&Act::Finish(10)).await;
            }
        });
    }
}
