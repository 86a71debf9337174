//! The report in a real browser, without a window and without a network: what the page does, not what it says.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use channel::{Expected, FromGuest, LogLevel, Needs, Outcome};
use common::{Guest, Running, finish, mark, run_image};
use harness::pvh::Then;

/// A run with every kind of outcome, and its page.
fn page() -> PathBuf {
    let failed = Outcome::Failed { file: "tiny.rs", line: 3, reason: "expected 1 < 2, came <b>" };
    let finished = |test, outcome| FromGuest::Finished { test, outcome, duration: 10 };
    let log = FromGuest::Log { level: LogLevel::Info, text: "a line with <angle> brackets & more" };
    let stop = [
        FromGuest::BugCheck { code: 0x10d, parameters: [5, 1, 2, 3], module: "probe.sys", offset: 0x1234 },
        FromGuest::BugCheckFrame { module: "probe.sys", offset: 0x1234, is_return: false },
        FromGuest::BugCheckFrame { module: "wdf", offset: 0x99, is_return: true },
        FromGuest::BugCheckEnd,
    ];
    let expects = Some(Expected { code: 0x10d, known: 1, parameters: [5, 0, 0, 0] });
    let event = |number: u32, micros: u32, driver: &str, what: &str| {
        format!("[0.0 cpu0] kmdf {driver}: #{number} @0.{micros:06} {what} irql=0 thread=0xffffa0\n")
    };
    let requests = event(1, 1, "relayflt", "request-queued 0x57440010 queue=0x57440020")
        + &event(2, 2, "relay", "request-completed 0x57440010 status=0x0");
    let guest = Guest::new()
        .test("tiny::fails", &requests, &[log, finished("tiny::fails", failed)], Then::GoOn)
        .test("tiny::skips", "", &[finished("tiny::skips", Outcome::Skipped { reason: "one vector" })], Then::GoOn)
        .passing("tiny::passes")
        .passing("tiny::passes_too")
        .listed("tiny::stops_the_machine", Needs::NOTHING, expects, &stop, Then::Exit(0x11))
        .listed("tiny::stops_otherwise", Needs::NOTHING, None, &stop, Then::Exit(0x11))
        .image();
    let said = finish(run_image(&mark("page"), &guest.path).args(["--keep-going", "--jobs", "1"]));
    assert_eq!(said.exit, Some(1), "{said}");
    said.folder().join("report.html")
}

/// Runs the browser on `address`, and returns what it writes.
fn browse(browser: &Path, options: &[&str], address: &str) -> String {
    let profile = tempfile::tempdir().unwrap();
    let mut command = Command::new(browser);
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--virtual-time-budget=3000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .args(options)
        .arg(address);
    let said = Running::start(&mut command).finish();
    assert_eq!(said.exit, Some(0), "{said}");
    said.stdout
}

/// What a page is after its scripts have run, opened at `fragment`.
fn dom(browser: &Path, page: &Path, fragment: &str) -> String {
    browse(browser, &["--dump-dom"], &format!("file://{}#{fragment}", page.display()))
}

/// Names of the tests that are shown in a page.
fn shown(dom: &str) -> Vec<String> {
    let tests = dom.split("<details class=\"test\"").skip(1);
    let shown = tests.filter(|test| !test.split('>').next().unwrap_or_default().contains("hidden"));
    let name = |test: &str| {
        test.split_once("class=\"name\">").map(|(_, rest)| rest.split_once("</span>").unwrap().0.replace("<wbr>", ""))
    };
    shown.filter_map(name).collect()
}

#[test]
fn the_page_filters_by_kind_and_by_words_and_shows_what_failed() {
    let Some(browser) = test_tools::find("chromium") else { return };
    let page = page();

    let all = dom(&browser, &page, "");
    let failed = dom(&browser, &page, "show=bad");
    let found = dom(&browser, &page, "find=angle");
    let none = dom(&browser, &page, "show=good&find=no+such+word");

    assert_eq!(shown(&all).len(), 6, "{all}");
    assert_eq!(shown(&failed), ["tiny::fails", "tiny::stops_otherwise"]);
    assert_eq!(shown(&found), ["tiny::fails"], "words are looked for in logs, too");
    assert!(shown(&none).is_empty() && none.contains("id=\"nothing\">"), "that nothing fits is said");
    assert!(failed.contains("data-kind=\"bad\" aria-pressed=\"true\""), "the button shows what is chosen");
    assert!(all.contains("a line with &lt;angle&gt; brackets &amp; more"));
}

#[test]
fn the_page_is_drawn_as_wide_as_the_window_in_the_light_and_in_the_dark() {
    let Some(browser) = test_tools::find("chromium") else { return };
    let page = page();
    let pictures = tempfile::tempdir().unwrap();
    // A page that is wider than a phone's window would be cut by the window; a frame around it tells its width.
    let measure = "<!doctype html><iframe id=f style='width:390px;height:800px;border:0' src='PAGE'></iframe><script>onload=()=>{\
                   const d=document.getElementById('f').contentDocument.documentElement;document.title=d.scrollWidth+' of '+d.clientWidth}\
                   </script>";
    let frame = pictures.path().join("frame.html");
    fs::write(&frame, measure.replace("PAGE", &format!("file://{}", page.display()))).unwrap();

    let phone = browse(&browser, &["--allow-file-access-from-files", "--dump-dom"], &format!("file://{}", frame.display()));

    let title = phone.split_once("<title>").and_then(|(_, rest)| rest.split_once("</title>")).map(|(title, _)| title.to_owned());
    assert_eq!(title.as_deref(), Some("390 of 390"), "nothing on the page is wider than a phone: {phone:.2000}");
    let picture = |name: &str, size: &str, options: &[&str]| {
        let file = pictures.path().join(name);
        let shot = format!("--screenshot={}", file.display());
        let size = format!("--window-size={size}");
        browse(&browser, &[&[shot.as_str(), size.as_str()], options].concat(), &format!("file://{}", page.display()));
        fs::read(&file).unwrap()
    };
    let light = picture("light.png", "390,800", &[]);
    let dark = picture("dark.png", "390,800", &["--blink-settings=preferredColorScheme=0"]);
    assert!(light.starts_with(b"\x89PNG") && dark.starts_with(b"\x89PNG"));
    assert_ne!(light, dark, "in the dark the page looks otherwise");
    if let Some(folder) = std::env::var_os("RIG_KEEP_PICTURES") {
        let wide = picture("wide.png", "1200,1400", &[]);
        for (name, picture) in [("phone.png", light), ("dark.png", dark), ("wide.png", wide)] {
            fs::write(Path::new(&folder).join(name), picture).unwrap();
        }
    }
}
