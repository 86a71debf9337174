//! `junit.xml`, for CI systems: one test suite a suite, with each test's part of the guest's log attached.

use std::io;
use std::path::Path;
use std::time::Duration;

use chrono::DateTime;
use quick_junit::{NonSuccessKind, Report, TestCase, TestCaseStatus, TestSuite};

use super::part_of_log;
use crate::error::{AtPath as _, Outcome};
use crate::run::record::{RunRecord, TestOutcome, TestRecord};

/// The file's content.
///
/// # Errors
/// The record cannot be written as XML.
pub fn render(record: &RunRecord, log: &[u8]) -> Outcome<Vec<u8>> {
    let mut report = Report::new("wdfrig");
    report.set_time(Duration::from_secs_f64(record.seconds.max(0.0)));
    if let Ok(started) = DateTime::parse_from_rfc3339(&record.started) {
        report.set_timestamp(started);
    }
    for name in suites(record) {
        let mut suite = TestSuite::new(name);
        suite.add_test_cases(record.tests.iter().filter(|test| suite_of(test) == name).map(|test| case(test, log)));
        report.add_test_suite(suite);
    }
    if let Some(trouble) = &record.trouble {
        let mut status = TestCaseStatus::non_success(NonSuccessKind::Error);
        status.set_message(trouble.lines.first().cloned().unwrap_or_default());
        status.set_description(trouble.lines.join("\n"));
        let mut suite = TestSuite::new("run");
        suite.add_test_case(TestCase::new("the run as a whole", status));
        report.add_test_suite(suite);
    }
    let mut bytes = Vec::new();
    report.serialize(&mut bytes).map_err(io::Error::other).at("write", Path::new("junit.xml"))?;
    Ok(bytes)
}

fn suite_of(test: &TestRecord) -> &str {
    test.name.split_once("::").map_or("tests", |(suite, _)| suite)
}

/// Names of the suites, in the order of their first tests.
fn suites(record: &RunRecord) -> Vec<&str> {
    let mut names = Vec::new();
    for test in &record.tests {
        if !names.contains(&suite_of(test)) {
            names.push(suite_of(test));
        }
    }
    names
}

fn case(test: &TestRecord, log: &[u8]) -> TestCase {
    let mut status = match &test.outcome {
        TestOutcome::Passed => TestCaseStatus::success(),
        TestOutcome::Skipped { .. } | TestOutcome::NotRun { .. } => TestCaseStatus::skipped(),
        TestOutcome::Failed { .. } => TestCaseStatus::non_success(NonSuccessKind::Failure),
        _ => TestCaseStatus::non_success(NonSuccessKind::Error),
    };
    let lines = test.outcome.lines();
    if let Some(first) = lines.first() {
        status.set_message(first.clone());
        status.set_type(test.outcome.word());
        status.set_description(lines.join("\n"));
    }
    let mut case = TestCase::new(test.name.clone(), status);
    case.set_classname(suite_of(test));
    case.set_time(Duration::from_micros(test.host_us));
    case.set_system_out(test.log.join("\n"));
    case.set_system_err(part_of_log(log, test.guest_log));
    case
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn failures_errors_and_skips_are_told_apart() {
        let xml = String::from_utf8(render(&super::super::tests::sample(), b"hello").unwrap()).unwrap();
        assert!(xml.contains(r#"<testsuites name="wdfrig""#), "{xml}");
        assert_eq!(xml.matches("<failure").count(), 1);
        assert_eq!(xml.matches("<error").count(), 1);
        assert_eq!(xml.matches("<skipped").count(), 1);
        assert_eq!(xml.matches("<testcase").count(), 4);
        assert!(xml.contains("hello"), "the guest's log is attached");
    }
}
