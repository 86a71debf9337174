//! `rig tap` and `rig replay` as a user meets them: a guest that works through a tap, and what is said of arguments that cannot be.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use common::{assert_nothing_lives, finish, mark, qemu_program, rig};

/// Serves the relay hardware, and stands between it and whoever connects.
const TAPPED: &str = r#"#!/bin/sh
"$RIG" serve relay --transport vfio-user --socket "$FOLDER/server.sock" > "$FOLDER/server.log" 2>&1 &
server=$!
trap 'kill $server' EXIT
while [ ! -S "$FOLDER/server.sock" ]; do sleep 0.02; done
"$RIG" tap --listen "$1" --connect "$FOLDER/server.sock" --record "$FOLDER/tapped.rigtrace" --name relay
"#;

#[test]
fn a_driver_works_through_a_tap_which_sees_registers_memory_and_interrupts() {
    let (folder, name) = (tempfile::tempdir().unwrap(), mark("tap"));
    let script = folder.path().join("tapped");
    fs::write(&script, TAPPED).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    let mut run = rig(&name);
    run.env("RIG_QEMU", qemu_program()).env("RIG", env!("CARGO_BIN_EXE_rig")).env("FOLDER", folder.path());
    run.args(["run", "--accel", "tcg", "--suite", "device", "--filter", "echo", "--jobs", "1", "--device"]);
    let said = finish(run.arg(format!("'{}' {{socket}}", script.display())));
    assert!(said.exit == Some(0) && said.last_line().ends_with(" passed, 0 failed, 0 skipped"), "{said}");

    let trace = folder.path().join("tapped.rigtrace");
    let shown = finish(rig(&name).args(["trace", "show", "--kind", "write,dma-read,dma-write,interrupt"]).arg(&trace));
    assert_eq!(shown.exit, Some(0), "{shown}");
    for wanted in ["write        bar2+0x3000 = 0x0000", "dma-read", "dma-write", "interrupt    vector 1"] {
        assert!(shown.stdout.contains(wanted), "{wanted}: {}", shown.stdout.lines().take(30).collect::<Vec<_>>().join("\n"));
    }
    let bytes = fs::read(&trace).unwrap();
    let header = String::from_utf8_lossy(&bytes[..1500.min(bytes.len())]).into_owned();
    assert!(header.contains(r#""msix":[0,4]"#), "the tap knows of MSI-X: {header}");
    // What a tap sees of a virtio device is not what its driver will do again.
    let said = finish(rig(&name).arg("replay").arg(&trace));
    assert!(said.exit == Some(2) && said.stderr.contains("a virtio device at its bus"), "{said}");
    assert_nothing_lives(&name);
}

#[test]
fn a_tap_that_cannot_begin_says_why() {
    let folder = tempfile::tempdir().unwrap();
    let (listen, nobody, trace) = (folder.path().join("tap.sock"), folder.path().join("nobody"), folder.path().join("t"));
    let tap = |words: &[&str]| finish(rig(&mark("tap")).current_dir(folder.path()).arg("tap").args(words));
    let [listen, nobody, trace] = [&listen, &nobody, &trace].map(|path| path.to_str().unwrap());
    let said = tap(&["--listen", listen, "--connect", nobody, "--record", trace]);
    assert!(said.exit == Some(3) && said.stderr.contains(nobody) && said.stderr.contains("start the server first"), "{said}");
    assert!(!fs::exists(listen).unwrap() && !fs::exists(trace).unwrap(), "nothing is left behind");
    for (wrong, word) in [
        (&["--listen", listen][..], "--connect"),
        (&["--listen", listen, "--connect", nobody, "--log", "loud"], "loud"),
        (&["--listen", &"x".repeat(108), "--connect", nobody], "107 bytes"),
    ] {
        let said = tap(wrong);
        assert!(said.exit == Some(2) && said.stderr.contains(word), "{wrong:?}: {said}");
    }
    let said = tap(&["--help"]);
    assert!(said.exit == Some(0) && said.stdout.contains("--pass-memory"), "{said}");
}

#[test]
fn what_cannot_be_replayed_changed_or_shrunk_is_the_users_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let none = folder.path().join("none");
    let [folder, none] = [folder.path(), &none].map(|path| path.to_str().unwrap());
    for (words, why) in [
        (&["replay", none][..], "cannot be replayed"),
        (&["replay", folder], "is no run's folder"),
        (&["replay", none, "--mode", "loose"], "loose"),
        (&["replay", none, "--program", none], "--package"),
        (&["trace", "fuzz", none], "cannot be replayed"),
        (&["trace", "fuzz", none, "--rounds", "0"], "0"),
        (&["trace", "shrink", none, "shorter"], "cannot be replayed"),
        (&["trace", "shrink", none, "shorter", "--for", "soon"], "soon"),
    ] {
        let said = finish(rig(&mark("replay")).args(words));
        assert!(said.exit == Some(2) && said.stderr.contains(why), "{words:?}: {said}");
    }
    for words in [&["replay", "--help"][..], &["trace", "fuzz", "--help"], &["trace", "shrink", "--help"]] {
        let said = finish(rig(&mark("replay")).args(words));
        assert!(said.exit == Some(0) && said.stdout.contains("--mode"), "{words:?}: {said}");
    }
}
