//! What a run leaves behind: `run.json`, `junit.xml`, `report.html`, and the logs, in a folder of its own.

pub mod folder;
pub mod html;
pub mod junit;

use std::fs;

use crate::error::Outcome;
use crate::run::record::RunRecord;
use folder::{GUEST_LOG, RunFolder};

/// Most of a test's part of the guest's log that reports show.
const LOG_SHOWN: usize = 64 << 10;

/// Writes all reports. `run.json` comes last: where it says that the run has ended, the others are there.
///
/// # Errors
/// The disk's.
pub fn write(folder: &RunFolder, record: &RunRecord) -> Outcome<()> {
    let log = fs::read(folder.path.join(GUEST_LOG)).unwrap_or_default();
    folder.write("junit.xml", &junit::render(record, &log)?)?;
    folder.write("report.html", html::render(record, &log).as_bytes())?;
    folder.write_record(record)
}

/// The part of the guest's log between two offsets, as text.
fn part_of_log(log: &[u8], (start, end): (u64, u64)) -> String {
    let at = |offset: u64| usize::try_from(offset).unwrap_or(usize::MAX).min(log.len());
    let part = &log[at(start).min(at(end))..at(end)];
    if part.len() <= LOG_SHOWN {
        return String::from_utf8_lossy(part).into_owned();
    }
    let cut = part.len() - LOG_SHOWN;
    format!("[{cut} bytes left out, see {GUEST_LOG}]\n{}", String::from_utf8_lossy(&part[cut..]))
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::run::record::{Counts, TestOutcome, TestRecord, Timings};

    pub(crate) fn sample() -> RunRecord {
        let test = |name: &str, outcome| TestRecord {
            name: name.into(),
            purpose: "shows <what> it is for".into(),
            seed: 7,
            outcome,
            guest_us: Some(1200),
            host_us: 1500,
            boot: 1,
            guest_log: (0, 5),
            log: vec!["line & more".into()],
            figures: vec![],
        };
        let failed = TestOutcome::Failed { file: "echo.rs".into(), line: 7, reason: "expected 0 < 1".into() };
        let tests = vec![
            test("device::passes", TestOutcome::Passed),
            test("device::fails", failed),
            test("device::hangs", TestOutcome::Hang { seconds: 3, log: vec!["last".into()] }),
            test("contract::skips", TestOutcome::Skipped { reason: "one vector".into() }),
        ];
        RunRecord {
            format: 1,
            rig: "0.1.0",
            suite: "all".into(),
            filter: None,
            started: "2026-01-01T00:00:00Z".into(),
            seconds: 1.5,
            command: vec!["rig".into(), "run".into()],
            seed: 1,
            environment: [("qemu", "11.1".to_owned())].into(),
            hashes: [("relay.sys".to_owned(), "00".to_owned())].into(),
            boots: vec![],
            counts: Counts::of(&tests),
            tests,
            trouble: None,
            exit: 4,
            timings: Timings::default(),
        }
    }

    #[test]
    fn a_part_of_the_log_never_reaches_beyond_it() {
        assert_eq!(part_of_log(b"hello", (1, 3)), "el");
        assert_eq!(part_of_log(b"hello", (3, 99)), "lo");
        assert_eq!(part_of_log(b"hello", (9, 3)), "");
    }

    #[test]
    fn the_record_reads_back_as_json() {
        let text = serde_json::to_string(&sample()).unwrap();
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["tests"][1]["outcome"]["kind"], "failed");
        assert_eq!(value["counts"]["failed"], 2);
    }
}
