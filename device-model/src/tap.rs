//! `device-model tap`: one client, one server, and a trace of what they say to each other. Status 0 when the client has gone or the tap was
//! told to stop, 3 when the server went first.

use std::fs::File;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

use device_model::cli::Tap as Arguments;
use device_model::serve::{announce, invitation, listen};
use device_model::trace::tap::{Ended, GuestMemory, Tap};
use device_model::{process, sandbox};

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

pub(crate) fn perform(arguments: &Arguments) -> Outcome<ExitCode> {
    let stop = process::stop_signals()?;
    let server = UnixStream::connect(&arguments.connect)
        .map_err(|error| format!("--connect {}: {error}: start the server first", arguments.connect.display()))?;
    let out = File::create(&arguments.record).map_err(|error| format!("--record {}: {error}", arguments.record.display()))?;
    let (listener, socket) = listen(&arguments.listen)?;
    if !arguments.no_sandbox {
        sandbox::enter(Some(socket.path()))?;
    }
    announce(socket.path(), &invitation::to_vfio_user(socket.path()))?;
    let Some(client) = accept(&listener, &stop)? else { return Ok(ExitCode::SUCCESS) };
    // One connection, one trace: nobody else is let in.
    drop((listener, socket));
    tracing::info!("a client has connected");
    let memory = if arguments.pass_memory { GuestMemory::Passed } else { GuestMemory::Withheld };
    let tap = Tap::new(client, server, out, &arguments.name, arguments.note.clone(), memory);
    match tap.run(stop.as_fd())? {
        Ended::ServerGone => Err("the server has gone while its client was there; the trace has all up to then".into()),
        Ended::ClientGone => {
            tracing::info!("the client has gone: the trace is whole");
            Ok(ExitCode::SUCCESS)
        }
        Ended::Stopped => Ok(ExitCode::SUCCESS),
    }
}

/// The client, unless the tap is told to stop first.
fn accept(listener: &UnixListener, stop: &impl AsFd) -> std::io::Result<Option<UnixStream>> {
    listener.set_nonblocking(true)?;
    loop {
        let entry = |fd: i32| libc::pollfd { fd, events: libc::POLLIN, revents: 0 };
        let mut polled = [entry(stop.as_fd().as_raw_fd()), entry(listener.as_raw_fd())];
        // SAFETY: two valid entries, and no time-out.
        unsafe { libc::poll(polled.as_mut_ptr(), 2, -1) };
        if polled[0].revents != 0 {
            return Ok(None);
        }
        match listener.accept() {
            Ok((client, _)) => return Ok(Some(client)),
            Err(error) if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::Interrupted) => {}
            Err(error) => return Err(error),
        }
    }
}
