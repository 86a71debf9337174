//! `report.html`: one self-contained page, no network, readable on a phone and in the dark.

use std::fmt::Write as _;

use super::part_of_log;
use crate::run::record::{RunRecord, TestOutcome, TestRecord};

const STYLE: &str = include_str!("report.css");

/// The page.
#[must_use]
pub fn render(record: &RunRecord, log: &[u8]) -> String {
    let mut page = String::new();
    let title = format!("{}: {}", record.suite, record.counts);
    let _ = write!(
        page,
        "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\
         <meta name=\"color-scheme\" content=\"light dark\">\
         <title>{0}</title><style>{STYLE}</style></head><body><h1>{0}</h1>",
        escape(&title)
    );
    let _ = write!(
        page,
        "<p>{} UTC, {:.1} s, exit status {}, seed {}</p>",
        escape(&record.started),
        record.seconds,
        record.exit,
        record.seed
    );
    if let Some(trouble) = &record.trouble {
        let _ = write!(page, "<pre class=\"bad\">{}</pre>", escape(&trouble.lines.join("\n")));
    }
    page.push_str("<main>");
    for test in &record.tests {
        page.push_str(&one_test(test, log));
    }
    page.push_str("</main>");
    page.push_str(&details("Where the time went", &timings(record)));
    page.push_str(&details("What it stood on", &foundations(record)));
    page.push_str("</body></html>\n");
    page
}

fn one_test(test: &TestRecord, log: &[u8]) -> String {
    let class = match test.outcome {
        TestOutcome::Passed => "good",
        TestOutcome::Skipped { .. } | TestOutcome::NotRun { .. } => "idle",
        _ => "bad",
    };
    let open = if class == "bad" { " open" } else { "" };
    let mut body = format!("<p>{}</p>", escape(&test.purpose));
    let _ = write!(body, "<p>boot {}, seed {}</p>", test.boot, test.seed);
    for (name, text) in [
        ("", test.outcome.lines().join("\n")),
        ("What the test logged", test.log.join("\n")),
        ("What the guest logged meanwhile", part_of_log(log, test.guest_log)),
    ] {
        if !text.trim().is_empty() {
            let heading = if name.is_empty() { String::new() } else { format!("<h3>{name}</h3>") };
            let _ = write!(body, "{heading}<pre>{}</pre>", escape(&text));
        }
    }
    format!(
        "<details{open}><summary><b class=\"{class}\">{}</b> {} <small>{:.1} ms</small></summary>{body}</details>",
        test.outcome.word(),
        escape(&test.name),
        std::time::Duration::from_micros(test.host_us).as_secs_f64() * 1e3
    )
}

fn details(title: &str, rows: &[(String, String)]) -> String {
    let mut text = format!("<details><summary>{title}</summary><table>");
    for (name, value) in rows {
        let _ = write!(text, "<tr><th>{}</th><td>{}</td></tr>", escape(name), escape(value));
    }
    text.push_str("</table></details>");
    text
}

fn timings(record: &RunRecord) -> Vec<(String, String)> {
    record.timings.spans().iter().map(|(name, seconds)| (name.clone(), format!("{:.1} ms", seconds * 1e3))).collect()
}

fn foundations(record: &RunRecord) -> Vec<(String, String)> {
    let mut rows = vec![("command".to_owned(), record.command.join(" "))];
    rows.extend(record.environment.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    rows.extend(record.hashes.iter().map(|(name, hash)| (format!("SHA-256 of {name}"), hash.clone())));
    for (number, boot) in record.boots.iter().enumerate() {
        let number = number + 1;
        rows.push((format!("boot {number}"), format!("{}; {}", boot.system.as_deref().unwrap_or("never answered"), boot.ended)));
        rows.push((format!("boot {number}: QEMU"), boot.qemu.join(" ")));
        rows.push((format!("boot {number}: device model"), boot.model.join(" ")));
    }
    rows
}

/// Text as HTML shows it. Quotation marks matter in attributes only, and no text goes there.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_a_guest_says_becomes_markup() {
        let mut record = super::super::tests::sample();
        record.tests[0].name = "<script>alert(1)</script>".into();
        record.tests[0].log = vec!["</pre><img src=x>".into()];
        let page = render(&record, b"</pre><b>guest</b>");
        assert!(!page.contains("<script") && !page.contains("<img") && !page.contains("<b>guest"));
        assert!(page.contains("&lt;script&gt;"));
    }

    #[test]
    fn the_page_needs_no_network_and_opens_what_failed() {
        let page = render(&super::super::tests::sample(), b"hello");
        assert!(!page.contains("http"), "no address of anything outside");
        assert_eq!(page.matches("<details open>").count(), 2);
    }
}
