//! What a run needs and does not find: each case ends with the right status and says what, why and what to do.

mod common;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use common::{Guest, Image, finish, mark, rig, run_image};

/// A script that answers `--version` as told.
fn stand_in(folder: &Path, answer: &str) -> PathBuf {
    let path = folder.join("qemu-system-x86_64");
    fs::write(&path, format!("#!/bin/sh\necho '{answer}'\n")).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    path
}

fn image() -> Image {
    Guest::new().passing("tiny::passes").image()
}

fn assert_explains(said: &common::Said, exit: i32, words: &[&str]) {
    assert_eq!(said.exit, Some(exit), "{said}");
    for word in ["error: ", "\n  why: ", "\n   do: "].iter().chain(words) {
        assert!(said.stderr.contains(word), "{word:?} is not said: {said}");
    }
}

#[test]
fn without_qemu_and_without_a_way_to_fetch_one_the_environment_is_broken() {
    let (empty, image) = (tempfile::tempdir().unwrap(), image());

    let said = finish(
        rig(&mark("no-qemu"))
            .env("PATH", empty.path())
            .env_remove("RIG_QEMU")
            .args(["run", "--no-device", "--setup-dir"])
            .arg(empty.path().join("setup"))
            .arg("--image")
            .arg(&image.path),
    );

    assert_explains(&said, 3, &["no QEMU of version 10.2 or newer", "--qemu PATH"]);
}

#[test]
fn a_named_qemu_that_does_not_exist_is_the_users_mistake() {
    let said = finish(rig(&mark("nowhere")).args(["run", "--qemu", "/nowhere/qemu"]));

    assert_explains(&said, 2, &["/nowhere/qemu is no QEMU", "there is no such file"]);
}

#[test]
fn a_named_qemu_that_is_something_else_is_the_users_mistake() {
    let folder = tempfile::tempdir().unwrap();
    let script = stand_in(folder.path(), "GNU bash, version 5.2");

    let said = finish(rig(&mark("bash")).args(["run", "--qemu"]).arg(&script));

    assert_explains(&said, 2, &["is no QEMU", "GNU bash"]);
}

#[test]
fn a_named_qemu_that_is_too_old_is_refused_with_both_versions() {
    let folder = tempfile::tempdir().unwrap();
    let script = stand_in(folder.path(), "QEMU emulator version 7.2.11 (Debian 1:7.2)");

    let said = finish(rig(&mark("old")).env("RIG_QEMU", &script).arg("run"));

    assert_explains(&said, 3, &["is too old", "7.2.11", "10.2"]);
}

#[test]
fn a_qemu_on_path_that_is_too_old_is_passed_over() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    stand_in(folder.path(), "QEMU emulator version 7.2.11 (Debian 1:7.2)");

    let said = finish(
        rig(&mark("old-on-path"))
            .env("PATH", format!("{}:/nowhere", folder.path().display()))
            .env_remove("RIG_QEMU")
            .args(["run", "--no-device", "--setup-dir"])
            .arg(folder.path().join("setup"))
            .arg("--image")
            .arg(&image.path),
    );

    assert_explains(&said, 3, &["none can be fetched"]);
}

