//! Whatever lies where a component should lie, the process lives: a router that is told to reload it, one that finds it at its start, and
//! `check`. A thousand files: mutations of good components, truncated ones, core modules, worlds of somebody else, noise, and files that are
//! too large. Each is refused with a reason or runs within limits, and the Channel beside it handles every event.

#![allow(clippy::expect_used, reason = "a test that finds something else should stop there")]

mod support;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use serde_json::json;
use support::{On, Router, Stage, guest_path, signal, until};
use wit_component::{ComponentEncoder, StringEncoding, embed_component_metadata};

/// Files in all, and Channels that get a new one at each reload.
const FILES: u64 = 1_000;
const CHANNELS: u64 = 20;
/// One more than `host.max_component`.
const TOO_LARGE_BYTES: u64 = (64 << 20) + 1;
/// A mutant may do anything: little of it is enough.
const LIMITS: &str = "max_attempts = 1\nemit.subjects = [\">\"]\nconcurrency = 1\n\
     limits = { fuel = 5_000_000, timeout = \"300ms\", memory = \"4MiB\", emissions = 4, output = \"64KiB\", log = \"1KiB\" }";

/// SplitMix64: a seed that failed can be run again.
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, limit: usize) -> usize {
        (self.next() % limit.max(1) as u64) as usize
    }
}

/// What mutants are made of.
struct Stock {
    /// A small Channel: most of what is changed in it matters.
    small: Vec<u8>,
    /// Channels as they are.
    whole: Vec<Vec<u8>>,
    /// A component that exports nothing a router calls.
    foreign: Vec<u8>,
    core: Vec<u8>,
}

/// A Channel that is done with everything; the parts are those that the contract asks of a module.
const SMALL: &str = r#"(module
    (memory (export "memory") 2)
    (global $end (mut i32) (i32.const 70000))
    (table 4 funcref)
    (elem (i32.const 0) $align $align)
    (func $align (param i32) (result i32) (i32.and (i32.add (local.get 0) (i32.const 15)) (i32.const -16)))
    (func (export "cabi_realloc") (param i32 i32 i32 i32) (result i32)
        (local $at i32)
        (local.set $at (call $align (global.get $end)))
        (global.set $end (i32.add (local.get $at) (local.get 3)))
        (local.get $at))
    (func (export "saf:channel/handler@0.1.0#init") (param i32 i32) (result i32) (i32.const 0))
    (func (export "saf:channel/handler@0.1.0#handle")
        (param i32 i32 i32 i32 i64 i32 i32 i32 i32 i32 i32 i32 i64 i32) (result i32)
        (local $n i32)
        (global.set $end (i32.const 70000))
        (loop $again
            (local.set $n (i32.add (local.get $n) (i32.const 1)))
            (i32.store (i32.add (i32.const 4096) (local.get $n)) (call_indirect (param i32) (result i32) (local.get $n) (i32.const 1)))
            (br_if $again (i32.lt_u (local.get $n) (i32.const 100))))
        (i32.const 64)))"#;

impl Stock {
    fn new() -> Self {
        let contract = concat!(env!("CARGO_MANIFEST_DIR"), "/../../wit/channel.wit");
        let contract = fs::read_to_string(contract).expect("the contract");
        let small = component(SMALL, "channel", &contract);
        let whole = ["echo", "foreign-messaging"].map(|name| fs::read(guest_path(name)).expect("a guest"));
        let foreign = component(
            "(module (func (export \"run\") (result i32) (i32.const 7)))",
            "other",
            "package acme:other; world other { export run: func() -> u32; }",
        );
        let core = wat::parse_str(SMALL).expect("valid text");
        Self { small, whole: whole.into(), foreign, core }
    }

    /// The file of a seed; `None`: one that is too large.
    fn file(&self, seed: u64) -> Option<Vec<u8>> {
        let mut random = Random(seed);
        Some(match seed % 20 {
            0 => {
                let mut noise = b"\0asm\x0d\0\x01\0"[..random.below(9)].to_vec();
                noise.extend((0..random.below(4_000)).map(|_| random.next() as u8));
                noise
            }
            1 => mutate(&self.core, &mut random),
            2 => mutate(&self.foreign, &mut random),
            3 if seed % 100 == 3 => return None,
            3 | 4 => {
                let whole = &self.whole[random.below(self.whole.len())];
                whole[..random.below(whole.len())].to_vec()
            }
            5 | 6 => mutate(&self.whole[random.below(self.whole.len())], &mut random),
            _ => mutate(&self.small, &mut random),
        })
    }

    fn put(&self, seed: u64, path: &Path) {
        let beside = path.with_extension("new");
        match self.file(seed) {
            Some(bytes) => fs::write(&beside, bytes).expect("writable"),
            None => {
                fs::File::create(&beside).and_then(|file| file.set_len(TOO_LARGE_BYTES)).expect("writable")
            }
        }
        fs::rename(&beside, path).expect("renames");
    }
}

