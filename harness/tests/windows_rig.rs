//! The Windows rig without Windows: installation, runs, dumps, hangs, against the stand-in guest, which speaks as the agent does and is started by
//! the same firmware from the same disks (harness/tests/stand-in). With the relay hardware it runs the real suites, in ntlet.

mod common;

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::net::{TcpStream, UdpSocket};
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::time::Instant;

use common::{Said, finish, mark};
use harness::build::link::Linked;
use harness::dump::read::Dump;
use harness::kd::line::Line;
use harness::kd::{Client, Heard, Why};
use harness::places::Places;
use harness::setup::firmware;
use harness::windows::{answer_disk, store};
use object::read::elf::{ElfFile64, ProgramHeader as _};
use object::{Endianness, Object as _, ObjectSymbol as _};

/// Far more than a step takes here.
const STEP: &str = "120";
const EDITION: &str = "Windows Server 2025 SERVERSTANDARDCORE";

/// A recipe for the smallest machine that there may be.
const RECIPE: &str = "title = \"stand-in\"\nedition = \"Windows Server 2025 SERVERSTANDARDCORE\"\nbuild = 26100\nlocale = \"en-US\"\n\
                      computer_name = \"RIG\"\ndisk_gib = 32\nmemory_mib = 2048\nbypass_hardware_checks = true\nverified_drivers = []\nvirtio_folder = \"2k25\"\n";

/// What these tests need beside QEMU; `None`, and a line that says so, where something is missing.
struct Needs {
    wimlib: PathBuf,
    genisoimage: PathBuf,
    program: Vec<u8>,
    ntlet: Vec<u8>,
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
            Some(Needs { wimlib, genisoimage, program: fs::read(program).unwrap(), ntlet: ntlet() })
        })
        .as_ref()
}

/// ntlet as the stand-in loads it: its entry, the place of its dump's header, then memory from 2 MiB on.
fn ntlet() -> Vec<u8> {
    const IMAGE: u64 = 2 << 20;
    const VIRTUAL: u64 = 0xffff_ffff_8000_0000;
    let bytes = fs::read(common::ntlet_image()).unwrap();
    let file = ElfFile64::<Endianness>::parse(&*bytes).unwrap();
    let header = file.symbol_by_name("ntlet_dump_header").unwrap().address() - VIRTUAL;
    let mut image = [file.entry().to_le_bytes(), header.to_le_bytes()].concat();
    for part in file.elf_program_headers().iter().filter(|part| part.p_type(file.endian()) == object::elf::PT_LOAD) {
        let place = 16 + (part.p_paddr(file.endian()) - IMAGE) as usize;
        let content = part.data(file.endian(), &*bytes).unwrap();
        let end = place + part.p_memsz(file.endian()) as usize;
        image.resize(image.len().max(end), 0);
        image[place..place + content.len()].copy_from_slice(content);
    }
    image
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
    let ntlet = ("ntlet.bin", needs.ntlet.as_slice());
    answer_disk::write(&place("disk.img"), &[loader, behaviour, ntlet, ("stage.txt", b"0")]).unwrap();
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

/// A disc that is laid out as the one with the virtio drivers for Windows.
fn virtio(needs: &Needs, folder: &Path) -> PathBuf {
    let (content, iso) = (folder.join("virtio"), folder.join("virtio.iso"));
    fs::create_dir_all(content.join("NetKVM/2k25/amd64")).unwrap();
    fs::write(content.join("NetKVM/2k25/amd64/netkvm.inf"), "[Version]").unwrap();
    succeeds(Command::new(&needs.genisoimage).args(["-quiet", "-J", "-o"]).arg(&iso).arg(content));
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
    command.args(["image", "build", "--accel", "tcg", "--name", &name.0, "--iso"]).arg(iso);
    command.arg("--recipe").arg(recipe);
    command
}

/// Begins to install, and stops when the guest starts for the second time.
fn interrupted_build(name: &Name, iso: &Path, virtio: &Path) {
    let mut command = build(name, iso);
    command.args(["--step-timeout", STEP, "--virtio-iso"]).arg(virtio);
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let mut lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
    assert!(lines.any(|line| line.contains("start 2 of the guest")));
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), rustix::process::Signal::TERM).unwrap();
    lines.for_each(drop);
    assert_eq!(child.wait().unwrap().code(), Some(128 + 15));
}

fn run(name: &Name, options: &[&str]) -> Said {
    let mut command = common::rig(&name.0);
    command.env("RIG_QEMU", common::qemu_program());
    command.args(["run", "--rig", "windows", "--accel", "tcg", "--seed", "1", "--boot-timeout", "120", "--image", &name.0]);
    finish(command.args(options))
}

