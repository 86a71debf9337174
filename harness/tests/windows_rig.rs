//! The Windows rig without Windows: installation, runs, dumps, hangs, against the stand-in guest, which speaks as the agent does and is started by
//! the same firmware from the same disks (harness/tests/stand-in).

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use common::{Said, finish, mark};
use harness::build::link::Linked;
use harness::dump::read::Dump;
use harness::places::Places;
use harness::setup::firmware;
use harness::windows::{answer_disk, store};

/// Far more than a step takes here.
const STEP: &str = "120";
const EDITION: &str = "Windows Server 2025 SERVERSTANDARDCORE";

/// A recipe for the smallest machine that there may be.
const RECIPE: &str = "title = \"stand-in\"\nedition = \"Windows Server 2025 SERVERSTANDARDCORE\"\nbuild = 26100\nlocale = \"en-US\"\n\
                      computer_name = \"RIG\"\ndisk_gib = 32\nmemory_mib = 2048\nbypass_hardware_checks = true\n";

/// What these tests need beside QEMU; `None`, and a line that says so, where something is missing.
struct Needs {
    wimlib: PathBuf,
    genisoimage: PathBuf,
    program: Vec<u8>,
}

fn needs() -> Option<&'static Needs> {
    static NEEDS: OnceLock<Option<Needs>> = OnceLock::new();
    NEEDS
        .get_or_init(|| {
            let (wimlib, genisoimage) = (test_tools::find("wimlib-imagex")?, test_tools::find("genisoimage")?);
            let places = places();
            if firmware::find(&places).is_none() {
                assert!(std::env::var_os(test_tools::VARIABLE).is_none(), "`rig test` fetches the firmware");
                eprintln!("SKIP: there is no UEFI firmware; `cargo rig doctor --fetch` fetches it");
                return None;
            }
            let program = common::guest_program("stand-in", "stand-in", Linked::Firmware { entry: "stand_in_start" });
            Some(Needs { wimlib, genisoimage, program: fs::read(program).unwrap() })
        })
        .as_ref()
}

/// The folders that `rig` uses.
fn places() -> Places {
    let target = Path::new(env!("CARGO_BIN_EXE_rig")).ancestors().nth(2).unwrap().to_path_buf();
    let named = std::env::var_os("RIG_SETUP_DIR").map(PathBuf::from);
    Places { setup: named.unwrap_or_else(|| target.join("rig/setup")), target, ..Places::find(None) }
}

fn succeeds(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Media from which the stand-in is installed, and which behaves so.
fn media(needs: &Needs, folder: &Path, behaviour: &str) -> PathBuf {
    for name in ["content", "media/sources", "media/efi/boot"] {
        fs::create_dir_all(folder.join(name)).unwrap();
    }
    let place = |name: &str| folder.join(name);
    fs::write(place("content/hello.txt"), "hello").unwrap();
    fs::write(place("media/efi/boot/bootx64.efi"), &needs.program).unwrap();
    let mut wim = Command::new(&needs.wimlib);
    wim.current_dir(folder).args(["capture", "content", "media/sources/install.wim", EDITION]);
    succeeds(wim.args(["--image-property=WINDOWS/ARCH=9", "--image-property=WINDOWS/VERSION/BUILD=26100"]));

    let (loader, behaviour) = (("EFI/BOOT/BOOTX64.EFI", needs.program.as_slice()), ("behaviour.txt", behaviour.as_bytes()));
    answer_disk::write(&place("disk.img"), &[loader, behaviour, ("stage.txt", b"0")]).unwrap();
    let system = fs::read(place("disk.img")).unwrap();
    answer_disk::write(&place("efi.img"), &[loader, behaviour, ("disk.img", &system)]).unwrap();
    // The file system alone, without the table of partitions before it.
    let volume = fs::read(place("efi.img")).unwrap();
    fs::write(place("media/efi.img"), &volume[1 << 20..]).unwrap();

    let iso = place("media.iso");
    let mut disc = Command::new(&needs.genisoimage);
    disc.args(["-quiet", "-udf", "-allow-limited-size", "-e", "efi.img", "-no-emul-boot", "-boot-load-size", "1", "-o"]);
    succeeds(disc.arg(&iso).arg(place("media")));
    iso
}

/// An image's name, which is free again when the test ends.
struct Name(String);

impl Name {
    fn new(test: &str) -> Self {
        Self(format!("test-{}", mark(test)))
    }

    fn folder(&self) -> PathBuf {
        store::folder_of(&self.0, &places()).unwrap()
    }
}

impl Drop for Name {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(self.folder());
        let _ = fs::remove_file(self.folder().with_file_name(format!(".{}.lock", self.0)));
    }
}

