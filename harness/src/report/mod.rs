//! What a run leaves behind: `run.json`, `junit.xml`, `report.html`, and the logs, in a folder of its own. And what is made of that later.

pub mod folder;
pub mod github;
pub mod html;
pub mod junit;
#[cfg(test)]
mod junit_schema;
pub mod merge;
pub mod merged_log;
pub mod read;
pub mod timeline;

use std::cell::OnceCell;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use crate::console::printable;
use crate::error::Outcome;
use crate::files::open_file;
use crate::run::record::{BootRecord, RunRecord, TestRecord};
use folder::{DEVICE_LOG, GUEST_LOG, JUNIT, MERGED_LOG, REPORT, RunFolder};
use timeline::{Events, Forgotten, Request, second_of_day, stamp};

/// Most of a test's part of the guest's log that reports show.
const LOG_SHOWN: u64 = 64 << 10;
/// Most of a log in which a test's lines are looked for, and most of a device model's that are shown.
const LOG_READ: u64 = 8 << 20;
const DEVICE_LINES_SHOWN: usize = 500;

/// Writes all reports. `run.json` comes last: where it says that the run has ended, the others are there.
///
/// # Errors
/// The disk's.
pub fn write(folder: &RunFolder, record: &RunRecord) -> Outcome<()> {
    let logs = Logs::of_run(&folder.path, record);
    folder.write(MERGED_LOG, merged_log::render(&folder.path, record).as_bytes())?;
    folder.write(JUNIT, &junit::render(record, &logs)?)?;
    folder.write(REPORT, html::render(record, &logs).as_bytes())?;
    folder.write_record(record)
}

/// The logs of a run's boots, of which reports show parts.
#[derive(Debug)]
pub struct Logs<'a> {
    folder: &'a Path,
    record: &'a RunRecord,
    /// What each boot tells of requests, once somebody has asked.
    events: Vec<OnceCell<Events>>,
}

impl<'a> Logs<'a> {
    /// The logs of `record`, whose run left `folder`.
    #[must_use]
    pub fn of_run(folder: &'a Path, record: &'a RunRecord) -> Self {
        Self { folder, record, events: record.boots.iter().map(|_| OnceCell::new()).collect() }
    }

    /// What the guest logged while a test ran, safe for XML and HTML apart from their own characters; empty when the log is not there.
    #[must_use]
    pub fn of(&self, test: &TestRecord) -> String {
        let (start, end) = test.guest_log;
        let Some(path) = self.log(test.boot, GUEST_LOG).filter(|_| start < end) else { return String::new() };
        let shown = start.max(end.saturating_sub(LOG_SHOWN));
        let text = part_of(&path, shown, end).unwrap_or_default();
        let text = text.lines().map(printable).collect::<Vec<_>>().join("\n");
        if shown == start { text } else { format!("[{} bytes left out, see {GUEST_LOG}]\n{text}", shown - start) }
    }

    /// What the device model logged while a test ran: its lines that carry the time of day.
    #[must_use]
    pub fn of_device(&self, test: &TestRecord) -> String {
        let of_boot = || Some((self.boot(test.boot)?, self.log(test.boot, DEVICE_LOG)?));
        let Some((boot, path)) = of_boot() else { return String::new() };
        let Some(began) = second_of_day(&boot.started) else { return String::new() };
        let from = test.since_boot_us as f64 / 1e6;
        let until = from + test.host_us as f64 / 1e6;
        let text = part_of(&path, 0, LOG_READ).unwrap_or_default();
        let is_in_time = |line: &&str| {
            let at = line.trim_start().split(' ').next().and_then(second_of_day);
            at.is_some_and(|at| (from..=until).contains(&(at - began).rem_euclid(86_400.0)))
        };
        text.lines().filter(is_in_time).take(DEVICE_LINES_SHOWN).map(printable).collect::<Vec<_>>().join("\n")
    }

    /// The requests of which guest and device told that they were under way while a test ran, and what drivers have forgotten of that time.
    #[must_use]
    pub fn requests(&self, test: &TestRecord) -> (Vec<Request>, Vec<Forgotten>) {
        let of_boot = || Some((self.events.get(test.boot.checked_sub(1)?)?, self.guest_clock(test.boot)?));
        let Some((events, clock)) = of_boot() else { return Default::default() };
        let events = events.get_or_init(|| {
            let read = |name| self.log(test.boot, name).and_then(|log| part_of(&log, 0, LOG_READ).ok()).unwrap_or_default();
            Events::of(&read(GUEST_LOG), &read(DEVICE_LOG), self.device_to_guest(test.boot, clock))
        });
        let began = clock + test.since_boot_us as f64 / 1e6;
        let time = began..=began + test.host_us as f64 / 1e6;
        (events.requests(time.clone()), events.forgotten(&time))
    }

