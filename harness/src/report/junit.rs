//! `junit.xml`, for CI systems: one test suite a suite, with each test's part of the guest's log attached. It keeps to the narrowest schema
//! that is in use, that of Jenkins' xUnit plugin (`junit-10.xsd`): what others allow beyond it is left out.

use std::io;
use std::path::Path;
use std::time::Duration;

use chrono::DateTime;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestRerun, TestSuite};

use super::Logs;
use super::folder::JUNIT;
use crate::error::{AtPath as _, Outcome};
use crate::run::record::{RunRecord, TestOutcome, TestRecord};

/// The file's content.
///
/// # Errors
/// The record cannot be written as XML.
pub fn render(record: &RunRecord, logs: &Logs<'_>) -> Outcome<Vec<u8>> {
    let mut report = Report::new("wdfrig");
    report.set_time(Duration::try_from_secs_f64(record.seconds).unwrap_or_default());
    let started = DateTime::parse_from_rfc3339(&record.started).ok();
    for name in suites(record) {
        let mut suite = TestSuite::new(clean(name));
        if let Some(started) = started {
            suite.set_timestamp(started);
        }
        suite.add_test_cases(record.tests.iter().filter(|test| test.suite() == name).map(|test| case(test, logs)));
        report.add_test_suite(suite);
    }
    if let Some(trouble) = &record.trouble {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(clean(trouble.lines.first().map_or("", String::as_str)));
        status.set_description(clean(&trouble.lines.join("\n")));
        let mut suite = TestSuite::new("run");
        suite.add_test_case(TestCase::new("the run as a whole", status));
        report.add_test_suite(suite);
    }
    let mut bytes = Vec::new();
    report.serialize(&mut bytes).map_err(io::Error::other).at("write", Path::new(JUNIT))?;
    leave_out_skipped(&mut bytes);
    Ok(bytes)
}

/// Takes the sum of skipped tests, which each suite has, out of the first element, where the schema does not know it. The element's other
/// attributes are numbers, times and a name of ours.
fn leave_out_skipped(xml: &mut Vec<u8>) {
    const SKIPPED: &[u8] = b" skipped=\"";
    let find = |what: &[u8], from: usize| xml[from..].windows(what.len()).position(|part| part == what).map(|at| from + at);
    let range = || {
        let start = find(b"<testsuites", 0)?;
        let (end, at) = (find(b">", start)?, find(SKIPPED, start)?);
        let close = find(b"\"", at + SKIPPED.len())?;
        (close < end).then_some(at..=close)
    };
    if let Some(range) = range() {
        xml.drain(range);
    }
}

/// Names of the suites, in the order of their first tests.
fn suites(record: &RunRecord) -> Vec<&str> {
    let mut names = Vec::new();
    for test in &record.tests {
        if !names.contains(&test.suite()) {
            names.push(test.suite());
        }
    }
    names
}

fn case(test: &TestRecord, logs: &Logs<'_>) -> TestCase {
    let mut status = match &test.outcome {
        TestOutcome::Passed => TestCaseStatus::success(),
        TestOutcome::Skipped { .. } | TestOutcome::NotRun { .. } => TestCaseStatus::skipped(),
        outcome => TestCaseStatus::non_success(kind(outcome)),
    };
    let lines = test.outcome.lines();
    if let Some(first) = lines.first() {
        status.set_message(clean(first));
        status.set_type(test.outcome.word());
        status.set_description(clean(&lines.join("\n")));
    }
    status.add_reruns(test.earlier.iter().map(|attempt| rerun(attempt, logs)));
    let mut case = TestCase::new(clean(&test.name), status);
    case.set_classname(clean(test.suite()));
    case.set_time(Duration::from_micros(test.host_us));
    case.set_system_out(clean(&output(test)));
    case.set_system_err(clean(&logs.of(test)));
    case
}

/// An attempt that failed before the last one: how CI systems learn that a test is flaky.
fn rerun(attempt: &TestRecord, logs: &Logs<'_>) -> TestRerun {
    let lines = attempt.outcome.lines();
    let mut rerun = TestRerun::new(kind(&attempt.outcome));
    rerun.set_message(clean(&attempt.outcome.headline()));
    rerun.set_type(attempt.outcome.word());
    rerun.set_description(clean(&lines.join("\n")));
    rerun.set_system_out(clean(&output(attempt)));
    rerun.set_system_err(clean(&logs.of(attempt)));
    rerun
}

/// What a test logged and measured.
fn output(test: &TestRecord) -> String {
    let figures = test.figures.iter().map(ToString::to_string);
    test.log.iter().cloned().chain(figures).collect::<Vec<_>>().join("\n")
}

/// Text without the two characters of Unicode that no XML may have and that the writer lets pass.
fn clean(text: &str) -> String {
    text.replace(['\u{fffe}', '\u{ffff}'], "\u{fffd}")
}

const fn kind(outcome: &TestOutcome) -> NonSuccessKind {
    match outcome {
        TestOutcome::Failed { .. } => NonSuccessKind::Failure,
        _ => NonSuccessKind::Error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_errors_and_skips_are_told_apart() {
        let (folder, record) = (super::super::tests::sample_folder("hello"), super::super::tests::sample());
        let logs = Logs::of_run(folder.path(), &record);
        let xml = String::from_utf8(render(&record, &logs).unwrap()).unwrap();
        assert!(xml.contains(r#"<testsuites name="wdfrig""#), "{xml}");
        assert_eq!(xml.matches("<failure").count(), 1);
        assert_eq!(xml.matches("<error").count(), 1);
        assert_eq!(xml.matches("<skipped").count(), 1);
        assert_eq!(xml.matches("<testcase").count(), 4);
        assert!(xml.contains("hello"), "the guest's log is attached");
    }
}
