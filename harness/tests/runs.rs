//! How a run goes: several guests, shards, retries, the first failure, what a machine reads. Each guest is a real one, in a real QEMU.

mod common;

use std::collections::BTreeSet;
use std::ffi::OsStr;
use std::path::Path;
use std::process::{Command, Stdio};

use channel::{Bounds, Expected, FromGuest, Needs, Outcome};
use common::{Guest, Image, assert_nothing_lives, assert_whole, finish, mark, run_image};
use harness::pvh::Then;
use serde_json::Value;

const FAILED: Outcome<'static> = Outcome::Failed { file: "tiny.rs", line: 3, reason: "it rains" };

fn finished<'a>(test: &'a str, outcome: Outcome<'a>) -> FromGuest<'a> {
    FromGuest::Finished { test, outcome, duration: 10 }
}

/// A guest whose tests `tiny::0` … each stop the machine, as they are to.
fn stopping(count: usize) -> Guest {
    let expects = Some(Expected { code: 0x10d, known: 1, parameters: [5, 0, 0, 0] });
    let report = [FromGuest::BugCheck { code: 0x10d, parameters: [5, 1, 2, 3], module: "", offset: 0 }, FromGuest::BugCheckEnd];
    (0..count).fold(Guest::new(), |guest, number| {
        guest.listed(&format!("tiny::{number}"), Needs::NOTHING, expects, &report, Then::Exit(0x11))
    })
}

fn events(stdout: &str) -> Vec<Value> {
    stdout.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{line}: {error}"))).collect()
}

/// A QEMU that boots the first image once, and the second one from then on.
fn second_boot_boots(first: &Image, second: &Image) -> std::path::PathBuf {
    let script = first.folder.path().join("qemu");
    let text = format!(
        "#!/bin/sh\ncase \"$*\" in *-kernel*) [ -e '{0}.once' ] && cp '{1}' '{2}'; : > '{0}.once';; esac\nexec '{3}' \"$@\"\n",
        script.display(),
        second.path.display(),
        first.path.display(),
        common::qemu_program().display()
    );
    std::fs::write(&script, text).unwrap();
    std::fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    script
}

#[test]
fn guests_run_side_by_side_and_each_boot_has_its_own_logs() {
    let mark = mark("side-by-side");
    let guest = stopping(6).image();

    let said = finish(run_image(&mark, &guest.path).args(["--jobs", "3"]));

    assert_eq!((said.exit, said.last_line()), (Some(0), "6 passed, 0 failed, 0 skipped"), "{said}");
    let (folder, record) = (said.folder(), said.record());
    assert_whole(&folder);
    let boots = record["boots"].as_array().unwrap();
    assert!((6..=8).contains(&boots.len()), "{} boots for 6 tests that each stop their guest", boots.len());
    for (number, boot) in boots.iter().enumerate() {
        assert_eq!(boot["folder"], format!("boot-{}", number + 1));
        let log = std::fs::read_to_string(folder.join(boot["folder"].as_str().unwrap()).join("guest.log")).unwrap();
        assert!(log.contains("tiny guest is up"), "boot {}: {log}", number + 1);
    }
    // A later boot began before an earlier one had ended.
    let time = |boot: &Value| chrono::DateTime::parse_from_rfc3339(boot["started"].as_str().unwrap()).unwrap();
    let end = |boot: &Value| time(boot) + chrono::Duration::microseconds((boot["seconds"].as_f64().unwrap() * 1e6) as i64);
    assert!(boots.windows(2).any(|pair| time(&pair[1]) < end(&pair[0])), "no two guests ran at the same time: {boots:#?}");
    assert_nothing_lives(&mark);
}

#[test]
fn one_job_is_one_guest_at_a_time() {
    let guest = stopping(3).image();

    let said = finish(run_image(&mark("one-job"), &guest.path).args(["--jobs", "1"]));

    assert_eq!((said.exit, said.record()["boots"].as_array().unwrap().len()), (Some(0), 3), "{said}");
}

