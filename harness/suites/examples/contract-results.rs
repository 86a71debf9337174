//! Enters the results of the latest run into `docs/contract.md`: after `cargo rig run`, `cargo run -p suites --example contract-results`.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::ExitCode;

/// The word for a test's outcome, by its name.
type Results = BTreeMap<String, &'static str>;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    match enter(&root.join("target/rig/runs/latest/run.json"), &root.join("docs/contract.md")) {
        Ok(count) => {
            println!("entered the results of {count} contract tests");
            ExitCode::SUCCESS
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

fn enter(run: &Path, document: &Path) -> Result<usize, String> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| format!("{} cannot be read: {error}; `cargo rig run` first", path.display()))
    };
    let results = results(&read(run)?)?;
    let count = results.keys().filter(|name| name.starts_with("contract::")).count();
    let lines: Vec<String> = read(document)?.lines().map(|line| rewritten(line, &results, count)).collect();
    std::fs::write(document, lines.join("\n") + "\n").map_err(|error| format!("{}: {error}", document.display()))?;
    Ok(count)
}

fn results(run: &str) -> Result<Results, String> {
    let run: serde_json::Value = serde_json::from_str(run).map_err(|error| format!("run.json is none: {error}"))?;
    let tests = run["tests"].as_array().ok_or("run.json has no tests")?;
    Ok(tests
        .iter()
        .filter_map(|test| {
            let word = match test["outcome"]["kind"].as_str()? {
                "passed" => "passed",
                "skipped" => "skipped",
                "not-run" => "not run",
                _ => "failed",
            };
            Some((test["name"].as_str()?.to_owned(), word))
        })
        .collect())
}

/// A row with its result, the line that counts tests with its count; every other line as it is.
fn rewritten(line: &str, results: &Results, count: usize) -> String {
    if line.starts_with("<!-- results of ") {
        return format!("<!-- results of {count} tests -->");
    }
    let mut cells: Vec<&str> = line.split('|').map(str::trim).collect();
    let is_row = cells.len() == 8 && cells[1].starts_with(|kind| "CFRUK".contains(kind)) && cells[1][1..].parse::<u32>().is_ok();
    if !is_row {
        return line.to_owned();
    }
    let names: Vec<&str> = cells[4].split("MISSING").next().unwrap_or_default().split('`').skip(1).step_by(2).collect();
    // `cargo rig test` answers for tests that run on the host.
    let word = |name: &&str| if name.starts_with("host::") { "host" } else { results.get(*name).copied().unwrap_or("not run") };
    let words: Vec<&str> = names.iter().map(word).collect();
    let worst = ["failed", "not run", "skipped", "passed", "host"].into_iter().find(|word| words.contains(word));
    cells[5] = worst.unwrap_or("-");
    format!("| {} |", cells[1..7].join(" | "))
}
