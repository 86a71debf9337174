//! What runs when somebody's package brings no suite: does the driver load, does its device start, does the driver unload?
//!
//! One boot without a program: ntlet starts its devices, finds nothing to run, and goes off again. What it logs on the way is the answer;
//! the lines are those of `vm-images/ntlet/kernel/src/pnp`.

use std::time::Instant;

use super::link::Needs;
use super::plan::Turn;
use super::record::{TestOutcome, TestRecord};
use super::session::{Cause, Listed, Session};
use super::watch::Event;
use super::{Run, outcome_of};
use crate::report::folder::GUEST_LOG;

/// Whose package it is.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Name of its INF.
    pub inf: String,
    /// Services that it installs.
    pub services: Vec<String>,
}

/// A test of this suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Does a device take the package, and do its drivers load?
    Loads,
    /// Does the device start?
    Starts,
    /// Do the drivers unload, and leave nothing behind?
    Unloads,
}

impl Question {
    /// All, in the order in which a driver lives.
    pub const ALL: [Self; 3] = [Self::Loads, Self::Starts, Self::Unloads];

    /// `suite::name`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Loads => "package::loads",
            Self::Starts => "package::starts",
            Self::Unloads => "package::unloads",
        }
    }

    /// What it is for.
    #[must_use]
    pub const fn purpose(self) -> &'static str {
        match self {
            Self::Loads => "the package fits a device of the machine, and its drivers load",
            Self::Starts => "the device starts",
            Self::Unloads => "the drivers unload when the machine goes off, and leave nothing behind",
        }
    }

    /// The answer that a guest's log gives. `Err`: why not.
    ///
    /// # Errors
    /// What was missed or found, in words.
    pub fn answer(self, subject: &Subject, log: &str) -> Result<(), String> {
        let lines: Vec<&str> = log.lines().map(without_stamp).collect();
        match self {
            Self::Loads => loads(subject, &lines).map(drop),
            Self::Starts => starts(subject, &lines),
            Self::Unloads => unloads(subject, &lines),
        }
    }
}

/// `[0.063396 cpu0] text` -> `text`
fn without_stamp(line: &str) -> &str {
    line.strip_prefix('[').and_then(|rest| rest.split_once("] ")).map_or(line, |(_, text)| text)
}

/// The devices that took the package.
fn loads<'a>(subject: &Subject, lines: &[&'a str]) -> Result<Vec<&'a str>, String> {
    let from = format!(" from {} (", subject.inf);
    let devices: Vec<&str> = lines.iter().filter(|line| line.contains(&from)).filter_map(|line| instance(line)).collect();
    if devices.is_empty() {
        let without: Vec<&str> = lines.iter().copied().filter(|line| line.contains(": no driver for ")).collect();
        return Err(format!("no device of this machine fits {}\n{}", subject.inf, without.join("\n")));
    }
    let complaint = |line: &&&str| {
        let of_service = subject.services.iter().any(|service| starts_with_name(line, "service ", service));
        of_service || devices.iter().any(|device| starts_with_name(line, "", device)) && line.contains("is not there")
    };
    let is_unloading = |line: &&&str| line.ends_with(": unloaded");
    let complaints: Vec<&str> = lines.iter().filter(complaint).filter(|line| !is_unloading(line)).copied().collect();
    if complaints.is_empty() { Ok(devices) } else { Err(complaints.join("\n")) }
}

/// The devices that took the package, for questions behind [`Question::Loads`], which says why there are none.
fn loaded<'a>(subject: &Subject, lines: &[&'a str]) -> Result<Vec<&'a str>, String> {
    loads(subject, lines).map_err(|_| format!("it does not load: see {}", Question::Loads.name()))
}

fn starts(subject: &Subject, lines: &[&str]) -> Result<(), String> {
    for device in loaded(subject, lines)? {
        if !lines.iter().any(|line| *line == format!("{device}: started")) {
            let about: Vec<&str> = lines.iter().copied().filter(|line| starts_with_name(line, "", device)).collect();
            return Err(format!("{device} did not start\n{}", about.join("\n")));
        }
    }
    Ok(())
}

fn unloads(subject: &Subject, lines: &[&str]) -> Result<(), String> {
    loaded(subject, lines)?;
    for service in &subject.services {
        if !lines.iter().any(|line| line.eq_ignore_ascii_case(&format!("service {service}: unloaded"))) {
            let about: Vec<&str> = lines.iter().copied().filter(|line| starts_with_name(line, "", service)).collect();
            return Err(format!("the driver of {service} did not unload\n{}", about.join("\n")));
        }
    }
    let left: Vec<&str> =
        lines.iter().copied().filter(|line| line.contains(" behind") || line.contains("were not freed")).collect();
    if left.is_empty() { Ok(()) } else { Err(left.join("\n")) }
}

/// The device that a line of PnP begins with.
fn instance<'a>(line: &&'a str) -> Option<&'a str> {
    line.split_once(": ").map(|(device, _)| device)
}

/// Whether a line begins with `before` and a name that ends there.
fn starts_with_name(line: &str, before: &str, name: &str) -> bool {
    let rest = line.strip_prefix(before).and_then(|rest| rest.get(..name.len()).zip(rest.get(name.len()..)));
    rest.is_some_and(|(own, after)| own.eq_ignore_ascii_case(name) && after.starts_with([':', ' ']))
}