fn image(name: &Name, verb: &str) -> Said {
    finish(common::rig(&name.0).args(["image", verb, &name.0]))
}

#[test]
fn an_image_is_installed_sealed_and_runs_suites_with_every_outcome() {
    let Some(needs) = needs() else { return };
    let (folder, name) = (tempfile::tempdir().unwrap(), Name::new("whole"));
    let iso = media(needs, folder.path(), "wants-drivers=2k25");
    let virtio = virtio(needs, folder.path());
    interrupted_build(&name, &iso, &virtio);
    let built = finish(build(&name, &iso).args(["--step-timeout", STEP, "--virtio-iso"]).arg(&virtio));
    assert_eq!(built.exit, Some(0), "{built}");
    assert!(built.stderr.contains("going on after 1 starts of the guest"), "{built}");
    for step in ["specialize", "first-logon", "agent"] {
        assert!(built.stderr.contains(&format!("{step} begins")), "{step}: {built}");
    }
    let image = store::Image::find(&name.0, &places()).unwrap();
    image.verify().unwrap();
    assert_eq!(image.manifest.made_of["media"], harness::files::sha256_of(&iso).unwrap());
    assert_eq!(image.manifest.made_of["drivers"], harness::files::sha256_of(&virtio).unwrap());
    assert_eq!(image.manifest.system, "a stand-in for Windows");

    runs_end_in_every_way(&name);
    real_suites_run_on_the_relay_hardware(&name);
    bug_checks_come_with_what_the_debugger_saw_and_a_dump(&name);
    a_hang_comes_with_what_its_processors_were_at_and_a_dump(&name);
    a_debugger_holds_the_machine_and_sees_drivers_come(&name);
    a_debugger_is_called_over_the_network_and_lets_the_test_run(&name);
    image.verify().expect("no run writes into the image");
    the_commands_find_the_image_see_damage_and_remove_it(&name, &image);
}

fn runs_end_in_every_way(name: &Name) {
    let all = run(name, &["--no-device", "--keep-going", "--suite", "standin", "--jobs", "3", "--timeout", "60"]);
    let outcomes = outcomes(&all);
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

    let hung = run(name, &["--no-device", "--suite", "standin_hang", "--timeout", "2", "--restart-timeout", "2"]);
    assert_eq!(hung.exit, Some(4), "{hung}");
    assert!(hung.record()["tests"][0]["outcome"].to_string().contains("hang"), "{hung}");
}

/// Names and outcomes of a run's tests.
fn outcomes(said: &Said) -> Vec<(String, String)> {
    let record = said.record();
    let tests = record["tests"].as_array().unwrap().iter();
    tests.map(|test| (test["name"].as_str().unwrap().to_owned(), test["outcome"].to_string())).collect()
}

/// What the agent has installed from the small disk finds the device model's hardware and passes.
fn real_suites_run_on_the_relay_hardware(name: &Name) {
    let said = run(name, &["--suite", "device", "--filter", "echo"]);
    assert_eq!(said.exit, Some(0), "{said}");
    let outcomes = outcomes(&said);
    assert!(outcomes.len() >= 7 && outcomes.iter().all(|(_, outcome)| outcome.contains("passed")), "{outcomes:?}");
    let boot = said.folder().join("boot-1");
    let log = |name: &str| fs::read_to_string(boot.join(name)).unwrap();
    for part in ["certutil.exe -f -addstore Root", "pnputil.exe /add-driver", "Driver package added successfully."] {
        assert!(log("agent.log").contains(part), "{part}: {}", log("agent.log"));
    }
    // The debugger on COM1 hears what is printed, and sees drivers come.
    assert!(log("guest.log").contains("suite.exe"), "{}", log("guest.log"));
    assert!(log("kd.log").contains("relay.sys at "), "{}", log("kd.log"));
}

