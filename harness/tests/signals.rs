//! Nothing outlives the harness: Ctrl-C and SIGKILL at any moment leave no process, no socket and no half file.

mod common;

use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use common::{
    Guest, Image, Running, assert_nothing_lives, assert_whole, mark, marked, process_with, qemu_of, qemu_program, rig, run_image,
    signal, wait_for,
};
use harness::pvh::Then;

/// Moments at which a run is killed, from before QEMU starts to the middle of a test.
const MOMENTS: [u64; 8] = [0, 3, 10, 30, 80, 150, 250, 400];

fn waiting_guest(suite: &str) -> Image {
    Guest::new().test(&format!("{suite}::waits"), "waiting for ever\n", &[], Then::GoOn).image()
}

fn runs() -> PathBuf {
    std::path::Path::new(env!("CARGO_BIN_EXE_rig")).ancestors().nth(2).unwrap().join("rig/runs")
}

#[test]
fn ctrl_c_stops_a_run_in_order_and_the_report_says_so() {
    let mark = mark("ctrl-c");
    let guest = waiting_guest("tiny");
    let running = Running::start(run_image(&mark, &guest.path).args(["--suite", "tiny"]));
    qemu_of(&mark);

    running.signal("INT");
    let said = running.finish();

    assert_eq!(said.exit, Some(130), "{said}");
    assert_nothing_lives(&mark);
    assert_whole(&said.folder());
    assert_eq!(said.record()["exit"], 130);
}

#[test]
fn ctrl_c_at_any_moment_leaves_nothing_behind() {
    let guest = waiting_guest("tiny");
    for moment in MOMENTS {
        let mark = mark(&format!("ctrl-c-{moment}"));
        let running = Running::start(&mut run_image(&mark, &guest.path));
        std::thread::sleep(Duration::from_millis(moment));

        running.signal("INT");
        let said = running.finish();

        // Before its handlers are installed, the signal's own default ends it.
        assert!(matches!(said.exit, Some(130 | 1002)), "{said}");
        assert_nothing_lives(&mark);
    }
}

/// A run of a guest that waits for ever, started by `env` with this option.
fn started_by_env(mark: &str, option: &str) -> (Image, Running) {
    let guest = waiting_guest("tiny");
    let run = run_image(mark, &guest.path);
    let mut command = std::process::Command::new("env");
    command.arg(option).arg(run.get_program()).args(run.get_args());
    for (name, value) in run.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let running = Running::start(&mut command);
    qemu_of(mark);
    (guest, running)
}

#[test]
fn a_run_that_is_told_to_end_or_whose_terminal_closes_ends_in_order() {
    for (name, exit) in [("TERM", 143), ("HUP", 129)] {
        let mark = mark(name);
        let (_guest, running) = started_by_env(&mark, &format!("--default-signal={name}"));

        running.signal(name);
        let said = running.finish();

        assert_eq!(said.exit, Some(exit), "{said}");
        assert_nothing_lives(&mark);
        assert_whole(&said.folder());
        assert_eq!(said.record()["exit"], exit);
    }
}

#[test]
fn a_run_that_does_not_mind_the_terminal_goes_on_when_it_closes() {
    let mark = mark("nohup");
    let (_guest, running) = started_by_env(&mark, "--ignore-signal=HUP");

    running.signal("HUP");
    running.signal("TERM");
    let said = running.finish();

    assert_eq!(said.exit, Some(143), "{said}");
    assert_nothing_lives(&mark);
    assert_eq!(said.record()["exit"], 143, "only the second signal was one, so that the run ended in order");
}

#[test]
fn sigkill_at_any_moment_leaves_no_process_no_socket_and_no_half_file() {
    for moment in MOMENTS {
        // Of this run of the test alone: folders of earlier ones may be of another version.
        let name = format!("killed-{moment}-{}", std::process::id());
        let guest = waiting_guest(&name);
        let mark = mark(&name);
        let running = Running::start(run_image(&mark, &guest.path).args(["--suite", &name]));
        std::thread::sleep(Duration::from_millis(moment));

        running.signal("KILL");
        let said = running.finish();

        assert_eq!(said.exit, Some(1009), "{said}");
        assert_nothing_lives(&mark);
        for entry in fs::read_dir(runs()).into_iter().flatten().flatten() {
            if entry.file_name().to_string_lossy().contains(&name) {
                assert_whole(&entry.path());
            }
        }
    }
}

#[test]
fn sigkill_ends_the_device_model_too() {
    let mark = mark("model-orphan");
    let guest = waiting_guest("tiny");
    let running = Running::start(&mut with_device(&mark, &guest));
    wait_for("the device model", || process_with(&mark, "device-model serve"));
    qemu_of(&mark);

    running.signal("KILL");
    running.finish();

    assert_nothing_lives(&mark);
}

#[test]
fn a_killed_device_model_is_a_broken_environment_and_ends_the_run() {
    let mark = mark("model-killed");
    let guest = waiting_guest("tiny");
    let running = Running::start(&mut with_device(&mark, &guest));
    qemu_of(&mark);
    let model = wait_for("the device model", || process_with(&mark, "device-model serve"));

    signal(model, "KILL");
    let said = running.finish();

    assert_eq!(said.exit, Some(3), "{said}");
    assert!(format!("{said}").contains("the device model died with signal 9 (SIGKILL)"), "{said}");
    assert_nothing_lives(&mark);
    assert_whole(&said.folder());
}

#[test]
fn sigkill_ends_a_tool_and_everything_that_the_tool_has_started() {
    // A QEMU whose `--version` starts a grandchild and never answers: the harness is killed while it waits.
    let mark = mark("grandchild");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("qemu");
    fs::write(&script, "#!/bin/sh\nsleep 1000 &\nsleep 1000\n").unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let running = Running::start(rig(&mark).args(["run", "--qemu"]).arg(&script));
    let sleepers = || marked(&mark).iter().filter(|(_, line)| line.contains("sleep 1000")).count();
    wait_for("both sleepers", || (sleepers() == 2).then_some(()));

    running.signal("KILL");
    let began = Instant::now();
    running.finish();

    assert_nothing_lives(&mark);
    assert!(began.elapsed() < Duration::from_secs(30));
}

#[test]
fn sigkill_ends_a_qemu_behind_a_script_that_does_not_become_it() {
    let mark = mark("script");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("qemu");
    fs::write(&script, format!("#!/bin/sh\n'{}' \"$@\"\nexit $?\n", qemu_program().display())).unwrap();
    fs::set_permissions(&script, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let guest = waiting_guest("tiny");
    let running = Running::start(run_image(&mark, &guest.path).env("RIG_QEMU", &script));
    let named = |(_, line): &&(u32, String)| line.contains("isa-debug-exit");
    let all_there = || (marked(&mark).iter().filter(named).count() == 3).then_some(());
    wait_for("guard, script and QEMU", all_there);

    running.signal("KILL");
    running.finish();

    assert_nothing_lives(&mark);
}

/// `rig run` with the real device model.
fn with_device(mark: &str, guest: &Image) -> std::process::Command {
    let mut command = rig(mark);
    command.env("RIG_QEMU", qemu_program());
    command.args(["run", "--accel", "tcg", "--seed", "1", "--image"]).arg(&guest.path);
    command
}
