//! Instances are reused, replaced, and shared out over all pools.

mod support;

use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use saf_event::{Size, Span};
use saf_host::{Ended, Isolation, Pool, Verdict};

use support::{NOT_HUNG, call, count, counting, event, sandbox, sandbox_with, stateful};

/// Ends of a pool's instances that are not zero.
fn ends(pool: &Pool) -> Vec<(&'static str, u64)> {
    let ends = Ended::ALL.iter().map(|why| (why.as_str(), pool.ended(*why)));
    ends.filter(|(_, n)| *n > 0).collect()
}

#[tokio::test]
async fn state_lives_from_event_to_event() {
    let sandbox = sandbox();
    let component = sandbox.component(&stateful()).await;
    let pool = sandbox.pool(&component, |_| {});
    for event in 1..=5 {
        assert_eq!(count(&call(&pool, "").await), event);
    }
    assert_eq!((pool.started(), pool.live(), pool.idle()), (1, 1, 1));
    assert_eq!(ends(&pool), []);
}

#[tokio::test]
async fn a_fault_replaces_the_instance() {
    let sandbox = sandbox();
    let handle = "
        (global.set $length (i32.add (global.get $length) (i32.const 1)))
        (if (i32.eq (global.get $length) (i32.const 3)) (then unreachable))";
    let component = sandbox.component(&counting("", "", handle)).await;
    let pool = sandbox.pool(&component, |_| {});
    for expected in [Some(1), Some(2), None, Some(1), Some(2), None] {
        let call = call(&pool, "").await;
        match expected {
            Some(n) => assert_eq!(count(&call), n),
            None => assert!(matches!(call.verdict, Verdict::Trap(_)), "{:?}", call.verdict),
        }
    }
    assert_eq!((pool.started(), pool.live(), pool.idle()), (2, 0, 0));
    assert_eq!(ends(&pool), [("fault", 2)]);
}

#[tokio::test]
async fn isolated_events_meet_a_fresh_instance() {
    let sandbox = sandbox();
    let component = sandbox.component(&stateful()).await;
    let pool = sandbox.pool(&component, |setup| setup.instances.isolation = Isolation::Event);
    for _ in 0..3 {
        assert_eq!(count(&call(&pool, "").await), 1);
    }
    assert_eq!((pool.live(), ends(&pool)), (0, vec![("isolation", 3)]));
}

#[tokio::test]
async fn an_instance_is_replaced_after_so_many_events() {
    let sandbox = sandbox();
    let component = sandbox.component(&stateful()).await;
    let pool = sandbox.pool(&component, |setup| setup.instances.max_events = 2.try_into().expect("not 0"));
    for expected in [1, 2, 1, 2] {
        assert_eq!(count(&call(&pool, "").await), expected);
    }
    assert_eq!(ends(&pool), [("events", 2)]);
}

#[tokio::test]
async fn an_instance_is_replaced_above_the_memory_mark() {
    let sandbox = sandbox();
    let handle = "(drop (memory.grow (i32.const 1))) (global.set $length (memory.size))";
    let component = sandbox.component(&counting("", "", handle)).await;
    let mark = |mark: Option<Size>| {
        sandbox.pool(&component, |setup| {
            setup.instances.memory_mark = mark;
            setup.limits.memory = Size(6 << 16);
        })
    };
    for (pool, pages) in [(mark(Some(Size(3 << 16))), [3, 4, 3, 4]), (mark(None), [3, 4, 5, 3])] {
        for pages in pages {
            assert_eq!(count(&call(&pool, "").await), pages);
        }
    }
}

