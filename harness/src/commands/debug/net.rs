//! KDNET: a Windows that calls its debugger over a network card.
//!
//! The image knows nothing of it. It is started once, on a layer of its own, to be told whom to call; it takes that to heart when it is
//! turned on the next time, on the same layer. The layer goes with the command.

use std::fs::File;
use std::io::Read as _;
use std::net::{Ipv4Addr, SocketAddrV4};
use std::path::Path;
use std::time::Duration;

use super::{Arguments, WINDOWS_BOOT, conclude};
use crate::console::say;
use crate::error::{AtPath as _, Exit, Outcome, Problem};
use crate::interrupt::Interrupt;
use crate::report::folder::BootFolder;
use crate::run::boot::Rig;
use crate::run::session::{Cause, Session};
use crate::symbols::Symbols;
use crate::windows::cable::{HOST, PLACE};
use crate::windows::pc::{Layer, Pc, Writes};

/// The port that debuggers listen at if nobody says otherwise, and the lowest that Windows takes.
const PORT: u16 = 50_000;
const LOWEST_PORT: u16 = 49_152;
/// Longest time of a setting.
const SETTING: Duration = Duration::from_secs(60);
/// Where the system has random bytes.
const RANDOM: &str = "/dev/urandom";

/// Whom the guest calls, and how both know each other.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Call {
    debugger: SocketAddrV4,
    key: String,
}

impl Call {
    /// As the arguments have it, with a new key.
    pub(super) fn of(arguments: &Arguments) -> Outcome<Self> {
        let port = if arguments.port == 0 { PORT } else { arguments.port };
        if port < LOWEST_PORT {
            return Err(Problem::usage(format!("Windows calls no debugger at port {port}"))
                .because(format!("KDNET takes ports from {LOWEST_PORT} on"))
                .so(format!("leave out --port, for {PORT}, or name a higher one")));
        }
        let mut parts = [0; 32];
        File::open(RANDOM).and_then(|mut file| file.read_exact(&mut parts)).at("read", Path::new(RANDOM))?;
        let debugger = SocketAddrV4::new(arguments.debugger.unwrap_or(Ipv4Addr::LOCALHOST), port);
        Ok(Self { debugger, key: key(parts) })
    }

    /// What Windows is told, once.
    fn commands(&self) -> [String; 3] {
        [
            format!("bcdedit.exe /dbgsettings net hostip:{HOST} port:{} key:{}", self.debugger.port(), self.key),
            format!("bcdedit.exe /set {{dbgsettings}} busparams {PLACE}"),
            "bcdedit.exe /debug on".to_owned(),
        ]
    }

    /// The exact commands for debuggers that speak KDNET.
    pub(super) fn tell(&self, is_held: bool, symbols: &[String]) {
        let (port, key) = (self.debugger.port(), &self.key);
        let state = if is_held { "loads no driver before a debugger has answered" } else { "calls until a debugger answers" };
        say(format!("[rig] the guest {state} at {}, by UDP; its network leads nowhere else", self.debugger));
        say(format!("[rig] WinDbg:  windbg -k net:port={port},key={key} -y \"{}\"", symbols.join(";")));
        let folders: String = symbols.iter().map(|folder| format!(" --sympath-append \"{folder}\"")).collect();
        let patience = WINDOWS_BOOT.as_secs();
        say(format!(
            "[rig] ntoseye: ntoseye --backend kdnet --connect {} --kdnet-key {key} --kd-handshake-timeout {patience}{folders}",
            self.debugger
        ));
        say("[rig] start one of them there, now or later; add -b to WinDbg's to break in at once");
    }
}

/// A key of four numbers to the base of 36, as Windows writes them.
fn key(bytes: [u8; 32]) -> String {
    let part = |bytes: &[u8]| {
        let mut number = bytes.iter().fold(0, |number, byte| number << 8 | u64::from(*byte));
        let mut digits = Vec::new();
        loop {
            digits.push(char::from_digit((number % 36) as u32, 36).unwrap_or('0'));
            number /= 36;
            if number == 0 {
                return digits.iter().rev().collect::<String>();
            }
        }
    };
    bytes.chunks(8).map(part).collect::<Vec<_>>().join(".")
}

