//! What GitHub shows beside a commit: one annotation for each test that failed.

use crate::run::record::{RunRecord, TestOutcome, TestRecord};

/// Set by GitHub's runners.
const VARIABLE: &str = "GITHUB_ACTIONS";
/// GitHub shows ten of a step; more would push the first ones out of sight.
const MOST: usize = 10;

/// Whether GitHub reads what we print.
#[must_use]
pub fn listens() -> bool {
    std::env::var(VARIABLE).is_ok_and(|value| value == "true")
}

/// One line a failure, in the runner's own language.
#[must_use]
pub fn annotations(record: &RunRecord) -> Vec<String> {
    let failed = record.tests.iter().filter(|test| test.outcome.is_failure()).map(|test| annotation("error", test));
    let flaky = record.tests.iter().filter(|test| test.is_flaky()).map(|test| annotation("warning", test));
    let trouble = record.trouble.iter().map(|trouble| format!("::error title=rig::{}", escape(&trouble.lines.join("\n"))));
    trouble.chain(failed).chain(flaky).take(MOST).collect()
}

fn annotation(level: &str, test: &TestRecord) -> String {
    let title = property(&format!("{} {}", test.word(), test.name));
    let shown = test.earlier.last().filter(|_| test.is_flaky()).unwrap_or(test);
    let place = match &shown.outcome {
        TestOutcome::Failed { file, line, .. } if !file.is_empty() => format!(",file={},line={line}", property(file)),
        _ => String::new(),
    };
    format!("::{level} title={title}{place}::{}", escape(&shown.outcome.lines().join("\n")))
}

/// A message: line ends and the escape's own character are written as numbers.
fn escape(text: &str) -> String {
    text.replace('%', "%25").replace('\r', "%0D").replace('\n', "%0A")
}

/// A property ends at a comma or a colon, too.
fn property(text: &str) -> String {
    escape(text).replace(':', "%3A").replace(',', "%2C")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::tests::sample;

    #[test]
    fn a_failure_is_annotated_at_its_place_and_cannot_speak_for_the_runner() {
        let mut record = sample();
        if let TestOutcome::Failed { reason, .. } = &mut record.tests[1].outcome {
            *reason = "50%\n::set-output name=x::y".into();
        }
        let lines = annotations(&record);
        assert_eq!(
            lines[0],
            "::error title=FAIL device%3A%3Afails,file=echo.rs,line=7::echo.rs:7: 50%25%0A::set-output name=x::y"
        );
        assert!(lines[1].starts_with("::error title=HANG device%3A%3Ahangs::no answer within 3 s"));
        assert_eq!(lines.len(), 2);
    }

    #[test]
    fn a_flaky_test_is_a_warning_with_what_failed_first() {
        let mut record = sample();
        let failed = record.tests.remove(1);
        record.tests = vec![TestRecord { earlier: vec![failed], ..record.tests.remove(0) }];
        assert_eq!(
            annotations(&record),
            ["::warning title=FLAKY device%3A%3Apasses,file=echo.rs,line=7::echo.rs:7: expected 0 < 1"]
        );
    }
}