fn component(module: &str, world: &str, wit: &str) -> Vec<u8> {
    let mut resolve = wit_parser::Resolve::default();
    let package = resolve.push_str("world.wit", wit).expect("valid WIT");
    let world = resolve.select_world(&[package], Some(world)).expect("a world");
    let mut module = wat::parse_str(module).expect("valid text");
    embed_component_metadata(&mut module, &resolve, world, StringEncoding::UTF8).expect("embeds");
    let encoder = ComponentEncoder::default().module(&module).expect("a module of that world");
    encoder.validate(true).encode().expect("encodes")
}

/// One to three changes: a byte, a cut, a piece lost or doubled.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    for _ in 0..=random.below(3) {
        let at = random.below(mutant.len());
        let piece = at..(at + 1 + random.below(64)).min(mutant.len());
        match random.below(16) {
            0 => mutant.truncate(at),
            1 => drop(mutant.drain(piece)),
            2 => {
                let copy = mutant[piece].to_vec();
                mutant.splice(at..at, copy);
            }
            _ if at < mutant.len() => mutant[at] = random.next() as u8,
            _ => {}
        }
    }
    mutant
}

/// A stage with a good Channel and [`CHANNELS`] whose components are files of the stage.
fn stage(stock: &Stock) -> (Stage, Vec<PathBuf>) {
    let stage = Stage::new(On::Embedded).channel("good", "sink", &["in"], "");
    let cache = stage.folder.path().join("cache").display().to_string();
    // The cache that tests share is for guests that come back.
    let stage = stage.env("SAF__HOST__CACHE", &cache);
    let files: Vec<_> = (0..CHANNELS).map(|n| stage.folder.path().join(format!("{n}.wasm"))).collect();
    let add = |stage: Stage, (n, file): (usize, &PathBuf)| {
        fs::write(file, &stock.small).expect("writable");
        stage.component(&format!("mutant-{n}"), file, &["in"], LIMITS)
    };
    let stage = files.iter().enumerate().fold(stage, add);
    (stage, files)
}

fn reload(router: &Router) {
    let before = router.log_lines(&["\"reloaded\""]).len();
    signal(router.pid(), "HUP");
    until("a reload", || (router.log_lines(&["\"reloaded\""]).len() > before).then_some(()));
}

#[test]
fn a_thousand_files_are_refused_or_run_within_limits_and_the_router_goes_on() {
    let stock = Stock::new();
    let (stage, files) = stage(&stock);
    let mut router = stage.start();
    let (mut posted, mut refused) = (0, 0);
    for batch in 0..FILES / CHANNELS {
        for (n, file) in (0..CHANNELS).zip(&files) {
            stock.put(batch * CHANNELS + n, file);
        }
        reload(&router);
        let told = router.get("/readyz").json()["reload"]["refused"]["channels"].clone();
        for (channel, reason) in told.as_object().into_iter().flatten() {
            assert!(reason.as_str().is_some_and(|reason| !reason.is_empty()), "{channel} in batch {batch}");
            refused += 1;
        }
        assert_eq!(router.post(&json!({"subject": "in", "data": batch})).status, 202, "batch {batch}");
        posted += 1;
        router.wait_attempts("good", "done", posted);
    }
    // How many are refused depends on the bytes of the guests as they were built here: some of each kind is what matters.
    assert!((FILES / 20..FILES * 19 / 20).contains(&refused), "{refused} of {FILES} were refused");

    // With good files again every Channel is well, whatever it ran before.
    for file in &files {
        fs::write(file, &stock.small).expect("writable");
    }
    reload(&router);
    for n in 0..CHANNELS {
        stage.settled(&router, &format!("mutant-{n}"));
    }
    assert_eq!(router.get("/readyz").json()["degraded"], json!(false), "{}", router.get("/readyz").body);
    assert!(router.log_lines(&["panicked"]).is_empty(), "{:?}", router.log_lines(&["panicked"]));
    signal(router.pid(), "TERM");
    assert!(router.wait().success());
}

#[test]
fn a_check_names_every_file_that_cannot_be_run_and_a_start_does_not_die_of_one() {
    const ROUNDS: u64 = 4;
    let stock = Stock::new();
    let (stage, files) = stage(&stock);
    for round in 0..ROUNDS {
        for (n, file) in (0..CHANNELS).zip(&files) {
            stock.put(FILES + round * CHANNELS + n, file);
        }
        let config = stage.folder.path().join("router.toml");
        fs::write(&config, stage.config()).expect("writable");
        let mut check = Command::new(env!("CARGO_BIN_EXE_saf-runtime"));
        check.arg("check").arg("--config").arg(&config).envs(stage.env.iter().cloned()).stdin(Stdio::null());
        let output = check.output().expect("runs");
        let said = String::from_utf8_lossy(&output.stdout);
        let complaint = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(1), "round {round}: {complaint}");
        assert!(complaint.contains("cannot be run: mutant-"), "round {round}: {complaint}");
        for n in 0..CHANNELS {
            assert!(said.contains(&format!("mutant-{n}\n")), "round {round}: mutant-{n} in {said}");
        }

        let (status, log) = stage.start_that_fails();
        assert_eq!(status.code(), Some(78), "round {round}: {log}");
        assert!(log.contains(".wasm"), "round {round}: {log}");
    }
}