/// Tells the Windows of `rig` whom to call, and makes `rig` the machine that does. Its layer must stay as long as that machine.
pub(super) fn settle(call: &Call, rig: &mut Rig, folder: &BootFolder, interrupt: &Interrupt) -> Outcome<Result<Layer, Exit>> {
    let Some(windows) = &mut rig.windows else { return Err(Problem::failed("KDNET without a Windows")) };
    let layered = windows.pc.layered(&folder.path);
    let (pc, layer) = layered.at("put a layer over the image, in", &folder.path)?;
    windows.pc = Pc { writes: Writes::Kept, ..pc };
    say("[rig] Windows starts to be told whom to call, and once more to do it");
    let told = tell_windows(call, rig, folder, interrupt)?;
    if let Some(windows) = &mut rig.windows {
        windows.pc = Pc { writes: Writes::Forgotten, debugger: Some(call.debugger), ..windows.pc.clone() };
    }
    Ok(told.map(|()| layer))
}

fn tell_windows(call: &Call, rig: &Rig, folder: &BootFolder, interrupt: &Interrupt) -> Outcome<Result<(), Exit>> {
    let boot = super::start(rig, folder, interrupt)?;
    let symbols = Symbols::new(Vec::new());
    let mut session = Session::new(boot, &symbols);
    let told = (|| -> Result<(), Cause> {
        session.wait_until_up(WINDOWS_BOOT)?;
        session.meet_agent("the agent", SETTING)?;
        for command in call.commands() {
            session.command(&command, SETTING, &[0])?;
        }
        // A new start would not do: Windows reads these settings when the machine is turned on.
        session.shut_down()
    })();
    Ok(told.map_err(|cause| conclude(&mut session, Err(cause), &folder.path, rig)))
}

/// Waits until the debugger has answered, with the guest up and nothing loaded.
pub(super) fn hold(session: &mut Session<'_>) -> Result<(), Cause> {
    while !session.boot().debugger_has_answered() {
        session.idle(std::time::Instant::now() + super::PULSE)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    fn call(words: &[&str]) -> Outcome<Call> {
        let words = ["rig", "debug", "--rig", "windows", "--image", "w", "--kd", "net"].iter().chain(words);
        let Ok(crate::commands::Command::Debug(arguments)) = crate::commands::Command::try_parse_from(words) else { panic!() };
        Call::of(&arguments)
    }

    #[test]
    fn windows_is_told_the_ports_and_keys_that_the_debugger_is_told() {
        let call = Call { key: "1.2.3.4".to_owned(), ..call(&["--port", "50001", "--debugger", "192.168.7.7"]).unwrap() };
        assert_eq!(call.debugger, "192.168.7.7:50001".parse().unwrap());
        assert_eq!(
            call.commands(),
            [
                "bcdedit.exe /dbgsettings net hostip:10.0.2.2 port:50001 key:1.2.3.4",
                "bcdedit.exe /set {dbgsettings} busparams 0.28.0",
                "bcdedit.exe /debug on",
            ]
        );
    }

    #[test]
    fn every_call_has_a_key_of_its_own() {
        let [first, second] = [(); 2].map(|()| call(&[]).unwrap());
        assert_eq!(first.debugger, "127.0.0.1:50000".parse().unwrap());
        assert_ne!(first.key, second.key);
        let parts: Vec<&str> = first.key.split('.').collect();
        assert!(parts.len() == 4 && parts.iter().all(|part| u64::from_str_radix(part, 36).is_ok()), "{}", first.key);
        let mut bytes = [0; 32];
        (bytes[7], bytes[15], bytes[31]) = (35, 36, 7);
        bytes[16..24].fill(0xff);
        assert_eq!(key(bytes), "z.10.3w5e11264sgsf.7");
    }

    #[test]
    fn a_port_that_windows_does_not_take_is_named() {
        let problem = call(&["--port", "443"]).unwrap_err();
        assert!(problem.exit() == Exit::Usage && problem.why().contains("49152"), "{problem}");
    }
}
