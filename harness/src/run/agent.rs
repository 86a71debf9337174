//! What the harness says to the agent in an installed Windows: before the suite has the line, when the machine has started again after a
//! bug check, and at the end. Every order has a deadline of its own, and the boot's processes are watched meanwhile.

use std::fs::File;
use std::io::Write as _;
use std::path::Path;
use std::time::{Duration, Instant};

use channel::{AGENT_VERSION, ToAgent};
use kd::context::Context;
use kd::data::{DUMP_SIGNATURE, DumpHeader};
use kd::zerocopy::FromBytes as _;
use serde_json::json;

use super::boot::Event;
use super::link::{AgentSaid, Needs, Said};
use super::session::{Cause, Session};
use crate::bugcheck::{BugCheck, Registers, name_of};
use crate::windows::scratch;

/// Where Windows leaves a crash dump.
pub const DUMP: &str = r"C:\Windows\MEMORY.DMP";
/// Longest time from an order to a short answer.
const ANSWER: Duration = Duration::from_secs(30);
/// Longest time of a command that installs something. `pnputil` may wait for a desktop that is not there.
const INSTALL: Duration = Duration::from_secs(300);
/// Longest time of a copy from disk to disk.
const COPY: Duration = Duration::from_secs(600);
/// Name of the dump's copy.
const LEFT: &str = "MEMORY.DMP";
/// Longest time from the suite's goodbye to the agent's word that its program has ended.
const PROGRAM_END: Duration = Duration::from_secs(120);
/// Longest time for everything about the way down.
const SHUTDOWN: Duration = Duration::from_secs(300);
/// Pause between two hellos, until one is answered.
const HELLO_AGAIN: Duration = Duration::from_millis(500);
/// How much of a file is asked for at once, and how often for the same part before it is given up.
const PART: u32 = 1 << 20;
const TRIES: u32 = 3;
/// Most bytes of a dump that are fetched.
const LARGEST_DUMP: u64 = 64 << 30;
/// Most lines of a command's output that are kept.
const MOST_OUTPUT: usize = 200;
/// `pnputil`: done; nothing matches now; done, and a restart is wanted.
const DONE: [u32; 2] = [0, 259];
/// The bug check that a non-maskable interrupt becomes.
const NMI_HARDWARE_FAILURE: u32 = 0x80;

/// How an installed Windows is made ready for the suite.
#[derive(Clone, Debug, Default)]
pub struct Preparation {
    /// Certificates that it is to trust, by their names on the small disk.
    pub certificates: Vec<String>,
    /// Packages that are to be installed, by the names of their INFs.
    pub packages: Vec<String>,
    /// Devices that no bus finds: hardware id and INF.
    pub devices: Vec<(String, String)>,
    /// Services whose framework verifier is switched as the tests need it.
    pub services: Vec<String>,
    /// The suite's program.
    pub program: String,
    /// How long Windows may take to start again after a bug check, the dump included.
    pub restart_patience: Duration,
}

impl Preparation {
    /// The commands, in order, with `root` as the drive of the small disk. The framework reads its settings when a driver is loaded, and
    /// none is before the last of these.
    fn commands(&self, root: &str, needs: &Needs) -> Vec<String> {
        let store = |store: &str, certificate: &String| format!("certutil.exe -f -addstore {store} \"{root}{certificate}\"");
        let trust = self.certificates.iter().flat_map(|one| ["Root", "TrustedPublisher"].map(|name| store(name, one)));
        let set = |service: &String, name: &str, value: bool| {
            format!(
                r"reg.exe add HKLM\SYSTEM\CurrentControlSet\Services\{service}\Parameters\Wdf /v {name} /t REG_DWORD /d {} /f",
                u8::from(value)
            )
        };
        // Left alone, the framework breaks whenever a debugger is there, and the harness always is.
        let settings = [("VerifierOn", needs.verifier), ("DbgBreakOnError", needs.breaks)];
        let verify = self.services.iter().flat_map(|service| settings.map(|(name, value)| set(service, name, value)));
        let install = self.packages.iter().map(|inf| format!("pnputil.exe /add-driver \"{root}{inf}\" /install"));
        trust.chain(verify).chain(install).collect()
    }
}

