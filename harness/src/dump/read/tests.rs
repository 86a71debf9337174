//! Dumps that are made here, whole and damaged in every way, are read.

use std::io::Write as _;
use std::time::{Duration, Instant};

use kd::context::RSP;
use kd::data::{DUMP_FULL, MACHINE_AMD64, Run};
use proptest::prelude::*;

use super::*;
use crate::dump::triage::Case;
use crate::symbols::Symbols;

/// Each way in which pages can lie in a dump.
const KINDS: [u32; 6] = [DUMP_FULL, 5, 6, 8, 9, 10];
/// Pages of the machine that is dumped: tables, list of modules, names, code, stack. Page 0 is missing, as on every machine.
const PAGES: [u64; 4] = [1, 2, 3, 7];
const TABLES: u64 = 0x1000;
const LIST: u64 = 0x3000;
const STACK: u64 = 0x7800;
const DRIVER: (u64, u32) = (0x7000, 0x400);
const HEADER: usize = size_of::<DumpHeader>();

/// A machine of four pages whose first gibibyte is mapped to itself, with one module, whose code has crashed.
fn memory() -> Vec<[u8; PAGE as usize]> {
    let mut pages = vec![[0; PAGE as usize]; PAGES.len()];
    let mut put = |address: u64, bytes: &[u8]| {
        let index = PAGES.iter().position(|page| *page == address / PAGE).unwrap();
        pages[index][(address % PAGE) as usize..][..bytes.len()].copy_from_slice(bytes);
    };
    put(TABLES, &0x2003u64.to_le_bytes());
    put(TABLES + PAGE, &0x83u64.to_le_bytes());
    let name: Vec<u8> = "Relay.sys".encode_utf16().flat_map(u16::to_le_bytes).collect();
    let mut entry = ModuleEntry::zeroed();
    entry.links = ListEntry { next: LIST, previous: LIST };
    (entry.base, entry.size, entry.time_stamp) = (DRIVER.0, DRIVER.1, 9);
    (entry.base_name.length, entry.base_name.buffer) = (name.len() as u16, LIST + 0x400);
    put(LIST, ListEntry { next: LIST + 0x100, previous: LIST + 0x100 }.as_bytes());
    put(LIST + 0x100, entry.as_bytes());
    put(LIST + 0x400, &name);
    // A call, and the address behind it on the stack.
    put(DRIVER.0 + 0x20, &[0xe8, 0, 0, 0, 0]);
    put(STACK, &(DRIVER.0 + 0x25).to_le_bytes());
    pages
}

fn header(kind: u32) -> Box<DumpHeader> {
    let mut header = Box::new(DumpHeader::new_zeroed());
    header.fill();
    (header.machine, header.dump_type, header.processors) = (MACHINE_AMD64, kind, 2);
    (header.bug_check, header.parameters, header.minor_version) = (0xd1, [8, 2, 0, DRIVER.0 + 0x10], 26100);
    (header.directory_table_base, header.loaded_modules) = (TABLES, LIST);
    let mut context = Context::zeroed();
    (context.rip, context.general[RSP]) = (DRIVER.0 + 0x10, STACK);
    header.context[..size_of::<Context>()].copy_from_slice(context.as_bytes());
    header.memory.run_count = 2;
    header.memory.runs[..2].copy_from_slice(&[Run { first: 1, pages: 3 }, Run { first: 7, pages: 1 }]);
    header
}

/// What lies between the header and the pages.
fn map(kind: u32) -> Vec<u8> {
    let words = |words: &[u64]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    match kind {
        5 | 6 => {
            let mark: &[u8] = if kind == 5 { b"SDMPDUMP" } else { b"FDMPDUMP" };
            let first = HEADER as u64 + 0x38 + 2;
            // Bits beyond the last page mean nothing.
            [mark, &[0; 0x18], &words(&[first, 4, 9]), &[0b1000_1110, 0xfe]].concat()
        }
        8..=10 => {
            let size = 3 * 16;
            let first = HEADER as u64 + 0x30 + size;
            let count = if kind == 10 { [2, 4] } else { [0, 0] };
            let ranges = [size, first, count[0], count[1], 1, 3, 7, 1, 0, 0];
            [b"\x40\0\0\0RDMPDUMP\0\0\0\0", &*words(&ranges)].concat()
        }
        _ => Vec::new(),
    }
}

fn dump(kind: u32) -> Vec<u8> {
    [header(kind).as_bytes(), &map(kind), &memory().concat()].concat()
}

/// The ten lines, or why there are none.
fn triage(bytes: &[u8]) -> Result<Vec<String>, String> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(bytes).unwrap();
    Case::open(file.path()).map(|case| case.lines(&Symbols::default())).map_err(|problem| problem.to_string())
}

#[test]
fn a_dump_tells_its_story_however_its_pages_lie() {
    for kind in KINDS {
        let lines = triage(&dump(kind)).unwrap();
        assert!(lines.len() <= 10, "{lines:?}");
        assert_eq!(lines[0], "bug check   0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x8, 0x2, 0x0, 0x7010)", "type {kind}");
        assert_eq!(lines[1], "driver      Relay.sys at 0x7000, time stamp 0x9", "type {kind}");
        assert_eq!(lines[2..4], ["at          Relay.sys+0x10", "called from Relay.sys+0x25"], "type {kind}");
        assert!(lines.iter().any(|line| line.starts_with("rule        at DISPATCH_LEVEL")), "type {kind}");
        assert!(lines.last().unwrap().contains("Windows build 26100, 2 processors, 1 modules"), "{lines:?}");
    }
}

