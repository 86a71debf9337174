//! `report.html`: one self-contained page, no network, readable on a phone and in the dark. Without scripts all of it is there; with
//! them it can be filtered.

mod test;
#[cfg(test)]
mod tests;

use std::fmt::Write as _;

use base64ct::{Base64, Encoding as _};
use sha2::{Digest as _, Sha256};

use super::Logs;
use super::folder::{DEVICE_LOG, GUEST_LOG, QEMU_LOG};
use super::merge::SEEDS;
use crate::run::record::{BootRecord, Counts, RunRecord, TestOutcome, TestRecord};

const STYLE: &str = include_str!("report.css");
const SCRIPT: &str = include_str!("report.js");

/// The page.
#[must_use]
pub fn render(record: &RunRecord, logs: &Logs<'_>) -> String {
    let title = escape(&format!("{}: {}", record.suite, record.counts));
    let mut page = format!(
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta http-equiv=\"Content-Security-Policy\" content=\"{}\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{title}</title><style>{STYLE}</style></head><body>",
        policy()
    );
    page.push_str(&head(record));
    page.push_str(&filters(record));
    page.push_str("<main>");
    let longest = record.tests.iter().map(|test| test.host_us).max().unwrap_or(0);
    // What one looks for comes first; otherwise the order is that of the run.
    let mut tests: Vec<&TestRecord> = record.tests.iter().collect();
    tests.sort_by_key(|test| ["bad", "odd"].iter().position(|first| *first == kind(test)).unwrap_or(2));
    for test in tests {
        page.push_str(&test::render(test, longest, logs));
    }
    if record.tests.is_empty() {
        page.push_str("<p class=\"nothing\">No test ran.</p>");
    }
    page.push_str("<p class=\"nothing\" id=\"nothing\" hidden>No test fits.</p><p class=\"unseen\" id=\"shown\" role=\"status\"></p></main>");
    page.push_str(&details("Boots", &boots(record)));
    page.push_str(&details("Where the time went", &table(&timings(record))));
    page.push_str(&details("What it stood on", &table(&foundations(record))));
    let _ = writeln!(page, "<script>{SCRIPT}</script></body></html>");
    page
}

/// Nothing may be loaded, from nowhere, and no script may run but ours, whatever a guest or a stranger's record has smuggled into the page.
fn policy() -> String {
    let ours = Base64::encode_string(&Sha256::digest(SCRIPT));
    format!("default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{ours}'")
}

/// What one sees first: did it pass, what stopped it.
fn head(record: &RunRecord) -> String {
    let (class, verdict) = match record.exit {
        0 if record.counts.flaky > 0 => ("odd", "passed, with flaky tests"),
        0 => ("good", "passed"),
        1 => ("bad", "failed"),
        2 => ("bad", "asked for something wrong"),
        3 => ("bad", "broken environment"),
        4 => ("bad", "hang"),
        _ => ("bad", "interrupted"),
    };
    let mut text = format!("<header class=\"{class}\"><h1>{} <b>{verdict}</b></h1><p>", escape(&record.suite));
    let shard = record.shard.as_ref().map(|shard| format!("shard {shard}"));
    let facts = [Some(record.started.replace('T', " ").replace('Z', " UTC")), Some(format!("{:.1} s", record.seconds)), shard];
    let seed = record.environment.get(SEEDS).cloned().unwrap_or_else(|| record.seed.to_string());
    let facts = facts.into_iter().flatten().chain([format!("seed {seed}"), format!("exit status {}", record.exit)]);
    for fact in facts {
        let _ = write!(text, "<span>{}</span> ", escape(&fact));
    }
    text.push_str("</p></header>");
    if let Some(trouble) = &record.trouble {
        let _ = write!(text, "<pre class=\"trouble\">{}</pre>", escape(&trouble.lines.join("\n")));
    }
    text
}

