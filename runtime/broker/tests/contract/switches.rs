//! Channels that a person paused stay paused.

use std::collections::BTreeMap;

use saf_broker::Switch;

use super::fixture::Fixture;
use super::scene::{channel, name, plan, until};

pub async fn a_switch_is_seen_and_survives_a_restart<F: Fixture>(mut fixture: F) {
    let plan = plan(&[channel("a", &["a"]), channel("b", &["b"])]);
    fixture.broker().prepare(&plan).await.expect("prepared");
    let switches = fixture.broker().switches();
    assert_eq!(*switches.borrow(), BTreeMap::new());
    let paused = |channel: &str| BTreeMap::from([(name(channel), Switch::Paused)]);
    for (channel, to) in [("a", Switch::Paused), ("b", Switch::Paused), ("a", Switch::Running)] {
        fixture.broker().switch(&name(channel), to).await.expect("switched");
    }
    let running = |all: &BTreeMap<_, Switch>| all.iter().filter(|(_, s)| **s == Switch::Paused).count();
    until("one is paused", async || running(&switches.borrow()) == 1).await;
    fixture.restart().await;
    fixture.broker().prepare(&plan).await.expect("prepared");
    let switches = fixture.broker().switches();
    let only_paused = || {
        let mut all = switches.borrow().clone();
        all.retain(|_, switch| *switch == Switch::Paused);
        all
    };
    until("it is still paused", async || only_paused() == paused("b")).await;
}
