//! `run.log`: what every guest, device model and QEMU of a run said, in one file, in order.
//!
//! The guest stamps its lines with its own clock, which began when QEMU's guest first spoke; the project's device models stamp theirs with
//! the time of day. A line without a stamp follows the one before it in its own log. What drivers remember of their last events is written
//! when the guest ends, and stands where the events happened. QEMU's few words have no stamps and are mostly its last: they stand at the end
//! of their boot.

use std::fmt::Write as _;
use std::io::{self, Read as _};
use std::path::Path;

use super::folder::{DEVICE_LOG, GUEST_LOG, QEMU_LOG};
use super::timeline::{happened, second_of_day, stamp};
use crate::console::printable;
use crate::files::open_file;
use crate::run::record::{BootRecord, RunRecord};

/// Most of one log that is merged; the log itself has the rest.
const MOST: u64 = 4 << 20;

/// A line with its moment: seconds since the first boot's start.
struct Line {
    at: f64,
    boot: usize,
    source: &'static str,
    text: String,
}

/// The merged log of the boots of `record`, whose folders are below `folder`.
#[must_use]
pub fn render(folder: &Path, record: &RunRecord) -> String {
    let Some(origin) = record.boots.iter().filter_map(|boot| second_of_day(&boot.started)).next() else { return String::new() };
    let mut lines = Vec::new();
    for (number, boot) in record.boots.iter().enumerate() {
        lines.extend(of_boot(&folder.join(&boot.folder), number + 1, boot, origin));
    }
    lines.sort_by(|one, other| one.at.total_cmp(&other.at));
    let mut text = String::new();
    for Line { at, boot, source, text: line } in lines {
        let _ = writeln!(text, "{at:>12.6}  boot {boot:<3} {source:<6}  {line}");
    }
    text
}

fn of_boot(folder: &Path, number: usize, boot: &BootRecord, origin: f64) -> Vec<Line> {
    let began = second_of_day(&boot.started).map_or(0.0, |at| since(at, origin));
    let clock = Clock::of(boot, &folder.join(GUEST_LOG), began);
    let on_guests_clock = |line: &str| stamp(line).map(|at| clock.zero + at);
    let told_late = |line: &str| happened(line).map(|at| clock.zero + at);
    let on_the_wall = |line: &str| second_of_day(line.trim_start().split(' ').next()?).map(|at| since(at, origin));
    let mut lines = read(folder, GUEST_LOG, number, "guest", began, on_guests_clock, told_late);
    lines.extend(read(folder, DEVICE_LOG, number, "device", began, on_the_wall, |_| None));
    lines.extend(read(folder, QEMU_LOG, number, "qemu", began + boot.seconds, |_| None, |_| None));
    lines
}

/// Seconds from `origin` to `at`, both of the day, perhaps over midnight.
fn since(at: f64, origin: f64) -> f64 {
    (at - origin).rem_euclid(86_400.0)
}

/// Where the guest's clock began.
struct Clock {
    zero: f64,
}

impl Clock {
    fn of(boot: &BootRecord, log: &Path, began: f64) -> Self {
        let first_output = boot.first_output_us.map_or(0.0, |us| us as f64 / 1e6);
        let first_stamp = part(log).ok().and_then(|text| text.lines().find_map(stamp)).unwrap_or(0.0);
        Self { zero: began + first_output - first_stamp }
    }
}

fn read(
    folder: &Path,
    name: &str,
    boot: usize,
    source: &'static str,
    began: f64,
    time_of: impl Fn(&str) -> Option<f64>,
    told_late: impl Fn(&str) -> Option<f64>,
) -> Vec<Line> {
    let text = part(&folder.join(name)).unwrap_or_default();
    let mut at = began;
    let lines = text.lines().map(|line| {
        if let Some(earlier) = told_late(line) {
            return Line { at: earlier, boot, source, text: printable(line) };
        }
        // A clock that goes back does not carry its line past those before it.
        at = time_of(line).unwrap_or(at).max(at);
        Line { at, boot, source, text: printable(line) }
    });
    lines.collect()
}

fn part(log: &Path) -> io::Result<String> {
    let mut bytes = Vec::new();
    open_file(log)?.take(MOST).read_to_end(&mut bytes)?;
    let mut text = String::from_utf8_lossy(&bytes).into_owned();
    if bytes.len() as u64 == MOST {
        text.push_str("\n[rig] the rest is in the log itself");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::{sample, sample_folder};

    #[test]
    fn lines_of_all_sources_stand_in_the_order_of_their_times() {
        let folder = sample_folder("[0.100000 cpu0] up\n  and more\n[0.300000 cpu0] down\n");
        let device = "2026-01-01T23:59:59.950000Z INFO a client\n2026-01-02T00:00:00.250000Z INFO asked\nno stamp\n";
        std::fs::write(folder.path().join("boot-1").join(DEVICE_LOG), device).unwrap();
        std::fs::write(folder.path().join("boot-1").join(QEMU_LOG), "qemu: bye\n").unwrap();
        let mut record = sample();
        record.boots[0].started = "2026-01-01T23:59:59.900000Z".into();
        record.boots[0].first_output_us = Some(100_000);
        record.boots[0].seconds = 0.5;

        let text = render(folder.path(), &record);

        let words: Vec<&str> = text.lines().map(|line| line.rsplit(' ').next().unwrap()).collect();
        assert_eq!(words, ["client", "up", "more", "down", "asked", "stamp", "bye"], "{text}");
        assert!(text.starts_with("    0.050000  boot 1   device  2026-"), "{text}");
    }

    #[test]
    fn what_a_driver_remembers_stands_where_it_happened_not_where_it_was_written() {
        let event = |at: f64| format!("[0.900000 cpu0] kmdf relay: #1 @{at:.6} request-sent 0x57440010 irql=0 thread=0x1\n");
        let log = "[0.100000 cpu0] up\n[0.300000 cpu0] down\n".to_owned() + &event(0.2) + &event(0.4) + "off\n";
        let folder = sample_folder(&log);
        let mut record = sample();
        record.boots[0].started = "2026-01-01T00:00:00Z".into();
        record.boots[0].first_output_us = Some(100_000);

        let text = render(folder.path(), &record);

        let order: Vec<&str> = text.lines().map(|line| line.split_once("guest ").unwrap().1.trim()).collect();
        let place = |part: &str| order.iter().position(|line| line.contains(part)).unwrap();
        assert!(place("up") < place("@0.2") && place("@0.2") < place("down") && place("down") < place("@0.4"), "{text}");
    }

    #[test]
    fn a_run_without_boots_has_an_empty_log() {
        let mut record = sample();
        record.boots.clear();
        assert_eq!(render(Path::new("/nowhere"), &record), "");
    }
}
