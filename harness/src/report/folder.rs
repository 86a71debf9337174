//! The folder of one run: unique, pointed to by `latest`, readable at any moment even when the harness is killed. In it a folder for
//! each boot, with that boot's logs.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};

use crate::console::printable;
use crate::error::{AtPath as _, Outcome};
use crate::files::{point_link, was_left, write_whole};
use crate::places::Places;
use crate::run::record::RunRecord;

/// The guest's log (COM1).
pub const GUEST_LOG: &str = "guest.log";
/// What the device model says.
pub const DEVICE_LOG: &str = "device.log";
/// What QEMU says.
pub const QEMU_LOG: &str = "qemu.log";
/// Everything about the run.
pub const RECORD: &str = "run.json";
/// The page for people.
pub const REPORT: &str = "report.html";
/// The results for CI systems.
pub const JUNIT: &str = "junit.xml";
/// What guest, device model and QEMU said, in order.
pub const MERGED_LOG: &str = "run.log";
/// The link to the newest run.
const LATEST: &str = "latest";
/// Runs that one second may begin.
const SAME_SECOND: u32 = 1000;

/// A run's folder.
#[derive(Debug)]
pub struct RunFolder {
    /// Where it is.
    pub path: PathBuf,
}

/// A boot's folder and its open logs.
#[derive(Debug)]
pub struct BootFolder {
    /// Where it is.
    pub path: PathBuf,
    /// The guest's log.
    pub guest: File,
    /// The device model's.
    pub device: File,
    /// QEMU's.
    pub qemu: File,
}

impl RunFolder {
    /// Makes the folder of a run of `suite` that began at `started`, and points `latest` to it.
    ///
    /// # Errors
    /// The disk's.
    pub fn create(places: &Places, suite: &str, started: DateTime<Utc>) -> Outcome<Self> {
        let runs = places.runs();
        fs::create_dir_all(&runs).at("create", &runs)?;
        sweep(&runs);
        let safe: String = suite.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(40).collect();
        let name = format!("{}-{safe}", started.format("%Y%m%d-%H%M%S"));
        let path = unique(&runs, &name).at("create a folder in", &runs)?;
        let link = runs.join(LATEST);
        let target = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        point_link(&link, &target).at("write", &link)?;
        Ok(Self { path })
    }

    /// Name of the folder of the boot with this number.
    #[must_use]
    pub fn boot_name(number: usize) -> String {
        format!("boot-{number}")
    }

    /// Makes the folder of the boot with this number.
    ///
    /// # Errors
    /// The disk's.
    pub fn boot(&self, number: usize) -> Outcome<BootFolder> {
        let path = self.path.join(Self::boot_name(number));
        fs::create_dir(&path).at("create", &path)?;
        let log = |name: &str| {
            let file = path.join(name);
            File::options().create_new(true).append(true).open(&file).at("create", &file)
        };
        Ok(BootFolder { guest: log(GUEST_LOG)?, device: log(DEVICE_LOG)?, qemu: log(QEMU_LOG)?, path })
    }

    /// Writes a file, whole or not at all.
    ///
    /// # Errors
    /// The disk's.
    pub fn write(&self, name: &str, content: &[u8]) -> Outcome<()> {
        let path = self.path.join(name);
        write_whole(&path, content).at("write", &path)
    }

    /// Writes `run.json`, replacing an earlier state of it.
    ///
    /// # Errors
    /// The disk's.
    pub fn write_record(&self, record: &RunRecord) -> Outcome<()> {
        let text = serde_json::to_vec_pretty(record).map_err(io::Error::from).at("write", &self.path.join(RECORD))?;
        self.write(RECORD, &text)
    }
}

