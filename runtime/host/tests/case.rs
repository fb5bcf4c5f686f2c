//! A case comes out the same every time, and a guest sees nothing of the machine.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]

mod support;

use saf_host::{Case, CaseReport, Limits, run_case};

use support::{component, count, counting, event, sandbox};

const IMPORTS: &str = r#"
    (import "wasi:clocks/wall-clock@0.2.0" "now" (func $wall (param i32)))
    (import "wasi:clocks/monotonic-clock@0.2.0" "now" (func $monotonic (result i64)))
    (import "wasi:random/random@0.2.0" "get-random-u64" (func $random (result i64)))
    (import "wasi:cli/environment@0.2.0" "get-environment" (func $environment (param i32)))
    (import "wasi:cli/environment@0.2.0" "get-arguments" (func $arguments (param i32)))"#;

const WORLD: &str = "package test:made; world made {
    include saf:channel/channel@0.1.0;
    import wasi:clocks/wall-clock@0.2.0; import wasi:clocks/monotonic-clock@0.2.0;
    import wasi:random/random@0.2.0; import wasi:cli/environment@0.2.0; }";

async fn answer(number: &str) -> Vec<usize> {
    let sandbox = sandbox();
    let handle = format!("(global.set $length (i32.and (i32.wrap_i64 {number}) (i32.const 0xfff)))");
    let bytes = component(&counting(IMPORTS, "", &handle), WORLD);
    let component = sandbox.host.load_bytes(bytes.into()).await.expect("loads");
    let case = Case {
        event: event(""),
        attempt: 1,
        config_json: "{}".into(),
        limits: Limits::default(),
        http: None,
    };
    let mut answers = Vec::new();
    for _ in 0..2 {
        let CaseReport { call, log, .. } = run_case(&sandbox.host, &component, &case).await;
        assert!(log.is_empty(), "{log:?}");
        answers.push(count(&call.expect("starts")));
    }
    answers
}

#[tokio::test]
async fn clocks_and_random_numbers_are_the_same_in_every_run() {
    let random = answer("(call $random)").await;
    assert_eq!(random[0], random[1]);
    let twice = answer("(i64.sub (call $random) (call $random))").await;
    assert_ne!(twice[0], 0, "and yet differ within a run");
    let seconds =
        answer("(block (result i64) (call $wall (i32.const 128)) (i64.load (i32.const 128)))").await;
    assert_eq!(seconds, [1_796_000_000 % 0x1000; 2], "the wall clock stands at the event's time");
    let elapsed = answer("(i64.sub (i64.const 0) (i64.sub (call $monotonic) (call $monotonic)))").await;
    assert_eq!(elapsed, [1000; 2], "the monotonic clock moves");
}

#[tokio::test]
async fn a_guest_sees_no_environment_and_no_arguments() {
    for list in ["$environment", "$arguments"] {
        let length = format!(
            "(block (result i64) (call {list} (i32.const 128)) (i64.extend_i32_u (i32.load (i32.const 132))))"
        );
        assert_eq!(answer(&length).await, [0; 2], "{list}");
    }
}
