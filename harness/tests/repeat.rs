//! What a run leaves can be repeated and put together, and what is not as it should be is told: each case ends with the right status and
//! says what, why and what to do.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use channel::{FromGuest, Outcome};
use common::{Guest, Image, Said, assert_whole, finish, mark, qemu_program, rig, run_image};
use harness::pvh::Then;

const FAILED: Outcome<'static> = Outcome::Failed { file: "tiny.rs", line: 3, reason: "it rains" };

fn failing(guest: Guest, name: &str) -> Guest {
    guest.test(name, "", &[FromGuest::Finished { test: name, outcome: FAILED, duration: 1 }], Then::GoOn)
}

fn rerun(mark: &str, folder: &Path) -> Command {
    let mut command = rig(mark);
    command.env("RIG_QEMU", qemu_program()).arg("rerun").arg(folder);
    command
}

fn report(mark: &str, folders: &[&Path], output: &Path) -> Command {
    let mut command = rig(mark);
    command.arg("report").args(folders).arg("--output").arg(output);
    command
}

fn assert_explains(said: &Said, exit: i32, words: &[&str]) {
    assert_eq!(said.exit, Some(exit), "{said}");
    for word in ["error: ", "\n  why: ", "\n   do: "].iter().chain(words) {
        assert!(said.stderr.contains(word), "{word:?} is not said: {said}");
    }
}

/// A run of one passing test, and its folder.
fn a_run(mark: &str) -> (Image, PathBuf) {
    let guest = Guest::new().passing("tiny::passes").image();
    let folder = finish(&mut run_image(mark, &guest.path)).folder();
    (guest, folder)
}

#[test]
fn a_rerun_runs_the_same_tests_with_the_same_seed_and_finds_no_difference() {
    let mark = mark("rerun");
    let guest = failing(Guest::new().passing("tiny::first"), "tiny::fails").passing("tiny::other").image();
    let first = finish(run_image(&mark, &guest.path).args(["--keep-going", "--filter", "tiny::f"]));

    let again = finish(&mut rerun(&mark, &first.folder()));

    assert_eq!(again.exit, Some(1), "{again}");
    assert!(again.stdout.contains("every test came out as it did then"), "{again}");
    assert!(again.stderr.contains("the same files, the same machine, the same options"), "{again}");
    let names =
        |said: &Said| said.record()["tests"].as_array().unwrap().iter().map(|test| test["name"].clone()).collect::<Vec<_>>();
    assert_eq!(names(&again), names(&first));
    assert_eq!(again.record()["seed"], first.record()["seed"]);
    assert_eq!(again.record()["options"], first.record()["options"]);
}

#[test]
fn the_seed_that_a_failed_run_names_fails_again_and_another_one_need_not() {
    const BAD: u64 = 4711;
    let failed = Outcome::Failed { file: "tiny.rs", line: 3, reason: "thread 2, operation 77: it rains" };
    let guest = Guest::new().passing("tiny::random").with_seed(BAD, "tiny::random", failed).image();
    let run = |seed: u64| finish(run_image(&mark("seed"), &guest.path).args(["--seed", &seed.to_string()]));

    let said = run(BAD);
    assert_eq!(said.exit, Some(1), "{said}");
    let named = said.stderr.lines().find_map(|line| line.strip_prefix("[rig] for the same random choices again: --seed "));
    let named: u64 = named.unwrap_or_else(|| panic!("{said}")).parse().unwrap();

    let again = run(named);
    assert_eq!(again.exit, Some(1), "{again}");
    assert_eq!(again.record()["tests"][0]["outcome"], said.record()["tests"][0]["outcome"]);
    assert_eq!(again.record()["tests"][0]["seed"], said.record()["tests"][0]["seed"]);
    assert_eq!(run(common::SEED).exit, Some(0));
}

