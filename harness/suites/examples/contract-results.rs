//! Enters the results of a run into `docs/contract.md`: after `cargo rig run`, `cargo run -p suites --example contract-results [FOLDER]`; the latest
//! run's if no folder is named. With `--check` nothing is entered: it fails if the page has other results than the run. `cargo rig test` does that.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

/// The word for a test's outcome, by its name.
type Results = BTreeMap<String, &'static str>;

fn main() -> ExitCode {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let (flags, folders): (Vec<String>, Vec<String>) = std::env::args().skip(1).partition(|word| word == "--check");
    let folder = folders.first().map_or_else(|| root.join("target/rig/runs/latest"), PathBuf::from);
    match compare(&folder.join("run.json"), &root.join("docs/contract.md"), flags.is_empty()) {
        Ok(differences) if flags.is_empty() || differences.is_empty() => {
            println!("{} lines of docs/contract.md {}", differences.len(), if flags.is_empty() { "rewritten" } else { "differ" });
            ExitCode::SUCCESS
        }
        Ok(differences) => {
            eprintln!("docs/contract.md does not have the results of {}; they would be:", folder.display());
            differences.iter().for_each(|line| eprintln!("{line}"));
            eprintln!("`cargo run -p suites --example contract-results` enters them");
            ExitCode::FAILURE
        }
        Err(why) => {
            eprintln!("{why}");
            ExitCode::from(2)
        }
    }
}

/// The lines of the page that the run makes others, as they are to be; they are rewritten if `enters`.
fn compare(run: &Path, document: &Path, enters: bool) -> Result<Vec<String>, String> {
    let read = |path: &Path| {
        std::fs::read_to_string(path)
            .map_err(|error| format!("{} cannot be read: {error}; `cargo rig run` first", path.display()))
    };
    let results = results(&read(run)?)?;
    let count = results.keys().filter(|name| name.starts_with("contract::")).count();
    let text = read(document)?;
    let lines: Vec<String> = text.lines().map(|line| rewritten(line, &results, count)).collect();
    if enters {
        std::fs::write(document, lines.join("\n") + "\n").map_err(|error| format!("{}: {error}", document.display()))?;
    }
    Ok(text.lines().zip(lines).filter(|(before, now)| before != now).map(|(_, now)| now).collect())
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
