//! A listening Unix socket whose file goes away with it.

use std::io;
use std::os::fd::FromRawFd;
use std::os::unix::fs::{FileTypeExt, MetadataExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// Why there is no socket to listen on.
#[derive(Debug, thiserror::Error)]
pub enum ListenError {
    /// Another process serves there.
    #[error("{0}: another process listens on this socket; stop it, or choose another path")]
    InUse(PathBuf),
    /// There is a file, and it is no socket.
    #[error("{0}: a file that is no socket is in the way; choose another path")]
    NoSocket(PathBuf),
    /// An inherited descriptor that is none, or no socket that listens.
    #[error("descriptor {0}: no Unix socket that listens was inherited under this number")]
    NotListening(i32),
    /// The operating system refused.
    #[error(
        "{path}: cannot listen: {error}; check that the folder exists and can be written, and that the path is shorter than 108 bytes"
    )]
    System {
        /// Path of the socket.
        path: PathBuf,
        /// What the operating system said.
        error: io::Error,
    },
}

/// Removes a socket's file when it is dropped, unless another has taken its place.
pub struct SocketFile {
    path: PathBuf,
    inode: (u64, u64),
}

impl SocketFile {
    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        if std::fs::symlink_metadata(&self.path).is_ok_and(|found| (found.dev(), found.ino()) == self.inode) {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

/// Listen at `path`. A socket file that a dead process left behind is replaced.
pub fn listen(path: &Path) -> Result<(UnixListener, SocketFile), ListenError> {
    let system = |error| ListenError::System { path: path.to_owned(), error };
    match std::fs::symlink_metadata(path) {
        Ok(found) if !found.file_type().is_socket() => return Err(ListenError::NoSocket(path.to_owned())),
        Ok(_) if UnixStream::connect(path).is_ok() => return Err(ListenError::InUse(path.to_owned())),
        Ok(_) => std::fs::remove_file(path).map_err(system)?,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(system(error)),
    }
    let listener = UnixListener::bind(path).map_err(system)?;
    let found = std::fs::symlink_metadata(path).map_err(system)?;
    Ok((listener, SocketFile { path: path.to_owned(), inode: (found.dev(), found.ino()) }))
}

/// Listen on the descriptor `fd`, which this process inherited: a Unix socket that listens already.
pub fn inherited(fd: i32) -> Result<UnixListener, ListenError> {
    let option = |name| {
        let mut value: libc::c_int = 0;
        let mut length = size_of::<libc::c_int>() as libc::socklen_t;
        // SAFETY: value and length are valid for writes; a descriptor that is none is refused by the kernel.
        let got = unsafe { libc::getsockopt(fd, libc::SOL_SOCKET, name, (&raw mut value).cast(), &mut length) };
        (got == 0).then_some(value)
    };
    if option(libc::SO_DOMAIN) != Some(libc::AF_UNIX) || option(libc::SO_ACCEPTCONN) != Some(1) {
        return Err(ListenError::NotListening(fd));
    }
    // SAFETY: the descriptor is open, as the kernel has just said, and was handed to this process to keep.
    Ok(unsafe { UnixListener::from_raw_fd(fd) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_socket_file_goes_with_its_owner() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");

        let listening = listen(&path).unwrap();
        assert!(path.exists());
        drop(listening);

        assert!(!path.exists());
    }

    #[test]
    fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        drop(UnixListener::bind(&path).unwrap());

        let _listening = listen(&path).expect("nobody listens on the old one");

        assert!(matches!(listen(&path), Err(ListenError::InUse(_))));
        assert!(path.exists());
    }

    #[test]
    fn a_file_in_the_way_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("precious");
        std::fs::write(&path, "data").unwrap();

        assert!(matches!(listen(&path), Err(ListenError::NoSocket(_))));
        assert_eq!(std::fs::read(&path).unwrap(), b"data");
    }

    #[test]
    fn only_a_unix_socket_that_listens_is_adopted() {
        use std::os::fd::IntoRawFd;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("socket");
        let listener = UnixListener::bind(&path).unwrap().into_raw_fd();
        let (connected, _other) = UnixStream::pair().unwrap();
        let connected = connected.into_raw_fd();

        let adopted = inherited(listener).unwrap();
        let _client = UnixStream::connect(&path).unwrap();
        adopted.accept().unwrap();

        assert!(matches!(inherited(connected), Err(ListenError::NotListening(_))));
        assert!(matches!(inherited(9999), Err(ListenError::NotListening(9999))));
    }
}
