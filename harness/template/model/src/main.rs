//! The gadget on a socket: what stands in for the hardware.

mod device;

use std::process::ExitCode;

fn main() -> ExitCode {
    device_model::serve::device(device::Gadget::default())
}
