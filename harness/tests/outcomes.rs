//! How a run ends: every outcome of a test, with its exit status and its report. Each guest is a real one, in a real QEMU.

mod common;

use std::fs;

use channel::{FromGuest, LogLevel, Outcome};
use common::{Guest, Image, Running, assert_nothing_lives, assert_whole, finish, mark, qemu_of, run_image, signal};
use harness::pvh::{COM1, Script, Then};

#[test]
fn a_run_in_which_all_pass_ends_with_0_and_leaves_a_whole_report() {
    let mark = mark("all-pass");
    let guest = Guest::new().passing("tiny::first").passing("tiny::second").image();

    let said = finish(&mut run_image(&mark, &guest.path));

    assert_eq!((said.exit, said.last_line()), (Some(0), "2 passed, 0 failed, 0 skipped"), "{said}");
    let folder = said.folder();
    assert_whole(&folder);
    let record = said.record();
    assert_eq!(record["boots"].as_array().unwrap().len(), 1);
    assert_eq!(record["boots"][0]["system"], "tiny 1");
    assert_eq!(record["seed"], common::SEED);
    let log = fs::read_to_string(folder.join("boot-1/guest.log")).unwrap();
    assert!(log.contains("tiny::second is at work") && log.contains("leaving"), "{log}");
    assert!(fs::read_to_string(folder.join("junit.xml")).unwrap().contains("tiny::first is at work"));
    assert_nothing_lives(&mark);
}

#[test]
fn a_failed_test_ends_the_run_with_1_and_names_place_and_reason() {
    let failed = Outcome::Failed { file: "echo.rs", line: 7, reason: "expected 4096 bytes, came 0" };
    let finished = FromGuest::Finished { test: "tiny::fails", outcome: failed, duration: 5 };
    let log = FromGuest::Log { level: LogLevel::Warning, text: "about to fail" };
    let skipped = Outcome::Skipped { reason: "one vector only" };
    let guest = Guest::new()
        .test("tiny::fails", "", &[log, finished], Then::GoOn)
        .test("tiny::skips", "", &[FromGuest::Finished { test: "tiny::skips", outcome: skipped, duration: 0 }], Then::GoOn)
        .passing("tiny::passes")
        .image();

    let said = finish(run_image(&mark("fails"), &guest.path).arg("--keep-going"));

    assert_eq!((said.exit, said.last_line()), (Some(1), "1 passed, 1 failed, 1 skipped"), "{said}");
    assert!(said.stdout.contains("echo.rs:7: expected 4096 bytes, came 0"), "{said}");
    assert_eq!(said.record()["tests"][0]["log"][0], "warning: about to fail");
}

#[test]
fn a_test_that_never_answers_is_a_hang_and_the_next_one_still_runs() {
    let mark = mark("hang");
    let guest = Guest::new().test("tiny::hangs", "waiting for rain\n", &[], Then::GoOn).passing("tiny::passes").image();

    let said = finish(run_image(&mark, &guest.path).args(["--timeout", "1", "--keep-going", "--jobs", "1"]));

    assert_eq!((said.exit, said.last_line()), (Some(4), "1 passed, 1 failed, 0 skipped"), "{said}");
    assert!(said.stdout.contains("HANG  tiny::hangs") && said.stdout.contains("waiting for rain"), "{said}");
    assert_eq!(said.record()["boots"].as_array().unwrap().len(), 2);
    assert_nothing_lives(&mark);
}

#[test]
fn a_guest_that_never_answers_is_a_hang_and_its_last_words_are_shown() {
    let guest = Image::of(Script::new().send(COM1, b"[0.000000 cpu0] about to stand still\n"));

    let said = finish(run_image(&mark("silent"), &guest.path).args(["--boot-timeout", "4"]));

    assert_eq!((said.exit, said.last_line()), (Some(4), "0 passed, 0 failed, 0 skipped"), "{said}");
    assert!(said.stderr.contains("the guest to start: no answer within 4 s"), "{said}");
    assert!(said.stderr.contains("about to stand still"), "{said}");
}

#[test]
fn a_bug_check_fails_its_test_and_the_guest_is_booted_again_for_the_next() {
    let mark = mark("bug-check");
    let (module, entry) = module_with_symbols();
    let report = [
        FromGuest::BugCheck { code: 0xd1, parameters: [0x10, 2, 0, 0x1234], module: "culprit.sys", offset: entry },
        FromGuest::BugCheckFrame { module: "culprit.sys", offset: entry, is_return: false },
        FromGuest::BugCheckFrame { module: "culprit.sys", offset: entry + 1, is_return: true },
        FromGuest::BugCheckFrame { module: "", offset: 0xfff0, is_return: true },
        FromGuest::BugCheckRegisters { general: [0x77; 16], rip: 0x1234, rflags: 2 },
        FromGuest::BugCheckModule { name: "culprit.sys", base: 0x1000, size: 0x2000, time_stamp: 9 },
        FromGuest::BugCheckEnd,
    ];
    let guest = Guest::new().test("tiny::stops", "", &report, Then::Exit(0x11)).passing("tiny::passes").image();

    let said = finish(
        run_image(&mark, &guest.path)
            .args(["--keep-going", "--jobs", "1"])
            .arg("--symbols")
            .arg(module.path().join("culprit.pdb")),
    );

    assert_eq!((said.exit, said.last_line()), (Some(1), "1 passed, 1 failed, 0 skipped"), "{said}");
    assert!(said.stdout.contains("0xd1 DRIVER_IRQL_NOT_LESS_OR_EQUAL (0x10, 0x2, 0x0, 0x1234)"), "{said}");
    assert!(said.stdout.contains(&format!("at culprit.sys+{entry:#x} culprit::presented")), "{said}");
    assert!(said.stdout.contains(&format!("#1 culprit.sys+{:#x} culprit::presented", entry + 1)), "{said}");
    assert!(said.stdout.contains("#2 0xfff0") && said.stdout.contains("rip=0000000000001234"), "{said}");
    assert!(said.stdout.contains("0x0000000000001000..0x0000000000003000 culprit.sys"), "{said}");
    assert_eq!(said.record()["boots"].as_array().unwrap().len(), 2);
    assert_nothing_lives(&mark);
}