#[test]
fn a_rerun_tells_which_file_and_which_outcome_is_another() {
    let mark = mark("rerun-other");
    let guest = failing(Guest::new().passing("tiny::gone"), "tiny::changes").image();
    let first = finish(run_image(&mark, &guest.path).arg("--keep-going"));
    let mended = Guest::new().passing("tiny::changes").image();
    fs::copy(&mended.path, &guest.path).unwrap();

    let again = finish(&mut rerun(&mark, &first.folder()));

    assert_eq!(again.exit, Some(0), "{again}");
    assert!(again.stdout.contains("CHANGE  tiny::changes: FAIL then, PASS now"), "{again}");
    assert!(again.stdout.contains("GONE  tiny::gone"), "{again}");
    assert!(again.stderr.contains(&format!("differs: {}", guest.path.display())), "{again}");
}

#[test]
fn a_rerun_of_what_failed_leaves_out_what_passed() {
    let mark = mark("rerun-failed");
    let guest = failing(Guest::new().passing("tiny::passes"), "tiny::fails").image();
    let first = finish(run_image(&mark, &guest.path).arg("--keep-going"));

    let again = finish(rerun(&mark, &first.folder()).arg("--failed"));

    assert_eq!((again.exit, again.last_line()), (Some(1), "0 passed, 1 failed, 0 skipped"), "{again}");
}

#[test]
fn shards_are_put_together_into_one_report() {
    let mark = mark("merge");
    let guest = failing(Guest::new().passing("tiny::first"), "tiny::second").image();
    let shards: Vec<PathBuf> =
        ["1/2", "2/2"].iter().map(|shard| finish(run_image(&mark, &guest.path).args(["--shard", shard])).folder()).collect();
    let output = tempfile::tempdir().unwrap();

    let merged = finish(&mut report(&mark, &[&shards[0], &shards[1]], output.path()));
    let half = finish(&mut report(&mark, &[&shards[0]], &output.path().join("half")));

    assert_eq!((merged.exit, merged.last_line()), (Some(1), "1 passed, 1 failed, 0 skipped"), "{merged}");
    assert_whole(output.path().join("half").as_path());
    let junit = fs::read_to_string(output.path().join("junit.xml")).unwrap();
    assert!(junit.contains("tiny::first is at work"), "the logs of the shards are attached: {junit}");
    assert_eq!(half.exit, Some(3), "{half}");
    assert!(half.stderr.contains("shard 2/2 is missing"), "{half}");
}

#[test]
fn shards_of_other_seeds_and_files_are_told_and_a_rerun_gives_each_test_the_seed_that_it_had() {
    let mark = mark("merge-seeds");
    let passes = || Guest::new().passing("tiny::first").passing("tiny::second");
    let guests = [(); 2].map(|()| passes().with_seed(99, "tiny::second", Outcome::Passed).image());
    let shard = |guest: &Image, words: &[&str]| finish(run_image(&mark, &guest.path).args(words)).folder();
    let shards = [shard(&guests[0], &["--shard", "1/2"]), shard(&guests[1], &["--shard", "2/2", "--seed", "99"])];
    let output = tempfile::tempdir().unwrap();

    let merged = finish(&mut report(&mark, &[&shards[0], &shards[1]], output.path()));
    let again = finish(&mut rerun(&mark, output.path()));

    assert_eq!((merged.exit, again.exit), (Some(0), Some(0)), "{merged}{again}");
    assert!(merged.stderr.contains("differs: image: ") && merged.stderr.contains(" in shard 2/2"), "{merged}");
    let seeds = |record: &serde_json::Value| {
        let test = |test: &serde_json::Value| (test["name"].to_string(), test["seed"].as_u64().unwrap());
        record["tests"].as_array().unwrap().iter().map(test).collect::<BTreeMap<_, _>>()
    };
    let read = |folder: &Path| serde_json::from_slice(&fs::read(folder.join("run.json")).unwrap()).unwrap();
    let [first, second]: [serde_json::Value; 2] = shards.each_ref().map(|shard| read(shard));
    let mut expected = seeds(&first);
    expected.extend(seeds(&second));
    assert_eq!((expected.len(), seeds(&again.record())), (2, expected));
    assert!(again.record()["shard"].is_null(), "it is the whole run");
    assert!(fs::read_to_string(output.path().join("report.html")).unwrap().contains(" | 99</span>"));
}