impl Run<'_> {
    /// Boots once without a program, and asks the questions that are wanted.
    pub(super) fn check(&self, subject: &Subject) {
        let turn = |question: &Question| {
            let (name, purpose) = (question.name().to_owned(), question.purpose().to_owned());
            Turn { test: Listed { name, purpose, needs: Needs::default(), expects: None }, earlier: Vec::new() }
        };
        let wanted = Question::ALL.iter().filter(|question| self.request.wants(question.name()));
        let wanted: Vec<(Question, Turn)> = wanted.map(|question| (*question, turn(question))).collect();
        self.of_findings(|findings| findings.nothing_chosen = wanted.is_empty());
        if self.request.list {
            self.of_findings(|findings| findings.listed = wanted.into_iter().map(|(_, turn)| turn.test).collect());
            return;
        }
        self.watcher.tell(&Event::Listed { tests: wanted.len() });
        if wanted.is_empty() {
            return;
        }
        let began = Instant::now();
        let Some((number, boot)) = self.begin(&Needs::default()) else { return };
        let mut session = Session::new(boot, self.symbols);
        let ended = session.until_off(self.request.boot_patience);
        let log = std::fs::read(session.boot().folder().join(GUEST_LOG)).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let failure = ended.map_err(|cause| self.blame(cause)).err();
        let guest_log = (0, session.boot().log().written());
        self.end(number, session, "went off by itself");
        let mut time = began.elapsed();
        for (question, turn) in wanted {
            let outcome = match (question.answer(subject, &log), &failure) {
                (Ok(()), _) => TestOutcome::Passed,
                (Err(_), Some(failure)) => failure.clone(),
                (Err(reason), None) => TestOutcome::Failed { file: subject.inf.clone(), line: 0, reason },
            };
            let host_us = super::guests::microseconds(std::mem::take(&mut time));
            let record = TestRecord { host_us, boot: number, guest_log, ..self.blank(&turn, outcome) };
            self.record(turn, record);
        }
    }

    /// What the boot's end says of the tests that it cut off. What is no driver's doing ends the run, too.
    fn blame(&self, cause: Cause) -> TestOutcome {
        if matches!(cause, Cause::QemuDied(_) | Cause::ModelDied(_) | Cause::Interrupted(_)) {
            self.stop(&cause);
        }
        outcome_of(cause)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = r"[0.06 cpu0] PCI\VEN_8086&DEV_29C0\3&00: no driver for PCI Host Bridge (PCI\VEN_8086) (problem 28)
[0.07 cpu0] PCI\VEN_1AF4\3&08: My hardware from my.inf (PCI\VEN_1AF4&DEV_1055)
[0.08 cpu0] PCI\VEN_1AF4\3&08: started
[0.30 cpu0] service mydriver: unloaded
";

    fn answers(log: &str) -> [Result<(), String>; 3] {
        let subject = Subject { inf: "my.inf".into(), services: vec!["MyDriver".into()] };
        Question::ALL.map(|question| question.answer(&subject, log))
    }

    #[test]
    fn a_driver_that_loads_starts_and_unloads_passes() {
        assert_eq!(answers(GOOD), [Ok(()), Ok(()), Ok(())]);
    }

    #[test]
    fn a_package_that_fits_no_device_fails_with_the_devices_there_are() {
        let [loads, starts, unloads] = answers(&GOOD.replace("my.inf", "other.inf"));
        assert!(loads.unwrap_err().contains("no device of this machine fits my.inf\nPCI\\VEN_8086&DEV_29C0"));
        assert_eq!([starts, unloads].map(Result::unwrap_err), ["it does not load: see package::loads"; 2]);
    }

    #[test]
    fn a_driver_whose_entry_fails_does_not_load() {
        let log = GOOD.replace(
            r"PCI\VEN_1AF4\3&08: started",
            "service MyDriver: the DriverEntry of my.sys failed with STATUS_UNSUCCESSFUL",
        );
        let [loads, ..] = answers(&log);
        assert_eq!(loads.unwrap_err(), "service MyDriver: the DriverEntry of my.sys failed with STATUS_UNSUCCESSFUL");
    }

    #[test]
    fn a_device_that_does_not_start_and_a_driver_that_stays_are_told() {
        let [_, starts, _] = answers(&GOOD.replace(": started", ": IRP_MN_START_DEVICE failed with STATUS_X (problem 10)"));
        assert!(starts.unwrap_err().contains("IRP_MN_START_DEVICE failed"));
        let [_, _, unloads] = answers(&GOOD.replace("service mydriver: unloaded", "MyDriver has no unload routine and stays"));
        assert!(unloads.unwrap_err().ends_with("MyDriver has no unload routine and stays"));
    }

    #[test]
    fn memory_that_is_left_behind_fails_the_unloading() {
        let [_, _, unloads] = answers(&format!("{GOOD}my.sys leaves 2 pool blocks with 64 bytes behind\n"));
        assert_eq!(unloads.unwrap_err(), "my.sys leaves 2 pool blocks with 64 bytes behind");
    }
}
