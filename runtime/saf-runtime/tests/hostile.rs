//! Guests that never end are stopped in time, whatever they spend their time on, and hold up nobody else: neither the Channel
//! beside them, nor posts.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::collections::HashMap;
use std::fs;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use support::{On, Router, Stage, until};

/// Computes, waits for memory, fills memory by single instructions, and calls the host: what fuel and yields see differently.
const MODES: [&str; 4] = ["spin", "cache-miss", "memory-fill", "host-calls"];
const CHANNELS_PER_CORE: usize = 4;
/// Posted before anything hostile runs.
const POSTS_ALONE: usize = 500;
/// Posted between two looks at whether everything hostile has ended.
const POSTS_A_LOOK: usize = 20;
const EVENTS: usize = 4;
const ATTEMPTS: u64 = 2;
const TIMEOUT: Duration = Duration::from_millis(200);
/// An attempt may take twice its time-out and this.
const MARGIN: Duration = Duration::from_millis(50);
/// Times as long when the machine runs other things too: wall-clock time is what the kernel leaves a thread.
const SLACK: u32 = 3;
/// The slowest of a hundred posts; an idle machine answers within milliseconds.
const SLOWEST_POST: Duration = Duration::from_secs(1);

#[test]
fn every_attempt_is_stopped_in_time_and_nobody_else_is_held_up() {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let mut stage =
        Stage::new(On::Embedded).channel("good", "echo", &["good"], "emit.subjects = [\"echo.>\"]");
    for n in 0..CHANNELS_PER_CORE * cores {
        let mode = MODES[n % MODES.len()];
        let rest = format!(
            "concurrency = 1\nmax_attempts = {ATTEMPTS}\nbackoff = [\"10ms\"]\n\
             limits.timeout = \"{}ms\"\nlimits.fuel = 1_000_000_000_000\nlimits.host_calls = 1_000_000_000_000\n\
             config = {{ mode = \"{mode}\" }}",
            TIMEOUT.as_millis()
        );
        stage = stage.channel(&format!("{mode}-{n}"), "hostile", &["bad"], &rest);
    }
    let router = stage.start();
    let mut alone: Vec<_> = (0..POSTS_ALONE).map(|_| post(&router)).collect();
    for n in 0..EVENTS {
        assert_eq!(router.post(&json!({"subject": "bad", "data": n})).status, 202);
    }
    let expected = EVENTS * CHANNELS_PER_CORE * cores;
    let dead = |router: &Router| router.metric("saf_channel_dead_letters_total", &[]) as usize;
    let mut posts = Vec::new();
    while dead(&router) < expected {
        posts.extend((0..POSTS_A_LOOK).map(|_| post(&router)));
    }
    router.wait_attempts("good", "done", POSTS_ALONE + posts.len());
    let mut handled = handled(&router);
    let mut handled_beside = handled.split_off(POSTS_ALONE);
    println!("posts alone: {}", percentiles(&mut alone));
    println!("posts beside {} hostile Channels: {}", expected / EVENTS, percentiles(&mut posts));
    println!("stored to handled, alone: {}", percentiles(&mut handled));
    println!("stored to handled, beside: {}", percentiles(&mut handled_beside));
    assert!(posts.len() > 20, "only {} posts beside {expected} events that never end", posts.len());
    assert!(at(&posts, 99) < SLOWEST_POST, "posts were held up: {}", percentiles(&mut posts));

    // Counted when decided, listed when stored.
    let letters =
        until("the letters", || Some(router.dead_letters()).filter(|letters| letters.len() >= expected));
    assert_eq!(letters.len(), expected);
    for mode in MODES {
        check_stopped_in_time(
            mode,
            letters.iter().filter(|letter| letter["channel"].as_str().is_some_and(|c| c.starts_with(mode))),
        );
    }
}

/// How long one post takes.
fn post(router: &Router) -> Duration {
    let start = Instant::now();
    assert_eq!(router.post(&json!({"subject": "good"})).status, 202);
    start.elapsed()
}

