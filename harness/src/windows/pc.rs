//! The machine that Windows is installed on and runs on: UEFI firmware, a SATA disk, install media or not, a small disk with files for the
//! guest, an empty one for what is fetched from it, a display that nobody sees but whose picture can be taken. No network, unless it is to call
//! a debugger, which is then all that its network has.
//!
//! A boot that must leave no trace writes into files without names, which the system takes back when the last process has gone.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::net::SocketAddrV4;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use super::cable::Cable;
use super::{answer_disk, qcow2, scratch};
use crate::setup::accelerator::Accelerator;

/// What becomes of what a boot writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Writes {
    /// It goes with the boot.
    Forgotten,
    /// It stays in the image. The boot then ends where the guest would start again: what is on the disk at that moment is whole.
    Kept,
}

/// A machine with firmware and disks.
#[derive(Clone, Debug)]
pub struct Pc {
    /// The firmware's code.
    pub firmware: PathBuf,
    /// What the firmware remembers: a file as large as the firmware wants it.
    pub variables: PathBuf,
    /// The disk, a qcow2 image.
    pub disk: PathBuf,
    /// Whether disk and variables remember.
    pub writes: Writes,
    /// Install media.
    pub media: Option<PathBuf>,
    /// Further media, with drivers that the guest is to have.
    pub drivers: Option<PathBuf>,
    /// Files for the guest, by name.
    pub files: Vec<(String, Vec<u8>)>,
    /// The debugger that it calls over a network card, if it does.
    pub debugger: Option<SocketAddrV4>,
}

/// A layer over a machine's disk and variables: files without names, which go with this.
#[derive(Debug)]
pub struct Layer {
    disk: File,
    variables: File,
}

/// The open disks of one boot, and its cable.
#[derive(Debug)]
pub struct Disks {
    firmware: PathBuf,
    variables: Place,
    disk: Place,
    media: Option<PathBuf>,
    drivers: Option<PathBuf>,
    files: File,
    scratch: Option<File>,
    cable: Option<Cable>,
    writes: Writes,
}

/// A disk that QEMU opens by path: one that stays, or a descriptor's.
#[derive(Debug)]
enum Place {
    Path(PathBuf),
    Nameless(File),
}

impl Place {
    fn path(&self) -> String {
        match self {
            Self::Path(path) => path.display().to_string(),
            Self::Nameless(file) => format!("/proc/self/fd/{}", file.as_raw_fd()),
        }
    }

    fn descriptor(&self) -> Option<BorrowedFd<'_>> {
        match self {
            Self::Path(_) => None,
            Self::Nameless(file) => Some(file.as_fd()),
        }
    }
}

impl Pc {
    /// The same machine with a layer over its disk and variables, in `folder`: what boots of it keep is kept there, and goes with the layer.
    ///
    /// # Errors
    /// The disk's.
    pub fn layered(&self, folder: &Path) -> io::Result<(Self, Layer)> {
        let layer = Layer { disk: overlay(&self.disk, folder)?, variables: copy(&self.variables, folder)? };
        // QEMU, and the layers above this one, find it in this process.
        let place = |file: &File| PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        Ok((Self { disk: place(&layer.disk), variables: place(&layer.variables), ..self.clone() }, layer))
    }

    /// Makes the disks of a boot; what is to be forgotten lies in `folder`, without a name.
    ///
    /// # Errors
    /// The disk's.
    pub fn open(&self, folder: &Path) -> io::Result<Disks> {
        let (variables, disk) = match self.writes {
            Writes::Kept => (Place::Path(self.variables.clone()), Place::Path(self.disk.clone())),
            Writes::Forgotten => (Place::Nameless(copy(&self.variables, folder)?), Place::Nameless(overlay(&self.disk, folder)?)),
        };
        let files = tempfile::tempfile_in(folder)?;
        answer_disk::write_to(files.try_clone()?, &self.files)?;
        let scratch = (self.writes == Writes::Forgotten).then(|| scratch::create(folder)).transpose()?;
        let cable = self.debugger.map(Cable::to).transpose()?;
        let (firmware, media, drivers) = (self.firmware.clone(), self.media.clone(), self.drivers.clone());
        Ok(Disks { firmware, variables, disk, media, drivers, files, scratch, cable, writes: self.writes })
    }
}

