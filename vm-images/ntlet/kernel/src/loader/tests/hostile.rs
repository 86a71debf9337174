//! Files that lie, and damaged unwind information: nothing that they say makes the loader panic, loop, or take more memory than the largest
//! image has.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::{RngAlgorithm, TestRng, TestRunner};

use super::super::image::{Image, directory};
use super::super::layout::{self, Symbol};
use super::super::{function_table, load_driver, unload};
use super::builder::{PeFile, TEXT, header};
use crate::exception::registers::Registers;
use crate::exception::unwind::{EXCEPTION_HANDLER, Memory, UNWIND_HANDLER, unwind_function};
use crate::loader::modules::{self, RuntimeFunction};
use crate::sim;

/// Everything that is done with a file before it is believed, short of allocating kernel memory.
fn try_everything(file: &[u8]) {
    let Ok(image) = Image::parse(file) else { return };
    let mut memory = std::vec![0; image.size as usize];
    let _ = layout::lay_out(&image, &mut memory);
    let _ = layout::relocate(&image, &mut memory, 0x7777_0000);
    let _ = layout::set_cookie(&image, &mut memory, 0x7777_0000, 99);
    let _ = layout::bind(&image, &mut memory, |_, _| Ok::<u64, ()>(1));
    let _ = function_table(&image, &memory);
    for table in [image.directory(directory::EXPORT).unwrap_or((0, 0x40)), (u32::MAX, 8)] {
        for symbol in [Symbol::Name("Answer"), Symbol::Ordinal(1), Symbol::Ordinal(u16::MAX)] {
            let _ = layout::find_export(&memory, table, symbol);
        }
    }
}

#[test]
fn truncated_and_damaged_files_never_do_harm() {
    let whole = PeFile::new().import("ntoskrnl.exe", &["DbgPrint", "#3"]).exports(&[("Answer", TEXT)]).cookie().build();
    for length in 0..whole.len() {
        try_everything(&whole[..length]);
    }
    // Every byte of the headers and of the tables gets the values that hurt most.
    for at in 0..whole.len() {
        for value in [0, 1, 0x7f, 0x80, 0xff] {
            let mut damaged = whole.clone();
            damaged[at] = value;
            try_everything(&damaged);
        }
    }
    for at in (0..whole.len() - 4).step_by(4) {
        for value in [u32::MAX, 0x7fff_ffff, 0x4fff, 0x5000] {
            let mut damaged = whole.clone();
            damaged[at..at + 4].copy_from_slice(&value.to_le_bytes());
            try_everything(&damaged);
        }
    }
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(cases) }
}

/// Values that hurt: small, large, around sizes and addresses of the file that is damaged.
fn hurtful() -> impl Strategy<Value = u32> {
    prop_oneof![
        0..16_u32,
        (0..8_u32, 0..64_u32).prop_map(|(page, offset)| page * 0x1000 + offset),
        Just(u32::MAX),
        Just(0x7fff_ffff),
        Just(0x8000_0000),
        any::<u32>(),
        (0..32_u32).prop_map(|bit| 1 << bit),
    ]
}

/// One thing that is done to a file.
#[derive(Clone, Debug)]
enum Damage {
    Byte(Index, u8),
    Bit(Index, u8),
    Word(Index, u32),
    /// A word of the headers: of the fixed ones, the directories, the section table.
    Header(Index, u32),
    /// A word of the tables: imports, exports, load configuration, relocations.
    Table(Index, u32),
    Cut(Index),
    Copy(Index, Index, u8),
}

fn damage() -> impl Strategy<Value = Damage> {
    prop_oneof![
        (any::<Index>(), any::<u8>()).prop_map(|(at, value)| Damage::Byte(at, value)),
        (any::<Index>(), 0..8_u8).prop_map(|(at, bit)| Damage::Bit(at, bit)),
        (any::<Index>(), hurtful()).prop_map(|(at, value)| Damage::Word(at, value)),
        (any::<Index>(), hurtful()).prop_map(|(at, value)| Damage::Header(at, value)),
        (any::<Index>(), hurtful()).prop_map(|(at, value)| Damage::Header(at, value)),
        (any::<Index>(), hurtful()).prop_map(|(at, value)| Damage::Table(at, value)),
        (any::<Index>(), hurtful()).prop_map(|(at, value)| Damage::Table(at, value)),
        any::<Index>().prop_map(Damage::Cut),
        (any::<Index>(), any::<Index>(), 0..64_u8).prop_map(|(from, to, length)| Damage::Copy(from, to, length)),
    ]
}

/// Bytes of the headers, behind which the sections follow in the file.
const HEADERS: usize = 0x400;

