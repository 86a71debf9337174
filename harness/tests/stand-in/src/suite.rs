//! The suite's part: results that are written down here, and ways in which Windows or a program can come to an end.

use alloc::vec;

use channel::{Expected, FromGuest, LogLevel, Needs, Outcome, PROTOCOL_VERSION, ToGuest, Word};
use kd::data::{DUMP_FULL, DumpHeader, MACHINE_AMD64, Run};
use kd::zerocopy::{FromZeros as _, IntoBytes as _};

use crate::firmware::Firmware;
use crate::line::{self, Ear};

/// `WDF_VIOLATION`, and the parameters that every test here uses.
const CODE: u32 = 0x10d;
const PARAMETERS: [u64; 4] = [5, 0, 0x1000, 0x2000];
/// `NMI_HARDWARE_FAILURE` is what Windows makes of the harness's interrupt; a program of the firmware does not get it.
const EXPECTED: Expected = Expected { code: CODE, known: 1, parameters: [5, 0, 0, 0] };
/// Exit code of a program that accessed what it must not.
const ACCESS_VIOLATION: u32 = 0xc000_0005;
/// Pages behind a dump's header: enough for several parts on the line.
const PAGES: usize = 260;
const PAGE: usize = 4096;
/// Windows' folder.
const WINDOWS: &str = "Windows";

type Ending = fn(&Firmware) -> Option<u32>;

struct Played {
    name: &'static str,
    expects: Option<Expected>,
    outcome: Option<Outcome<'static>>,
    /// How it ends, if it has no outcome; a code is the program's.
    ending: Ending,
}

const TESTS: [Played; 8] = [
    played("standin::passes", Outcome::Passed),
    played("standin::fails", Outcome::Failed { file: "standin.rs", line: 7, reason: "expected 1, came 2" }),
    played("standin::is_skipped", Outcome::Skipped { reason: "it is played" }),
    ends("standin::ends_in_the_bug_check_that_it_expects", Some(EXPECTED), |firmware| bug_check(firmware)),
    ends("standin::bug_checks", None, |firmware| bug_check(firmware)),
    ends("standin::restarts_without_a_dump", None, |firmware| firmware.restart()),
    ends("standin::program_dies", None, |_| Some(ACCESS_VIOLATION)),
    ends("standin_hang::hangs", None, |_| {
        loop {
            core::hint::spin_loop();
        }
    }),
];

const fn played(name: &'static str, outcome: Outcome<'static>) -> Played {
    Played { name, expects: None, outcome: Some(outcome), ending: |_| None }
}

const fn ends(name: &'static str, expects: Option<Expected>, ending: Ending) -> Played {
    Played { name, expects, outcome: None, ending }
}

/// Answers the harness as a suite does; returns the exit code of the program that it plays.
pub(crate) fn serve(firmware: &Firmware, ear: &mut Ear) -> u32 {
    loop {
        let over = ear.hear(|word| match word {
            Word::Suite(order) => obey(order, firmware),
            Word::Agent(_) => None,
        });
        if let Some(code) = over {
            return code;
        }
    }
}

fn obey(order: ToGuest<'_>, firmware: &Firmware) -> Option<u32> {
    match order {
        ToGuest::Hello { .. } => line::suite(&FromGuest::Hello { protocol: PROTOCOL_VERSION, system: "a stand-in's suite" }),
        ToGuest::List => {
            for test in &TESTS {
                let (purpose, needs) = ("is played", Needs::NOTHING);
                line::suite(&FromGuest::Test { name: test.name, purpose, needs, expects: test.expects });
            }
            line::suite(&FromGuest::EndOfList);
        }
        ToGuest::Run { test: name, .. } => {
            let test = TESTS.iter().find(|test| test.name == name)?;
            line::suite(&FromGuest::Started { test: name });
            line::suite(&FromGuest::Log { level: LogLevel::Info, text: "this result is written down, not found out" });
            match test.outcome {
                Some(outcome) => line::suite(&FromGuest::Finished { test: name, outcome, duration: 10 }),
                None => return (test.ending)(firmware),
            }
        }
        ToGuest::Answer { .. } => {}
        ToGuest::Goodbye => {
            line::suite(&FromGuest::Goodbye);
            return Some(0);
        }
    }
    None
}

/// Leaves a dump as Windows does, and starts again.
fn bug_check(firmware: &Firmware) -> ! {
    let mut header = DumpHeader::new_zeroed();
    header.fill();
    (header.bug_check, header.parameters) = (CODE, PARAMETERS);
    (header.machine, header.dump_type) = (MACHINE_AMD64, DUMP_FULL);
    header.memory.run_count = 1;
    header.memory.page_count = PAGES as u64;
    header.memory.runs[0] = Run { first: 0, pages: PAGES as u64 };
    let mut dump = vec![0; size_of::<DumpHeader>() + PAGES * PAGE];
    let (head, pages) = dump.split_at_mut(size_of::<DumpHeader>());
    head.copy_from_slice(header.as_bytes());
    for (at, byte) in pages.iter_mut().enumerate() {
        *byte = (at * 31 + at / PAGE) as u8;
    }
    firmware.own().folder(WINDOWS);
    firmware.own().write(r"Windows\MEMORY.DMP", &dump);
    firmware.restart()
}
