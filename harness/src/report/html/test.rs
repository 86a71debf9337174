//! One test on the page: a line that unfolds into its story, its logs and the timeline of its requests.

use std::fmt::Write as _;

use super::{escape, kind, milliseconds};
use crate::bugcheck::BugCheck;
use crate::report::Logs;
use crate::report::timeline::{self, Forgotten, Request};
use crate::run::record::{TestOutcome, TestRecord};

/// The test; its time is drawn against the `longest` one.
pub(super) fn render(test: &TestRecord, longest: u64, logs: &Logs<'_>) -> String {
    let kind = kind(test);
    let open = if kind == "bad" { " open" } else { "" };
    let share = if longest == 0 { 0.0 } else { test.host_us as f64 / longest as f64 * 100.0 };
    let mut text = format!(
        "<details class=\"test\" data-kind=\"{kind}\"{open}><summary><b class=\"{kind}\">{}</b> <span class=\"name\">{}</span> \
         <small>{}</small><i style=\"width:{share:.1}%\"></i></summary><div>",
        test.word(),
        // A long name may break after its suite and between its words.
        escape(&test.name).replace("::", "::<wbr>").replace('_', "_<wbr>"),
        milliseconds(test.host_us),
    );
    let _ = write!(text, "<p>{}</p>", escape(&test.purpose));
    text.push_str(&attempt(test, logs));
    for (number, earlier) in test.earlier.iter().enumerate() {
        let _ = write!(
            text,
            "<details class=\"more\"><summary>Attempt {}: <b class=\"bad\">{}</b></summary>{}</details>",
            number + 1,
            earlier.outcome.word(),
            attempt(earlier, logs)
        );
    }
    text + "</div></details>"
}

/// What one attempt came to.
fn attempt(test: &TestRecord, logs: &Logs<'_>) -> String {
    let mut text = format!("<p class=\"facts\"><span>seed {}</span> ", test.seed);
    if test.boot > 0 {
        let _ = write!(text, "<span>boot {}</span> ", test.boot);
    }
    if let Some(guest) = test.guest_us {
        let _ = write!(text, "<span>{} on the guest's clock</span>", milliseconds(guest));
    }
    text.push_str("</p>");
    if let Some(bug_check) = test.stopped_by() {
        text.push_str(&of_bug_check(bug_check, matches!(test.outcome, TestOutcome::Passed)));
    }
    if !matches!(test.outcome, TestOutcome::BugCheck { .. }) {
        text.push_str(&block("", &test.outcome.lines().join("\n"), true));
    }
    text.push_str(&figures(test));
    text.push_str(&block("What the test logged", &test.log.join("\n"), true));
    let (requests, forgotten) = logs.requests(test);
    text.push_str(&timeline_of(&requests, &forgotten));
    text.push_str(&block("What the guest logged meanwhile", &logs.of(test), true));
    text + &block("What the device logged meanwhile", &logs.of_device(test), false)
}

/// What the test measured.
fn figures(test: &TestRecord) -> String {
    if test.figures.is_empty() {
        return String::new();
    }
    let mut text =
        "<h3>What it measured</h3><div class=\"wide\"><table><tr><th>what</th><th>unit</th><th>least</th><th>median</th>\
         <th>90 %</th><th>99 %</th><th>most</th><th>samples</th></tr>"
            .to_owned();
    for figure in &test.figures {
        let _ = write!(text, "<tr><td>{}</td><td>{}</td>", escape(&figure.what), escape(&figure.unit));
        for value in figure.spread {
            let _ = write!(text, "<td>{value}</td>");
        }
        let _ = write!(text, "<td>{}</td></tr>", figure.samples);
    }
    text + "</table></div>"
}

fn block(title: &str, text: &str, open: bool) -> String {
    if text.trim().is_empty() {
        return String::new();
    }
    if title.is_empty() {
        return format!("<pre class=\"reason\">{}</pre>", escape(text));
    }
    let (open, lines) = (if open { " open" } else { "" }, text.lines().count());
    let lines = if lines == 1 { "1 line".to_owned() } else { format!("{lines} lines") };
    format!(
        "<details class=\"more\"{open}><summary>{title} <small>{lines}</small></summary><pre>{}</pre></details>",
        escape(text)
    )
}

/// A bug check with its parameters and its back trace.
fn of_bug_check(report: &BugCheck, expected: bool) -> String {
    let word = if expected { "Bug check, as expected" } else { "Bug check" };
    let class = if expected { "good" } else { "bad" };
    let mut text = format!("<h3 class=\"{class}\">{word}: {}</h3>", escape(&report.headline()));
    let _ =
        write!(text, "<p class=\"trace\">at <code>{}</code></p><ol class=\"trace\" start=\"0\">", escape(&report.at.to_string()));
    for frame in &report.frames {
        let _ = write!(text, "<li><code>{}</code></li>", escape(&frame.to_string()));
    }
    text.push_str("</ol>");
    if !report.complete {
        text.push_str("<p class=\"bad\">The report ends here; the guest was gone before it was complete.</p>");
    }
    text
}

/// Requests below each other, each with a bar for its life and its steps.
fn timeline_of(requests: &[Request], forgotten: &[Forgotten]) -> String {
    let gap: String = forgotten.iter().map(|gap| {
        let driver = escape(&gap.lane);
        format!("<p class=\"gap\">{driver} remembers its last events only: what it did before {:.3} s on the guest's clock is not shown.</p>", gap.before)
    }).collect();
    let Some(first) = requests.first() else { return gap };
    let start = first.span().0;
    let end = requests.iter().map(|request| request.span().1).fold(start, f64::max);
    let whole = (end - start).max(1e-9);
    let mut text = format!(
        "<details class=\"more\" open><summary>Requests through driver and device <small>{} in {:.3} ms</small></summary>\
         <div class=\"timeline\"><p class=\"gap\"><b class=\"of-driver\">driver</b> <b class=\"of-filter\">filter</b> \
         <b class=\"of-device\">device</b></p>",
        requests.len(),
        (end - start) * 1e3
    );
    for request in requests {
        let (from, to) = request.span();
        let left = (from - start) / whole * 100.0;
        let width = ((to - from) / whole * 100.0).max(0.5);
        let _ = write!(
            text,
            "<details><summary><code>{}</code> <small>{} steps, {:.3} ms</small>\
             <span class=\"life\"><i style=\"left:{left:.2}%;width:{width:.2}%\"></i>",
            escape(&request.name),
            request.steps.len(),
            (to - from) * 1e3
        );
        for step in &request.steps {
            let _ = write!(
                text,
                "<u class=\"{}\" style=\"left:{:.2}%\"></u>",
                lane_class(&step.lane),
                (step.at - start) / whole * 100.0
            );
        }
        text.push_str("</span></summary><table>");
        for step in &request.steps {
            let _ = write!(
                text,
                "<tr><td>+{:.3} ms</td><th class=\"{}\">{}</th><td>{}</td></tr>",
                (step.at - start) * 1e3,
                lane_class(&step.lane),
                escape(&step.lane),
                escape(&step.what)
            );
        }
        text.push_str("</table></details>");
    }
    text + &gap + "</div></details>"
}

/// The colour of whoever took a step.
fn lane_class(lane: &str) -> &'static str {
    match lane {
        timeline::DEVICE => "of-device",
        lane if lane.ends_with("flt") || lane.contains("filter") => "of-filter",
        _ => "of-driver",
    }
}
