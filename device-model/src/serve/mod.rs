//! A device on a socket. Each transport is a module of its own; what belongs to one transport alone stays in it.

use std::io::Write;
use std::os::fd::AsFd;
use std::path::Path;

use crate::device::Device;
use crate::pci::Function;
use crate::{process, sandbox};

pub mod invitation;
mod listener;
mod socket;

pub mod vfio_user;
pub mod vhost_user;

pub use self::listener::{ListenError, SocketFile, inherited, listen};

/// Serve one device on a vfio-user socket, in the sandbox, until SIGTERM or SIGINT; `ready SOCKET` is printed when a virtual machine can
/// connect. All that the `main` of a device of one's own needs.
pub fn on_vfio_user(socket: &Path, device: impl Device + 'static) -> Result<(), Box<dyn std::error::Error>> {
    let stop = process::stop_signals()?;
    process::survive_shortened_memory()?;
    let mut server = vfio_user::Server::new();
    let (listener, file) = listen(socket)?;
    server.add("device", listener, Function::new(Box::new(device))?)?;
    sandbox::enter(Some(file.path()))?;
    announce(socket, &invitation::to_vfio_user(socket))?;
    Ok(server.run(stop.as_fd())?)
}

/// Tell whoever started this process that a virtual machine can connect now, and how.
pub fn announce(socket: &Path, invitation: &str) -> std::io::Result<()> {
    let mut output = std::io::stdout().lock();
    writeln!(output, "ready {}", socket.display())?;
    if !invitation.is_empty() {
        writeln!(output, "{invitation}")?;
    }
    output.flush()
}
