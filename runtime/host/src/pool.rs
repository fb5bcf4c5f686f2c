//! A Channel's instances: made on demand, `init` once, reused, replaced. A call gives the lease back only when the
//! instance may be used again: one that failed, or was dropped in the middle of a call, never comes back.
//!
//! State survives between the events of an instance, and only there: an author who needs it to last writes it somewhere.
//! Deliberately absent: a minimum of instances, prewarming (a lease that is dropped unused leaves its instance ready), retries.

use std::sync::Arc;

use saf_event::{ChannelName, Event};

use crate::Host;
use crate::adapter::Contract;
use crate::component::Component;
use crate::config::{Grants, Isolation, Limits, Recycle};
use crate::console::Sink;
use crate::instance::{Instance, Seed, StartError};
use crate::kit::Kit;
use crate::roster::{Grant, Parking, PoolId};
use crate::state::State;
use crate::tally::{Ended, Tally};
use crate::verdict::Call;
use crate::world::Nature;

/// What a pool is made with.
#[derive(Clone, Debug)]
pub struct Setup {
    /// The Channel, for its log lines.
    pub channel: ChannelName,
    /// What one event may use.
    pub limits: Limits,
    /// How long an instance lives.
    pub instances: Recycle,
    /// What it may reach outside itself.
    pub grants: Grants,
    /// The Channel's `config` table as JSON, handed to `init` and through wasi:config.
    pub config_json: String,
    /// Where the response of a wasi:http component goes, when it names no subject itself.
    pub answers_to: Option<String>,
    /// The Channel's state, for `grants.keyvalue`.
    pub state: Option<Arc<dyn State>>,
}

/// A Channel's instances. Dropping it drops the idle ones; leases that are out finish, and their instances go then.
#[derive(Debug)]
pub struct Pool(Arc<Inner>);

struct Inner {
    host: Arc<Host>,
    id: PoolId,
    component: Component,
    setup: Setup,
    kit: Kit,
    memory_mark: u64,
    tally: Arc<Tally>,
    #[cfg(feature = "native")]
    native: Option<crate::native::Native>,
}

impl Pool {
    /// A pool without instances: the first `acquire` makes one.
    pub fn new(host: &Arc<Host>, component: Component, setup: Setup) -> Self {
        Self::counting(host, component, setup, Arc::default())
    }

    /// A pool that takes the place of another one: it goes on with the same counts, so that those of a Channel only grow.
    pub fn succeeding(before: &Self, component: Component, setup: Setup) -> Self {
        Self::counting(&before.0.host, component, setup, before.0.tally.clone())
    }

    fn counting(host: &Arc<Host>, component: Component, setup: Setup, tally: Arc<Tally>) -> Self {
        let memory_mark = setup.instances.memory_mark(&setup.limits);
        let id = host.roster().enroll(&tally);
        Self(Arc::new(Inner {
            #[cfg(feature = "native")]
            native: crate::native::Native::of(&setup.config_json),
            host: Arc::clone(host),
            id,
            component,
            kit: Kit::new(&setup.grants, &setup.config_json, setup.state.clone()),
            setup,
            memory_mark,
            tally,
        }))
    }

    /// An idle instance, or a new one, instantiated and `init` called with an event's budget each. Waits while all instances
    /// (`host.max_instances`) are in use: bound it by a time-out of your own.
    ///
    /// Cancel-safe: dropping the future gives up the place in the queue, or the half-made instance.
    pub async fn acquire(&self) -> Result<Lease, StartError> {
        let pool = &self.0;
        let instance = match pool.host.roster().acquire(pool.id).await {
            Grant::Instance(instance) => instance,
            Grant::Place(slot) => {
                let setup = &pool.setup;
                let seed = Seed {
                    engine: pool.host.engine(),
                    clock: pool.host.clock(),
                    component: &pool.component,
                    limits: &setup.limits,
                    config_json: &setup.config_json,
                    kit: &pool.kit,
                    nature: Nature::Real,
                    sink: Sink::Tracing(setup.channel.clone()),
                };
                // Boxed, because it is rare and large: every caller's future would have 3 KiB more, and move them.
                let instance = Box::new(Box::pin(Instance::start(seed, slot)).await?);
                pool.tally.start();
                instance
            }
        };
        Ok(Lease { pool: Arc::clone(pool), instance: Some(instance), fate: Fate::Park })
    }