fn build(name: &Name, iso: &Path) -> Command {
    let recipe = iso.with_file_name("recipe.toml");
    fs::write(&recipe, RECIPE).unwrap();
    let mut command = common::rig(&name.0);
    command.env("RIG_QEMU", common::qemu_program());
    command.args(["image", "build", "--accel", "tcg", "--name", &name.0, "--step-timeout", STEP, "--iso"]).arg(iso);
    command.arg("--recipe").arg(recipe);
    command
}

/// Begins to install, and stops when the guest starts for the second time.
fn interrupted_build(name: &Name, iso: &Path) {
    let mut child = build(name, iso).stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("start 2 of the guest")));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

fn run(name: &Name, options: &[&str]) -> Said {
    let mut command = common::rig(&name.0);
    command.env("RIG_QEMU", common::qemu_program());
    command.args(["run", "--rig", "windows", "--accel", "tcg", "--no-device", "--seed", "1", "--image", &name.0]).args(options);
    finish(&mut command)
}

#[test]
fn an_image_is_installed_sealed_and_runs_suites_with_every_outcome() {
    let Some(needs) = needs() else { return };
    let (folder, name) = (tempfile::tempdir().unwrap(), Name::new("whole"));
    let iso = media(needs, folder.path(), "");
    interrupted_build(&name, &iso);
    let built = finish(&mut build(&name, &iso));
    assert_eq!(built.exit, Some(0), "{built}");
    assert!(built.stderr.contains("going on after 1 starts of the guest"), "{built}");
    for step in ["specialize", "first-logon", "agent"] {
        assert!(built.stderr.contains(&format!("{step} begins")), "{step}: {built}");
    }
    let image = store::Image::find(&name.0, &places()).unwrap();
    image.verify().unwrap();
    assert_eq!(image.manifest.made_of["media"], harness::files::sha256_of(&iso).unwrap());
    assert_eq!(image.manifest.system, "a stand-in for Windows");

    let all = run(&name, &["--keep-going", "--suite", "standin", "--jobs", "3", "--timeout", "60", "--boot-timeout", "120"]);
    let outcomes: Vec<(String, String)> = all.record()["tests"]
        .as_array()
        .unwrap()
        .iter()
        .map(|test| (test["name"].as_str().unwrap().to_owned(), test["outcome"].to_string()))
        .collect();
    let outcome = |test: &str| {
        let found = outcomes.iter().find(|(name, _)| name == test);
        found.map(|(_, outcome)| outcome.clone()).unwrap_or_else(|| panic!("{test}: {all}"))
    };
    assert_eq!(all.exit, Some(1), "{all}");
    assert!(outcome("standin::passes").contains("passed"), "{all}");
    assert!(outcome("standin::fails").contains("expected 1, came 2"), "{all}");
    assert!(outcome("standin::is_skipped").contains("it is played"), "{all}");
    assert!(outcome("standin::ends_in_the_bug_check_that_it_expects").contains("passed"), "{all}");
    assert!(outcome("standin::bug_checks").contains("WDF_VIOLATION"), "{all}");
    assert!(outcome("standin::restarts_without_a_dump").contains("left no"), "{all}");
    assert!(outcome("standin::program_dies").contains("0xc0000005"), "{all}");

    dumps_are_whole(&all.folder());

    let hung = run(&name, &["--suite", "standin_hang", "--timeout", "2", "--restart-timeout", "2", "--boot-timeout", "120"]);
    assert_eq!(hung.exit, Some(4), "{hung}");
    assert!(hung.record()["tests"][0]["outcome"].to_string().contains("hang"), "{hung}");
    image.verify().expect("no run writes into the image");
}

/// The one dump of a bug check that nobody expected has arrived byte by byte.
fn dumps_are_whole(run: &Path) {
    let boots = fs::read_dir(run).unwrap().flatten().map(|entry| entry.path().join("dump.dmp"));
    let dumps: Vec<PathBuf> = boots.filter(|dump| dump.is_file()).collect();
    let [dump] = dumps.as_slice() else { panic!("{dumps:?}") };
    let bytes = fs::read(dump).unwrap();
    let wrong = bytes[8192..].iter().enumerate().find(|(at, byte)| **byte != (at * 31 + at / 4096) as u8);
    assert_eq!((bytes.len(), wrong), (8192 + 260 * 4096, None));
    assert_eq!(Dump::open(dump).unwrap().header.bug_check, 0x10d);
}
