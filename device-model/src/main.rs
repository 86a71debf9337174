//! The `device-model` program: one device on one socket. Exit status 0 after a clean stop, 2 for a wrong command line, 3 when the
//! environment does not let it serve.

use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::process::ExitCode;

use clap::Parser;
use device_model::cli::{Arguments, Configuration, DeviceKind, Task, Transport};
use device_model::device::Device;
use device_model::fault::{Faulty, FaultyVirtio, Plan};
use device_model::pci::Function;
use device_model::process;
use device_model::relay::RelayDevice;
use device_model::sandbox;
use device_model::serve::{SocketFile, announce, inherited, invitation, listen, vfio_user, vhost_user};
use device_model::virtio::pci::VirtioPci;

const BAD_USAGE: u8 = 2;
const BAD_ENVIRONMENT: u8 = 3;

fn main() -> ExitCode {
    // clap itself ends the process with status 2.
    let configuration = match Task::try_from(Arguments::parse()) {
        Ok(Task::Serve(configuration)) => configuration,
        Ok(Task::Nothing) => return ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device-model: {error}");
            return ExitCode::from(BAD_USAGE);
        }
    };
    let colours = std::io::stderr().is_terminal();
    tracing_subscriber::fmt().with_max_level(configuration.log).with_ansi(colours).with_writer(std::io::stderr).init();
    match serve(&configuration) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("device-model: {error}");
            ExitCode::from(BAD_ENVIRONMENT)
        }
    }
}

fn serve(configuration: &Configuration) -> Result<(), Box<dyn std::error::Error>> {
    let stop = process::stop_signals()?;
    process::survive_shortened_memory()?;
    if let Some(expected) = configuration.die_with_parent {
        process::die_with_parent(expected)?;
    }
    let (listener, socket_file) = match configuration.listen_fd {
        Some(fd) => (inherited(fd)?, None),
        None => listen(&configuration.socket).map(|(listener, file)| (listener, Some(file)))?,
    };
    let begin = || -> Result<(), Box<dyn std::error::Error>> {
        if configuration.sandbox {
            sandbox::enter(socket_file.as_ref().map(SocketFile::path))?;
        }
        Ok(announce(&configuration.socket, &invitation_to(configuration))?)
    };
    match (configuration.transport, configuration.device) {
        (Transport::VfioUser, DeviceKind::Relay) => {
            let mut server = vfio_user::Server::new();
            server.add("relay", listener, Function::new(relay(&configuration.faults)?)?)?;
            begin()?;
            server.run(stop.as_fd())?;
        }
        (Transport::VhostUser, DeviceKind::Relay) => {
            begin()?;
            let plan = &configuration.faults;
            if plan.faults.is_empty() {
                vhost_user::serve(&listener, RelayDevice::new, stop.as_fd())?;
            } else {
                vhost_user::serve(&listener, || FaultyVirtio::new(RelayDevice::new(), plan), stop.as_fd())?;
            }
        }
    }
    tracing::info!("stopped");
    Ok(())
}

/// The relay hardware on PCI, with the faults of the plan if it has any.
fn relay(plan: &Plan) -> std::io::Result<Box<dyn Device>> {
    let device = RelayDevice::with_status_page()?;
    if plan.faults.is_empty() {
        return Ok(Box::new(VirtioPci::new(device)));
    }
    Ok(Box::new(Faulty::new(VirtioPci::new(FaultyVirtio::new(device, plan)), plan)))
}

/// How to connect. Whoever hands down a socket that listens already knows better.
fn invitation_to(configuration: &Configuration) -> String {
    match (configuration.listen_fd, configuration.transport) {
        (Some(_), _) => String::new(),
        (None, Transport::VfioUser) => invitation::to_vfio_user(&configuration.socket),
        (None, Transport::VhostUser) => invitation::to_vhost_user(&configuration.socket, &RelayDevice::new()),
    }
}
