//! What CI systems accept as JUnit XML, written down as a schema: that of Jenkins' xUnit plugin, which is the narrowest of those in use. What
//! keeps to it, GitLab's reader and Maven Surefire's schema take, too.

use roxmltree::{Document, Node};

use super::{Logs, junit};
use crate::report::tests::{sample, sample_folder};
use crate::run::record::{TestOutcome, TestRecord, Trouble};

/// An element: required attributes, further attributes, children that may come.
type Element = (&'static str, &'static [&'static str], &'static [&'static str], &'static [&'static str]);

const SCHEMA: [Element; 11] = [
    ("testsuites", &["name", "tests", "failures", "errors"], &["time"], &["testsuite"]),
    (
        "testsuite",
        &["name", "tests", "failures", "errors"],
        &["group", "skipped", "time", "timestamp", "hostname", "package", "id", "file", "log", "url"],
        &["properties", "testcase", "system-out", "system-err"],
    ),
    (
        "testcase",
        &["name"],
        &["classname", "time", "group"],
        &["skipped", "failure", "error", "flakyFailure", "flakyError", "rerunFailure", "rerunError", "system-out", "system-err"],
    ),
    ("failure", &[], &["message", "type"], &[]),
    ("error", &[], &["message", "type"], &[]),
    ("skipped", &[], &["message", "type"], &[]),
    ("flakyFailure", &["type"], &["message"], &["stackTrace", "system-out", "system-err"]),
    ("flakyError", &["type"], &["message"], &["stackTrace", "system-out", "system-err"]),
    ("rerunFailure", &["type"], &["message"], &["stackTrace", "system-out", "system-err"]),
    ("rerunError", &["type"], &["message"], &["stackTrace", "system-out", "system-err"]),
    ("system-out", &[], &[], &[]),
];

/// Every way in which `node` and what is below it leaves the schema.
fn violations(node: Node<'_, '_>) -> Vec<String> {
    let name = node.tag_name().name();
    let text_only = matches!(name, "system-err" | "stackTrace");
    let Some((_, required, further, children)) =
        SCHEMA.iter().find(|(known, ..)| *known == name || text_only && *known == "system-out")
    else {
        return vec![format!("<{name}> is no element of JUnit XML")];
    };
    let mut found = Vec::new();
    for attribute in required.iter().filter(|attribute| node.attribute(**attribute).is_none()) {
        found.push(format!("<{name}> has no {attribute}"));
    }
    for attribute in node.attributes() {
        if !required.contains(&attribute.name()) && !further.contains(&attribute.name()) {
            found.push(format!("<{name}> has {}", attribute.name()));
        }
        let is_number = matches!(attribute.name(), "tests" | "failures" | "errors" | "skipped" | "disabled" | "time");
        if is_number && attribute.value().parse::<f64>().is_err() {
            found.push(format!("{} of <{name}> is {:?}", attribute.name(), attribute.value()));
        }
    }
    for child in node.children().filter(Node::is_element) {
        if !children.contains(&child.tag_name().name()) {
            found.push(format!("<{}> stands in <{name}>", child.tag_name().name()));
        }
        found.extend(violations(child));
    }
    found
}

/// A record with every kind of outcome, attempts that came before, and hostile words.
fn everything() -> crate::run::record::RunRecord {
    let mut record = sample();
    let failed = record.tests[1].clone();
    let hostile = "]]> <testcase name=\"x\"/> & \u{0}\u{1b}[2J \u{ffff}";
    let outcomes = [
        TestOutcome::GuestDied { reason: hostile.into() },
        TestOutcome::Broken { reason: hostile.into() },
        TestOutcome::NotRun { reason: hostile.into() },
        TestOutcome::Failed { file: hostile.into(), line: 1, reason: hostile.into() },
    ];
    for (number, outcome) in outcomes.into_iter().enumerate() {
        record.tests.push(TestRecord {
            name: format!("odd::{number}{hostile}"),
            outcome,
            log: vec![hostile.into()],
            ..failed.clone()
        });
    }
    let flaky = TestRecord { earlier: vec![failed.clone(), record.tests[2].clone()], ..record.tests[0].clone() };
    let stubborn = TestRecord { earlier: vec![failed.clone(), record.tests[2].clone()], ..failed };
    record.tests.extend([flaky, stubborn]);
    record.trouble = Some(Trouble { lines: vec![hostile.into()], exit: 3 });
    record
}

#[test]
fn the_results_follow_the_schema_that_ci_systems_read() {
    let (folder, record) = (sample_folder("hello ]]>\u{1b}\n"), everything());

    let bytes = junit::render(&record, &Logs::of_run(folder.path(), &record)).unwrap();

    let text = String::from_utf8(bytes).unwrap();
    let document = Document::parse(&text).unwrap_or_else(|error| panic!("{error}\n{text}"));
    assert_eq!(violations(document.root_element()), Vec::<String>::new(), "{text}");
}

#[test]
fn the_sums_are_those_of_the_cases() {
    let (folder, record) = (sample_folder(""), everything());
    let text = String::from_utf8(junit::render(&record, &Logs::of_run(folder.path(), &record)).unwrap()).unwrap();
    let document = Document::parse(&text).unwrap();
    for suite in document.descendants().filter(|node| node.has_tag_name("testsuite")) {
        let count = |tag: &str| suite.children().filter(|case| case.children().any(|child| child.has_tag_name(tag))).count();
        let said = |name: &str| suite.attribute(name).unwrap_or("0").parse::<usize>().unwrap();
        assert_eq!(said("failures"), count("failure"));
        assert_eq!(said("errors"), count("error"));
        assert_eq!(said("tests"), suite.children().filter(|child| child.has_tag_name("testcase")).count());
    }
}

#[test]
fn what_is_no_schema_is_noticed() {
    let document = Document::parse("<testsuites name='a' tests='x' failures='0' errors='0'><case/></testsuites>").unwrap();
    let found = violations(document.root_element());
    assert_eq!(found.len(), 3, "{found:?}");
}