/// A new folder: `name`, or `name-2` and so on when another run began in the same second.
fn unique(runs: &Path, name: &str) -> io::Result<PathBuf> {
    let mut path = runs.join(name);
    for number in 2..SAME_SECOND {
        match fs::create_dir(&path) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => path = runs.join(format!("{name}-{number}")),
            result => return result.map(|()| path),
        }
    }
    Err(io::ErrorKind::AlreadyExists.into())
}

/// Removes what a killed harness may have left in the instants in which something has a passing name.
fn sweep(runs: &Path) {
    for entry in fs::read_dir(runs).into_iter().flatten().flatten() {
        if entry.file_name().to_string_lossy().starts_with(".latest.") && was_left(&entry) {
            let _ = fs::remove_file(entry.path());
        }
        // A run that has a report came to its end.
        if !entry.path().join(REPORT).exists() {
            for boot in fs::read_dir(entry.path()).into_iter().flatten().flatten() {
                crate::device::sweep(&boot.path());
            }
        }
    }
}

/// The last lines of a log, each on a line of its own after a colon, safe to print; empty when there are none.
#[must_use]
pub fn last_words(log: &Path) -> String {
    const MOST: u64 = 4096;
    const LINES: usize = 8;
    use std::io::{Read as _, Seek as _};
    let read = |log: &Path| -> io::Result<Vec<u8>> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(io::SeekFrom::Start(length.saturating_sub(MOST)))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<String> = text.lines().filter(|line| !line.trim().is_empty()).map(printable).collect();
    if lines.is_empty() {
        return String::new();
    }
    format!("; its last words:\n  {}", lines[lines.len().saturating_sub(LINES)..].join("\n  "))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn places(folder: &Path) -> Places {
        Places { root: folder.into(), target: folder.into(), setup: folder.join("setup") }
    }

    #[test]
    fn two_runs_of_the_same_second_have_folders_of_their_own() {
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let now = Utc::now();
        let first = RunFolder::create(&places, "device", now).unwrap();
        let second = RunFolder::create(&places, "device", now).unwrap();
        assert_ne!(first.path, second.path);
        let latest = fs::read_link(places.runs().join(LATEST)).unwrap();
        assert_eq!(Some(latest.as_os_str()), second.path.file_name());
    }

    #[test]
    fn a_suites_name_cannot_leave_the_runs_folder() {
        let folder = tempfile::tempdir().unwrap();
        let run = RunFolder::create(&places(folder.path()), "../../etc", Utc::now()).unwrap();
        assert_eq!(run.path.parent().unwrap(), folder.path().join("rig/runs"));
    }

    #[test]
    fn a_socket_of_a_killed_harness_is_swept_and_one_of_a_run_under_way_is_not() {
        use rustix::fs::{AtFlags, CWD, Timespec, Timestamps, UTIME_OMIT, utimensat};
        let folder = tempfile::tempdir().unwrap();
        let places = places(folder.path());
        let run = RunFolder::create(&places, "device", Utc::now()).unwrap();
        let boot = run.boot(1).unwrap().path;
        let [old, new] = [".model.socket", ".model-1-1.socket"].map(|name| boot.join(name));
        let _listeners = [&old, &new].map(|path| std::os::unix::net::UnixListener::bind(path).unwrap());
        let [old_link, new_link] = [".latest.1-a", ".latest.1-b"].map(|name| places.runs().join(name));
        for path in [&old_link, &new_link] {
            std::os::unix::fs::symlink("nowhere", path).unwrap();
        }
        let long_ago = Timestamps {
            last_access: Timespec { tv_sec: 0, tv_nsec: UTIME_OMIT },
            last_modification: Timespec { tv_sec: 1_000_000, tv_nsec: 0 },
        };
        for path in [&old, &old_link] {
            utimensat(CWD, path, &long_ago, AtFlags::SYMLINK_NOFOLLOW).unwrap();
        }
        RunFolder::create(&places, "device", Utc::now()).unwrap();
        assert!(!old.exists() && new.exists());
        assert!(!old_link.is_symlink() && new_link.is_symlink());
    }
}
