//! `rig run --record`, then `rig replay`: the driver meets the recorded device again, and one that has changed is found out.

mod common;

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::BufReader;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Said, assert_nothing_lives, finish, guest_driver, mark, qemu_program, rig};
use device_model::trace::{Reader, What};
use harness::files::Lock;
use harness::interrupt::Interrupt;
use harness::places::Places;

/// The command of the relay hardware that the changed driver sends otherwise.
const TRANSFORM: u32 = protocol::hardware::Opcode::TRANSFORM.0;

fn a_rig(mark: &str, words: &[&str]) -> Command {
    let mut command = rig(mark);
    command.env("RIG_QEMU", qemu_program()).args(words);
    command
}

/// A recorded run that passed; its folder.
fn record(mark: &str, words: &[&str]) -> PathBuf {
    let said = finish(a_rig(mark, &["run", "--record", "--jobs", "1", "--accel", "tcg"]).args(words));
    assert_eq!(said.exit, Some(0), "{said}");
    said.folder()
}

fn replay(mark: &str, what: &Path, words: &[&str]) -> Said {
    finish(a_rig(mark, &["replay", "--accel", "tcg"]).arg(what).args(words))
}

/// All boots of the run came again, and so did the results of its tests.
fn assert_replays(mark: &str, run: &Path, boots: usize) {
    let said = replay(mark, run, &[]);
    assert_eq!(said.exit, Some(0), "{said}");
    assert_eq!(said.last_line(), format!("{boots} of {boots} boots as recorded"), "{said}");
    let events: Vec<u64> =
        said.stdout.lines().filter_map(|line| line.strip_prefix("as recorded: ")?.split(' ').next()?.parse().ok()).collect();
    assert!(events.len() == boots && events.iter().all(|count| *count > 0), "each boot met the device: {said}");
    assert_nothing_lives(mark);
}

/// The first command of a kind in a trace: its event's number.
fn first_command(trace: &Path, opcode: u32) -> u64 {
    let mut reader = Reader::new(BufReader::new(File::open(trace).unwrap())).unwrap();
    loop {
        let number = reader.position();
        let event = reader.next().unwrap().expect("the command is in the trace");
        if let What::Taken { queue: 0, data, .. } = event.what
            && data.get(8..12) == Some(&opcode.to_le_bytes())
        {
            return number;
        }
    }
}

/// A package whose relay.sys differs from ours in one line; the suite's program stays.
fn changed_package(folder: &Path) -> (PathBuf, PathBuf) {
    let places = Places::find(None);
    // Nobody packs the changed driver as ours: cargo leaves both in one place.
    let lock = Lock::take(&places.rig().join("build.lock"), "build", &Interrupt::never().unwrap()).unwrap();
    fs::copy(guest_driver("relay", &["mutant"]), folder.join("relay.sys")).unwrap();
    guest_driver("relay", &[]);
    drop(lock);
    for file in ["relay.inf", "relayflt.sys"] {
        fs::copy(places.package().join(file), folder.join(file)).unwrap();
    }
    (folder.join("relay.inf"), places.guest_target().join("x86_64-pc-windows-msvc/guest/suite.exe"))
}

