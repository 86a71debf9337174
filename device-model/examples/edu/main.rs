//! A device of one's own: QEMU's educational device on a vfio-user socket. `docs/your-device.md` goes through it.
//!
//! `cargo run -p device-model --example edu -- SOCKET`

mod device;

use std::path::PathBuf;
use std::process::ExitCode;

use device_model::serve;

fn main() -> ExitCode {
    let Some(socket) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: edu SOCKET");
        return ExitCode::from(2);
    };
    match serve::on_vfio_user(&socket, device::Edu::new()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("edu: {error}");
            ExitCode::from(3)
        }
    }
}
