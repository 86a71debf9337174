//! UEFI firmware for a virtual machine: the machine's own OVMF, or the archive's, unpacked into the set-up folder. Only Windows guests need it.

use std::fs;
use std::path::{Path, PathBuf};

use super::Workshop;
use super::apt::{Apt, Suites, digests};
use crate::console::Step;
use crate::error::{AtPath as _, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::places::Places;

/// Folder in the set-up folder, and the package.
const NAME: &str = "firmware";
const PACKAGE: &str = "ovmf";
/// Where distributions put it, and the two files: code without Secure Boot, and what it remembers when it is new.
const FOLDERS: [&str; 3] = ["/usr/share/OVMF", "/usr/share/edk2/x64", "/usr/share/edk2/ovmf"];
const FILES: [(&str, &str); 2] = [("OVMF_CODE_4M.fd", "OVMF_VARS_4M.fd"), ("OVMF_CODE.4m.fd", "OVMF_VARS.4m.fd")];

/// Firmware that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Firmware {
    /// Its code.
    pub code: PathBuf,
    /// What it remembers, as it comes from the factory.
    pub variables: PathBuf,
}

/// Finds the firmware without fetching anything.
#[must_use]
pub fn find(places: &Places) -> Option<Firmware> {
    let fetched = places.setup.join(NAME);
    [fetched.as_path()].into_iter().chain(FOLDERS.iter().map(Path::new)).find_map(of_folder)
}

/// Finds it or fetches it.
///
/// # Errors
/// A broken environment when it cannot be fetched.
pub fn find_or_fetch(places: &Places, interrupt: &Interrupt) -> Outcome<Firmware> {
    if let Some(found) = find(places) {
        return Ok(found);
    }
    let workshop = Workshop::enter(places, interrupt)?;
    let step = Step::begin("fetching UEFI firmware (about 8 MB)");
    let unfinished = workshop.begin(NAME)?;
    let apt = Apt::prepare(&unfinished.join("apt"), Suites::Stable, interrupt)?;
    let package = apt.download(PACKAGE, interrupt)?;
    let (root, origin) = (unfinished.join("root"), digests(std::slice::from_ref(&package))?);
    apt.unpack(&package, &root, interrupt)?;
    let broken = || Problem::environment("the fetched UEFI firmware is not complete").so("install the package ovmf yourself");
    let found = of_folder(&root.join("usr/share/OVMF")).ok_or_else(broken)?;
    for file in [&found.code, &found.variables] {
        let to = unfinished.join(file.file_name().unwrap_or_default());
        fs::copy(file, &to).at("copy", &to)?;
    }
    for path in [unfinished.join("apt"), root] {
        fs::remove_dir_all(&path).at("remove", &path)?;
    }
    let text: String = origin.iter().map(|(name, digest)| format!("{digest}  {name}\n")).collect();
    let manifest = unfinished.join("origin.txt");
    fs::write(&manifest, text).at("write", &manifest)?;
    workshop.finish(NAME)?;
    step.done("");
    find(places).ok_or_else(broken)
}

fn of_folder(folder: &Path) -> Option<Firmware> {
    let pair = FILES.iter().map(|(code, variables)| Firmware { code: folder.join(code), variables: folder.join(variables) });
    pair.into_iter().find(|pair| pair.code.is_file() && pair.variables.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn half_a_firmware_is_none() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join(FILES[0].0), "code").unwrap();
        assert_eq!(of_folder(folder.path()), None);
        fs::write(folder.path().join(FILES[0].1), "variables").unwrap();
        assert_eq!(of_folder(folder.path()).unwrap().code, folder.path().join("OVMF_CODE_4M.fd"));
    }
}
