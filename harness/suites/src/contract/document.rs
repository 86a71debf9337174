//! Holds `docs/contract.md` and the tests together: every contract test has a row, every row has tests that exist or says why it has none.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use crate::bench::Test;

const DOCUMENT: &str = include_str!("../../../../docs/contract.md");

/// One row of a table.
#[derive(Debug)]
struct Row<'a> {
    /// `F` of `F7`: the page, or `K` for what is known beyond the pages.
    kind: char,
    /// 7 of `F7`.
    number: u32,
    sentence: &'a str,
    page: &'a str,
    tests: &'a str,
    ntlet: &'a str,
    windows: &'a str,
}

impl<'a> Row<'a> {
    /// A line that begins with an id; other lines are headings and prose.
    fn new(line: &'a str) -> Option<Self> {
        let cells: Vec<&str> = line.trim().strip_prefix('|')?.strip_suffix('|')?.split('|').map(str::trim).collect();
        let kind = cells[0].chars().next().filter(|kind| "CFRUK".contains(*kind))?;
        let number = cells[0][1..].parse().ok()?;
        let [_, sentence, page, tests, ntlet, windows] = cells[..] else { panic!("this row does not have six cells: {line}") };
        Some(Self { kind, number, sentence, page, tests, ntlet, windows })
    }

    /// What stands between backticks in the cell of tests, up to what is missing.
    fn names(&self) -> impl Iterator<Item = &'a str> {
        let named = self.tests.split("MISSING").next().unwrap_or_default();
        named.split('`').skip(1).step_by(2)
    }

    /// What is said of tests that do not exist.
    fn missing(&self) -> Option<&'a str> {
        self.tests.split_once("MISSING").map(|(_, why)| why.trim_start_matches(':').trim())
    }
}

/// Tests that run on the host, which rows may name as `host::crate::test`, and where the crates lie.
const CRATES: [(&str, &str); 2] = [("kmdf", "vm-images/ntlet/kmdf"), ("wdf_sys", "driver/wdf-sys")];

/// Whether a test that runs on the host exists: a function of that name, behind its attribute, in a file of that crate.
fn exists_on_the_host(name: &str) -> bool {
    let Some((krate, test)) = name.strip_prefix("host::").and_then(|rest| rest.split_once("::")) else { return false };
    let Some((_, place)) = CRATES.iter().find(|(known, _)| *known == krate) else { return false };
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(place);
    let wanted = format!("#[test] fn {test}() {{");
    let has = |path: &Path| {
        let text = std::fs::read_to_string(path).unwrap_or_default();
        text.split_whitespace().collect::<Vec<_>>().join(" ").contains(&wanted)
    };
    files(&root).iter().any(|path| has(path))
}

/// Every source file below a folder.
fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|end| end == "rs"))
        .collect()
}

fn rows() -> Vec<Row<'static>> {
    DOCUMENT.lines().filter_map(Row::new).collect()
}

fn every_test() -> impl Iterator<Item = &'static Test> {
    crate::all()
}

#[test]
fn every_contract_test_has_a_row() {
    let rows = rows();
    let named: BTreeSet<&str> = rows.iter().flat_map(Row::names).collect();
    let homeless: Vec<_> =
        every_test().map(|test| test.name).filter(|name| name.starts_with("contract::") && !named.contains(name)).collect();
    assert!(homeless.is_empty(), "docs/contract.md has no row for {homeless:#?}");
}

#[test]
fn every_test_that_a_row_names_exists() {
    let exist: BTreeSet<&str> = every_test().map(|test| test.name).collect();
    for row in rows() {
        let unknown: Vec<_> = row.names().filter(|name| !exist.contains(name) && !exists_on_the_host(name)).collect();
        assert!(unknown.is_empty(), "{}{} names tests that do not exist: {unknown:#?}", row.kind, row.number);
    }
}

#[test]
fn a_row_without_tests_says_why() {
    for row in rows() {
        let has_tests = row.names().next().is_some();
        let reason = row.missing();
        assert!(has_tests || reason.is_some(), "{}{} has neither a test nor the word MISSING", row.kind, row.number);
        assert!(reason != Some(""), "{}{} does not say why its test is missing", row.kind, row.number);
    }
}

#[test]
fn ids_are_consecutive_and_nothing_is_empty() {
    for kind in "CFRUK".chars() {
        let numbers: Vec<u32> = rows().iter().filter(|row| row.kind == kind).map(|row| row.number).collect();
        let expected: Vec<u32> = (1..).take(numbers.len()).collect();
        assert!(!numbers.is_empty(), "there is no row {kind}1");
        assert_eq!(numbers, expected, "ids {kind}");
    }
    for row in rows() {
        let filled = [row.sentence, row.page, row.ntlet, row.windows].iter().all(|cell| !cell.is_empty());
        assert!(filled, "{}{} has an empty cell", row.kind, row.number);
    }
}

/// Results are entered by a tool, which also says of how many tests they are: a test more or less makes them stale.
#[test]
fn the_results_are_those_of_the_tests_that_there_are() {
    let count = every_test().filter(|test| test.name.starts_with("contract::")).count();
    let line = format!("<!-- results of {count} tests -->");
    assert!(
        DOCUMENT.lines().any(|found| found == line),
        "docs/contract.md has results of other tests: `cargo rig run`, then `cargo run -p suites --example contract-results`"
    );
    for row in rows() {
        let words: &[&str] = match row.names().next() {
            None => &["-"],
            Some(_) if row.names().all(|name| name.starts_with("host::")) => &["host"],
            Some(_) => &["passed", "failed", "skipped", "not run"],
        };
        assert!(words.contains(&row.ntlet), "{}{} says {} of ntlet", row.kind, row.number, row.ntlet);
    }
}

#[test]
fn every_test_is_in_one_list_only() {
    let mut names: Vec<_> = every_test().map(|test| test.name).collect();
    names.sort_unstable();
    let twice: Vec<_> = names.windows(2).filter(|pair| pair[0] == pair[1]).map(|pair| pair[0]).collect();
    assert!(twice.is_empty(), "{twice:#?}");
}