    /// What the guest's clock showed when QEMU was started, which was before it ran; `None`: it has none.
    fn guest_clock(&self, boot: usize) -> Option<f64> {
        let log = part_of(&self.log(boot, GUEST_LOG)?, 0, LOG_SHOWN).ok()?;
        Some(log.lines().find_map(stamp)? - self.boot(boot)?.first_output_us? as f64 / 1e6)
    }

    /// What to add to the second of the day to get the guest's clock.
    fn device_to_guest(&self, boot: usize, clock: f64) -> Option<f64> {
        Some(clock - second_of_day(&self.boot(boot)?.started)?)
    }

    fn boot(&self, boot: usize) -> Option<&BootRecord> {
        self.record.boots.get(boot.checked_sub(1)?)
    }

    fn log(&self, boot: usize, name: &str) -> Option<PathBuf> {
        Some(self.folder.join(&self.boot(boot)?.folder).join(name))
    }
}

/// The bytes of a file between two offsets, as text.
fn part_of(path: &Path, start: u64, end: u64) -> io::Result<String> {
    let mut file = open_file(path)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(end.saturating_sub(start)).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::run::record::{BootRecord, Counts, FORMAT, TestOutcome, TestRecord, Timings};

    pub(crate) fn sample() -> RunRecord {
        let test = |name: &str, outcome| TestRecord {
            name: name.into(),
            purpose: "shows <what> it is for".into(),
            seed: 7,
            outcome,
            guest_us: Some(1200),
            host_us: 1500,
            boot: 1,
            since_boot_us: 500_000,
            guest_log: (0, 5),
            log: vec!["line & more".into()],
            figures: vec![],
            bug_check: None,
            earlier: vec![],
        };
        let failed = TestOutcome::Failed { file: "echo.rs".into(), line: 7, reason: "expected 0 < 1".into() };
        let tests = vec![
            test("device::passes", TestOutcome::Passed),
            test("device::fails", failed),
            test("device::hangs", TestOutcome::Hang { seconds: 3, log: vec!["last".into()] }),
            test("contract::skips", TestOutcome::Skipped { reason: "one vector".into() }),
        ];
        RunRecord {
            format: FORMAT,
            rig: "0.1.0".into(),
            suite: "all".into(),
            filter: None,
            shard: None,
            options: serde_json::Value::Null,
            directory: "/".into(),
            started: "2026-01-01T00:00:00Z".into(),
            seconds: 1.5,
            command: vec!["rig".into(), "run".into()],
            seed: 1,
            environment: [("qemu".to_owned(), "11.1".to_owned())].into(),
            hashes: [("relay.sys".to_owned(), "00".to_owned())].into(),
            boots: vec![BootRecord { folder: "boot-1".into(), ..BootRecord::default() }],
            counts: Counts::of(&tests),
            tests,
            trouble: None,
            exit: 4,
            timings: Timings::default(),
        }
    }

    /// A folder with the sample's log.
    pub(crate) fn sample_folder(log: &str) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        std::fs::create_dir(folder.path().join("boot-1")).unwrap();
        std::fs::write(folder.path().join("boot-1").join(GUEST_LOG), log).unwrap();
        folder
    }

    #[test]
    fn a_part_of_the_log_never_reaches_beyond_it_and_cannot_steer_a_terminal() {
        let (folder, mut record) = (sample_folder("hello\x1b[2J"), sample());
        let part = |record: &RunRecord| Logs::of_run(folder.path(), record).of(&record.tests[0]);
        assert_eq!(part(&record), "hello");
        record.tests[0].guest_log = (3, 99);
        assert_eq!(part(&record), "lo\u{fffd}[2J");
        record.tests[0].guest_log = (9, 3);
        assert_eq!(part(&record), "");
        record.tests[0].boot = 7;
        assert_eq!(part(&record), "");
    }

    #[test]
    fn a_log_that_is_no_file_is_not_waited_for() {
        let (folder, record) = (sample_folder(""), sample());
        let log = folder.path().join("boot-1").join(GUEST_LOG);
        std::fs::remove_file(&log).unwrap();
        let path = std::ffi::CString::new(log.to_str().unwrap()).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, rustix::fs::Mode::RUSR, 0).unwrap();
        assert_eq!(Logs::of_run(folder.path(), &record).of(&record.tests[0]), "");
    }

    #[test]
    fn the_record_reads_back() {
        let text = serde_json::to_string(&sample()).unwrap();
        let back: RunRecord = serde_json::from_str(&text).unwrap();
        assert_eq!(serde_json::to_string(&back).unwrap(), text);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["tests"][1]["outcome"]["kind"], "failed");
        assert_eq!(value["counts"]["failed"], 2);
    }
}