#[test]
fn a_report_says_which_logs_it_misses() {
    let mark = mark("lost-log");
    let (_guest, folder) = a_run(&mark);
    let output = tempfile::tempdir().unwrap();
    let log = folder.join("boot-1/guest.log");
    let report = || finish(&mut report(&mark, &[&folder], output.path()));

    assert!(!report().stderr.contains("lines of tests are missing"));
    fs::write(&log, "").unwrap();
    let cut = report();
    fs::remove_file(&log).unwrap();
    fs::create_dir(&log).unwrap();
    let no_file = report();

    for (said, why) in [(&cut, "it is shorter than it was"), (&no_file, "it is no file")] {
        assert_eq!(said.exit, Some(0), "{said}");
        assert!(said.stderr.contains("lines of tests are missing") && said.stderr.contains(why), "{said}");
    }
}

#[test]
fn a_report_of_an_empty_run_is_a_report() {
    let mark = mark("empty");
    let guest = Guest::new().passing("tiny::only").image();
    let empty = finish(run_image(&mark, &guest.path).args(["--shard", "2/2"])).folder();
    let all = finish(run_image(&mark, &guest.path).args(["--shard", "1/2"])).folder();
    let output = tempfile::tempdir().unwrap();

    let said = finish(&mut report(&mark, &[&empty, &all], output.path()));

    assert_eq!((said.exit, said.last_line()), (Some(0), "1 passed, 0 failed, 0 skipped"), "{said}");
    assert!(fs::read_to_string(empty.join("report.html")).unwrap().contains("No test ran."));
    assert_explains(&finish(&mut rerun(&mark, &empty)), 2, &["nothing to repeat", "no test ran in it"]);
}

#[test]
fn the_same_run_twice_is_refused() {
    let mark = mark("twice");
    let (_guest, folder) = a_run(&mark);
    let output = tempfile::tempdir().unwrap();

    let said = finish(&mut report(&mark, &[&folder, &folder], output.path()));

    assert_explains(&said, 2, &["tiny::passes is in two of these runs"]);
}

#[test]
fn a_damaged_folder_is_told_from_one_that_is_no_runs() {
    let mark = mark("damaged");
    let (_guest, folder) = a_run(&mark);
    let (empty, output) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let record = fs::read_to_string(folder.join("run.json")).unwrap();
    fs::write(folder.join("run.json"), &record[..record.len() / 3]).unwrap();

    assert_explains(&finish(&mut rerun(&mark, &folder)), 3, &["run.json is damaged", "EOF"]);
    assert_explains(&finish(&mut report(&mark, &[&folder], output.path())), 3, &["run.json is damaged"]);
    assert_explains(&finish(&mut rerun(&mark, empty.path())), 2, &["is no run's folder", "target/rig/runs/latest"]);
    assert_explains(&finish(&mut rerun(&mark, Path::new("/nowhere"))), 2, &["is no run's folder"]);
}

#[test]
fn a_run_of_another_version_of_rig_is_named_with_both_formats() {
    let mark = mark("version");
    let (_guest, folder) = a_run(&mark);
    let record = fs::read_to_string(folder.join("run.json")).unwrap().replacen("\"format\": 2", "\"format\": 99", 1);
    fs::write(folder.join("run.json"), record).unwrap();

    assert_explains(&finish(&mut rerun(&mark, &folder)), 2, &["format 99", "reads format 2"]);
}

#[test]
fn a_suite_of_another_protocol_version_is_named_with_both_versions() {
    let guest = Guest::speaking(99).passing("tiny::passes").image();

    let said = finish(&mut run_image(&mark("protocol"), &guest.path));

    assert_eq!(said.exit, Some(3), "{said}");
    assert!(
        said.stderr.contains("version 99 of the protocol") && said.stderr.contains("build both from the same sources"),
        "{said}"
    );
    assert_eq!(said.record()["exit"], 3);
}

