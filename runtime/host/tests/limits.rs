//! Every way to misbehave ends with the right name, in time, and leaves a host that works.

mod support;

use std::time::{Duration, Instant};

use saf_event::{Outcome, Size, Span};
use saf_host::{Limits, Verdict};

use support::{call, count, counting, sandbox, stateful};

/// The deadline of the cases that run into it.
const TIMEOUT: Duration = Duration::from_millis(200);
/// The promise is twice the deadline and 50 ms; the machine that tests may be busy, so ten times that.
const ENDED_WITHIN: Duration = Duration::from_millis(10 * (2 * 200 + 50));

fn limits() -> Limits {
    Limits { timeout: Span(TIMEOUT), ..Limits::default() }
}

fn endless() -> Limits {
    Limits { timeout: Span(TIMEOUT), fuel: u64::MAX / 2, host_calls: u64::MAX, ..Limits::default() }
}

fn patient() -> Limits {
    Limits { timeout: Span(Duration::from_secs(50)), ..Limits::default() }
}

#[tokio::test]
async fn every_hostile_mode_is_stopped_by_the_right_limit() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let cases = [
        ("trap", limits(), Outcome::Trap),
        ("spin", patient(), Outcome::Fuel),
        ("spin", endless(), Outcome::Timeout),
        ("cache-miss", endless(), Outcome::Timeout),
        ("memory-fill", endless(), Outcome::Timeout),
        ("memory-fill", patient(), Outcome::Fuel),
        ("host-calls", endless(), Outcome::Timeout),
        ("host-calls", Limits { host_calls: 10_000, ..patient() }, Outcome::Fuel),
        ("memory-bomb", patient(), Outcome::Memory),
        ("recursion", limits(), Outcome::Trap),
        ("huge-output", patient(), Outcome::Output),
        ("many-emissions", patient(), Outcome::Output),
        ("reject", limits(), Outcome::Reject),
        ("retry-then-succeed", limits(), Outcome::Retry),
        ("emit-outside", limits(), Outcome::Done),
        ("ok", limits(), Outcome::Done),
    ];
    for (mode, limits, expected) in cases {
        let bounded = limits.timeout.0 == TIMEOUT;
        let pool = sandbox.pool(&hostile, |setup| setup.limits = limits);
        let began = Instant::now();
        let call = call(&pool, mode).await;
        assert_eq!(call.verdict.outcome(), expected, "{mode}: {:?}", call.verdict);
        assert!(!bounded || began.elapsed() < ENDED_WITHIN, "{mode} took {:?}", began.elapsed());
        assert_eq!(support::call(&pool, "ok").await.verdict, Verdict::Done(vec![]), "after {mode}");
    }
}

#[tokio::test]
async fn the_message_names_the_limit_to_change() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let small =
        Limits { fuel: 10_000_000, memory: Size::mib(8), emissions: 5, output: Size(1000), ..patient() };
    for (mode, limits, words) in [
        ("spin", small.clone(), "limits.fuel is 10000000"),
        ("spin", endless(), "limits.timeout is 200ms"),
        ("host-calls", Limits { host_calls: 100, ..small.clone() }, "limits.host_calls"),
        ("memory-bomb", small.clone(), "limits.memory is 8.0 MiB"),
        ("many-emissions 6", small.clone(), "6 emissions; limits.emissions is 5"),
        ("huge-output 1001", small.clone(), "limits.output is 1000 B"),
        ("huge-output 1000000", Limits { fuel: 1 << 30, ..small.clone() }, "limits.output allows"),
        ("recursion", patient(), "stack overflow"),
        ("trap", small, "see stderr"),
    ] {
        let pool = sandbox.pool(&hostile, |setup| setup.limits = limits);
        let call = call(&pool, mode).await;
        let message = &call.verdict.fault().expect("a fault").message;
        assert!(message.contains(words), "{mode}: {message}");
    }
}

#[tokio::test]
async fn what_is_just_within_a_limit_passes() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let limits = Limits { emissions: 5, output: Size(1000), ..patient() };
    let pool = sandbox.pool(&hostile, |setup| setup.limits = limits);
    for (mode, emissions) in [("many-emissions 5", 5), ("huge-output 900", 1)] {
        let Verdict::Done(emitted) = call(&pool, mode).await.verdict else { panic!("{mode}") };
        assert_eq!(emitted.len(), emissions, "{mode}");
    }
}

#[tokio::test]
async fn every_event_has_its_fuel_and_its_host_calls_afresh() {
    let sandbox = sandbox();
    let component = sandbox.component(&stateful()).await;
    let pool = sandbox.pool(&component, |setup| setup.limits.fuel = 500);
    for event in 1..100 {
        let call = call(&pool, "").await;
        assert_eq!(count(&call), event);
        assert!((1..500).contains(&call.usage.fuel), "{:?}", call.usage);
    }
}