#[test]
fn an_archive_that_is_not_signed_as_it_must_be_is_never_used() {
    if !Path::new("/usr/bin/apt-get").exists() || !Path::new("/usr/share/keyrings/debian-archive-keyring.gpg").exists() {
        eprintln!("cannot run here: this machine has no APT with Debian's keyring");
        return;
    }
    // Arrange: a machine whose only mirror is a folder, which somebody has filled without the archive's key.
    let folder = tempfile::tempdir().unwrap();
    let mirror = folder.path().join("mirror");
    for suite in ["trixie", "trixie-backports"] {
        let index = mirror.join("dists").join(suite).join("main/binary-amd64");
        fs::create_dir_all(&index).unwrap();
        fs::write(index.join("Packages"), "").unwrap();
        let release = "Origin: Debian\nSuite: stable\nCodename: trixie\nComponents: main\nArchitectures: amd64\n";
        fs::write(mirror.join("dists").join(suite).join("Release"), release).unwrap();
    }
    let os_release = fs::read_to_string("/etc/os-release").unwrap();
    let codename = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME=")).unwrap_or("sid");
    let sources = folder.path().join("sources.list");
    fs::write(&sources, format!("deb [trusted=yes] file:{} {codename} main\n", mirror.display())).unwrap();
    let configuration = folder.path().join("apt.conf");
    let text = format!(
        "Dir::Etc::SourceList \"{}\"; Dir::Etc::SourceParts \"-\"; Acquire::AllowInsecureRepositories \"true\";\n",
        sources.display()
    );
    fs::write(&configuration, text).unwrap();
    let (tools, setup) = ("/usr/bin:/bin", folder.path().join("setup"));

    // Act.
    let said = finish(
        rig(&mark("unsigned"))
            .env("PATH", tools)
            .env("APT_CONFIG", &configuration)
            .env_remove("RIG_QEMU")
            .args(["run", "--no-device", "--setup-dir"])
            .arg(&setup)
            .arg("--image")
            .arg(&image().path),
    );

    // Assert.
    if said.stderr.contains("[rig] report") {
        eprintln!("cannot run here: /usr/bin has a QEMU that is new enough");
        return;
    }
    assert_explains(&said, 3, &["not signed"]);
    assert!(!setup.join("qemu").exists());
}

#[test]
fn an_image_that_does_not_exist_is_the_users_mistake() {
    let said = finish(&mut run_image(&mark("no-image"), Path::new("/nowhere/image")));

    assert_explains(&said, 2, &["/nowhere/image is no image"]);
}

#[test]
fn an_unknown_option_is_the_users_mistake() {
    assert_eq!(finish(rig(&mark("option")).args(["run", "--no-such-option"])).exit, Some(2));
    assert_eq!(finish(rig(&mark("vcpus")).args(["run", "--vcpus", "0"])).exit, Some(2));
}

#[test]
fn the_doctor_names_every_need_and_fetches_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let setup = folder.path().join("setup");
    let script = stand_in(folder.path(), "QEMU emulator version 7.2.11 (Debian 1:7.2)");

    let said = finish(rig(&mark("doctor")).args(["doctor", "--qemu"]).arg(&script).arg("--setup-dir").arg(&setup));

    assert_eq!(said.exit, Some(3), "{said}");
    for need in ["Rust toolchain", "rust-lld", "standard library's source", "missing  QEMU", "package archive"] {
        assert!(said.stdout.contains(need), "{need} is not named: {said}");
    }
    assert!(!setup.exists());
}

#[test]
fn a_plan_of_faults_that_is_none_is_the_users_mistake_and_its_line_is_named() {
    let (folder, image) = (tempfile::tempdir().unwrap(), image());
    let plan = folder.path().join("plan.toml");
    let run = |transport: &str| {
        let mut command = rig(&mark("plan"));
        command.env("RIG_QEMU", common::qemu_program());
        command.args(["run", "--accel", "tcg", "--transport", transport, "--image"]).arg(&image.path).arg("--faults").arg(&plan);
        finish(&mut command)
    };

    assert_explains(&run("vfio-user"), 2, &["plan.toml is no plan of faults", "No such file"]);
    fs::write(&plan, "seed = 7\n[[fault]]\nkind = \"bad-mood\"\n").unwrap();
    assert_explains(&run("vfio-user"), 2, &["plan.toml is no plan of faults", "why: line 3: unknown variant `bad-mood`"]);
    fs::write(&plan, "seed = 7\n[[fault]]\nkind = \"device-gone\"\n").unwrap();
    assert_explains(&run("vhost-user"), 2, &["why: line 2: device-gone", "--transport vfio-user"]);
}
