//! A server in a thread, for tests that come in through the socket.

#![allow(dead_code, reason = "each test program uses its own part")]

pub(crate) mod qtest;
pub(crate) mod raw;

use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::thread::JoinHandle;

use device_model::device::Device;
use device_model::pci::Function;
use device_model::serve::{SocketFile, listen, vfio_user};

/// A device on a vfio-user socket, served until this is dropped.
pub(crate) struct Served {
    pub(crate) socket: PathBuf,
    folder: tempfile::TempDir,
    stop: Option<UnixStream>,
    thread: Option<JoinHandle<()>>,
    _file: SocketFile,
}

/// Serve a device.
pub(crate) fn serve(device: impl Device + 'static) -> Served {
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("device");
    let (listener, file) = listen(&socket).unwrap();
    let (stop, stopped) = UnixStream::pair().unwrap();
    let thread = std::thread::spawn(move || {
        let mut server = vfio_user::Server::new();
        server.add("tested", listener, Function::new(Box::new(device)).unwrap()).unwrap();
        server.run(stopped.as_fd()).unwrap();
    });
    Served { socket, folder, stop: Some(stop), thread: Some(thread), _file: file }
}

impl Served {
    /// A folder that goes with the test.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.stop.take());
        let ended = self.thread.take().map(JoinHandle::join);
        if !std::thread::panicking() {
            ended.unwrap().expect("the server panicked");
        }
    }
}
