//! Whatever is in a file, the host says no or runs it under limits: it does not panic and does not hang.

mod support;

use std::fs;
use std::time::Duration;

use saf_event::Span;
use saf_host::{Case, Limits, LoadError, run_case};

use support::{NOT_HUNG, channel, event, guest_path, sandbox, stateful};

const MUTANTS: u64 = 200;

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
        (self.next() % limit as u64) as usize
    }
}

/// One or two changes: a byte, a cut, a piece lost or doubled.
fn mutate(bytes: &[u8], random: &mut Random) -> Vec<u8> {
    let mut mutant = bytes.to_vec();
    for _ in 0..=random.below(2) {
        let at = random.below(mutant.len().max(1));
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

#[tokio::test]
async fn no_mutant_harms_the_host() {
    let sandbox = sandbox();
    let originals = [
        channel(&stateful()),
        channel(&stateful()),
        channel(&stateful()),
        fs::read(guest_path("sink")).expect("read"),
    ];
    let limits = Limits { timeout: Span(Duration::from_millis(500)), fuel: 10_000_000, ..Limits::default() };
    let case = Case { event: event("x"), attempt: 1, config_json: "{}".into(), limits, http: None };
    let (mut refused, mut ran) = (0, 0);
    for seed in 0..MUTANTS {
        let mut random = Random(seed);
        let original = &originals[random.below(originals.len())];
        let mutant = mutate(original, &mut random);
        let loading = tokio::time::timeout(NOT_HUNG, sandbox.host.load_bytes(mutant.into()));
        match loading.await.unwrap_or_else(|_| panic!("seed {seed} hangs")) {
            Err(LoadError::Panicked(text)) => panic!("seed {seed}: the compiler panicked: {text}"),
            Err(error) => {
                assert!(!error.to_string().is_empty(), "seed {seed}");
                refused += 1;
            }
            Ok(component) => {
                let running = tokio::time::timeout(NOT_HUNG, run_case(&sandbox.host, &component, &case));
                let report = running.await.unwrap_or_else(|_| panic!("seed {seed} hangs"));
                assert!(report.log.len() < 10_000, "seed {seed}");
                ran += 1;
            }
        }
    }
    assert!(refused > 20 && ran > 20, "{refused} refused, {ran} ran: the mutants are too wild or too tame");
}