/// A disk for the changes to `base`.
fn overlay(base: &Path, folder: &Path) -> io::Result<File> {
    let changes = tempfile::tempfile_in(folder)?;
    let base = std::path::absolute(base)?;
    qcow2::create(&changes, qcow2::size_of(&base)?, Some(&base))?;
    Ok(changes)
}

fn copy(from: &Path, folder: &Path) -> io::Result<File> {
    let mut copy = tempfile::tempfile_in(folder)?;
    io::copy(&mut File::open(from)?, &mut copy)?;
    Ok(copy)
}

impl Disks {
    /// The descriptors that QEMU must inherit.
    #[must_use]
    pub fn descriptors(&self) -> Vec<BorrowedFd<'_>> {
        let nameless = [&self.variables, &self.disk].into_iter().filter_map(Place::descriptor);
        let plug = self.cable.as_ref().map(Cable::plug);
        nameless.chain([self.files.as_fd()]).chain(self.scratch.as_ref().map(File::as_fd)).chain(plug).collect()
    }

    /// Becomes true when the debugger has answered, if there is one that the guest calls.
    #[must_use]
    pub fn is_answered(&self) -> Option<Arc<AtomicBool>> {
        self.cable.as_ref().map(Cable::is_answered)
    }

    /// The disk on which the guest leaves what is fetched, for when the guest has gone.
    #[must_use]
    pub fn into_scratch(self) -> Option<File> {
        self.scratch
    }

    /// QEMU's options for them.
    #[must_use]
    pub fn arguments(&self, accelerator: Accelerator) -> Vec<OsString> {
        let comma = |path: String| path.replace(',', ",,");
        let files = format!("/proc/self/fd/{}", self.files.as_raw_fd());
        let mut words: Vec<String> = Vec::new();
        let mut add = |option: &str, value: String| words.extend([option.to_owned(), value]);
        // Five levels of page tables, which software emulation offers, are more than Windows' loader expects of such a machine.
        add("-cpu", if accelerator == Accelerator::Kvm { "host" } else { "max,la57=off" }.to_owned());
        add("-rtc", "base=localtime".to_owned());
        add("-vga", "std".to_owned());
        let code = comma(self.firmware.display().to_string());
        add("-drive", format!("if=pflash,unit=0,format=raw,readonly=on,file={code}"));
        add("-drive", format!("if=pflash,unit=1,format=raw,file={}", comma(self.variables.path())));
        // An empty disk cannot be booted, and the firmware goes on to the media; once there is a system, the media are passed by.
        add("-drive", format!("if=none,id=disk,format=qcow2,discard=unmap,file={}", comma(self.disk.path())));
        add("-device", "ide-hd,bus=ide.0,drive=disk,bootindex=0".to_owned());
        if let Some(media) = &self.media {
            let media = comma(media.display().to_string());
            add("-drive", format!("if=none,id=media,format=raw,readonly=on,file={media}"));
            add("-device", "ide-cd,bus=ide.1,drive=media,bootindex=1".to_owned());
        }
        add("-drive", format!("if=none,id=files,format=raw,file={files}"));
        add("-device", "ide-hd,bus=ide.2,drive=files".to_owned());
        if let Some(scratch) = &self.scratch {
            let path = format!("/proc/self/fd/{}", scratch.as_raw_fd());
            add("-drive", format!("if=none,id=scratch,format=raw,discard=unmap,file={path}"));
            add("-device", "ide-hd,bus=ide.3,drive=scratch".to_owned());
        }
        if let Some(drivers) = &self.drivers {
            let drivers = comma(drivers.display().to_string());
            add("-drive", format!("if=none,id=drivers,format=raw,readonly=on,file={drivers}"));
            add("-device", "ide-cd,bus=ide.4,drive=drivers".to_owned());
        }
        words.extend(self.cable.iter().flat_map(Cable::arguments));
        if self.writes == Writes::Kept {
            words.push("-no-reboot".to_owned());
        }
        words.into_iter().map(OsString::from).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pc(folder: &Path, writes: Writes) -> Pc {
        let [disk, variables] = ["disk.qcow2", "a,b.fd"].map(|name| folder.join(name));
        qcow2::create(&File::create(&disk).unwrap(), 1 << 30, None).unwrap();
        std::fs::write(&variables, "variables").unwrap();
        Pc {
            firmware: "code.fd".into(),
            variables,
            disk,
            writes,
            media: None,
            drivers: None,
            files: vec![("a.txt".into(), b"a".to_vec())],
            debugger: None,
        }
    }

    #[test]
    fn a_boot_that_is_forgotten_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let disks = pc(folder.path(), Writes::Forgotten).open(folder.path()).unwrap();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the image's own two");
        assert_eq!(disks.descriptors().len(), 4);
        assert!(!disks.arguments(Accelerator::Tcg).iter().any(|word| word.to_string_lossy().contains("disk.qcow2")));
    }

    #[test]
    fn a_boot_that_is_kept_writes_into_the_image_and_a_comma_in_a_path_is_no_option() {
        let folder = tempfile::tempdir().unwrap();
        let disks = pc(folder.path(), Writes::Kept).open(folder.path()).unwrap();
        let words: Vec<String> =
            disks.arguments(Accelerator::Kvm).iter().map(|word| word.to_string_lossy().into_owned()).collect();
        assert!(words.iter().any(|word| word.ends_with("disk.qcow2")), "{words:?}");
        assert!(words.iter().any(|word| word.ends_with("a,,b.fd")), "{words:?}");
        assert_eq!(disks.descriptors().len(), 1);
        assert!(!words.iter().any(|word| word.contains("netdev")), "no network: {words:?}");
    }

    #[test]
    fn a_layer_keeps_what_is_written_over_an_image_that_stays_as_it_is_and_leaves_no_file() {
        let folder = tempfile::tempdir().unwrap();
        let image = pc(folder.path(), Writes::Kept);
        let before = std::fs::read(&image.disk).unwrap();
        let (layered, layer) = image.layered(folder.path()).unwrap();
        std::fs::write(&layered.variables, "changed").unwrap();
        assert_eq!(std::fs::read(&layered.variables).unwrap(), b"changed");
        assert_eq!(std::fs::read(&image.variables).unwrap(), b"variables");
        // The next boot is on top of it.
        let next = Pc { writes: Writes::Forgotten, ..layered.clone() };
        drop(next.open(folder.path()).unwrap());
        assert_eq!(qcow2::size_of(&layered.disk).unwrap(), 1 << 30);
        assert_eq!(std::fs::read(&image.disk).unwrap(), before);
        drop(layer);
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 2, "the image's own two");
    }

    #[test]
    fn a_guest_that_calls_a_debugger_has_a_card_and_a_cable_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let debugger = Some("127.0.0.1:50000".parse().unwrap());
        let disks = Pc { debugger, ..pc(folder.path(), Writes::Forgotten) }.open(folder.path()).unwrap();
        let words = disks.arguments(Accelerator::Kvm);
        let has = |part: &str| words.iter().any(|word| word.to_string_lossy().contains(part));
        assert!(has("e1000e,netdev=cable") && has("stream,id=cable,server=off,addr.type=fd") && !has("user"), "{words:?}");
        assert_eq!(disks.descriptors().len(), 5);
    }
}