#[test]
fn an_expected_bug_check_is_kept_with_its_back_trace_and_another_one_fails() {
    let expects = Some(Expected { code: 0x10d, known: 1, parameters: [6, 0, 0, 0] });
    let report = [FromGuest::BugCheck { code: 0x10d, parameters: [5, 1, 2, 3], module: "", offset: 0 }, FromGuest::BugCheckEnd];
    let guest = stopping(1).listed("tiny::other", Needs::NOTHING, expects, &report, Then::Exit(0x11)).image();

    let said = finish(run_image(&mark("expected"), &guest.path).arg("--keep-going"));

    assert_eq!((said.exit, said.last_line()), (Some(1), "1 passed, 1 failed, 0 skipped"), "{said}");
    let record = said.record();
    let test = |name: &str| record["tests"].as_array().unwrap().iter().find(|test| test["name"] == name).unwrap().clone();
    assert_eq!(test("tiny::0")["bug_check"]["name"], "WDF_VIOLATION");
    assert_eq!(test("tiny::other")["outcome"]["report"]["parameters"][0], 5);
}

#[test]
fn a_bug_check_whose_parameters_are_not_those_that_the_test_foretold_fails() {
    let expects = Some(Expected { code: 0x10d, known: 1, parameters: [6, 0, 0, 0] });
    let bounds = Bounds { least: [0, 3, 0x1000, 0], most: [u64::MAX, 3, 0x1fff, u64::MAX] };
    let stopped = |third| FromGuest::BugCheck { code: 0x10d, parameters: [6, 3, third, 0], module: "", offset: 0 };
    let report = |third| [FromGuest::Foretell { bounds }, stopped(third), FromGuest::BugCheckEnd];
    let guest = Guest::new()
        .listed("tiny::right", Needs::NOTHING, expects, &report(0x1008), Then::Exit(0x11))
        .listed("tiny::wrong", Needs::NOTHING, expects, &report(0x2000), Then::Exit(0x11))
        .image();

    let said = finish(run_image(&mark("foretold"), &guest.path).args(["--keep-going", "--jobs", "1"]));

    assert_eq!((said.exit, said.last_line()), (Some(1), "1 passed, 1 failed, 0 skipped"), "{said}");
    assert!(said.stdout.contains("PASS  tiny::right"), "{said}");
    assert!(said.stdout.contains("parameter 3 of the bug check: expected 0x1000 to 0x1fff, came 0x2000"), "{said}");
}

#[test]
fn several_suites_run_in_one_run_and_one_that_does_not_exist_is_the_users_mistake() {
    let guest = Guest::new().passing("one::passes").passing("two::passes").passing("three::passes").image();

    let said = finish(run_image(&mark("suites"), &guest.path).args(["--suite", "one", "--suite", "three"]));
    assert_eq!((said.exit, said.last_line()), (Some(0), "2 passed, 0 failed, 0 skipped"), "{said}");
    assert!(said.folder().to_string_lossy().ends_with("-one_three"), "{said}");

    let said = finish(run_image(&mark("suites-none"), &guest.path).args(["--suite", "one", "--suite", "thre"]));
    assert_eq!(said.exit, Some(2), "{said}");
    assert!(said.stderr.contains("suite one or thre"), "{said}");
    assert!(!said.stdout.contains("PASS"), "{said}");
}

