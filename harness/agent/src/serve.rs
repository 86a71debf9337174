//! Order after order.

use alloc::string::String;
use core::time::Duration;

use channel::{AGENT_VERSION, FromAgent, ToAgent};
use suites::nt::{NTSTATUS, system_name};

use crate::command::{self, Held};
use crate::file::{self, File};
use crate::kernel32::{self, Refused};
use crate::port::Port;
use crate::{device, text};

/// How often a step's word tries to get the port before it gives up: an installation does not stop because nobody listens.
const TRIES: u32 = 25;
/// What turns the machine off, now and without questions.
const SHUT_DOWN: &str = "shutdown.exe /s /t 0 /f";
/// Longest time of that command.
const PATIENCE: Duration = Duration::from_secs(20);

/// The program.
pub(crate) fn main() -> NTSTATUS {
    file::ask_nobody();
    let line = command_line();
    let result = match text::step_of(&line) {
        Some(name) => Port::wait_for(Some(TRIES)).and_then(|mut port| port.send(&FromAgent::Step { name })),
        None => serve(),
    };
    result.err().unwrap_or(NTSTATUS::SUCCESS)
}

/// How the program was started.
fn command_line() -> String {
    // SAFETY: the text belongs to the process, ends with a zero and stays.
    let units = unsafe {
        let start = kernel32::GetCommandLineW();
        let length = (0..).take_while(|at| *start.add(*at) != 0).count();
        core::slice::from_raw_parts(start, length)
    };
    String::from_utf16_lossy(units)
}

/// What the harness wants, free of the line it came in on.
enum Order {
    Greet,
    Find(String),
    Run(String, Duration),
    AddDevice(String, String),
    Lend(String),
    Size(String),
    Read(String, u64, u32),
    ShutDown,
}

impl From<ToAgent<'_>> for Order {
    fn from(order: ToAgent<'_>) -> Self {
        match order {
            ToAgent::Hello { .. } => Self::Greet,
            ToAgent::Find { name } => Self::Find(name.into()),
            ToAgent::Run { command, patience_ms } => Self::Run(command.into(), Duration::from_millis(patience_ms.into())),
            ToAgent::AddDevice { hardware_id, inf } => Self::AddDevice(hardware_id.into(), inf.into()),
            ToAgent::Lend { program } => Self::Lend(program.into()),
            ToAgent::Size { path } => Self::Size(path.into()),
            ToAgent::Read { path, offset, length } => Self::Read(path.into(), offset, length),
            ToAgent::ShutDown => Self::ShutDown,
        }
    }
}

/// Serves until the machine goes off.
fn serve() -> Result<(), NTSTATUS> {
    let mut port = Port::wait_for(None)?;
    port.send(&FromAgent::Up)?;
    // After the suite has had the port, what is repeated until somebody speaks is the suite's end.
    let mut idle = FromAgent::Up;
    loop {
        match port.receive(&idle, |order| Order::from(order))? {
            Order::Greet => port.send(&FromAgent::Hello { version: AGENT_VERSION, system: &system_name() })?,
            Order::Find(name) => match file::find(&name) {
                Ok(root) => port.send(&FromAgent::Found { root: &root })?,
                Err(refused) => fail(&mut port, refused)?,
            },
            Order::Run(command, patience) => run(&mut port, &command, patience)?,
            Order::AddDevice(hardware_id, inf) => match device::add(&hardware_id, &inf) {
                Ok(()) => port.send(&FromAgent::Ended { code: 0 })?,
                Err(refused) => fail(&mut port, refused)?,
            },
            Order::Lend(program) => (port, idle) = lend(port, idle, &program)?,
            Order::Size(path) => match File::open(&path).and_then(|file| file.size()) {
                Ok(bytes) => port.send(&FromAgent::Size { bytes })?,
                Err(refused) => fail(&mut port, refused)?,
            },
            Order::Read(path, offset, length) => read(&mut port, &path, offset, length)?,
            Order::ShutDown => {
                port.send(&FromAgent::Goodbye)?;
                if let Err(refused) = command::run(SHUT_DOWN, PATIENCE, |_| ()) {
                    fail(&mut port, refused)?;
                }
            }
        }
    }
}

fn fail(port: &mut Port, refused: Refused) -> Result<(), NTSTATUS> {
    port.send(&FromAgent::Failed { what: refused.what, code: refused.code })
}

fn run(port: &mut Port, command: &str, patience: Duration) -> Result<(), NTSTATUS> {
    let mut sent = Ok(());
    let ended = command::run(command, patience, |line| {
        if sent.is_ok() {
            sent = port.send(&FromAgent::Output { line });
        }
    });
    sent?;
    match ended {
        Ok(code) => port.send(&FromAgent::Ended { code }),
        Err(refused) => fail(port, refused),
    }
}

/// Gives the port to a program, and takes it again when the program has ended. Also returns what is to be repeated until somebody speaks.
fn lend(mut port: Port, idle: FromAgent<'static>, program: &str) -> Result<(Port, FromAgent<'static>), NTSTATUS> {
    let command = alloc::format!("\"{program}\"");
    match Held::start(&command, None) {
        Err(refused) => {
            fail(&mut port, refused)?;
            Ok((port, idle))
        }
        Ok(held) => {
            port.send(&FromAgent::Lends)?;
            drop(port);
            let ended = FromAgent::Ended { code: held.release().wait() };
            let mut port = Port::wait_for(None)?;
            port.send(&ended)?;
            Ok((port, ended))
        }
    }
}

fn read(port: &mut Port, path: &str, offset: u64, length: u32) -> Result<(), NTSTATUS> {
    let given = File::open(path)
        .and_then(|file| file.pieces(offset, length, |offset, bytes| port.send(&FromAgent::Piece { offset, bytes })));
    match given {
        Ok(sent) => {
            sent?;
            port.send(&FromAgent::Sent)
        }
        Err(refused) => fail(port, refused),
    }
}