/// How an installation goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A step begins.
    Step(String),
    /// The agent is there.
    Up,
    /// The guest starts again, or has turned the machine off.
    Gone,
}

/// What the session knows of an agent.
#[derive(Debug, Default)]
pub(super) struct Agent {
    /// The suite has the line.
    lent: bool,
    /// How long the machine may take to start again.
    restart: Duration,
    /// The machine has started again after a bug check, and its dump can be fetched.
    dump_waits: bool,
    /// The debugger has seen a bug check, whose dump comes when the machine starts again.
    dump_comes: bool,
    /// What was said, for the boot's folder.
    log: Option<File>,
}

impl Session<'_> {
    /// Makes an installed Windows ready, and gives the line to the suite.
    ///
    /// # Errors
    /// Why the boot ended, or what could not be done.
    pub fn enter(&mut self, preparation: &Preparation, needs: &Needs, patience: Duration) -> Result<String, Cause> {
        self.wait_until_up(patience)?;
        self.make_ready(preparation, needs)
    }

    /// The same for a Windows whose agent has said that it is there.
    ///
    /// # Errors
    /// Why the boot ended, or what could not be done.
    pub fn make_ready(&mut self, preparation: &Preparation, needs: &Needs) -> Result<String, Cause> {
        let system = self.meet_agent("the agent", ANSWER)?;
        let root = match self.order(&ToAgent::Find { name: &preparation.program }, ANSWER)? {
            AgentSaid::Found(root) => root,
            other => return Err(unable(&format!("no drive of the guest has {}", preparation.program), &other)),
        };
        for command in preparation.commands(&root, needs) {
            self.command(&command, INSTALL, &DONE)?;
        }
        for (hardware_id, inf) in &preparation.devices {
            let inf = format!("{root}{inf}");
            match self.order(&ToAgent::AddDevice { hardware_id, inf: &inf }, INSTALL)? {
                AgentSaid::Ended(0) => {}
                other => return Err(unable(&format!("device {hardware_id} cannot be made"), &other)),
            }
        }
        let program = format!("{root}{}", preparation.program);
        match self.order(&ToAgent::Lend { program: &program }, ANSWER)? {
            AgentSaid::Lends => {}
            other => return Err(unable(&format!("{program} cannot be started"), &other)),
        }
        (self.agent.lent, self.agent.restart) = (true, preparation.restart_patience);
        Ok(system)
    }

    /// Waits until the agent has spoken. Nothing may be said before: the firmware has a console on the line, and takes words for keys.
    ///
    /// # Errors
    /// Why the boot ended.
    pub fn wait_until_up(&mut self, patience: Duration) -> Result<(), Cause> {
        let deadline = self.boot().started() + patience;
        loop {
            match self.heard(deadline)? {
                Some(AgentSaid::Up) => return Ok(()),
                Some(_) => {}
                None => return Err(self.hang("Windows to start, and its agent", patience)),
            }
        }
    }

    /// Says hello until the agent answers, and returns what system it runs on.
    ///
    /// # Errors
    /// Why the boot ended.
    pub fn meet_agent(&mut self, waiting_for: &str, patience: Duration) -> Result<String, Cause> {
        let deadline = Instant::now() + patience;
        loop {
            if self.boot().is_sent() {
                self.tell_agent(&ToAgent::Hello { version: AGENT_VERSION })?;
            }
            match self.heard((Instant::now() + HELLO_AGAIN).min(deadline))? {
                Some(AgentSaid::Hello { version: AGENT_VERSION, system }) => return Ok(system),
                Some(AgentSaid::Hello { version, .. }) => {
                    return Err(Cause::Protocol(format!(
                        "the image's agent speaks version {version}, the harness {AGENT_VERSION}: build the image again"
                    )));
                }
                Some(_) => {}
                None if Instant::now() >= deadline => return Err(self.hang(waiting_for, patience)),
                None => {}
            }
        }
    }

    /// How an installation goes on; `None`: not until the deadline.
    ///
    /// # Errors
    /// Why the boot ended, if it is not the guest that starts again or turns the machine off.
    pub fn progress(&mut self, deadline: Instant) -> Result<Option<Progress>, Cause> {
        loop {
            match self.event(deadline) {
                Event::Said(Said::Agent(AgentSaid::Step(name))) => return Ok(Some(Progress::Step(name))),
                Event::Said(Said::Agent(AgentSaid::Up)) => return Ok(Some(Progress::Up)),
                Event::Said(_) => {}
                Event::QemuEnded(status) if status.success() => return Ok(Some(Progress::Gone)),
                Event::Deadline => return Ok(None),
                other => drop(self.judge(other)?),
            }
        }
    }

    /// Runs a command in the guest.
    ///
    /// # Errors
    /// Why the boot ended, or that the command's code is none of `good`, with what the command said.
    pub fn command(&mut self, command: &str, patience: Duration, good: &[u32]) -> Result<u32, Cause> {
        self.note(&format!("> {command}"));
        self.tell_agent(&ToAgent::Run { command, patience_ms: u32::try_from(patience.as_millis()).unwrap_or(u32::MAX) })?;
        // The agent ends a command that takes too long; the margin is for saying so.
        let (deadline, mut lines) = (Instant::now() + patience + ANSWER, Vec::new());
        loop {
            match self.heard(deadline)? {
                Some(AgentSaid::Output(line)) => {
                    self.note(&line);
                    if lines.len() < MOST_OUTPUT {
                        lines.push(line);
                    }
                }
                Some(AgentSaid::Ended(code)) if good.contains(&code) => return Ok(code),
                Some(AgentSaid::Ended(code)) => {
                    let said = lines.join("\n  ");
                    return Err(Cause::Unready(format!("{command}: ended with {code:#x}\n  {said}")));
                }
                Some(other @ AgentSaid::Failed { .. }) => return Err(unable(command, &other)),
                Some(_) => {}
                None => return Err(self.hang(command, patience)),
            }
        }
    }

    /// Orders the machine off, and waits until it is.
    ///
    /// # Errors
    /// Why it ended in another way.
    pub fn shut_down(&mut self) -> Result<(), Cause> {
        match self.order(&ToAgent::ShutDown, ANSWER)? {
            AgentSaid::Goodbye => {}
            other => return Err(unable("the machine cannot be turned off", &other)),
        }
        self.until_gone(SHUTDOWN)
    }

    /// After the suite has said goodbye: the agent takes the line again, and the machine goes off.
    pub(super) fn leave(&mut self) -> Result<(), Cause> {
        self.agent.lent = false;
        let deadline = Instant::now() + PROGRAM_END;
        loop {
            match self.heard(deadline)? {
                Some(AgentSaid::Ended(_)) => return self.shut_down(),
                Some(_) => {}
                None => return Err(self.hang("the suite's program to end", PROGRAM_END)),
            }
        }
    }

    /// Whether the suite has the line of an agent's machine.
    pub(super) const fn is_lent(&self) -> bool {
        self.agent.lent
    }

    /// The agent has spoken while the suite had the line: the program or the machine has come to an end.
    pub(super) fn interrupted_suite(&mut self, said: &AgentSaid) -> Cause {
        self.agent.lent = false;
        match said {
            AgentSaid::Ended(code) => Cause::GuestDied(format!("suite.exe ended with code {code:#x} in the middle of a test")),
            _ => self.restarted().unwrap_or_else(|cause| cause),
        }
    }

    /// Nobody has answered in time. The system is stopped by a non-maskable interrupt, so that there is a dump of it; and if it was about
    /// to write one anyway, because of a bug check, that is the cause.
    pub(super) fn stop_hanging(&mut self, hang: Cause) -> Cause {
        self.note("> a non-maskable interrupt, to see what the machine is at");
        if let Err(error) = self.monitor().execute("inject-nmi", &json!({})) {
            self.note(&error.to_string());
            return hang;
        }
        match self.heard(Instant::now() + self.agent.restart) {
            Err(Cause::BugCheck(report)) if report.code != NMI_HARDWARE_FAILURE => Cause::BugCheck(report),
            Err(cause @ (Cause::QemuDied(_) | Cause::ModelDied(_) | Cause::Interrupted(_))) => cause,
            _ => hang,
        }
    }

    /// The debugger has seen a bug check before anybody else, and knows more of it than a dump's header has. Whoever wants the dump, too,
    /// waits for the machine to start again.
    pub(super) fn seen_by_debugger(&mut self, seen: Box<BugCheck>) -> Cause {
        self.note(&format!("the debugger has seen a bug check: {:#x}", seen.code));
        (self.agent.lent, self.agent.dump_comes) = (false, true);
        Cause::BugCheck(seen)
    }

    /// Whether the guest has left a dump, or is about to.
    pub(super) const fn has_dump(&self) -> bool {
        self.agent.dump_waits || self.agent.dump_comes
    }

    /// Waits until the machine has written its dump and started again.
    fn wait_for_dump(&mut self) -> Result<(), Cause> {
        let patience = self.agent.restart;
        let deadline = Instant::now() + patience;
        loop {
            match self.heard(deadline)? {
                Some(AgentSaid::Up) => break,
                Some(_) => {}
                None => return Err(self.hang("Windows to write its dump and start again", patience)),
            }
        }
        match self.restarted()? {
            Cause::BugCheck(_) => Ok(()),
            other => Err(other),
        }
    }

    /// The machine has started again: why, as its dump tells.
    fn restarted(&mut self) -> Result<Cause, Cause> {
        self.note("the machine has started again");
        let died = || Cause::GuestDied(format!("Windows started again in the middle of a test, and left no {DUMP}"));
        self.meet_agent("the agent, after the machine has started again", self.agent.restart)?;
        let Some(size) = self.size(DUMP)? else { return Ok(died()) };
        let mut bytes = Vec::new();
        let length = size_of::<DumpHeader>() as u32;
        if size < u64::from(length) {
            return Ok(died());
        }
        self.part(DUMP, 0, length, &mut bytes)?;
        let header = DumpHeader::read_from_bytes(&bytes).map_err(|_| died())?;
        if header.signature != DUMP_SIGNATURE {
            return Ok(Cause::GuestDied(format!("{DUMP} is no crash dump of a 64-bit Windows")));
        }
        self.agent.dump_waits = true;
        Ok(Cause::BugCheck(Box::new(self.report_of(&header))))
    }

    /// What a dump's header tells of a bug check.
    fn report_of(&self, header: &DumpHeader) -> BugCheck {
        let context = Context::read_from_prefix(&header.context).ok().map(|(context, _)| context);
        let registers =
            context.map(|context| Registers { general: context.general, rip: context.rip, rflags: context.eflags.into() });
        let at = registers.as_ref().map_or(header.exception.address, |registers| registers.rip);
        BugCheck {
            code: header.bug_check,
            name: name_of(header.bug_check).map(str::to_owned),
            parameters: header.parameters,
            at: self.symbols().place("", at),
            frames: Vec::new(),
            registers,
            modules: Vec::new(),
            complete: true,
        }
    }

    /// Size of a file of the guest; `None`: there is none.
    ///
    /// # Errors
    /// Why the boot ended.
    pub fn size(&mut self, path: &str) -> Result<Option<u64>, Cause> {
        match self.order(&ToAgent::Size { path }, ANSWER)? {
            AgentSaid::Size(size) => Ok(Some(size)),
            AgentSaid::Failed { .. } => Ok(None),
            other => Err(unable(path, &other)),
        }
    }

    /// Fetches the guest's crash dump: over the disk that is there for it, after which the machine is off, or where that cannot be done, over
    /// the line.
    ///
    /// # Errors
    /// Why the boot ended; the disk's.
    pub fn fetch_dump(&mut self, to: &Path) -> Result<u64, Cause> {
        if !self.agent.dump_waits {
            self.wait_for_dump()?;
        }
        match self.leave_on_disk() {
            Ok(()) => {}
            Err(Cause::Unready(reason)) => {
                self.note(&format!("the dump comes over the line: {reason}"));
                return self.fetch(DUMP, to);
            }
            Err(cause) => return Err(cause),
        }
        let taken = match self.boot().scratch() {
            Some(disk) => scratch::take(disk, LEFT, to),
            None => Err(std::io::ErrorKind::NotFound.into()),
        };
        taken.map_err(|error| Cause::Unready(format!("the guest has left its dump on a disk, where it cannot be read: {error}")))
    }

    /// Has the guest copy its dump to the disk that is there for it, and turn its machine off, so that all of it is written.
    fn leave_on_disk(&mut self) -> Result<(), Cause> {
        let root = match self.order(&ToAgent::Find { name: scratch::MARK }, ANSWER)? {
            AgentSaid::Found(root) => root,
            other => return Err(unable("no drive is there to copy it to", &other)),
        };
        self.command(&format!(r#"cmd.exe /c copy /b /y "{DUMP}" "{root}{LEFT}""#), COPY, &[0])?;
        self.shut_down()
    }

    /// Fetches a file of the guest over the line. A part that does not arrive whole is asked for again.
    ///
    /// # Errors
    /// Why the boot ended; the disk's. What has arrived is left beside `to`, under the name of a part.
    pub fn fetch(&mut self, path: &str, to: &Path) -> Result<u64, Cause> {
        let of_disk = |error: std::io::Error| Cause::Unready(format!("{}: {error}", to.display()));
        let size = match self.size(path)? {
            Some(size) if size <= LARGEST_DUMP => size,
            Some(size) => return Err(Cause::Unready(format!("{path} has {size} bytes, more than are fetched"))),
            None => return Err(Cause::Unready(format!("the guest has no {path}"))),
        };
        let unfinished = to.with_extension("part");
        let mut file = File::create(&unfinished).map_err(of_disk)?;
        let (mut at, mut part, mut tries) = (0, Vec::new(), 0);
        while at < size {
            let length = u32::try_from(size - at).unwrap_or(PART).min(PART);
            match self.part(path, at, length, &mut part) {
                Ok(()) => {
                    file.write_all(&part).map_err(of_disk)?;
                    (at, tries) = (at + part.len() as u64, 0);
                }
                Err(Cause::Hang { .. }) if tries < TRIES => {
                    tries += 1;
                    self.meet_agent("the agent", ANSWER)?;
                }
                Err(cause) => return Err(cause),
            }
        }
        std::fs::rename(&unfinished, to).map_err(of_disk)?;
        Ok(size)
    }

    /// One part of a file.
    fn part(&mut self, path: &str, offset: u64, length: u32, part: &mut Vec<u8>) -> Result<(), Cause> {
        part.clear();
        self.tell_agent(&ToAgent::Read { path, offset, length })?;
        let (mut is_whole, mut deadline) = (true, Instant::now() + ANSWER);
        loop {
            match self.heard(deadline)? {
                Some(AgentSaid::Piece { offset: at, bytes }) => {
                    is_whole &= at == offset + part.len() as u64 && part.len() + bytes.len() <= length as usize;
                    if is_whole && !bytes.is_empty() {
                        part.extend_from_slice(&bytes);
                        // Only what brings the file on buys time: a guest that says other things without end is late.
                        deadline = Instant::now() + ANSWER;
                    }
                }
                Some(AgentSaid::Sent) if is_whole && part.len() == length as usize => return Ok(()),
                // A frame was damaged on the way.
                Some(AgentSaid::Sent) | None => return Err(self.hang(&format!("{path} from {offset} on"), ANSWER)),
                Some(other @ AgentSaid::Failed { .. }) => return Err(unable(path, &other)),
                Some(_) => {}
            }
        }
    }

    /// Gives an order that has one short answer.
    fn order(&mut self, order: &ToAgent<'_>, patience: Duration) -> Result<AgentSaid, Cause> {
        self.note(&format!("> {order:?}"));
        self.tell_agent(order)?;
        let deadline = Instant::now() + patience;
        loop {
            match self.heard(deadline)? {
                // Answers to hellos that were said twice, an end that was told twice, and what belongs to no order.
                Some(AgentSaid::Hello { .. } | AgentSaid::Step(_) | AgentSaid::Output(_)) => {}
                Some(AgentSaid::Ended(_)) if !matches!(order, ToAgent::AddDevice { .. }) => {}
                Some(AgentSaid::Up) => return Err(Cause::GuestDied("the machine has started again".to_owned())),
                Some(said) => {
                    self.note(&format!("{said:?}"));
                    return Ok(said);
                }
                None => return Err(self.hang(&format!("the agent's answer to {order:?}"), patience)),
            }
        }
    }

    fn tell_agent(&mut self, order: &ToAgent<'_>) -> Result<(), Cause> {
        self.send_to_agent(order).map_err(|error| Cause::Protocol(format!("cannot ask the agent: {error}")))
    }

    /// The agent's next word; `None` at the deadline. What the suite may still say is no answer.
    fn heard(&mut self, deadline: Instant) -> Result<Option<AgentSaid>, Cause> {
        loop {
            match self.message(deadline)? {
                Some(Said::Agent(said)) => return Ok(Some(said)),
                Some(_) => {}
                None => return Ok(None),
            }
        }
    }

    /// Writes into the log of what was said to the agent.
    fn note(&mut self, line: &str) {
        if self.agent.log.is_none() {
            let path = self.boot().folder().join(LOG);
            self.agent.log = File::options().create(true).append(true).open(path).ok();
        }
        if let Some(log) = &mut self.agent.log {
            // The log is for people; a full disk shows elsewhere.
            let _ = writeln!(log, "{line}");
        }
    }
}

/// What was said to the agent, in the boot's folder.
pub const LOG: &str = "agent.log";

/// What the agent could not do.
fn unable(what: &str, said: &AgentSaid) -> Cause {
    Cause::Unready(match said {
        AgentSaid::Failed { what: refused, code } => format!("{what}: {refused} failed with error {code}"),
        other => format!("{what}: the agent answered {other:?}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_guest_trusts_the_certificate_before_it_installs_what_is_signed_with_it() {
        let preparation = Preparation {
            certificates: vec!["relay.cer".into()],
            packages: vec!["relay.inf".into()],
            services: vec!["relay".into(), "relayflt".into()],
            ..Preparation::default()
        };
        let commands = preparation.commands(r"E:\", &Needs { verifier: false, ..Needs::default() });
        let words: Vec<&str> = commands.iter().map(|command| command.split(' ').next().unwrap()).collect();
        assert_eq!(words, ["certutil.exe", "certutil.exe", "reg.exe", "reg.exe", "reg.exe", "reg.exe", "pnputil.exe"]);
        assert!(commands[0].ends_with(r#"-addstore Root "E:\relay.cer""#) && commands[1].contains("TrustedPublisher"));
        assert!(commands[4].contains(r"\relayflt\Parameters\Wdf /v VerifierOn") && commands[4].ends_with("/d 0 /f"));
        let ends = |needs: &Needs| {
            preparation.commands(r"E:\", needs)[2..4].iter().map(|one| one[one.len() - 20..].to_owned()).collect::<Vec<_>>()
        };
        assert_eq!(ends(&Needs::default()), [" /t REG_DWORD /d 1 /f", " /t REG_DWORD /d 0 /f"].map(|end| end[1..].to_owned()));
        assert_eq!(ends(&Needs { breaks: true, ..Needs::default() })[1], "/t REG_DWORD /d 1 /f");
    }
}
