//! The socket of a model that makes it itself: the model gets a path, listens there, and the harness takes the name away again.
//!
//! Nobody may connect to find out whether it listens: many models serve one client and end when that has gone. The kernel's list of
//! sockets tells it without a connection.

use std::io;
use std::os::fd::AsFd as _;
use std::os::fd::{AsRawFd as _, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rustix::fs::{AtFlags, Mode, OFlags};

use crate::child::{Child, describe};

/// How names of such sockets begin; see [`super::sweep`].
pub(super) const PREFIX: &str = ".model";
/// How long a model may take until it listens.
const PATIENCE: Duration = Duration::from_secs(10);
/// How often it is looked whether it does.
const LOOK: Duration = Duration::from_millis(5);
/// Where the kernel lists its sockets.
const SOCKETS: &str = "/proc/net/unix";
/// The mark of a listening socket there.
const LISTENING: u32 = 0x1_0000;

/// Makes names that no other socket of this machine has now.
static NEXT: AtomicU64 = AtomicU64::new(0);

/// A place for a socket.
#[derive(Debug)]
pub(super) struct Place {
    directory: OwnedFd,
    name: String,
}

impl Place {
    /// A place in `folder`.
    pub(super) fn new(folder: &Path) -> io::Result<Self> {
        let directory = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
        let name = format!("{PREFIX}-{}-{}.socket", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        Ok(Self { directory, name })
    }

    /// The path to listen at, for a process that inherits [`Self::directory`]. It is short, however long the folder's own is.
    pub(super) fn path(&self) -> String {
        format!("/proc/self/fd/{}/{}", self.directory.as_raw_fd(), self.name)
    }

    /// What the process must inherit.
    pub(super) fn directory(&self) -> BorrowedFd<'_> {
        self.directory.as_fd()
    }

    /// Waits until `process` listens, takes the name away, and returns what leads to the socket all the same.
    pub(super) fn door(&self, process: &mut Child) -> io::Result<OwnedFd> {
        let deadline = Instant::now() + PATIENCE;
        while !is_listening(&std::fs::read_to_string(SOCKETS)?, &self.name) {
            if let Some(status) = process.try_status() {
                return Err(io::Error::other(format!("it ended with {} before it listened at its socket", describe(status))));
            }
            if Instant::now() >= deadline {
                let why = format!("it does not listen at its socket after {} s", PATIENCE.as_secs());
                return Err(io::Error::new(io::ErrorKind::TimedOut, why));
            }
            std::thread::sleep(LOOK);
        }
        let door = rustix::fs::openat(&self.directory, &*self.name, OFlags::PATH | OFlags::CLOEXEC, Mode::empty())?;
        rustix::fs::unlinkat(&self.directory, &*self.name, AtFlags::empty())?;
        Ok(door)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // A model that never listened, or one that was given up, may have left its name.
        let _ = rustix::fs::unlinkat(&self.directory, &*self.name, AtFlags::empty());
    }
}

/// Whether the kernel's list has a listening socket of this name: `Num RefCount Protocol Flags Type St Inode Path`.
fn is_listening(list: &str, name: &str) -> bool {
    list.lines().any(|line| {
        let words: Vec<&str> = line.split_ascii_whitespace().collect();
        let flags = words.get(3).and_then(|flags| u32::from_str_radix(flags, 16).ok()).unwrap_or(0);
        flags & LISTENING != 0 && words.get(7).is_some_and(|path| path.rsplit('/').next() == Some(name))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::process::Command;

    #[test]
    fn the_kernels_list_tells_who_listens() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
                    0000: 00000002 00000000 00010000 0001 01 21 /run/.model-1-0.socket\n\
                    0000: 00000002 00000000 00000000 0001 01 22 /run/.model-1-1.socket\n";
        assert!(is_listening(list, ".model-1-0.socket"));
        assert!(!is_listening(list, ".model-1-1.socket") && !is_listening(list, "model-1-0.socket"));
    }

    #[test]
    fn a_model_that_ends_before_it_listens_is_told_with_its_status() {
        let folder = tempfile::tempdir().unwrap();
        let place = Place::new(folder.path()).unwrap();
        let mut process = Child::spawn(Command::new("/bin/false"), &[place.directory()], rustix::process::Signal::KILL).unwrap();
        assert_eq!(
            place.door(&mut process).unwrap_err().to_string(),
            "it ended with exit status 1 before it listened at its socket"
        );
    }
}
