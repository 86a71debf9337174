//! QEMU's command line, and what its exit status means.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd as _, BorrowedFd};
use std::path::Path;
use std::process::{Command, ExitStatus, Stdio};

use protocol::hardware::{QUEUE_COUNT, QUEUE_SIZE, RelayConfig, VIRTIO_ID};
use rustix::process::Signal;
use serde_json::{Value, json};

use crate::child::Child;
use crate::device::{Door, Transport};
use crate::guard;
use crate::pvh::EXIT_PORT;
use crate::setup::accelerator::Accelerator;
use crate::setup::qemu::Qemu;
use crate::slot;
use crate::windows::pc::Disks;

/// The machine to start. Everything that the guest talks to is an open descriptor: nothing of it has a name in a file system.
#[derive(Debug)]
pub struct Machine<'a> {
    /// What runs it.
    pub accelerator: Accelerator,
    /// Number of processors.
    pub processors: u32,
    /// Memory in MiB.
    pub memory: u32,
    /// The file that is the guest's memory, of that size.
    pub memory_file: BorrowedFd<'a>,
    /// What it boots.
    pub software: Software<'a>,
    /// A connected socket: the guest's log.
    pub com1: BorrowedFd<'a>,
    /// A connected socket: the guest channel.
    pub com2: BorrowedFd<'a>,
    /// A connected socket: QEMU's monitor.
    pub monitor: BorrowedFd<'a>,
    /// Where the device model waits for QEMU.
    pub device: Option<Door<'a>>,
}

/// What a machine boots.
#[derive(Clone, Copy, Debug)]
pub enum Software<'a> {
    /// A kernel that needs no firmware.
    Kernel {
        /// The image to boot by PVH.
        image: &'a Path,
        /// The kernel's command line.
        append: &'a str,
        /// Archive handed to the kernel.
        archive: Option<BorrowedFd<'a>>,
    },
    /// What firmware finds on disks.
    Disks(&'a Disks),
}

impl Machine<'_> {
    /// Starts it; what QEMU says goes to `output`. Returns the process and the command line.
    ///
    /// # Errors
    /// The system's.
    pub fn start(&self, qemu: &Qemu, output: &File) -> io::Result<(Child, Vec<String>)> {
        let mut words = vec![qemu.program.clone().into_os_string()];
        words.extend(self.arguments());
        // A script may start QEMU as its child. The kernel tells only the script that we have died; the guard takes them all.
        let (mut command, at_death) = if qemu.is_foreign_script() {
            (guard::guarded(), Signal::TERM)
        } else {
            (Command::new(words.remove(0)), Signal::KILL)
        };
        command.args(&words).stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output.try_clone()?);
        let text = as_text(&command);
        Ok((Child::spawn(command, &self.descriptors(), at_death)?, text))
    }

    /// The descriptors that QEMU must inherit.
    fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let mut descriptors = vec![self.memory_file, self.com1, self.com2, self.monitor];
        match self.software {
            Software::Kernel { archive, .. } => descriptors.extend(archive),
            Software::Disks(disks) => descriptors.extend(disks.descriptors()),
        }
        descriptors.extend(self.device.map(|door| door.socket));
        descriptors
    }

    fn arguments(&self) -> Vec<OsString> {
        let mut arguments: Vec<OsString> = Vec::new();
        let mut add = |option: &str, value: String| {
            arguments.push(option.into());
            if !value.is_empty() {
                arguments.push(value.into());
            }
        };
        add("-no-user-config", String::new());
        add("-nodefaults", String::new());
        add("-display", "none".into());
        add("-machine", "q35,memory-backend=memory".into());
        add("-accel", self.accelerator.name().into());
        add("-smp", self.processors.to_string());
        add("-m", format!("{}M", self.memory));
        // The device model maps the guest's memory, so it must be a shared file.
        let path = format!("/proc/self/fd/{}", self.memory_file.as_raw_fd());
        add("-object", format!("memory-backend-file,id=memory,size={}M,mem-path={path},share=on", self.memory));
        for (name, line) in [("com1", self.com1), ("com2", self.com2)] {
            add("-chardev", format!("socket,id={name},fd={}", line.as_raw_fd()));
            add("-serial", format!("chardev:{name}"));
        }
        add("-chardev", format!("socket,id=monitor,fd={}", self.monitor.as_raw_fd()));
        add("-mon", "chardev=monitor,mode=control".into());
        for word in slot::arguments() {
            add(&word.to_string_lossy(), String::new());
        }
        if let Some(device) = self.device {
            let (chardev, device) = device_options(device);
            if let Some(chardev) = chardev {
                add("-chardev", chardev);
            }
            add("-device", device.to_string());
        }
        match self.software {
            Software::Kernel { image, append, archive } => {
                // Such a kernel leaves through a port; a reset is a mishap.
                add("-no-reboot", String::new());
                add("-cpu", "max".into());
                add("-device", format!("isa-debug-exit,iobase={EXIT_PORT:#x},iosize=0x04"));
                add("-kernel", image.display().to_string());
                if let Some(archive) = archive {
                    add("-initrd", format!("/proc/self/fd/{}", archive.as_raw_fd()));
                }
                if !append.is_empty() {
                    add("-append", append.to_owned());
                }
            }
            Software::Disks(disks) => arguments.extend(disks.arguments(self.accelerator)),
        }
        arguments
    }
}