#[test]
fn a_recorded_run_replays_and_a_driver_with_one_line_changed_diverges_at_the_command_that_the_line_makes() {
    let name = mark("replay-vfio-user");
    // Sleeps with many requests under way, transforms, the driver's own test.
    let run = record(&name, &["--suite", "device", "--filter", "the_"]);
    assert_replays(&name, &run, 1);

    let folder = tempfile::tempdir().unwrap();
    let trace = run.join("boot-1/trace.rigtrace");
    let (package, program) = changed_package(folder.path());
    let changed = ["--package", package.to_str().unwrap(), "--program", program.to_str().unwrap()];
    let said = replay(&name, &trace, &changed);
    assert_eq!(said.exit, Some(1), "{said}");
    let place = format!("the driver diverged at recorded event {},", first_command(&trace, TRANSFORM));
    assert!(said.stdout.contains(&place), "{place} {said}");
    let lines: BTreeMap<&str, &str> = said.stdout.lines().filter_map(|line| line.trim().split_once(": ")).collect();
    let argument = |line: &str| {
        let (_, rest) = line.split_once("transform length ").unwrap_or_else(|| panic!("no transform: {said}"));
        let digits = rest.split_once("argument 0x").unwrap().1.split(':').next().unwrap();
        u64::from_str_radix(digits, 16).unwrap()
    };
    assert_eq!(argument(lines["came"]), argument(lines["expected"]) + 1, "{said}");

    // What is shorter and fails the same way is found, wherever it is put.
    let shorter = folder.path().join("shorter.rigtrace");
    let said =
        finish(a_rig(&name, &["trace", "shrink", "--accel", "tcg", "--for", "3s"]).args(changed).arg(&trace).arg(&shorter));
    assert_eq!(said.exit, Some(0), "{said}");
    let said = replay(&name, &shorter, &changed);
    assert!(said.exit == Some(1) && said.stdout.contains("transform length"), "{said}");
    let count = |path: &Path| {
        let mut reader = Reader::new(BufReader::new(File::open(path).unwrap())).unwrap();
        while reader.next().unwrap().is_some() {}
        reader.position()
    };
    assert!(count(&shorter) < count(&trace), "{} events", count(&shorter));
    assert_nothing_lives(&name);
}

#[test]
fn the_stress_suite_finds_a_broken_driver_and_the_seed_that_it_names_finds_it_again() {
    let name = mark("stress-broken");
    let folder = tempfile::tempdir().unwrap();
    let (package, program) = changed_package(folder.path());
    let run = |words: &[&str]| {
        let mut command = a_rig(&name, &["run", "--accel", "tcg", "--suite", "stress", "--filter", "commands_from"]);
        finish(command.arg("--package").arg(&package).arg("--program").arg(&program).args(words))
    };
    let reason = |said: &Said| said.record()["tests"][0]["outcome"]["reason"].as_str().unwrap_or_default().to_owned();

    let said = run(&[]);
    assert_eq!(said.exit, Some(1), "{said}");
    assert!(reason(&said).contains("thread ") && reason(&said).contains(", operation "), "{said}");
    let named = said.stderr.lines().find_map(|line| line.strip_prefix("[rig] for the same random choices again: --seed "));

    let again = run(&["--seed", named.unwrap_or_else(|| panic!("no seed: {said}"))]);
    assert_eq!(again.exit, Some(1), "{again}");
    assert_eq!(again.record()["tests"][0]["seed"], said.record()["tests"][0]["seed"]);
    let what = |said: &Said| reason(said).split_once(": ").map(|(_, what)| what.to_owned());
    assert_eq!(what(&again), what(&said), "the same expectation failed");
    assert_nothing_lives(&name);
}

#[test]
fn a_run_with_a_pulled_device_replays_boot_by_boot_on_vhost_user() {
    let name = mark("replay-vhost-user");
    let run = record(&name, &["--suite", "device", "--filter", "_ends_", "--transport", "vhost-user"]);
    assert_replays(&name, &run, 2);
}

#[test]
fn random_commands_of_several_threads_and_sleeps_among_them_replay() {
    let name = mark("replay-stress");
    let run = record(&name, &["--suite", "stress", "--filter", "commands_", "--transport", "vhost-user"]);
    assert_replays(&name, &run, 1);
}

#[test]
fn what_was_recorded_for_a_time_is_refused_by_name() {
    use device_model::trace::{Compression, Header, Writer};

    let name = mark("replay-for");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("long.rigtrace");
    let header = Header { device: "relay".into(), ..Header::default() }.with_note(harness::run::FOR, "20000 ms");
    Writer::new(File::create(&path).unwrap(), &header, Compression::None).unwrap().finish().unwrap();
    let said = replay(&name, &path, &[]);
    assert_eq!(said.exit, Some(2), "{said}");
    for part in ["was recorded with --for (20000 ms)", "record the run without --for"] {
        assert!(said.stderr.contains(part), "{part}: {said}");
    }
}

#[test]
fn a_boot_that_ends_in_a_bug_check_has_a_verdict_too() {
    let name = mark("replay-bug-check");
    let run = record(&name, &["--suite", "contract", "--filter", "deleting_a_received_request"]);
    assert_replays(&name, &run, 1);
}
