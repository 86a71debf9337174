//! What runs the guest: KVM where it works, software emulation otherwise.
//!
//! `/dev/kvm` may exist, open, create a VM, and still not run a guest. So a guest of a few bytes is booted, with a deadline; the
//! answer is remembered until the machine boots again or another QEMU is used.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use clap::ValueEnum;
use serde::{Deserialize, Serialize};

use super::qemu::Qemu;
use crate::child::{Child, Waited, describe};
use crate::error::{AtPath as _, Outcome, Problem};
use crate::files::write_whole;
use crate::interrupt::Interrupt;
use crate::memory::GuestMemory;
use crate::places::Places;
use crate::pvh::Script;
use crate::qemu::{Ending, Machine, Software};

/// The probe's guest needs about 0.2 s, QEMU's start included.
const PROBE_DEADLINE: Duration = Duration::from_secs(4);
/// By how much two starts of QEMU may differ on a busy machine.
const SLACK: Duration = Duration::from_millis(500);
const DEVICE: &str = "/dev/kvm";
const REMEMBERED: &str = "accelerator.json";

/// What runs the guest's instructions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Accelerator {
    /// The processor itself.
    Kvm,
    /// Software emulation.
    Tcg,
}

impl Accelerator {
    /// QEMU's name for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Kvm => "kvm",
            Self::Tcg => "tcg",
        }
    }
}

/// What the user asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Wish {
    /// KVM where a probe shows that it runs a guest, else software emulation.
    #[default]
    Auto,
    /// KVM or nothing.
    Kvm,
    /// Software emulation.
    Tcg,
}

/// Whether KVM works here, and why (not).
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    /// It ran a guest.
    pub works: bool,
    /// In words.
    pub reason: String,
}

/// The answer of a probe and what it holds for.
#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Memory {
    qemu: String,
    boot: String,
    finding: Finding,
}

/// Chooses what runs the guest.
///
/// # Errors
/// KVM is asked for and does not work; an interrupt.
pub fn choose(wish: Wish, qemu: &Qemu, places: &Places, interrupt: &Interrupt) -> Outcome<Accelerator> {
    match wish {
        Wish::Tcg => Ok(Accelerator::Tcg),
        Wish::Auto => Ok(if find(qemu, places, interrupt)?.works { Accelerator::Kvm } else { Accelerator::Tcg }),
        Wish::Kvm => {
            let finding = find(qemu, places, interrupt)?;
            if finding.works {
                return Ok(Accelerator::Kvm);
            }
            Err(Problem::environment("KVM does not run a guest here")
                .because(finding.reason)
                .so("leave out --accel kvm: software emulation is used then"))
        }
    }
}

/// Tells whether KVM works, from memory if a probe has been made.
///
/// # Errors
/// An interrupt.
pub fn find(qemu: &Qemu, places: &Places, interrupt: &Interrupt) -> Outcome<Finding> {
    if let Err(error) = fs::File::options().read(true).write(true).open(DEVICE) {
        return Ok(Finding { works: false, reason: format!("{DEVICE} cannot be opened: {error}") });
    }
    let path = places.setup.join(REMEMBERED);
    let boot = fs::read_to_string("/proc/sys/kernel/random/boot_id").unwrap_or_default().trim().to_owned();
    let name = format!("{} {}", qemu.program.display(), qemu.version);
    if let Some(memory) = fs::read(&path).ok().and_then(|bytes| serde_json::from_slice::<Memory>(&bytes).ok())
        && memory.qemu == name
        && memory.boot == boot
    {
        return Ok(memory.finding);
    }
    let finding = probe(qemu, places, interrupt)?;
    let memory = Memory { qemu: name, boot, finding };
    if let Ok(bytes) = serde_json::to_vec_pretty(&memory) {
        write_whole(&path, &bytes).at("write", &path)?;
    }
    Ok(memory.finding)
}

/// Boots a guest that counts to a million and leaves: in software, then with KVM. Where KVM has no hardware under it, it may
/// run the guest and still be many times slower than software.
fn probe(qemu: &Qemu, places: &Places, interrupt: &Interrupt) -> Outcome<Finding> {
    fs::create_dir_all(&places.setup).at("create", &places.setup)?;
    let image = places.setup.join("probe.elf");
    write_whole(&image, &Script::new().spin(1_000_000).exit(0x10).image()).at("write", &image)?;
    let no = |reason: String| Ok(Finding { works: false, reason });
    let software = match time(qemu, Accelerator::Tcg, &image, interrupt)? {
        Ok(time) => time,
        Err(reason) => return no(format!("the probe does not even run in software: {reason}")),
    };
    match time(qemu, Accelerator::Kvm, &image, interrupt)? {
        Ok(kvm) if kvm <= software * 2 + SLACK => {
            Ok(Finding { works: true, reason: format!("it ran a guest to its end in {:.1} s", kvm.as_secs_f64()) })
        }
        Ok(kvm) => {
            no(format!("it runs a guest in {:.1} s that software runs in {:.1} s", kvm.as_secs_f64(), software.as_secs_f64()))
        }
        Err(reason) => no(reason),
    }
}

/// How long a guest takes from QEMU's start to its end, or why it has none.
fn time(qemu: &Qemu, accelerator: Accelerator, image: &Path, interrupt: &Interrupt) -> Outcome<Result<Duration, String>> {
    let began = Instant::now();
    let mut child = match boot(qemu, accelerator, image) {
        Ok(child) => child,
        Err(error) => return Ok(Err(format!("QEMU did not start: {error}"))),
    };
    match child.wait(began + PROBE_DEADLINE, interrupt) {
        Waited::Interrupted(signal) => Err(Problem::interrupted(signal)),
        Waited::Ended(status) if Ending::of(status) == Ending::Orderly => Ok(Ok(began.elapsed())),
        Waited::Ended(status) => Ok(Err(format!("QEMU ended with {}", describe(status)))),
        Waited::Deadline => Ok(Err(format!("a guest of a few bytes did not end within {} s", PROBE_DEADLINE.as_secs()))),
    }
}

fn boot(qemu: &Qemu, accelerator: Accelerator, image: &Path) -> std::io::Result<Child> {
    let ((_log, com1), (_channel, com2), (_ours, monitor)) = (UnixStream::pair()?, UnixStream::pair()?, UnixStream::pair()?);
    const MEMORY: u32 = 32;
    let memory = GuestMemory::new(MEMORY)?;
    let machine = Machine {
        accelerator,
        processors: 1,
        memory: MEMORY,
        memory_file: memory.as_fd(),
        software: Software::Kernel { image, append: "", archive: None },
        com1: com1.as_fd(),
        com2: com2.as_fd(),
        monitor: monitor.as_fd(),
        device: None,
    };
    let silence = fs::File::options().write(true).open("/dev/null")?;
    Ok(machine.start(qemu, &silence)?.0)
}