/// From storing an event to storing its emission, by the store's own clock, in the order of the events.
fn handled(router: &Router) -> Vec<Duration> {
    let time =
        |event: &Value| humantime::parse_rfc3339(event["time"].as_str().expect("a time")).expect("RFC 3339");
    let parent = |echo: &Value| echo["parent"].as_str().expect("a parent").to_owned();
    let emitted: HashMap<_, _> =
        router.events("echo.good").iter().map(|echo| (parent(echo), time(echo))).collect();
    let took = |event: &Value| {
        let emitted = emitted[&format!("events:{}", event["sequence"])];
        emitted.duration_since(time(event)).expect("the store's clock never falls")
    };
    router.events("good").iter().map(took).collect()
}

fn check_stopped_in_time<'a>(mode: &str, letters: impl Iterator<Item = &'a Value>) {
    let mut took = Vec::new();
    for letter in letters {
        assert_eq!(letter["outcome"], "timeout", "{mode}: {letter}");
        let attempts = letter["attempts"].as_array().expect("attempts");
        assert_eq!(attempts.len() as u64, ATTEMPTS, "{mode}: {letter}");
        took.extend(
            attempts
                .iter()
                .map(|attempt| Duration::from_micros(attempt["micros"].as_u64().expect("a number"))),
        );
    }
    println!("{mode}: {} attempts with a time-out of {TIMEOUT:?}: {}", took.len(), percentiles(&mut took));
    let slowest = *took.iter().max().expect("attempts");
    assert!(slowest <= (TIMEOUT * 2 + MARGIN) * SLACK, "{mode}: an attempt took {slowest:?}");
}

fn percentiles(durations: &mut [Duration]) -> String {
    durations.sort_unstable();
    format!("p50 {:?}, p99 {:?}, max {:?}", at(durations, 50), at(durations, 99), at(durations, 100))
}

fn at(sorted: &[Duration], percent: usize) -> Duration {
    sorted[(sorted.len() * percent / 100).min(sorted.len() - 1)]
}

const MEBI: u64 = 1 << 20;
const MEMORY_LIMIT_MIB: u64 = 64;
/// What the process may grow by beside the guest's own memory.
const OVERHEAD_MIB: u64 = 32;
const BOMBS: usize = 20;

#[cfg(target_os = "linux")]
#[test]
fn a_memory_bomb_costs_its_limit_and_no_more() {
    let rest = format!(
        "concurrency = 1\nmax_attempts = 1\nbackoff = []\nlimits.memory = \"{MEMORY_LIMIT_MIB}MiB\"\n\
         limits.timeout = \"10s\"\nconfig = {{ mode = \"memory-bomb\" }}"
    );
    let stage = Stage::new(On::Embedded).channel("bomb", "hostile", &["bomb"], &rest).channel(
        "good",
        "sink",
        &["good"],
        "",
    );
    let router = stage.start();
    assert_eq!(router.post(&json!({"subject": "good"})).status, 202);
    router.wait_attempts("good", "done", 1);
    // The peak so far is the compilation's: begin a new one.
    fs::write(format!("/proc/{}/clear_refs", router.pid()), "5").expect("a process of ours");
    let baseline = memory(&router, "VmRSS:");
    for n in 0..BOMBS {
        assert_eq!(router.post(&json!({"subject": "bomb", "data": n})).status, 202);
    }
    router.wait_attempts("bomb", "memory", BOMBS);
    let (peak, limit) = (memory(&router, "VmHWM:"), MEMORY_LIMIT_MIB + OVERHEAD_MIB);
    println!("{BOMBS} bombs: from {} MiB to at most {} MiB", baseline / MEBI, peak / MEBI);
    assert!(peak <= baseline + limit * MEBI, "from {} to {} MiB", baseline / MEBI, peak / MEBI);
    until("the memory to be given back", || {
        (memory(&router, "VmRSS:") <= baseline + OVERHEAD_MIB * MEBI).then_some(())
    });
}

/// In bytes.
#[cfg(target_os = "linux")]
fn memory(router: &Router, key: &str) -> u64 {
    const KIBI: u64 = 1 << 10;
    let status = fs::read_to_string(format!("/proc/{}/status", router.pid())).expect("a process of ours");
    let line = status.lines().find_map(|line| line.strip_prefix(key)).expect("Linux says it");
    line.trim().strip_suffix(" kB").and_then(|text| text.parse::<u64>().ok()).expect("a number of kB") * KIBI
}