#[test]
fn a_page_that_is_not_in_the_dump_is_not_read() {
    for kind in KINDS {
        let mut file = tempfile::NamedTempFile::new().unwrap();
        file.write_all(&dump(kind)).unwrap();
        let dump = Dump::open(file.path()).unwrap();
        let is_there = |page: u64| dump.read_physical(page * PAGE, &mut [0]).is_some();
        assert_eq!((0..20).filter(|page| is_there(*page)).collect::<Vec<_>>(), PAGES, "type {kind}");
        assert_eq!(dump.read_physical(u64::MAX - 4, &mut [0]), None);
        assert_eq!(dump.read_virtual(0xffff_8000_0000_0000, &mut [0]), None);
        assert_eq!(dump.read_physical(3 * PAGE - 4, &mut [0; 8]), Some(()), "across two pages");
    }
}

#[test]
fn what_is_no_dump_is_told_what_it_is() {
    let mut other_machine = header(DUMP_FULL);
    other_machine.machine = 0x14c;
    let mut unknown_type = header(4);
    unknown_type.memory.run_count = 1;
    for (bytes, why) in [
        (&b""[..], "it has 0 bytes"),
        (b"MDMP\x93\xa7 a small dump of a program", "bytes, and the header alone has 8192"),
        (&[b'x'; 9000], "it begins with xxxxxxxx, not with PAGEDU64"),
        (other_machine.as_bytes(), "it is of a machine 0x14c"),
        (unknown_type.as_bytes(), "its type is 4"),
    ] {
        let said = triage(bytes).unwrap_err();
        assert!(said.contains(why), "{said}");
    }
    let said = Case::open(Path::new("/dev/null")).unwrap_err().to_string();
    assert!(said.contains("it is no file"), "{said}");
    assert!(Case::open(Path::new("/no/such/dump")).unwrap_err().to_string().contains("No such file"));
}

#[test]
fn counts_that_lie_are_named() {
    let runs = |runs: &[(u64, u64)]| {
        let mut header = header(DUMP_FULL);
        header.memory.run_count = runs.len() as u32;
        for (place, (first, pages)) in header.memory.runs.iter_mut().zip(runs) {
            *place = Run { first: *first, pages: *pages };
        }
        [header.as_bytes(), &memory().concat()].concat()
    };
    let mut too_many = header(DUMP_FULL);
    too_many.memory.run_count = u32::MAX;
    for (bytes, why) in [
        (runs(&[]), "0 runs"),
        (too_many.as_bytes().to_vec(), "4294967295 runs"),
        (runs(&[(1, 1 << 40)]), "cut short"),
        (runs(&[(1, u64::MAX)]), "longer than any memory"),
        (runs(&[(u64::MAX / PAGE, 1)]), "beyond any address"),
        (runs(&[(1, 2), (2, 1)]), "overlap"),
        (runs(&[(1, 1 << 51), (2, 1 << 51)]), "no end"),
    ] {
        let said = triage(&bytes).unwrap_err();
        assert!(said.contains(why), "{why}: {said}");
    }
}

#[test]
fn a_dump_that_claims_a_terabyte_costs_neither_time_nor_memory() {
    let began = Instant::now();
    for (kind, places) in [(5, [0x28, 0x30]), (8, [0x10, 0x10]), (10, [0x10, 0x10])] {
        for claimed in [u64::MAX, 1 << 60, 8 * (32 << 20)] {
            let mut bytes = dump(kind);
            for place in places {
                bytes[HEADER + place..][..8].copy_from_slice(&claimed.to_le_bytes());
            }
            let file = tempfile::NamedTempFile::new().unwrap();
            std::fs::write(file.path(), &bytes).unwrap();
            // A file that is as large as it claims, and takes no room.
            std::fs::File::options().write(true).open(file.path()).unwrap().set_len(1 << 42).unwrap();
            drop(Case::open(file.path()).map(|case| case.lines(&Symbols::default())));
        }
    }
    assert!(began.elapsed() < Duration::from_secs(20), "{:?}", began.elapsed());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_dump_that_was_cut_anywhere_is_refused_with_its_length(kind in proptest::sample::select(&KINDS[..]), at in any::<proptest::sample::Index>()) {
        let bytes = dump(kind);
        let length = at.index(bytes.len());
        let said = triage(&bytes[..length]).unwrap_err();
        prop_assert!(said.contains("it has") || said.contains("it ends") || said.contains("do not fit"), "{}", said);
    }

    #[test]
    fn a_dump_with_any_bytes_changed_is_read_or_refused(
        kind in proptest::sample::select(&KINDS[..]),
        changes in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..40),
        words in proptest::collection::vec((0..HEADER / 8 + 40, any::<u64>()), 0..4),
    ) {
        let mut bytes = dump(kind);
        for (at, value) in changes {
            let at = at.index(bytes.len());
            bytes[at] = value;
        }
        for (at, value) in words {
            bytes[at * 8..at * 8 + 8].copy_from_slice(&value.to_le_bytes());
        }
        if let Ok(lines) = triage(&bytes) {
            prop_assert!(lines.len() <= 10 && lines.iter().all(|line| line.chars().count() <= 300), "{:?}", lines);
        }
    }
}
