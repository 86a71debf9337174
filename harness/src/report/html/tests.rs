//! The page as text; harness/tests/report_page.rs looks at it in a browser.

use super::*;
use crate::report::tests::{sample, sample_folder};

fn page(record: &RunRecord, log: &str) -> String {
    render(record, &Logs::of_run(sample_folder(log).path(), record))
}

#[test]
fn nothing_that_a_guest_says_becomes_markup() {
    let mut record = sample();
    record.tests[0].name = "<script>alert(1)</script>".into();
    record.tests[0].log = vec!["</pre><img src=x>".into()];
    record.tests[0].guest_log = (0, 100);
    record.directory = "x\" onclick=\"alert(1)".into();
    record.boots.push(BootRecord { folder: "javascript:alert(1)//".into(), ..BootRecord::default() });
    let page = page(&record, "</pre><b>guest</b>");
    assert!(page.contains("href=\"./javascript%3Aalert%281%29///guest.log\""), "{page}");
    assert!(!page.contains("<script>alert") && !page.contains("<img") && !page.contains("<b>guest"));
    assert!(!page.contains("\" onclick"));
    assert!(page.contains("&lt;script&gt;") && page.contains("&lt;b&gt;guest"));
}

#[test]
fn the_page_names_nothing_outside_itself_and_opens_what_failed() {
    let page = page(&sample(), "hello");
    assert!(!page.contains("http:") && !page.contains("https:") && !page.contains(" src="), "no address of anything outside");
    assert_eq!(page.matches("<details class=\"test\" data-kind=\"bad\" open>").count(), 2);
    assert_eq!(page.matches("<details class=\"test\"").count(), 4);
}

#[test]
fn the_requests_of_a_test_are_drawn_on_a_timeline() {
    let mut record = sample();
    // The guest's clock showed 0.1 s when its first word came, 0.2 s after QEMU's start. The test ran from 0.5 s to 2 s after that start.
    record.boots[0].first_output_us = Some(200_000);
    (record.tests[0].since_boot_us, record.tests[0].host_us) = (500_000, 1_500_000);
    let line =
        |number: u32, at: f64, what: &str| format!("[9.0 cpu0] kmdf relayflt: #{number} @{at:.6} {what} irql=0 thread=0x1\n");
    let log = "[0.100000 cpu0] up\n".to_owned()
        + &line(1, 0.5, "request-queued 0x574410 queue=0x1")
        + &line(2, 0.75, "request-completed 0x574410 status=0x0")
        + &line(3, 3.0, "request-queued 0x574499 queue=0x1");
    let page = page(&record, &log);
    assert!(page.contains("Requests through driver and device <small>1 in 250.000 ms"), "{page}");
    assert!(page.contains("<td>+250.000 ms</td><th class=\"of-filter\">relayflt</th><td>request-completed status=0x0"), "{page}");
}

#[test]
fn what_failed_comes_first_and_everything_else_in_the_order_of_the_run() {
    let page = page(&sample(), "");
    let names: Vec<&str> = page.split("class=\"name\">").skip(1).map(|rest| rest.split("</span>").next().unwrap()).collect();
    assert_eq!(names, ["device::<wbr>fails", "device::<wbr>hangs", "device::<wbr>passes", "contract::<wbr>skips"]);
}

#[test]
fn a_run_without_tests_says_so() {
    let mut record = sample();
    record.tests.clear();
    assert!(page(&record, "").contains("No test ran."));
}