/// A run on a terminal, which the program `script` provides; what it drew.
fn on_a_terminal(command: &Command) -> String {
    let quoted = |word: &OsStr| format!("'{}'", word.to_string_lossy().replace('\'', r"'\''"));
    let line: Vec<String> = std::iter::once(command.get_program()).chain(command.get_args()).map(quoted).collect();
    let mut terminal = Command::new("script");
    terminal.args(["--quiet", "--return", "--echo", "never", "--command", &line.join(" "), "/dev/null"]);
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => terminal.env(name, value),
            None => terminal.env_remove(name),
        };
    }
    let output = terminal.env_remove("CI").env("TERM", "xterm").stdin(Stdio::null()).output().unwrap();
    assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stdout));
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn a_terminal_shows_how_far_a_run_is_and_which_tests_are_slow_while_they_run() {
    if !Path::new("/usr/bin/script").is_file() {
        return println!("SKIP: there is no program `script` here, which makes a terminal");
    }
    let guest = Guest::new().passing("tiny::quick").passing("tiny::lazy").late(2).passing("tiny::last").image();

    let drawn = on_a_terminal(run_image(&mark("terminal"), &guest.path).args(["--slow", "1", "--jobs", "1"]));

    let at = |what: &str| drawn.find(what).unwrap_or_else(|| panic!("{what:?} was not drawn:\n{}", drawn.escape_debug()));
    // A bar that counts, and what the guest does now.
    assert!(at("1/3") < at("SLOW") && at("boot 1: tiny::lazy") < at("SLOW"), "{}", drawn.escape_debug());
    // Marked while it runs, long before its result.
    let slow = drawn[at("SLOW")..].find("PASS").map(|after| at("SLOW") + after).unwrap_or_else(|| panic!("{drawn}"));
    assert!(drawn[slow..].contains("tiny::lazy"), "{}", drawn.escape_debug());
    assert!(drawn.contains("3 passed, 0 failed, 0 skipped"));

    // Where nobody watches, plain lines without a control character.
    let said = finish(run_image(&mark("plain"), &guest.path).args(["--slow", "1", "--jobs", "1"]));
    let slow = said.stdout.find("SLOW").unwrap_or_else(|| panic!("{said}"));
    assert!(slow < said.stdout.find("PASS  tiny::lazy").unwrap(), "{said}");
    assert!(!format!("{}{}", said.stdout, said.stderr).contains('\u{1b}'), "{said}");
}

#[test]
fn the_shards_of_a_run_are_together_the_run() {
    let names: Vec<String> = (0..5).map(|number| format!("tiny::{number}")).collect();
    let guest = names.iter().fold(Guest::new(), |guest, name| guest.passing(name)).image();
    let mut seen = BTreeSet::new();

    for shard in ["1/2", "2/2"] {
        let said = finish(run_image(&mark("shard"), &guest.path).args(["--shard", shard]));
        assert_eq!(said.exit, Some(0), "{said}");
        assert_eq!(said.record()["shard"], shard);
        let record = said.record();
        let tests = record["tests"].as_array().unwrap().iter().map(|test| test["name"].as_str().unwrap().to_owned());
        assert!(tests.into_iter().all(|name| seen.insert(name)), "a test is in both shards");
    }

    assert_eq!(seen.len(), names.len());
}

#[test]
fn a_shard_without_tests_passes_and_a_shard_out_of_range_is_the_users_mistake() {
    let guest = Guest::new().passing("tiny::only").image();

    let empty = finish(run_image(&mark("empty-shard"), &guest.path).args(["--shard", "2/2"]));
    let wrong = finish(run_image(&mark("wrong-shard"), &guest.path).args(["--shard", "3/2"]));

    assert_eq!((empty.exit, empty.last_line()), (Some(0), "0 passed, 0 failed, 0 skipped"), "{empty}");
    assert_eq!(wrong.exit, Some(2), "{wrong}");
    assert!(wrong.stderr.contains("there is no shard 3 of 2"), "{wrong}");
}

#[test]
fn after_a_failure_nothing_new_begins_unless_told_to_keep_going() {
    let guest =
        || Guest::new().test("tiny::fails", "", &[finished("tiny::fails", FAILED)], Then::GoOn).passing("tiny::next").image();

    let stopped = finish(run_image(&mark("fail-fast"), &guest().path).args(["--jobs", "1"]));
    let whole = finish(run_image(&mark("keep-going"), &guest().path).args(["--keep-going"]));

    assert_eq!((stopped.exit, stopped.last_line()), (Some(1), "0 passed, 1 failed, 1 skipped"), "{stopped}");
    assert!(stopped.stdout.contains("NOT RUN  tiny::next") && stopped.stdout.contains("--keep-going"), "{stopped}");
    assert_eq!((whole.exit, whole.last_line()), (Some(1), "1 passed, 1 failed, 0 skipped"), "{whole}");
}

