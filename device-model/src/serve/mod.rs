//! A device on a socket. Each transport is a module of its own; what belongs to one transport alone stays in it.

use std::io::Write;
use std::path::Path;

pub mod invitation;
mod listener;
mod program;
pub(crate) mod socket;

pub mod vfio_user;
pub mod vhost_user;

pub use self::listener::{ListenError, SocketFile, inherited, listen};
pub use self::program::{device, virtio};

/// Tell whoever started this process that a virtual machine can connect now, and how.
pub fn announce(socket: &Path, invitation: &str) -> std::io::Result<()> {
    let mut lines = format!("ready {}\n", socket.display());
    if !invitation.is_empty() {
        lines.push_str(invitation);
        lines.push('\n');
    }
    // In one piece: whoever reads the first line only may close the pipe behind it.
    let mut output = std::io::stdout().lock();
    output.write_all(lines.as_bytes())?;
    output.flush()
}
