//! Files that are whole or absent, locks that die with their holder, and digests.

use std::fs::{self, File};
use std::hash::{BuildHasher as _, Hasher as _};
use std::io::{self, Read as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use sha2::{Digest as _, Sha256};

use crate::console::note;
use crate::error::{AtPath as _, Outcome, Problem};
use crate::interrupt::Interrupt;

/// Longest wait for a lock that another `rig` holds: a first set-up plus a first build on a slow machine.
const LOCK_PATIENCE: Duration = Duration::from_secs(45 * 60);

/// Something has a passing name for seconds at most: what has had it for longer was left behind.
const LEFT_BEHIND: Duration = Duration::from_secs(60);

/// Writes a file so that its name never shows less than all of `content`, whenever the process is killed.
///
/// # Errors
/// The disk's.
pub fn write_whole(path: &Path, content: &[u8]) -> io::Result<()> {
    write_whole_by(path, |file| file.write_all(content))
}

/// As [`write_whole`], with what `write` puts into the file.
///
/// # Errors
/// The disk's, and those of `write`.
pub fn write_whole_by(path: &Path, mut write: impl FnMut(&mut File) -> io::Result<()>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let unnamed = rustix::fs::open(folder, OFlags::TMPFILE | OFlags::WRONLY | OFlags::CLOEXEC, Mode::from_raw_mode(0o644));
    let Ok(unnamed) = unnamed else {
        return write_then_rename(path, &mut write);
    };
    let mut file = File::from(unnamed);
    write(&mut file)?;
    let source = format!("/proc/self/fd/{}", file.as_raw_fd());
    // A file without a name leaves nothing behind when we are killed; only replacing needs a second name for an instant.
    match rustix::fs::linkat(CWD, &source, CWD, path, AtFlags::SYMLINK_FOLLOW) {
        Ok(()) => Ok(()),
        Err(rustix::io::Errno::EXIST) => {
            let second = temporary_name(path);
            rustix::fs::linkat(CWD, &source, CWD, &second, AtFlags::SYMLINK_FOLLOW)?;
            fs::rename(&second, path)
        }
        Err(_) => write_then_rename(path, &mut write),
    }
}

/// For file systems without unnamed files.
fn write_then_rename(path: &Path, write: &mut impl FnMut(&mut File) -> io::Result<()>) -> io::Result<()> {
    let second = temporary_name(path);
    let result = File::create(&second).and_then(|mut file| write(&mut file)).and_then(|()| fs::rename(&second, path));
    if result.is_err() {
        let _ = fs::remove_file(&second);
    }
    result
}

/// A name beside `path` that no other process uses, nor one on another machine that shares the folder, whose processes have the same numbers.
fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let random = std::hash::RandomState::new().build_hasher().finish();
    path.with_file_name(format!(".{name}.{}-{random:016x}", std::process::id()))
}

/// Whether something with a passing name is nobody's any more. That somebody uses it, here or on another machine that shares the folder, shows
/// in its age alone.
#[must_use]
pub fn was_left(entry: &fs::DirEntry) -> bool {
    let age = || entry.metadata().ok()?.modified().ok()?.elapsed().ok();
    age().is_some_and(|age| age > LEFT_BEHIND)
}

/// Makes `link` point to `target`, replacing what it pointed to in one step.
///
/// # Errors
/// The disk's.
pub fn point_link(link: &Path, target: &str) -> io::Result<()> {
    let second = temporary_name(link);
    std::os::unix::fs::symlink(target, &second)?;
    fs::rename(&second, link)
}

/// Lower-case hexadecimal SHA-256.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes))
}

/// Lower-case hexadecimal SHA-256 of a file.
///
/// # Errors
/// The disk's.
pub fn sha256_of(path: &Path) -> io::Result<String> {
    let mut file = File::open(path)?;
    let mut digest = Sha256::new();
    let mut block = vec![0; 1 << 16];
    loop {
        match file.read(&mut block)? {
            0 => return Ok(hex(&digest.finalize())),
            length => digest.update(&block[..length]),
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// A lock between `rig` processes; the kernel releases it when its holder dies, however it dies.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock file `path`, waiting while another `rig` does `purpose`.
    ///
    /// # Errors
    /// The disk's, an interrupt, or a holder that does not let go for 45 minutes.
    pub fn take(path: &Path, purpose: &str, interrupt: &Interrupt) -> Outcome<Self> {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).at("create", folder)?;
        }
        let file = File::options().create(true).append(true).open(path).at("open", path)?;
        let began = Instant::now();
        loop {
            match file.try_lock() {
                Ok(()) => return Ok(Self { _file: file }),
                Err(fs::TryLockError::Error(error)) => return Err(error).at("lock", path),
                Err(fs::TryLockError::WouldBlock) => {}
            }
            if began.elapsed() < Duration::from_millis(50) {
                note(format!("[rig] another rig does this now: {purpose}; waiting for it"));
            }
            if began.elapsed() > LOCK_PATIENCE {
                return Err(Problem::environment(format!("could not begin: {purpose}"))
                    .because(format!("another rig has held {} for {} minutes", path.display(), LOCK_PATIENCE.as_secs() / 60))
                    .so("end the other rig, then start again"));
            }
            interrupt.sleep(Duration::from_millis(100))?;
        }
    }
}

/// Opens a file to read it, and nothing else that has a name: a folder that came from elsewhere may hold a pipe, which nobody ever writes
/// into.
///
/// # Errors
/// The disk's; `InvalidInput` for what is no file.
pub fn open_file(path: &Path) -> io::Result<File> {
    if !fs::metadata(path)?.is_file() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, "it is no file"));
    }
    File::open(path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_replaced_whole_and_leaves_nothing_beside_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        write_whole(&path, b"first").unwrap();
        write_whole(&path, b"second").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"second");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn the_fallback_without_unnamed_files_also_writes_whole_files() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.json");
        write_then_rename(&path, &mut |file| file.write_all(b"content")).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"content");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_moves_to_its_new_target() {
        let folder = tempfile::tempdir().unwrap();
        let link = folder.path().join("latest");
        point_link(&link, "one").unwrap();
        point_link(&link, "two").unwrap();
        assert_eq!(fs::read_link(&link).unwrap(), Path::new("two"));
    }

    #[test]
    fn the_digest_of_a_file_is_that_of_its_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("abc");
        fs::write(&path, "abc").unwrap();
        assert_eq!(sha256_of(&path).unwrap(), sha256(b"abc"));
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
