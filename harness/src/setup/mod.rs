//! What a run needs, where each need is found, and how a missing one is fetched into the set-up folder.
//!
//! Nothing system-wide is changed. What is fetched is unpacked beside its place and renamed into it at the end, so that a kill
//! at any moment leaves it whole or absent; a lock keeps two set-ups apart; the second run finds everything and stays offline.

pub mod accelerator;
pub mod apt;
pub mod firmware;
pub mod qemu;
pub mod toolchain;
pub mod tools;

use std::fs;
use std::path::{Path, PathBuf};

use crate::error::{AtPath as _, Outcome};
use crate::files::Lock;
use crate::interrupt::Interrupt;
use crate::places::Places;

/// The set-up folder, held by this process alone while something is fetched into it.
#[derive(Debug)]
pub struct Workshop<'a> {
    folder: &'a Path,
    _lock: Lock,
}

impl<'a> Workshop<'a> {
    /// Takes the folder, and removes what a killed set-up left.
    ///
    /// # Errors
    /// The disk's; an interrupt while another set-up is waited for.
    pub fn enter(places: &'a Places, interrupt: &Interrupt) -> Outcome<Self> {
        let lock = Lock::take(&places.setup.join("lock"), "set-up", interrupt)?;
        let workshop = Self { folder: &places.setup, _lock: lock };
        for entry in fs::read_dir(workshop.folder).at("read", workshop.folder)?.flatten() {
            if entry.file_name().to_string_lossy().starts_with(".new-") {
                fs::remove_dir_all(entry.path()).at("remove", &entry.path())?;
            }
        }
        Ok(workshop)
    }

    /// An empty folder in which `name` is put together. Nobody looks into it before [`Self::finish`].
    ///
    /// # Errors
    /// The disk's.
    pub fn begin(&self, name: &str) -> Outcome<PathBuf> {
        let folder = self.folder.join(format!(".new-{name}"));
        fs::create_dir_all(&folder).at("create", &folder)?;
        Ok(folder)
    }

    /// Moves the finished folder to its place, in one step, and returns where that is.
    ///
    /// # Errors
    /// The disk's.
    pub fn finish(&self, name: &str) -> Outcome<PathBuf> {
        let place = self.folder.join(name);
        if place.exists() {
            let old = self.folder.join(format!(".new-{name}-old"));
            fs::rename(&place, &old).at("move", &place)?;
            fs::rename(self.folder.join(format!(".new-{name}")), &place).at("move", &place)?;
            fs::remove_dir_all(&old).at("remove", &old)?;
        } else {
            fs::rename(self.folder.join(format!(".new-{name}")), &place).at("move", &place)?;
        }
        Ok(place)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(setup: &Path) -> Places {
        Places { root: setup.into(), target: setup.into(), setup: setup.into() }
    }

    #[test]
    fn what_a_killed_setup_left_is_removed_by_the_next() {
        let folder = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::never().unwrap();
        let places = places(folder.path());
        fs::create_dir_all(folder.path().join(".new-qemu/usr/bin")).unwrap();
        let _workshop = Workshop::enter(&places, &interrupt).unwrap();
        assert!(!folder.path().join(".new-qemu").exists());
    }

    #[test]
    fn a_finished_folder_replaces_the_old_one() {
        let folder = tempfile::tempdir().unwrap();
        let interrupt = Interrupt::never().unwrap();
        let places = places(folder.path());
        let workshop = Workshop::enter(&places, &interrupt).unwrap();
        for content in ["old", "new"] {
            let unfinished = workshop.begin("thing").unwrap();
            fs::write(unfinished.join("content"), content).unwrap();
            workshop.finish("thing").unwrap();
        }
        assert_eq!(fs::read_to_string(folder.path().join("thing/content")).unwrap(), "new");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2, "the thing and the lock");
    }
}