/// The buttons that are summary and filter in one, and the field to search in names.
fn filters(record: &RunRecord) -> String {
    let Counts { passed, failed, skipped, flaky } = record.counts;
    let all = passed + failed + skipped + flaky;
    let mut text = "<nav><div role=\"group\" aria-label=\"Which tests\">".to_owned();
    for (kind, name, count) in [
        ("all", "all", all),
        ("bad", "failed", failed),
        ("odd", "flaky", flaky),
        ("good", "passed", passed),
        ("idle", "skipped", skipped),
    ] {
        let pressed = kind == "all";
        let disabled = if count == 0 { " disabled" } else { "" };
        let _ = write!(
            text,
            "<button type=\"button\" class=\"{kind}\" data-kind=\"{kind}\" aria-pressed=\"{pressed}\"{disabled}><b>{count}</b> {name}</button>"
        );
    }
    text.push_str(
        "</div><input type=\"search\" id=\"search\" placeholder=\"search names, purposes and logs\" aria-label=\"Search\"></nav>",
    );
    text
}

/// Which kind of result a test is, for its colour and its filter.
const fn kind(test: &TestRecord) -> &'static str {
    match test.outcome {
        TestOutcome::Passed if test.is_flaky() => "odd",
        TestOutcome::Passed => "good",
        TestOutcome::Skipped { .. } | TestOutcome::NotRun { .. } => "idle",
        _ => "bad",
    }
}

fn details(title: &str, body: &str) -> String {
    format!("<details class=\"more\"><summary>{title}</summary>{body}</details>")
}

fn table(rows: &[(String, String)]) -> String {
    let mut text = "<table>".to_owned();
    for (name, value) in rows {
        let _ = write!(text, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    text + "</table>"
}

/// Each boot: what it was, how it ended, its logs.
fn boots(record: &RunRecord) -> String {
    let mut text = String::new();
    for (number, boot) in record.boots.iter().enumerate() {
        let _ = write!(text, "<h3>Boot {}</h3>{}", number + 1, table(&of_boot(boot)));
        text.push_str("<p>");
        for log in [GUEST_LOG, DEVICE_LOG, QEMU_LOG] {
            let _ = write!(text, "<a href=\"./{}/{log}\">{log}</a> ", link(&boot.folder));
        }
        text.push_str("</p>");
    }
    text
}

fn of_boot(boot: &BootRecord) -> Vec<(String, String)> {
    let row = |name: &str, value: String| (name.to_owned(), value);
    let mut rows = vec![
        row("system", boot.system.clone().unwrap_or_else(|| "never answered".to_owned())),
        row("started", boot.started.clone()),
        row("first word", boot.first_output_us.map_or_else(|| "none".to_owned(), |us| milliseconds(us) + " after QEMU's start")),
        row("lasted", format!("{:.2} s", boot.seconds)),
        row("ended", boot.ended.clone()),
        row("QEMU", boot.qemu.join(" ")),
    ];
    if !boot.model.is_empty() {
        rows.push(row("device model", boot.model.join(" ")));
    }
    if boot.damaged_frames > 0 {
        rows.push(row("damaged frames", boot.damaged_frames.to_string()));
    }
    rows
}

fn timings(record: &RunRecord) -> Vec<(String, String)> {
    record.timings.spans().iter().map(|(name, seconds)| (name.clone(), format!("{:.1} ms", seconds * 1e3))).collect()
}

fn foundations(record: &RunRecord) -> Vec<(String, String)> {
    let mut rows = vec![("harness".to_owned(), record.rig.clone()), ("command".to_owned(), record.command.join(" "))];
    rows.push(("in folder".to_owned(), record.directory.clone()));
    rows.extend(record.environment.iter().map(|(name, value)| (name.clone(), value.clone())));
    rows.extend(record.hashes.iter().map(|(name, hash)| (format!("SHA-256 of {name}"), hash.clone())));
    rows
}

fn milliseconds(microseconds: u64) -> String {
    format!("{:.1} ms", std::time::Duration::from_micros(microseconds).as_secs_f64() * 1e3)
}

/// A path as a link has it. What is no letter, digit or part of a path is written as a number, so that it is a path and nothing else.
fn link(path: &str) -> String {
    let mut text = String::new();
    for byte in path.bytes() {
        if byte.is_ascii_alphanumeric() || b"/.-_".contains(&byte) {
            text.push(char::from(byte));
        } else {
            let _ = write!(text, "%{byte:02X}");
        }
    }
    text
}

/// Text as HTML shows it, in elements and in attributes between double quotation marks.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
