//! Boots the self-test image in QEMU with one, two and four processors, and passes on what it finds.
//!
//! Needs a QEMU, named by RIG_QEMU, and the standard library's source, to build for bare metal. Where one is missing the test
//! says so and is skipped. It is a program of its own, for the test harness has no word for "skipped".

mod machine;

use std::env;
use std::path::Path;
use std::process::ExitCode;

use machine::{Boot, Build, ORDERLY, fail, skip};

/// An odd size, in more than one large page.
const ARCHIVE_SIZE: usize = (5 << 20) + 12_345;

/// The devices that the checks ask for: `edu` in an external slot, in two of the chip set's own and behind two
/// bridges, and an `e1000e`.
const DEVICES: [&str; 3] = [
    "-device edu,addr=2 -device edu,addr=1c.0 -device edu,addr=1f.5",
    "-device pcie-root-port,id=rootport,addr=4,chassis=1 -device pcie-pci-bridge,bus=rootport,id=pcibridge -device edu,bus=pcibridge,addr=3",
    "-netdev hubport,id=hub,hubid=0 -device e1000e,addr=5,romfile=,netdev=hub",
];

fn main() -> ExitCode {
    // A test list asked for by a tool, such as cargo-nextest: there are no single tests to run.
    if env::args().any(|argument| argument == "--list") {
        return ExitCode::SUCCESS;
    }
    let build = match Build::ready() {
        Ok(build) => build,
        Err(reason) => return skip(&reason),
    };
    let image = match build.image(&["self-test"]) {
        Ok(image) => image,
        Err(reason) => return fail(&reason),
    };
    let archive = image.with_file_name("archive");
    if let Err(error) = std::fs::write(&archive, (0..ARCHIVE_SIZE).map(|place| (place % 251) as u8).collect::<Vec<u8>>()) {
        return fail(&format!("{} cannot be written: {error}", archive.display()));
    }
    for arguments in ["-smp 1", "-smp 2", "-smp 4 -cpu max", "-smp 2 -m 3G"] {
        println!("boot: {arguments}");
        if let Err(reason) = boot(&build, &image, &archive, arguments) {
            return fail(&format!("{arguments}: {reason}"));
        }
    }
    ExitCode::SUCCESS
}

fn boot(build: &Build, image: &Path, archive: &Path, arguments: &str) -> Result<(), String> {
    let arguments = format!("{} {arguments}", DEVICES.join(" "));
    let command_line = format!("suite=none bytes={ARCHIVE_SIZE}");
    let (status, log) = Boot { image, archive, arguments: &arguments, command_line: &command_line }.run(build)?;
    for line in log.lines().filter(|line| line.starts_with("FAIL") || line.ends_with(" failed")) {
        println!("boot:   {line}");
    }
    if status == ORDERLY && log.lines().any(|line| line.ends_with(" 0 failed")) {
        return Ok(());
    }
    Err(format!("QEMU ended with {status}; the guest's log:\n{log}"))
}