#[tokio::test]
async fn an_idle_instance_is_swept_and_a_busy_one_is_not() {
    let sandbox = sandbox();
    let component = sandbox.component(&stateful()).await;
    let pool = sandbox.pool(&component, |setup| setup.instances.idle = Span(Duration::ZERO));
    let lease = pool.acquire().await.expect("starts");
    call(&pool, "").await;
    let swept = async {
        while pool.idle() > 0 {
            sandbox.host.sweep();
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(NOT_HUNG, swept).await.expect("swept");
    assert_eq!((pool.live(), ends(&pool)), (1, vec![("idle", 1)]));
    assert_eq!(count(&lease.call(&event(""), 1).await.0), 1);

    let lasting = sandbox.pool(&component, |_| {});
    call(&lasting, "").await;
    sandbox.host.sweep();
    assert_eq!(lasting.idle(), 1);
}

#[tokio::test]
async fn the_instance_that_was_not_used_for_longest_makes_room_in_any_pool() {
    let sandbox = sandbox_with(|config| config.max_instances = 2.try_into().expect("not 0"));
    let component = sandbox.component(&stateful()).await;
    let [a, b, c] = [(); 3].map(|()| sandbox.pool(&component, |_| {}));
    for pool in [&a, &b, &a] {
        call(pool, "").await;
    }
    call(&c, "").await;
    assert_eq!((ends(&a), ends(&b)), (vec![], vec![("evicted", 1)]));
    assert_eq!(count(&call(&a, "").await), 3, "and lives on");
    assert_eq!(count(&call(&b, "").await), 1, "and is made anew");
    assert_eq!(ends(&c), [("evicted", 1)]);
}

#[tokio::test]
async fn callers_wait_in_turn_while_all_instances_are_busy() {
    let sandbox = sandbox_with(|config| config.max_instances = 1.try_into().expect("not 0"));
    let component = sandbox.component(&stateful()).await;
    let [a, b] = [(); 2].map(|()| sandbox.pool(&component, |_| {}));
    let lease = a.acquire().await.expect("starts");

    let mut waiting_b = pin!(b.acquire());
    let mut waiting_a = pin!(a.acquire());
    let mut gone = Box::pin(b.acquire());
    let mut cx = Context::from_waker(Waker::noop());
    assert!(gone.as_mut().poll(&mut cx).is_pending(), "the first in the queue");
    assert!(waiting_b.as_mut().poll(&mut cx).is_pending());
    assert!(waiting_a.as_mut().poll(&mut cx).is_pending());
    drop(gone);

    drop(lease);
    assert!(waiting_a.as_mut().poll(&mut cx).is_pending(), "b is first");
    let lease = tokio::time::timeout(NOT_HUNG, waiting_b).await.expect("no hang").expect("starts");
    assert_eq!(ends(&a), [("evicted", 1)]);
    assert!(waiting_a.as_mut().poll(&mut cx).is_pending());
    drop(lease);
    let lease = tokio::time::timeout(NOT_HUNG, waiting_a).await.expect("no hang").expect("starts");

    let mut waiting_a = pin!(a.acquire());
    assert!(waiting_a.as_mut().poll(&mut cx).is_pending());
    assert_eq!(count(&lease.call(&event(""), 1).await.0), 1);
    let Poll::Ready(Ok(lease)) = waiting_a.as_mut().poll(&mut cx) else { panic!("handed over") };
    assert_eq!(count(&lease.call(&event(""), 1).await.0), 2, "the same instance");
}

#[tokio::test]
async fn a_granted_place_that_nobody_takes_goes_on() {
    let sandbox = sandbox_with(|config| config.max_instances = 1.try_into().expect("not 0"));
    let component = sandbox.component(&stateful()).await;
    let [a, b] = [(); 2].map(|()| sandbox.pool(&component, |_| {}));
    let mut cx = Context::from_waker(Waker::noop());
    for fresh in [true, false] {
        let lease = a.acquire().await.expect("starts");
        let mut gone = Box::pin(if fresh { &b } else { &a }.acquire());
        assert!(gone.as_mut().poll(&mut cx).is_pending());
        drop(lease); // to `gone`, which never looks
        drop(gone);
        drop(tokio::time::timeout(NOT_HUNG, b.acquire()).await.expect("not lost").expect("starts"));
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_ends_its_instance() {
    let sandbox = sandbox_with(|config| config.max_instances = 1.try_into().expect("not 0"));
    let hostile = sandbox.guest("hostile").await;
    let pool = sandbox.pool(&hostile, |setup| setup.limits.fuel = u64::MAX / 2);
    let (ok, spin) = (event("ok"), event("spin"));
    {
        let lease = pool.acquire().await.expect("starts");
        let mut spinning = pin!(lease.call(&spin, 1));
        assert!(spinning.as_mut().poll(&mut Context::from_waker(Waker::noop())).is_pending());
    }
    assert_eq!((pool.live(), ends(&pool)), (0, vec![("cancelled", 1)]));
    let lease = tokio::time::timeout(NOT_HUNG, pool.acquire()).await.expect("room").expect("starts");
    assert_eq!(lease.call(&ok, 1).await.0.verdict, Verdict::Done(vec![]));
}

#[tokio::test]
async fn a_pool_that_is_dropped_takes_its_instances_along() {
    let sandbox = sandbox_with(|config| config.max_instances = 2.try_into().expect("not 0"));
    let component = sandbox.component(&stateful()).await;
    let old = sandbox.pool(&component, |_| {});
    let in_flight = old.acquire().await.expect("starts");
    call(&old, "").await;
    drop(old);
    assert_eq!(count(&in_flight.call(&event(""), 1).await.0), 1, "what is in flight finishes");
    let new = sandbox.pool(&component, |_| {});
    let both = [new.acquire().await.expect("room"), new.acquire().await.expect("room")];
    assert_eq!(new.live(), 2);
    drop(both);
}

#[tokio::test]
async fn a_lease_that_is_not_used_leaves_its_instance_ready() {
    let sandbox = sandbox();
    let component = sandbox.component(&stateful()).await;
    let pool = sandbox.pool(&component, |_| {});
    drop(pool.acquire().await.expect("starts"));
    assert_eq!((pool.started(), pool.idle()), (1, 1));
    assert_eq!(count(&call(&pool, "").await), 1);
    assert_eq!(pool.started(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_callers_share_few_instances() {
    const CALLERS: usize = 16;
    const EVENTS: usize = 200;
    let sandbox = sandbox_with(|config| config.max_instances = 3.try_into().expect("not 0"));
    let component = sandbox.component(&stateful()).await;
    let pools: [_; 4] = std::array::from_fn(|_| std::sync::Arc::new(sandbox.pool(&component, |_| {})));
    let callers: Vec<_> = (0..CALLERS)
        .map(|n| {
            let pool = pools[n % pools.len()].clone();
            tokio::spawn(async move {
                for _ in 0..EVENTS {
                    count(&call(&pool, "").await);
                }
            })
        })
        .collect();
    for caller in callers {
        tokio::time::timeout(NOT_HUNG, caller).await.expect("no hang").expect("no panic");
    }
    let live: u64 = pools.iter().map(|pool| pool.live()).sum();
    assert!((1..=3).contains(&live), "{live} live");
    assert_eq!(live as usize, pools.iter().map(|pool| pool.idle()).sum::<usize>());
}
