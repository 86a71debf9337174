//! `--package` and `--device` with what is not ours: a driver in C, compiled by clang and linked by lld, and a device in C that serves
//! vfio-user by itself. Named on the command line, and in a `rig.toml`.

mod common;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use common::{Said, assert_nothing_lives, finish, mark, qemu_program, rig};

/// What the driver imports.
const KERNEL: &str = "LIBRARY ntoskrnl.exe\nEXPORTS\nDbgPrint\nIoCreateDevice\nIoDeleteDevice\nIoAttachDeviceToDeviceStack\nIoDetachDevice\n\
    IofCallDriver\nIofCompleteRequest\n";

/// A folder with the stranger's package and model. `None`: a tool is missing, which has been said.
fn strangers() -> Option<tempfile::TempDir> {
    let (clang, lld) = (test_tools::find("clang")?, test_tools::find("lld-link")?);
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/stranger");
    let folder = tempfile::tempdir().unwrap();
    let run = |command: &mut Command| {
        let output = command.current_dir(folder.path()).output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let said = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
        assert!(output.status.success(), "{command:?}: {said}");
    };
    fs::write(folder.path().join("kernel.def"), KERNEL).unwrap();
    fs::copy(source.join("stranger.inf"), folder.path().join("stranger.inf")).unwrap();
    run(Command::new(&clang)
        .args(
            "--target=x86_64-pc-windows-msvc -c -O1 -ffreestanding -fms-extensions -mno-stack-arg-probe -Wall -Werror".split(' '),
        )
        .arg(source.join("driver.c"))
        .args(["-o", "driver.obj"]));
    run(Command::new(&lld).args(["/lib", "/machine:x64", "/def:kernel.def", "/out:kernel.lib"]));
    run(Command::new(&lld)
        .args("/nologo /machine:x64 /nodefaultlib /dynamicbase /driver /subsystem:native /entry:DriverEntry".split(' '))
        .args(["driver.obj", "kernel.lib", "/out:stranger.sys"]));
    // For the machine that the tests run on, by the C compiler that Rust links with.
    run(Command::new("cc").args(["-O1", "-Wall", "-Werror", "-o", "model"]).arg(source.join("model.c")));
    Some(folder)
}

fn run(mark: &str, folder: &Path) -> Command {
    let mut command = rig(mark);
    // The set-up folder and the repository are found from where the test was built.
    command.env("RIG_QEMU", qemu_program()).current_dir(folder).args(["run", "--keep-going"]);
    command
}

fn assert_all_is_well(said: &Said, name: &str) {
    assert_eq!((said.exit, said.last_line()), (Some(0), "3 passed, 0 failed, 0 skipped"), "{said}");
    let log: PathBuf = said.folder().join("boot-1/guest.log");
    let log = fs::read_to_string(log).unwrap();
    for line in ["stranger: is here", "stranger: starts", "stranger: is removed", "stranger: unloads"] {
        assert!(log.contains(line), "{line:?} is not in the log: {log}");
    }
    assert_nothing_lives(name);
}

#[test]
fn a_driver_and_a_device_that_are_not_ours_run_by_options_and_by_a_file() {
    let Some(folder) = strangers() else { return };
    let serve = format!("'{}' {{socket}}", folder.path().join("model").display());

    let by_options = mark("stranger");
    let said = finish(run(&by_options, folder.path()).args(["--package", "stranger.inf", "--device", &serve]));
    assert_all_is_well(&said, &by_options);

    fs::write(folder.path().join("rig.toml"), "package = 'stranger.inf'\ndevice = './model {socket}'\n").unwrap();
    let by_file = mark("stranger-file");
    let said = finish(&mut run(&by_file, folder.path()));
    assert_all_is_well(&said, &by_file);

    // Without its device the driver is loaded and has nothing to start.
    let said = finish(run(&mark("stranger-alone"), folder.path()).arg("--no-device"));
    assert_eq!(said.exit, Some(2), "a device of the file and none at all do not go together: {said}");
}
