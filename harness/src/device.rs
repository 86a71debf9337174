//! The device model: a process of its own, and the socket between it and QEMU.
//!
//! The socket's name exists for an instant only. The harness binds it, keeps a path-only descriptor, and removes the name; QEMU
//! connects through that descriptor, the model accepts on the listening one. So no other process can get in between, QEMU need
//! not wait for the model to be ready, and a kill leaves no socket behind.

use std::ffi::OsString;
use std::fs::File;
use std::io;
use std::os::fd::{AsFd as _, AsRawFd as _, BorrowedFd, OwnedFd};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use rustix::fs::{Mode, OFlags};
use rustix::process::Signal;

use crate::child::Child;

/// Name of the socket while it has one, in the run's folder.
const SOCKET: &str = ".model.socket";

/// How to start a device model.
#[derive(Clone, Debug)]
pub struct Model {
    /// The program.
    pub program: PathBuf,
    /// Its arguments; the one that names the socket is added.
    pub arguments: Vec<OsString>,
}

impl Model {
    /// The relay hardware, served by the project's own binary.
    #[must_use]
    pub fn relay(program: PathBuf) -> Self {
        let arguments = ["serve", "relay", "--transport", "vfio-user"].map(OsString::from).to_vec();
        Self { program, arguments }
    }
}

/// A running device model.
#[derive(Debug)]
pub struct Running {
    /// The process.
    pub process: Child,
    /// How it was started.
    pub command: Vec<String>,
    door: OwnedFd,
}

impl Running {
    /// Starts `model`, with a plan of faults if there is one; what it says is appended to `log`. `folder` must be writable.
    ///
    /// # Errors
    /// The system's.
    pub fn start(model: &Model, faults: Option<&Path>, folder: &Path, log: &File) -> io::Result<Self> {
        let (listener, door) = nameless_listener(folder)?;
        let mut command = Command::new(&model.program);
        command.args(&model.arguments).arg("--listen-fd").arg(listener.as_raw_fd().to_string());
        if let Some(plan) = faults {
            command.arg("--faults").arg(plan);
        }
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log.try_clone()?);
        let text = crate::qemu::as_text(&command);
        let process = Child::spawn(command, &[listener.as_fd()], Signal::KILL)?;
        Ok(Self { process, command: text, door })
    }

    /// What QEMU connects through.
    #[must_use]
    pub fn door(&self) -> BorrowedFd<'_> {
        self.door.as_fd()
    }
}

/// A listening socket, and a path-only descriptor of it, after its name has been removed.
fn nameless_listener(folder: &Path) -> io::Result<(UnixListener, OwnedFd)> {
    let directory = rustix::fs::open(folder, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    // A socket's address holds 108 bytes at most; through the descriptor, the folder's path may be as long as it likes.
    let address = PathBuf::from(format!("/proc/self/fd/{}/{SOCKET}", directory.as_raw_fd()));
    let listener = UnixListener::bind(&address)?;
    let door = rustix::fs::openat(&directory, SOCKET, OFlags::PATH | OFlags::CLOEXEC, Mode::empty());
    rustix::fs::unlinkat(&directory, SOCKET, rustix::fs::AtFlags::empty())?;
    Ok((listener, door?))
}

/// Removes a socket that a killed harness left in the instant in which it has a name.
pub fn sweep(folder: &Path) {
    let _ = std::fs::remove_file(folder.join(SOCKET));
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read as _, Write as _};
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_peer_connects_through_the_door_although_the_socket_has_no_name() {
        let folder = tempfile::tempdir().unwrap();
        let deep = folder.path().join("x".repeat(120));
        std::fs::create_dir(&deep).unwrap();
        let (listener, door) = nameless_listener(&deep).unwrap();
        assert_eq!(std::fs::read_dir(&deep).unwrap().count(), 0);
        let mut near = UnixStream::connect(format!("/proc/self/fd/{}", door.as_raw_fd())).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        near.write_all(b"x").unwrap();
        let mut byte = [0];
        far.read_exact(&mut byte).unwrap();
        assert_eq!(&byte, b"x");
    }
}