#[test]
fn a_test_that_passes_on_retry_is_flaky_and_not_passed() {
    let mark = mark("flaky");
    let failing = Guest::new().test("tiny::flickers", "", &[finished("tiny::flickers", FAILED)], Then::GoOn).image();
    let passing = Guest::new().passing("tiny::flickers").image();
    let qemu = second_boot_boots(&failing, &passing);

    let said = finish(run_image(&mark, &failing.path).args(["--retries", "2"]).env("RIG_QEMU", qemu));

    assert_eq!((said.exit, said.last_line()), (Some(0), "0 passed, 0 failed, 0 skipped, 1 flaky"), "{said}");
    assert!(said.stdout.contains("FAIL  tiny::flickers") && said.stdout.contains("FLAKY  tiny::flickers"), "{said}");
    let record = said.record();
    assert_eq!(record["tests"][0]["earlier"][0]["outcome"]["kind"], "failed");
    assert_eq!(record["boots"].as_array().unwrap().len(), 2, "a retry has a guest of its own");
    let junit = std::fs::read_to_string(said.folder().join("junit.xml")).unwrap();
    assert!(junit.contains("<flakyFailure") && !junit.contains("<failure"), "{junit}");
    assert!(std::fs::read_to_string(said.folder().join("report.html")).unwrap().contains("FLAKY"));
}

#[test]
fn a_test_that_never_passes_fails_after_its_last_retry() {
    let guest = Guest::new().test("tiny::fails", "", &[finished("tiny::fails", FAILED)], Then::GoOn).image();

    let said = finish(run_image(&mark("retries"), &guest.path).args(["--retries", "2"]));

    assert_eq!((said.exit, said.last_line()), (Some(1), "0 passed, 1 failed, 0 skipped"), "{said}");
    assert_eq!(said.record()["tests"][0]["earlier"].as_array().unwrap().len(), 2);
    let junit = std::fs::read_to_string(said.folder().join("junit.xml")).unwrap();
    assert_eq!(junit.matches("<rerunFailure").count(), 2, "{junit}");
}

#[test]
fn a_machine_reads_events_and_nothing_else() {
    let guest = Guest::new().passing("tiny::passes").test("tiny::hangs", "", &[], Then::GoOn).image();

    let said = finish(run_image(&mark("json"), &guest.path).args(["--json", "--timeout", "2", "--slow", "1", "--keep-going"]));

    let events = events(&said.stdout);
    let kinds: Vec<&str> = events.iter().map(|event| event["event"].as_str().unwrap()).collect();
    assert_eq!(kinds.first(), Some(&"run-started"), "{said}");
    assert_eq!(kinds.last(), Some(&"run-ended"), "{said}");
    let slow = events.iter().find(|event| event["event"] == "test-slow").unwrap();
    assert_eq!(slow["test"], "tiny::hangs");
    let outcomes: Vec<&Value> =
        events.iter().filter(|event| event["event"] == "test-ended").map(|event| &event["test"]).collect();
    assert_eq!(outcomes[0]["outcome"]["kind"], "passed");
    assert_eq!(outcomes[1]["outcome"]["kind"], "hang");
    assert_eq!(events.last().unwrap()["exit"], 4);
}

#[test]
fn the_list_is_json_when_a_machine_asks() {
    let guest = stopping(1).passing("tiny::passes").image();

    let said = finish(run_image(&mark("json-list"), &guest.path).args(["--json", "--list"]));

    let tests = events(&said.stdout);
    assert_eq!((said.exit, tests.len()), (Some(0), 2), "{said}");
    assert_eq!(tests[0]["name"], "tiny::passes");
    assert_eq!(tests[0]["needs"]["verifier"], true);
    assert_eq!(tests[1]["ends_in_bug_check"], 0x10d);
}

#[test]
fn ctrl_c_ends_all_guests_that_run_side_by_side() {
    let mark = mark("ctrl-c-beside");
    let needs = Needs { verifier: false, ..Needs::NOTHING };
    let guest = Guest::new().test("tiny::waits", "", &[], Then::GoOn).listed("tiny::waits_too", needs, None, &[], Then::GoOn);
    let guest = guest.image();
    let running = common::Running::start(run_image(&mark, &guest.path).args(["--jobs", "2", "--timeout", "600"]));
    let guests = || common::marked(&mark).iter().filter(|(_, line)| line.contains("isa-debug-exit")).map(|(id, _)| *id).collect();
    let both: Vec<u32> = common::wait_for("two guests", || Some::<Vec<u32>>(guests()).filter(|ids| ids.len() == 2));

    running.signal("INT");
    let said = running.finish();

    assert_eq!(said.exit, Some(130), "{said}");
    assert_eq!(both.len(), 2);
    assert_nothing_lives(&mark);
    assert_whole(&said.folder());
}