/// Two tests that end in the same bug check, one of them without the framework's verifier.
fn bug_checks_come_with_what_the_debugger_saw_and_a_dump(name: &Name) {
    let said = run(name, &["--suite", "contract", "--filter", "sending_what_is_sent", "--dump"]);
    assert_eq!(said.exit, Some(0), "{said}");
    let outcomes = outcomes(&said);
    assert!(outcomes.len() == 2 && outcomes.iter().all(|(_, outcome)| outcome.contains("passed")), "{outcomes:?}");
    let folders: Vec<PathBuf> = ["boot-1", "boot-2"].map(|boot| said.folder().join(boot)).to_vec();
    for folder in &folders {
        let dump = Dump::open(&folder.join("dump.dmp")).unwrap();
        assert_eq!((dump.header.bug_check, dump.header.parameters[0], dump.header.dump_type), (0x10d, 6, 5), "{said}");
        let log = fs::read_to_string(folder.join("kd.log")).unwrap();
        assert!(log.contains("WDF_VIOLATION") && log.contains("probe.sys") && log.contains("starts again"), "{log}");
        let triage = finish(common::rig(&name.0).arg("triage").arg(folder.join("dump.dmp")));
        assert_eq!(triage.exit, Some(0), "{triage}");
        assert!(triage.stdout.contains("WDF_VIOLATION") && triage.stdout.contains("probe.sys"), "{triage}");
        assert!(triage.stdout.lines().count() <= 10, "{triage}");
    }
    let agent = |folder: &PathBuf| fs::read_to_string(folder.join("agent.log")).unwrap();
    let is_off = |log: &String| log.contains(r"\probe\Parameters\Wdf /v VerifierOn /t REG_DWORD /d 0 /f");
    assert_eq!(folders.iter().map(agent).filter(is_off).count(), 1, "one of them ran without the verifier");
    assert!(folders.iter().map(agent).all(|log| log.contains("1 file(s) copied")), "the dumps came over the disk");
}

/// A test that is not over in time: the debugger breaks in, then a non-maskable interrupt ends the system, which leaves its dump.
fn a_hang_comes_with_what_its_processors_were_at_and_a_dump(name: &Name) {
    const NMI_HARDWARE_FAILURE: u32 = 0x80;
    let test = "device::a_lost_answer_fails_its_request_in_bounded_time";
    let said = run(name, &["--filter", test, "--timeout", "1"]);
    assert_eq!(said.exit, Some(4), "{said}");
    let outcome = said.record()["tests"][0]["outcome"].to_string();
    assert!(outcome.contains("hang") && outcome.contains("processor 0 at ") && outcome.contains("processor 1 at "), "{outcome}");
    let boots = fs::read_dir(said.folder()).unwrap().flatten().map(|entry| entry.path().join("dump.dmp"));
    let dumps: Vec<PathBuf> = boots.filter(|dump| dump.is_file()).collect();
    let [dump] = dumps.as_slice() else { panic!("{dumps:?}: {said}") };
    assert_eq!(Dump::open(dump).unwrap().header.bug_check, NMI_HARDWARE_FAILURE);
}

/// `rig debug` of an image: nothing runs before the debugger is there; then it is told of every driver, while the test runs.
fn a_debugger_holds_the_machine_and_sees_drivers_come(name: &Name) {
    let mut command = common::rig(&name.0);
    command.env("RIG_QEMU", common::qemu_program());
    command.args(["debug", "--rig", "windows", "--image", &name.0, "--accel", "tcg", "--wait", "device::echo_of_a_page"]);
    let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
    let mut said = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
    let first = said.find(|line| line.contains("stands still before its start")).expect("a port for debuggers");
    let port: u16 = first.rsplit_once("127.0.0.1:").unwrap().1.trim().parse().unwrap();
    let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
    stream.set_nodelay(true).unwrap();
    let mut client = Client::new(Line::new(OwnedFd::from(stream).into()));
    let mut modules = Vec::new();
    let deadline = Instant::now() + common::PATIENCE;
    // The line ends with the machine.
    while let Ok(heard) = client.listen(deadline) {
        assert!(Instant::now() < deadline, "{modules:?}");
        if let Heard::Stop(stop) = heard {
            if let Why::Module { path, .. } = &stop.why {
                modules.push(path.clone());
            }
            client.go_on(false, true).unwrap();
        }
    }
    let rest: Vec<String> = said.collect();
    assert!(rest.iter().any(|line| line.contains("PASS  device::echo_of_a_page")), "{rest:?}");
    assert!(rest.iter().any(|line| line.contains("windbg -k com:ipport=") && line.contains("package")), "{rest:?}");
    assert_eq!(child.wait().unwrap().code(), Some(0), "{rest:?}");
    for driver in ["ntoskrnl.exe", "relay.sys", "relayflt.sys", "probe.sys"] {
        assert!(modules.iter().any(|path| path.ends_with(driver)), "{driver}: {modules:?}");
    }
}

