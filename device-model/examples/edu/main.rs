//! A device of one's own: QEMU's educational device on a vfio-user socket. `docs/your-device.md` goes through it.
//!
//! `cargo run -p device-model --example edu -- SOCKET`

mod device;

use std::process::ExitCode;

fn main() -> ExitCode {
    device_model::serve::device(device::Edu::default())
}
