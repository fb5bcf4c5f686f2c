//! A guest that eats memory costs the process its limit and no more. Alone in its binary: it reads the process' own size.

#![allow(clippy::expect_used, reason = "a test that finds None should stop there")]
#![cfg(target_os = "linux")]

mod support;

use std::fs;

use saf_event::{Outcome, Size};

use support::{call, sandbox};

/// What may lie between the limit and what the process grows by: stacks, the compiler's leftovers, the allocator.
const SLACK_BYTES: u64 = 32 << 20;

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").expect("readable");
    let line = status.lines().find(|line| line.starts_with("VmHWM")).expect("the high-water mark");
    line.split_whitespace().nth(1).and_then(|kib| kib.parse::<u64>().ok()).expect("a number") << 10
}

#[tokio::test]
async fn a_memory_bomb_stays_within_its_limit() {
    let sandbox = sandbox();
    let hostile = sandbox.guest("hostile").await;
    let limit = Size::mib(64);
    let pool = sandbox.pool(&hostile, |setup| setup.limits.memory = limit);
    call(&pool, "ok").await;
    let before = resident_bytes();
    for _ in 0..5 {
        assert_eq!(call(&pool, "memory-bomb").await.verdict.outcome(), Outcome::Memory);
    }
    let grown = resident_bytes() - before;
    assert!(grown <= limit.0 + SLACK_BYTES, "grew by {} MiB", grown >> 20);
}
