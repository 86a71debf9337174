//! `rig new` as a user meets it: what it writes builds and runs at once, and what cannot be is refused.

mod common;

use std::path::Path;
use std::process::Command;

/// Runs `rig` in `folder`, as a user there would.
fn rig_in(folder: &Path, arguments: &[&str]) -> (Option<i32>, String) {
    let mut command: Command = common::rig(&common::mark("new"));
    let output = command.env("RIG_QEMU", common::qemu_program()).current_dir(folder).args(arguments).output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), text)
}

/// Runs the hardware's own tests, with what is built of the device model's crates already.
fn test_model(project: &Path) -> (Option<i32>, String) {
    let target = Path::new(env!("CARGO_BIN_EXE_rig")).ancestors().nth(2).unwrap();
    let mut cargo = Command::new("cargo");
    cargo.current_dir(project).args(["test", "-p", "thermometer-model"]).env("CARGO_TARGET_DIR", target);
    let output = cargo.output().unwrap();
    let text = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    (output.status.code(), text)
}

#[test]
fn a_new_project_builds_runs_and_packs_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = rig_in(folder.path(), &["new", "thermometer"]);
    assert_eq!(code, Some(0), "{text}");
    let project = folder.path().join("thermometer");

    let (code, text) = rig_in(&project, &["run", "--accel", "tcg"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("thermometer::squares") && text.contains("5 passed"), "{text}");

    let (code, text) = test_model(&project);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("a_number_is_squared_and_the_device_interrupts ... ok"), "{text}");

    let (code, text) = rig_in(&project, &["package", "--out", "package"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = rig_in(&project, &["package", "verify", "package"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("thermometer.sys"), "{text}");

    let (code, text) = rig_in(&project, &["new", "second"]);
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("is inside of a project"), "{text}");
}

#[test]
fn what_a_project_is_written_like_is_how_the_formatter_would_write_it() {
    let folder = tempfile::tempdir().unwrap();
    let (code, text) = rig_in(folder.path(), &["new", "barometer"]);
    assert_eq!(code, Some(0), "{text}");
    let output =
        Command::new("cargo").args(["fmt", "--all", "--check"]).current_dir(folder.path().join("barometer")).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

#[test]
fn a_name_that_is_none_and_a_folder_that_is_there_are_the_users_mistakes() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir(folder.path().join("there")).unwrap();
    for (arguments, what, why) in [
        (&["new", "Big-Name"][..], "is no name for a project", "lower-case"),
        (&["new", "relay"], "is no name for a project", "taken"),
        (&["new", "there"], "is there already", "written over"),
        (&["new", "good", "--out", "missing"], "missing is no folder", "made in it"),
    ] {
        let (code, text) = rig_in(folder.path(), arguments);
        assert_eq!(code, Some(2), "{text}");
        assert!(text.contains(what) && text.contains(why) && text.contains("do: "), "{text}");
    }
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
