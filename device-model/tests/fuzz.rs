//! What the fuzz targets run, on a stable toolchain and without libFuzzer: the kept corpus, then mutations of it.
//!
//! The mutations follow from a fixed seed, so that a run on one machine is the run on every other. To look further:
//! `FUZZ_SEED=N FUZZ_ROUNDS=N cargo test --release -p device-model --test fuzz`. With coverage to steer by: `device-model/fuzz/run`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};

use device_model::dice::Dice;
use device_model::testing::fuzz::{TARGETS, Target};

/// Mutations of each target's corpus: a few seconds for all.
const ROUNDS: u64 = 4_000;
/// Longest input.
const LONGEST: usize = 4096;

fn number(variable: &str, otherwise: u64) -> u64 {
    std::env::var(variable).map_or(otherwise, |text| text.parse().unwrap_or_else(|_| panic!("{variable} is a number")))
}

fn corpus(name: &str) -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(name);
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    files.iter().map(|file| std::fs::read(file).unwrap()).collect()
}

/// Run a target; what it fails on is kept and named.
fn attempt(name: &str, target: Target, input: &[u8]) {
    if let Err(panic) = catch_unwind(AssertUnwindSafe(|| target(input))) {
        let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("{name}.failed"));
        std::fs::write(&path, input).unwrap();
        eprintln!("the target `{name}` fails on {}: put it into fuzz/corpus/{name} when it is mended", path.display());
        std::panic::resume_unwind(panic);
    }
}

/// Change an input in one way.
fn mutate(input: &mut Vec<u8>, other: &[u8], dice: &mut Dice) {
    const NOTABLE: [u64; 10] = [0, 1, 2, 0x10, 0x7f, 0xff, 0x1000, 0xffff, 0xffff_ffff, u64::MAX];
    let at = dice.below(input.len());
    let length = dice.below(16).min(input.len() - at);
    match dice.below(6) {
        0 if !input.is_empty() => input[at] ^= 1 << dice.below(8),
        1 if !input.is_empty() => input[at] = dice.roll() as u8,
        2 => {
            let width = [1, 2, 4, 8][dice.below(4)].min(input.len() - at);
            input[at..at + width].copy_from_slice(&NOTABLE[dice.below(NOTABLE.len())].to_le_bytes()[..width]);
        }
        3 => drop(input.drain(at..at + length)),
        4 => {
            let again = input[at..at + length].to_vec();
            input.splice(at..at, again);
        }
        _ => {
            let from = dice.below(other.len());
            input.splice(at.., other[from..].iter().copied());
        }
    }
    input.truncate(LONGEST);
}

#[test]
fn the_kept_corpus_passes() {
    for (name, target) in TARGETS {
        let inputs = corpus(name);
        assert!(!inputs.is_empty(), "the corpus of {name} has gone");
        inputs.iter().for_each(|input| attempt(name, target, input));
    }
}

#[test]
fn mutations_of_the_corpus_pass() {
    let (seed, rounds) = (number("FUZZ_SEED", 1), number("FUZZ_ROUNDS", ROUNDS));
    for (name, target) in TARGETS {
        let (inputs, mut dice) = (corpus(name), Dice::new(seed));
        for _ in 0..rounds {
            let mut input = inputs[dice.below(inputs.len())].clone();
            for _ in 0..=dice.below(8) {
                let other = &inputs[dice.below(inputs.len())];
                mutate(&mut input, other, &mut dice);
            }
            attempt(name, target, &input);
        }
    }
}