#[tokio::test]
async fn a_reason_of_any_length_is_cut() {
    let sandbox = sandbox();
    let component = sandbox.component(&counting("", "", "(global.set $length (i32.const 60000))")).await;
    let Verdict::Reject { reason } = call(&sandbox.pool(&component, |_| {}), "").await.verdict else {
        panic!("a rejection")
    };
    assert_eq!(reason, format!("{}…", "x".repeat(4096)));
}

#[tokio::test]
async fn usage_is_what_the_event_used() {
    let sandbox = sandbox();
    let clock = r#"(import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $now (result i64)))"#;
    let module =
        counting(clock, "", "(drop (call $now)) (drop (call $now)) (drop (memory.grow (i32.const 15)))");
    let world = "package test:made; world made {
        include saf:channel/channel@0.1.0; import wasi:clocks/monotonic-clock@0.2.0; }";
    let bytes = support::component(&module, world);
    let component = sandbox.host.load_bytes(bytes.into()).await.expect("loads");
    let pool = sandbox.pool(&component, |_| {});
    let call = call(&pool, "").await;
    assert!((2..10).contains(&call.usage.host_calls), "{:?}", call.usage);
    assert_eq!(call.usage.peak_memory, 17 << 16);
    assert!(call.usage.fuel > 10, "{:?}", call.usage);
}

#[tokio::test]
async fn the_deadline_holds_while_a_guest_waits_in_the_host() {
    let sandbox = sandbox();
    let imports = r#"
        (import "wasi:clocks/monotonic-clock@0.2.0" "subscribe-duration" (func $timer (param i64) (result i32)))
        (import "wasi:io/poll@0.2.0" "[method]pollable.block" (func $block (param i32)))"#;
    let hour = "(call $block (call $timer (i64.const 3600000000000)))";
    let world = "package test:made; world made {
        include saf:channel/channel@0.1.0; import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0; }";
    let bytes = support::component(&counting(imports, "", hour), world);
    let component = sandbox.host.load_bytes(bytes.into()).await.expect("loads");
    let pool = sandbox.pool(&component, |setup| setup.limits = limits());
    let began = Instant::now();
    let call = call(&pool, "").await;
    assert_eq!(call.verdict.outcome(), Outcome::Timeout, "{:?}", call.verdict);
    assert!(began.elapsed() < ENDED_WITHIN, "took {:?}", began.elapsed());
    assert!(call.usage.fuel < 10_000, "it waited, and did not spin: {:?}", call.usage);
}

/// Wasmtime also reports growths as failed that it never asked about; a guest must not gain room by them.
#[tokio::test]
async fn impossible_growths_make_no_room() {
    let sandbox = sandbox();
    let handle = "
        (drop (memory.grow (i32.const 8)))
        (drop (memory.grow (i32.const 65536)))
        (global.set $length (memory.size))";
    let component = sandbox.component(&counting("", "", handle)).await;
    let pool = sandbox.pool(&component, |setup| {
        setup.limits.memory = Size(20 << 16);
        setup.instances.memory_mark = Some(Size(20 << 16));
    });
    for pages in [10, 18, 18, 18] {
        assert_eq!(count(&call(&pool, "").await), pages);
    }
}

#[tokio::test]
async fn a_refused_growth_is_no_fault_when_the_guest_lives_on() {
    let sandbox = sandbox();
    let handle = "(global.set $length (i32.add (memory.grow (i32.const 1000)) (i32.const 2)))";
    let component = sandbox.component(&counting("", "", handle)).await;
    let pool = sandbox.pool(&component, |setup| setup.limits.memory = support::MIB);
    assert_eq!(count(&call(&pool, "").await), 1, "memory.grow said -1");
}

#[tokio::test]
async fn one_limit_holds_over_all_tables() {
    let sandbox = sandbox();
    let tables = "(table $a 0 funcref) (table $b 0 funcref)";
    let grow = |n| format!("(drop (table.grow $a (ref.null func) (i32.const {n})))");
    let handle = format!("{} (global.set $length (table.size $a))", grow(1_000_000));
    let module = counting("", tables, &handle);
    // Two tables in one module are more than the pool gives a module: said at load.
    let error = sandbox.host.load_bytes(support::channel(&module).into()).await.expect_err("refused");
    assert!(error.to_string().contains("table"), "{error}");
    let component = sandbox.component(&counting("", "(table $a 0 funcref)", &handle)).await;
    assert_eq!(count(&call(&sandbox.pool(&component, |_| {}), "").await), 0);
}