#[test]
fn a_full_disk_ends_the_run_with_3_and_leaves_no_half_report() {
    // A disk is full when a file cannot grow: no file of this run may have more than 6 KiB. QEMU's own limit is lifted again.
    let mark = mark("disk-full");
    let guest = Guest::new().passing("tiny::passes").image();
    let qemu = guest.folder.path().join("qemu");
    fs::write(&qemu, format!("#!/bin/sh\nulimit -S -f unlimited\nexec '{}' \"$@\"\n", qemu_program().display())).unwrap();
    fs::set_permissions(&qemu, fs::Permissions::from_mode(0o755)).unwrap();
    let run = run_image(&mark, &guest.path);
    let mut command = Command::new("/bin/sh");
    command.args(["-c", "trap '' 25; ulimit -S -f 12; exec \"$@\"", "sh"]).arg(run.get_program()).args(run.get_args());
    command.env("RIG_TEST_MARK", &mark).env("RIG_QEMU", &qemu).stdin(Stdio::null());

    let said = finish(&mut command);

    assert_explains(&said, 3, &["cannot write", "disk is not full"]);
    let line = said.stderr.lines().find(|line| line.contains("cannot write")).unwrap();
    let folder = Path::new(line.rsplit(' ').next().unwrap()).parent().unwrap();
    assert_whole(folder);
}

/// `rig` with a target folder of its own.
fn rig_with_target(target: &Path) -> PathBuf {
    let program = target.join("debug/rig");
    fs::create_dir_all(target.join("debug")).unwrap();
    fs::write(target.join("CACHEDIR.TAG"), "Signature: 8a477f597d28d172789f06886806bc55").unwrap();
    fs::copy(env!("CARGO_BIN_EXE_rig"), &program).unwrap();
    program
}

#[test]
fn a_target_folder_that_cannot_hold_runs_is_a_broken_environment() {
    let mark = mark("no-folder");
    let guest = Guest::new().passing("tiny::passes").image();
    let target = tempfile::tempdir().unwrap();
    let program = rig_with_target(target.path());
    fs::write(target.path().join("rig"), "a file where a folder should be").unwrap();
    let mut command = Command::new(program);
    command.args(["run", "--accel", "tcg", "--no-device", "--image"]).arg(&guest.path);
    command.env("RIG_TEST_MARK", &mark).env("RIG_QEMU", qemu_program()).stdin(Stdio::null());

    let said = finish(&mut command);

    assert_explains(&said, 3, &["cannot create", "rig/runs", "is writable"]);
}

#[test]
fn a_read_only_target_folder_is_a_broken_environment() {
    let mark = mark("read-only");
    let (_guest, folder) = a_run(&mark);
    let target = tempfile::tempdir().unwrap();
    let program = rig_with_target(target.path());
    let run = target.path().join("run");
    fs::create_dir(&run).unwrap();
    fs::copy(folder.join("run.json"), run.join("run.json")).unwrap();
    fs::set_permissions(target.path(), fs::Permissions::from_mode(0o555)).unwrap();
    // To root every folder is writable: then somebody else has to try.
    let is_root = rustix::process::geteuid().is_root();
    let mut command = Command::new(if is_root { Path::new("setpriv") } else { &program });
    if is_root {
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups"]).arg(&program);
    }
    command.arg("report").arg(&run).env("RIG_TEST_MARK", &mark).stdin(Stdio::null());

    let said = finish(&mut command);

    fs::set_permissions(target.path(), fs::Permissions::from_mode(0o755)).unwrap();
    assert_explains(&said, 3, &["cannot create", "rig/runs", "Permission denied"]);
}

#[test]
fn github_is_told_of_each_failure_in_its_own_words() {
    let guest = failing(Guest::new(), "tiny::fails").image();

    let said = finish(run_image(&mark("github"), &guest.path).env("GITHUB_ACTIONS", "true"));

    let annotation = "::error title=FAIL tiny%3A%3Afails,file=tiny.rs,line=3::tiny.rs:3: it rains";
    assert!(said.stdout.lines().any(|line| line == annotation), "{said}");
}