    /// The component that its instances are of.
    pub fn component(&self) -> &Component {
        &self.0.component
    }

    /// What it was made with.
    pub fn setup(&self) -> &Setup {
        &self.0.setup
    }

    /// Instances that wait for an event.
    pub fn idle(&self) -> usize {
        self.0.host.roster().idle(self.0.id)
    }

    /// Instances, idle or in a call; those that are being started are not in it.
    pub fn live(&self) -> u64 {
        self.0.tally.live()
    }

    /// Instances that were started since the pool was made, or the first one that it succeeds.
    pub fn started(&self) -> u64 {
        self.0.tally.started()
    }

    /// Instances that are gone, by the reason.
    pub fn ended(&self, why: Ended) -> u64 {
        self.0.tally.ended(why)
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.0.host.roster().retire(self.0.id);
    }
}

impl std::fmt::Debug for Inner {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Pool")
            .field("channel", &self.setup.channel)
            .field("component", &self.component)
            .finish_non_exhaustive()
    }
}

/// An instance, for one call after another. Dropping it returns the instance.
#[must_use = "an instance that is not used waits for the next event"]
pub struct Lease {
    pool: Arc<Inner>,
    /// Boxed, because a lease is moved with each call.
    instance: Option<Box<Instance>>,
    fate: Fate,
}

/// What becomes of a lease's instance when the lease ends.
#[derive(Clone, Copy)]
enum Fate {
    Park,
    End(Ended),
}

impl Lease {
    /// Hands the guest an event; `attempt` is 1 on the first. Ends within `limits.timeout`, and some milliseconds. Gives the lease
    /// back when the instance may handle another event: keeping it saves a look at the roster, and keeps others waiting for an
    /// instance meanwhile.
    ///
    /// Dropping the future ends the guest where it stands and its instance with it: it may or may not have finished.
    pub async fn call(mut self, event: &Event, attempt: u32) -> (Call, Option<Self>) {
        #[cfg(feature = "native")]
        if let Some(native) = self.pool.native {
            return (native.call(event), Some(self));
        }
        self.fate = Fate::End(Ended::Cancelled);
        let Some(instance) = self.instance.as_mut() else {
            unreachable!("a lease holds its instance until it is dropped")
        };
        let call = instance
            .handle(event, attempt, &self.pool.setup.limits, self.pool.setup.answers_to.as_deref())
            .await;
        self.fate = self.pool.fate(&call, instance.events());
        match self.fate {
            Fate::Park => (call, Some(self)),
            Fate::End(_) => (call, None),
        }
    }
}

impl Inner {
    fn fate(&self, call: &Call, events: u64) -> Fate {
        let recycle = &self.setup.instances;
        if call.verdict.fault().is_some() {
            return Fate::End(Ended::Fault);
        }
        match (recycle.isolation, self.component.contract()) {
            // Other hosts give these a fresh instance each time, and so they are written.
            (Isolation::Event, _) | (_, Contract::Messaging | Contract::Http) => {
                return Fate::End(Ended::Isolation);
            }
            (Isolation::Instance, Contract::Channel) => {}
        }
        if events >= recycle.max_events.get() {
            return Fate::End(Ended::Events);
        }
        if call.usage.peak_memory > self.memory_mark {
            return Fate::End(Ended::Memory);
        }
        Fate::Park
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(instance) = self.instance.take() else { return };
        let pool = &self.pool;
        match self.fate {
            Fate::Park => {
                let until = pool.host.clock().after(pool.setup.instances.idle.0);
                match pool.host.roster().park(pool.id, instance, until) {
                    Parking::Kept => {}
                    Parking::Ended(why) => pool.tally.end(why),
                }
            }
            Fate::End(why) => {
                drop(instance);
                pool.tally.end(why);
            }
        }
    }
}