#[test]
fn a_bug_check_whose_report_breaks_off_is_still_a_bug_check() {
    let report = [FromGuest::BugCheck { code: 0x50, parameters: [0; 4], module: "", offset: 0 }];
    let guest = Guest::new().test("tiny::stops", "", &report, Then::Exit(0x11)).image();

    let said = finish(&mut run_image(&mark("broken-off"), &guest.path));

    assert_eq!((said.exit, said.last_line()), (Some(1), "0 passed, 1 failed, 0 skipped"), "{said}");
    assert!(said.stdout.contains("PAGE_FAULT_IN_NONPAGED_AREA") && said.stdout.contains("the report ends here"), "{said}");
}

#[test]
fn a_triple_fault_fails_its_test_and_the_next_one_still_runs() {
    let guest = Guest::new().test("tiny::faults", "", &[], Then::TripleFault).passing("tiny::passes").image();

    let said = finish(run_image(&mark("triple-fault"), &guest.path).arg("--keep-going"));

    assert_eq!((said.exit, said.last_line()), (Some(1), "1 passed, 1 failed, 0 skipped"), "{said}");
    assert!(said.stdout.contains("DIED  tiny::faults"), "{said}");
}

#[test]
fn a_killed_qemu_is_a_broken_environment_and_ends_the_run() {
    let mark = mark("qemu-killed");
    let guest = Guest::new().test("tiny::waits", "", &[], Then::GoOn).passing("tiny::never_runs").image();
    let running = Running::start(&mut run_image(&mark, &guest.path));

    signal(qemu_of(&mark), "KILL");
    let said = running.finish();

    assert_eq!(said.exit, Some(3), "{said}");
    assert!(format!("{said}").contains("QEMU died with signal 9 (SIGKILL)"), "{said}");
    assert_nothing_lives(&mark);
}

#[test]
fn a_filter_that_matches_nothing_is_the_users_mistake() {
    let guest = Guest::new().passing("tiny::passes").image();

    let said = finish(run_image(&mark("no-match"), &guest.path).args(["--filter", "nothing"]));

    assert_eq!(said.exit, Some(2), "{said}");
    assert!(said.stderr.contains("no test has that name") && said.stderr.contains("--list"), "{said}");
}

#[test]
fn the_list_names_tests_and_runs_none() {
    let guest = Guest::new().passing("tiny::first").passing("tiny::second").image();

    let said = finish(run_image(&mark("list"), &guest.path).arg("--list"));

    assert_eq!(said.exit, Some(0), "{said}");
    assert_eq!(said.stdout, "tiny::first: a test of the tests\ntiny::second: a test of the tests\n", "{said}");
}

#[test]
fn two_runs_at_once_do_not_disturb_each_other() {
    let mark = mark("two-runs");
    let guest = Guest::new().passing("tiny::first").passing("tiny::second").image();
    let runs: Vec<Running> = (0..2).map(|_| Running::start(&mut run_image(&mark, &guest.path))).collect();

    let said: Vec<_> = runs.into_iter().map(Running::finish).collect();

    for said in &said {
        assert_eq!((said.exit, said.last_line()), (Some(0), "2 passed, 0 failed, 0 skipped"), "{said}");
        assert_whole(&said.folder());
    }
    assert_ne!(said[0].folder(), said[1].folder());
    assert_nothing_lives(&mark);
}

/// A Windows module with one known function at its entry, made by the toolchain that builds this test, and that function's
/// offset. It uses no library, not even `core`, so that nothing else is needed to build it.
fn module_with_symbols() -> (tempfile::TempDir, u64) {
    use object::Object as _;
    const SOURCE: &str = r#"
        #![feature(no_core, lang_items)]
        #![no_core]
        #![no_main]
        #![allow(internal_features)]
        #[lang = "pointee_sized"]
        pub trait PointeeSized {}
        #[lang = "meta_sized"]
        pub trait MetaSized: PointeeSized {}
        #[lang = "sized"]
        pub trait Sized: MetaSized {}
        #[unsafe(export_name = "entry")]
        pub extern "win64" fn presented() -> u32 { loop {} }
    "#;
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("culprit.rs");
    fs::write(&source, SOURCE).unwrap();
    let rustc = std::env::var_os("CARGO").map(|cargo| std::path::PathBuf::from(cargo).with_file_name("rustc"));
    let link = ["/NODEFAULTLIB", "/ENTRY:entry", "/SUBSYSTEM:NATIVE", "/DEBUG"].map(|word| format!("link-arg={word}"));
    let mut command = std::process::Command::new(rustc.unwrap_or_else(|| "rustc".into()));
    command.env("RUSTC_BOOTSTRAP", "1").current_dir(folder.path()).args(["--edition", "2024", "--crate-type", "bin"]);
    command.args(["--target", "x86_64-pc-windows-msvc", "-C", "panic=abort", "-C", "debuginfo=2", "-C", "linker=rust-lld"]);
    command.args(link.iter().flat_map(|word| ["-C", word])).arg("-o").arg("culprit.sys").arg(&source);
    assert!(command.status().unwrap().success());
    let image = fs::read(folder.path().join("culprit.sys")).unwrap();
    let file = object::File::parse(&*image).unwrap();
    let entry = file.entry() - file.relative_address_base();
    (folder, entry)
}
