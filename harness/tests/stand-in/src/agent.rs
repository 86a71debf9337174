//! The agent's part: the same words as `agent.exe` says, about files that are really there and commands that are only written down.

use alloc::string::String;

use channel::{AGENT_VERSION, FromAgent, MAX_PIECE, ToAgent, Word};
use uefi_raw::Status;

use crate::behaviour::Behaviour;
use crate::firmware::Firmware;
use crate::kernel::{self, Before};
use crate::line::{self, Ear};
use crate::system::System;
use crate::{net, setup, suite, words};

/// `ERROR_FILE_NOT_FOUND`.
const NOT_FOUND: u32 = 2;

/// From the disk: the rest of the installation, or the agent.
pub(crate) fn main(firmware: &Firmware) -> Status {
    let behaviour = Behaviour::of(firmware.own());
    firmware.take_serial_lines();
    setup::go_on(firmware, &behaviour);
    net::call(firmware);
    let first = match kernel::look_back(firmware) {
        Before::Ended => FromAgent::Ended { code: 0 },
        Before::Other => FromAgent::Up,
    };
    Agent { firmware, behaviour, system: System::of(firmware) }.serve(&first)
}

/// What an order leaves to be done when its words are gone.
enum Then {
    Nothing,
    Suite(String),
    ShutDown,
}

struct Agent<'a> {
    firmware: &'a Firmware,
    behaviour: Behaviour,
    system: System<'a>,
}

impl Agent<'_> {
    fn serve(&mut self, first: &FromAgent<'_>) -> ! {
        let mut ear = Ear::open();
        line::agent(first);
        loop {
            let then = ear.hear(|word| match word {
                Word::Agent(order) => self.obey(order),
                Word::Suite(_) => Then::Nothing,
            });
            match then {
                Then::Nothing => {}
                Then::Suite(program) => {
                    let code = self.lend(&program, &mut ear);
                    line::agent(&FromAgent::Ended { code });
                }
                Then::ShutDown => self.firmware.shut_down(),
            }
        }
    }

    /// Runs the program: in ntlet if the machine has the hardware that the real suites are about, else as it is played here.
    fn lend(&self, program: &str, ear: &mut Ear) -> u32 {
        if !kernel::is_wanted(self.firmware) {
            return suite::serve(self.firmware, ear);
        }
        let archive = self.system.archive(program).unwrap_or_default();
        let (_, name) = words::split(program);
        kernel::run(self.firmware, &archive, &kernel::words(name, self.system.verifier(), setup::is_debugged(self.firmware)))
    }

    fn obey(&mut self, order: ToAgent<'_>) -> Then {
        let say = |message: FromAgent<'_>| line::agent(&message);
        let missing = FromAgent::Failed { what: "CreateFile", code: NOT_FOUND };
        match order {
            ToAgent::Hello { .. } if self.behaviour.is("silent-agent") => {}
            ToAgent::Hello { .. } => say(FromAgent::Hello { version: AGENT_VERSION, system: "a stand-in for Windows" }),
            ToAgent::Find { name } => match self.system.drive_with(name) {
                Some(root) => say(FromAgent::Found { root: &root }),
                None => say(missing),
            },
            ToAgent::Run { command, .. } => {
                let (said, code) = self.system.run(command);
                say(FromAgent::Output { line: said });
                say(FromAgent::Ended { code });
            }
            ToAgent::AddDevice { inf, .. } => match self.system.install(inf) {
                Ok(_) => say(FromAgent::Ended { code: 0 }),
                Err((what, code)) => say(FromAgent::Failed { what, code }),
            },
            ToAgent::Lend { program } if self.system.file(program).is_some_and(|file| file.starts_with(b"MZ")) => {
                say(FromAgent::Lends);
                return Then::Suite(program.into());
            }
            ToAgent::Size { path } => match self.system.file(path) {
                Some(file) => say(FromAgent::Size { bytes: file.len() as u64 }),
                None => say(missing),
            },
            ToAgent::Read { path, offset, length } => match self.system.file(path) {
                Some(file) => {
                    let start = usize::try_from(offset).unwrap_or(usize::MAX).min(file.len());
                    let end = start.saturating_add(length as usize).min(file.len());
                    let mut at = start;
                    for piece in file[start..end].chunks(MAX_PIECE) {
                        say(FromAgent::Piece { offset: at as u64, bytes: piece });
                        at += piece.len();
                    }
                    say(FromAgent::Sent);
                }
                None => say(missing),
            },
            ToAgent::Lend { .. } => say(missing),
            ToAgent::ShutDown => {
                say(FromAgent::Goodbye);
                return Then::ShutDown;
            }
        }
        Then::Nothing
    }
}