/// What QEMU is told about the device in its slot: a character device to speak on, if the transport needs one, and the device itself.
///
/// QEMU connects by path only. The path leads through a descriptor to the socket, whose own name is already gone.
#[must_use]
pub fn device_options(door: Door<'_>) -> (Option<String>, Value) {
    let path = door.path();
    let (chardev, device) = match door.transport {
        Transport::VfioUser => (None, json!({ "driver": "vfio-user-pci", "socket": { "type": "unix", "path": path } })),
        Transport::VhostUser => {
            let device = json!({
                "driver": "vhost-user-test-device-pci", "chardev": slot::CHARDEV, "virtio-id": VIRTIO_ID, "num_vqs": QUEUE_COUNT,
                "vq_size": QUEUE_SIZE, "config_size": size_of::<RelayConfig>(),
            });
            (Some(format!("socket,id={},path={path}", slot::CHARDEV)), device)
        }
    };
    (chardev, slot::occupant(device))
}

/// Why QEMU ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// The guest shut down in order.
    Orderly,
    /// The guest stopped after it reported a bug check.
    AfterBugCheck,
    /// The guest reset or powered off the machine, most likely by a triple fault.
    Reset,
    /// QEMU itself failed or was killed.
    Died,
}

impl Ending {
    /// Reads an exit status. `isa-debug-exit` turns a guest's write of N into 2 N + 1.
    #[must_use]
    pub fn of(status: ExitStatus) -> Self {
        match status.code() {
            Some(33) => Self::Orderly,
            Some(35) => Self::AfterBugCheck,
            Some(0) => Self::Reset,
            _ => Self::Died,
        }
    }
}

/// A command as it could be typed, for reports. Descriptors are named by their numbers, which mean something to the run only.
#[must_use]
pub fn as_text(command: &Command) -> Vec<String> {
    std::iter::once(command.get_program()).chain(command.get_args()).map(|word| word.to_string_lossy().into_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::fd::AsFd as _;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_machine_without_a_device_model_has_no_vfio_user_device() {
        let (file, memory) = (std::fs::File::open("/dev/null").unwrap(), std::fs::File::open("/dev/null").unwrap());
        let mut machine = Machine {
            accelerator: Accelerator::Tcg,
            processors: 2,
            memory: 256,
            memory_file: memory.as_fd(),
            software: Software::Kernel { image: Path::new("ntlet"), append: "suite=suite.exe", archive: None },
            com1: file.as_fd(),
            com2: file.as_fd(),
            monitor: file.as_fd(),
            device: None,
        };
        let says = |machine: &Machine<'_>, part: &str| {
            machine.arguments().iter().filter(|word| word.to_string_lossy().contains(part)).count()
        };
        assert_eq!(says(&machine, "-user-pci") + says(&machine, "vhost-user"), 0);
        let path = format!("/proc/self/fd/{}", file.as_raw_fd());
        for (transport, driver) in [(Transport::VfioUser, "vfio-user-pci"), (Transport::VhostUser, "vhost-user-test-device-pci")]
        {
            machine.device = Some(Door { socket: file.as_fd(), transport });
            assert_eq!((says(&machine, driver), says(&machine, &path)), (1, 1), "{driver}");
            assert_eq!(machine.descriptors().len(), 5);
        }
    }

    #[test]
    fn an_exit_status_tells_a_guests_end_from_qemus() {
        let of = |raw| Ending::of(ExitStatus::from_raw(raw));
        assert_eq!(of(33 << 8), Ending::Orderly);
        assert_eq!(of(35 << 8), Ending::AfterBugCheck);
        assert_eq!(of(0), Ending::Reset);
        assert_eq!(of(1 << 8), Ending::Died);
        assert_eq!(of(9), Ending::Died);
    }
}
