//! Boots the self-test image in QEMU with one, two and four processors, and passes on what it finds.
//!
//! Needs a QEMU, named by RIG_QEMU, and the standard library's source, to build for bare metal. Where one is missing the test
//! says so and is skipped. It is a program of its own, for the test harness has no word for "skipped".

use std::env;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(120);
/// QEMU's exit status when the guest has written 0x10 to isa-debug-exit: every check has passed.
const ALL_PASSED: i32 = 0x10 << 1 | 1;

/// An odd size, in more than one large page.
const ARCHIVE_SIZE: usize = (5 << 20) + 12_345;

/// Machine, ports, and the devices that the checks ask for: `edu` in an external slot, in two of the chip set's own and behind two
/// bridges, and an `e1000e`.
const DEVICES: &[&str] = &[
    "-device isa-debug-exit,iobase=0xf4,iosize=0x04",
    "-device edu,addr=2 -device edu,addr=1c.0 -device edu,addr=1f.5",
    "-device pcie-root-port,id=rootport,addr=4,chassis=1 -device pcie-pci-bridge,bus=rootport,id=pcibridge -device edu,bus=pcibridge,addr=3",
    "-netdev hubport,id=hub,hubid=0 -device e1000e,addr=5,romfile=,netdev=hub",
];

fn main() -> ExitCode {
    // A test list asked for by a tool, such as cargo-nextest: there are no single tests to run.
    if env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let (qemu, source) = match (env::var_os("RIG_QEMU"), library_source()) {
        (Some(qemu), Some(source)) => (PathBuf::from(qemu), source),
        (None, _) => return skip("RIG_QEMU names no QEMU"),
        (_, None) => return skip("the standard library's source is not there (rustup component add rust-src)"),
    };
    let image = match build(&source) {
        Ok(image) => image,
        Err(reason) => return fail(&reason),
    };
    let archive = image.with_file_name("archive");
    if let Err(error) = std::fs::write(&archive, (0..ARCHIVE_SIZE).map(|place| (place % 251) as u8).collect::<Vec<u8>>()) {
        return fail(&format!("{} cannot be written: {error}", archive.display()));
    }
    for arguments in ["-smp 1", "-smp 2", "-smp 4 -cpu max", "-smp 2 -m 3G"] {
        println!("boot: {arguments}");
        if let Err(reason) = boot(&qemu, &image, arguments) {
            return fail(&format!("{arguments}: {reason}"));
        }
    }
    ExitCode::SUCCESS
}

fn skip(reason: &str) -> ExitCode {
    println!("boot: SKIPPED, because {reason}");
    ExitCode::SUCCESS
}

fn fail(reason: &str) -> ExitCode {
    println!("boot: FAILED: {reason}");
    ExitCode::FAILURE
}

/// Where build-std finds its source: where cargo is told to look, or in the toolchain.
fn library_source() -> Option<PathBuf> {
    if let Some(told) = env::var_os("__CARGO_TESTS_ONLY_SRC_ROOT") {
        return Some(PathBuf::from(told));
    }
    let output = Command::new("rustc").args(["--print", "sysroot"]).output().ok()?;
    let root = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim()).join("lib/rustlib/src/rust/library");
    root.join("core").is_dir().then_some(root)
}

/// Builds the image in a target folder of its own, for the outer cargo may hold the usual one.
fn build(source: &Path) -> Result<PathBuf, String> {
    let target = Path::new(env!("CARGO_TARGET_TMPDIR")).join("self-test");
    let arguments = "build --quiet --package metal --bin ntlet --features self-test --profile guest --target x86_64-unknown-none \
                     -Z build-std=core,alloc,compiler_builtins -Z build-std-features=compiler-builtins-mem";
    let status = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
        .args(arguments.split_whitespace())
        .arg("--target-dir")
        .arg(&target)
        .current_dir(env!("CARGO_MANIFEST_DIR"))
        .env("RUSTC_BOOTSTRAP", "1")
        .env("__CARGO_TESTS_ONLY_SRC_ROOT", source)
        .env_remove("RUSTFLAGS")
        .status()
        .map_err(|error| format!("cargo cannot be started: {error}"))?;
    let image = target.join("x86_64-unknown-none/guest/ntlet");
    if status.success() { Ok(image) } else { Err(format!("the image does not build: {status}")) }
}

fn boot(qemu: &Path, image: &Path, arguments: &str) -> Result<(), String> {
    let common = "-accel tcg -machine q35 -m 256M -nodefaults -display none -no-reboot -serial stdio";
    let mut child = Command::new(qemu)
        .args(common.split_whitespace())
        .args(DEVICES.iter().flat_map(|devices| devices.split_whitespace()))
        .args(arguments.split_whitespace())
        .arg("-kernel")
        .arg(image)
        .arg("-initrd")
        .arg(image.with_file_name("archive"))
        .arg("-append")
        .arg(format!("suite=none bytes={ARCHIVE_SIZE}"))
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .map_err(|error| format!("{} cannot be started: {error}", qemu.display()))?;
    let mut output = child.stdout.take().expect("stdout was asked for");
    let reader = std::thread::spawn(move || {
        let mut text = Vec::new();
        // An error ends the text; what is missing shows in the result.
        let _ = output.read_to_end(&mut text);
        String::from_utf8_lossy(&text).into_owned()
    });
    let status = wait(&mut child);
    let text = reader.join().unwrap_or_default();
    for line in text.lines().filter(|line| line.starts_with("FAIL") || line.ends_with(" failed")) {
        println!("boot:   {line}");
    }
    match status {
        Some(ALL_PASSED) if text.lines().any(|line| line.ends_with(" 0 failed")) => Ok(()),
        Some(code) => Err(format!("QEMU ended with {code}; the guest's log:\n{text}")),
        None => Err(format!("no end after {DEADLINE:?}; the guest's log:\n{text}")),
    }
}

/// The exit status; `None` when the deadline came first. The child is gone either way.
fn wait(child: &mut Child) -> Option<i32> {
    let began = Instant::now();
    while began.elapsed() < DEADLINE {
        if let Ok(Some(status)) = child.try_wait() {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    // It may have ended by itself meanwhile: then there is nothing to kill.
    let _ = child.kill();
    let _ = child.wait();
    None
}
