//! The agent's part: the same words as `agent.exe` says, about files that are really there and commands that are only written down.

use alloc::format;
use alloc::string::String;
use alloc::vec::Vec;

use channel::{AGENT_VERSION, FromAgent, MAX_PIECE, ToAgent, Word};
use uefi_raw::Status;

use crate::behaviour::Behaviour;
use crate::firmware::{Firmware, Volume};
use crate::line::{self, Ear};
use crate::{setup, suite};

/// `ERROR_FILE_NOT_FOUND`.
const NOT_FOUND: u32 = 2;

/// From the disk: the rest of the installation, or the agent.
pub(crate) fn main(firmware: &Firmware) -> Status {
    let behaviour = Behaviour::of(firmware.own());
    firmware.take_serial_lines();
    setup::go_on(firmware, &behaviour);
    Agent { firmware, behaviour, volumes: firmware.others() }.serve()
}

/// What an order leaves to be done when its words are gone.
enum Then {
    Nothing,
    Suite,
    ShutDown,
}

struct Agent<'a> {
    firmware: &'a Firmware,
    behaviour: Behaviour,
    /// Drives from D on; C is the own volume.
    volumes: Vec<Volume>,
}

impl Agent<'_> {
    fn serve(&self) -> ! {
        let mut ear = Ear::open();
        line::agent(&FromAgent::Up);
        loop {
            let then = ear.hear(|word| match word {
                Word::Agent(order) => self.obey(order),
                Word::Suite(_) => Then::Nothing,
            });
            match then {
                Then::Nothing => {}
                Then::Suite => {
                    let code = suite::serve(self.firmware, &mut ear);
                    line::agent(&FromAgent::Ended { code });
                }
                Then::ShutDown => self.firmware.shut_down(),
            }
        }
    }

    fn obey(&self, order: ToAgent<'_>) -> Then {
        let say = |message: FromAgent<'_>| line::agent(&message);
        let missing = FromAgent::Failed { what: "CreateFile", code: NOT_FOUND };
        match order {
            ToAgent::Hello { .. } if self.behaviour.is("silent-agent") => {}
            ToAgent::Hello { .. } => say(FromAgent::Hello { version: AGENT_VERSION, system: "a stand-in for Windows" }),
            ToAgent::Find { name } => match self.drive_with(name) {
                Some(root) => say(FromAgent::Found { root: &root }),
                None => say(missing),
            },
            ToAgent::Run { command, .. } => {
                let text: String = command.chars().take(900).collect();
                say(FromAgent::Output { line: &format!("a stand-in runs nothing: {text}") });
                let is_refused = self.behaviour.value("refuses").is_some_and(|word| command.starts_with(word));
                say(FromAgent::Ended { code: if is_refused { 5 } else { 0 } });
            }
            ToAgent::AddDevice { inf, .. } if self.file(inf).is_some() => say(FromAgent::Ended { code: 0 }),
            ToAgent::Lend { program } if self.file(program).is_some_and(|file| file.starts_with(b"MZ")) => {
                say(FromAgent::Lends);
                return Then::Suite;
            }
            ToAgent::Size { path } => match self.file(path) {
                Some(file) => say(FromAgent::Size { bytes: file.len() as u64 }),
                None => say(missing),
            },
            ToAgent::Read { path, offset, length } => match self.file(path) {
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
            ToAgent::AddDevice { .. } | ToAgent::Lend { .. } => say(missing),
            ToAgent::ShutDown => {
                say(FromAgent::Goodbye);
                return Then::ShutDown;
            }
        }
        Then::Nothing
    }

    fn drive_with(&self, name: &str) -> Option<String> {
        let drives = [self.firmware.own()].into_iter().chain(&self.volumes);
        let letter = drives.zip('C'..='Z').find(|(volume, _)| volume.read(name).is_some()).map(|(_, letter)| letter)?;
        Some(format!(r"{letter}:\"))
    }

    fn file(&self, path: &str) -> Option<Vec<u8>> {
        let (drive, name) = path.split_once(r":\")?;
        match u32::from(drive.chars().next()?).checked_sub(u32::from('C'))? {
            0 => self.firmware.own().read(name),
            number => self.volumes.get(number as usize - 1)?.read(name),
        }
    }
}