impl Damage {
    fn apply(&self, file: &mut Vec<u8>) {
        if file.len() < HEADERS + 8 {
            return;
        }
        let length = file.len();
        let mut put = |at: usize, value: u32| file[at..at + 4].copy_from_slice(&value.to_le_bytes());
        match self {
            Self::Byte(at, value) => {
                let at = at.index(file.len());
                file[at] = *value;
            }
            Self::Bit(at, bit) => {
                let at = at.index(file.len());
                file[at] ^= 1 << bit;
            }
            Self::Word(at, value) => put(at.index(length - 4), *value),
            Self::Header(at, value) => {
                put(header::MACHINE + at.index((header::SECTIONS + 4 * 40 - header::MACHINE) / 2) * 2, *value)
            }
            Self::Table(at, value) => put(HEADERS + at.index((length - HEADERS - 4) / 2) * 2, *value),
            Self::Cut(at) => file.truncate(at.index(file.len())),
            Self::Copy(from, to, length) => {
                let length = usize::from(*length);
                let (from, to) = (from.index(file.len() - length.min(file.len())), to.index(file.len() - length.min(file.len())));
                file.copy_within(from..from + length, to);
            }
        }
    }
}

/// Files with everything in them that a loader reads.
fn whole_file() -> impl Strategy<Value = Vec<u8>> {
    (any::<bool>(), any::<bool>(), any::<bool>()).prop_map(|(imports, exports, cookie)| {
        let mut file = PeFile::new();
        if imports {
            file = file.import("ntoskrnl.exe", &["DbgPrint", "#3", "KeGetCurrentIrql"]);
        }
        if exports {
            file = file.exports(&[("Answer", TEXT), ("Other", 0), ("Third", TEXT)]).forward("Other", "ntoskrnl.DbgPrint");
        }
        if cookie { file.cookie().build() } else { file.build() }
    })
}

proptest! {
    #![proptest_config(config(3000))]

    #[test]
    fn damaged_files_are_laid_out_bound_and_searched_without_harm(
        mut file in whole_file(),
        damages in proptest::collection::vec(damage(), 1..6),
    ) {
        damages.iter().for_each(|damage| damage.apply(&mut file));
        try_everything(&file);
    }
}

#[test]
fn damaged_files_are_loaded_or_refused_and_leave_nothing_behind() {
    sim::run(|_| {
        let before = modules::all().count();
        let damaged = (whole_file(), proptest::collection::vec(damage(), 1..4));
        TestRunner::new_with_rng(config(300), TestRng::deterministic_rng(RngAlgorithm::default()))
            .run(&damaged, |(mut file, damages)| {
                damages.iter().for_each(|damage| damage.apply(&mut file));
                if let Ok(loaded) = load_driver("damaged.sys", &file) {
                    // SAFETY: nothing of it has run.
                    unsafe { unload(loaded) };
                }
                prop_assert_eq!(modules::all().count(), before);
                Ok(())
            })
            .unwrap();
    });
}

/// A stack and an image that both hold whatever they hold.
struct Noise<'a> {
    bytes: &'a [u8],
    base: u64,
}

impl Memory for Noise<'_> {
    fn read(&self, address: u64) -> Option<u64> {
        let at = usize::try_from(address.wrapping_sub(self.base)).ok()?;
        self.bytes.get(at..at.checked_add(8)?).map(|bytes| u64::from_le_bytes(bytes.try_into().unwrap()))
    }
}

#[test]
fn damaged_unwind_information_ends_the_walk_and_nothing_else() {
    sim::run(|_| {
        let file = PeFile::new().build();
        let loaded = load_driver("walked.sys", &file).unwrap();
        let module = loaded.module;
        let base = module.base() as u64;
        let cases = (
            proptest::collection::vec(prop_oneof![any::<u8>(), 0..16_u8], 0x800..0x1000),
            (0..0x1000_u32, 0..0x1000_u32, 0..0x1800_u32),
            proptest::collection::vec(prop_oneof![(0..0x1000_u64).prop_map(move |at| base + at), any::<u64>()], 16),
            0..0x1000_u64,
        );
        TestRunner::new_with_rng(config(3000), TestRng::deterministic_rng(RngAlgorithm::default()))
            .run(&cases, |(bytes, (begin, length, unwind), general, rip)| {
                let function = RuntimeFunction { begin, end: begin + length, unwind };
                let mut registers = Registers { rip: base + rip, ..Registers::default() };
                registers.general.copy_from_slice(&general);
                for kind in [0, EXCEPTION_HANDLER, UNWIND_HANDLER] {
                    unwind_function(&Noise { bytes: &bytes, base }, &module, function, &mut registers.clone(), kind);
                }
                Ok(())
            })
            .unwrap();
        // SAFETY: nothing of it runs.
        unsafe { unload(loaded) };
    });
}