/// `rig debug --kd net`: the image's Windows is told whom to call, on top of the image, and then calls over a card that leads there only.
fn a_debugger_is_called_over_the_network_and_lets_the_test_run(name: &Name) {
    // Windows calls no lower ones.
    let debugger = (49_152..=65_535).find_map(|port| UdpSocket::bind(("127.0.0.1", port)).ok()).expect("a free port");
    let port = debugger.local_addr().unwrap().port().to_string();
    debugger.set_read_timeout(Some(common::PATIENCE)).unwrap();
    let mut command = common::rig(&name.0);
    command.env("RIG_QEMU", common::qemu_program()).stdout(Stdio::piped());
    command.args(["debug", "--rig", "windows", "--image", &name.0, "--accel", "tcg", "--kd", "net", "--wait", "--port", &port]);
    let child = command.arg("device::echo_of_a_page").spawn().unwrap();
    let hear = |wanted: &str| {
        let mut room = [0; 2000];
        loop {
            let (length, caller) = debugger.recv_from(&mut room).expect("a call");
            let text = String::from_utf8_lossy(&room[..length]).into_owned();
            if text.starts_with(wanted) {
                return (text, caller);
            }
        }
    };
    let (called, caller) = hear("calling with ");
    debugger.send_to(b"come in", caller).unwrap();
    assert_eq!(hear("heard ").0, "heard come in");
    let said = Said::of(child.wait_with_output().unwrap());
    let key = called.strip_prefix("calling with ").unwrap();
    assert!(said.stdout.contains(&format!("windbg -k net:port={port},key={key} -y")), "{called}: {said}");
    assert!(said.stdout.contains("loads no driver before") && said.stdout.contains("PASS  device::echo_of_a_page"), "{said}");
    assert_eq!(said.exit, Some(0), "{said}");
}

fn the_commands_find_the_image_see_damage_and_remove_it(name: &Name, sealed: &store::Image) {
    let listed = finish(common::rig(&name.0).args(["image", "list"]));
    assert!(
        listed.exit == Some(0) && listed.stdout.contains(&format!("{}: {EDITION}, build 26100, sealed ", name.0)),
        "{listed}"
    );
    let verified = image(name, "verify");
    assert!(verified.exit == Some(0) && verified.stdout.contains("as it was sealed"), "{verified}");

    let variables = sealed.file(store::VARIABLES);
    fs::remove_file(&variables).unwrap();
    fs::write(&variables, "somebody else's").unwrap();
    let damaged = image(name, "verify");
    assert!(damaged.exit == Some(3) && damaged.stderr.contains("is not what was sealed"), "{damaged}");

    let removed = image(name, "remove");
    assert!(removed.exit == Some(0) && !name.folder().exists(), "{removed}");
    for verb in ["verify", "remove"] {
        let refused = image(name, verb);
        assert!(refused.exit == Some(2) && refused.stderr.contains("there is no Windows image"), "{refused}");
    }
    let refused = run(name, &["--suite", "device"]);
    assert!(refused.exit == Some(2) && refused.stderr.contains("there is no Windows image"), "{refused}");
}

#[test]
fn a_step_that_is_late_ends_the_installation_with_a_picture_of_the_screen() {
    let Some(needs) = needs() else { return };
    let (folder, name) = (tempfile::tempdir().unwrap(), Name::new("late"));
    let iso = media(needs, folder.path(), "stuck-at=windowsPE");
    let said = finish(build(&name, &iso).args(["--step-timeout", "12"]));
    assert_eq!(said.exit, Some(4), "{said}");
    let picture = name.folder().join("late-1.png");
    assert!(said.stderr.contains(&picture.display().to_string()), "{said}");
    assert!(fs::read(picture).unwrap().starts_with(b"\x89PNG\r\n"));
    let unfinished = image(&name, "verify");
    assert!(unfinished.exit == Some(2) && unfinished.stderr.contains("not come to its end"), "{unfinished}");
}

#[test]
#[ignore = "takes minutes: every bug check of the contract is a start of the firmware"]
fn the_device_and_contract_suites_pass_whole() {
    let Some(needs) = needs() else { return };
    let (folder, name) = (tempfile::tempdir().unwrap(), Name::new("suites"));
    let built = finish(build(&name, &media(needs, folder.path(), "")).args(["--step-timeout", STEP]));
    assert_eq!(built.exit, Some(0), "{built}");
    let said = run(&name, &["--suite", "device", "--suite", "contract", "--keep-going"]);
    assert_eq!(said.exit, Some(0), "{said}");
    let others: Vec<_> = outcomes(&said).into_iter().filter(|(_, outcome)| !outcome.contains("passed")).collect();
    assert_eq!(others, [], "{said}");
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
