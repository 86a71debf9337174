//! What harness and guest say to each other in one boot: hello, the list, test after test, goodbye.

use std::path::Path;
use std::time::{Duration, Instant};

use channel::{Ask, Bounds, Expected, LogLevel, PROTOCOL_VERSION, Span, ToAgent, ToGuest};

use super::agent::Agent;
use super::boot::{Boot, Event};
use super::link::{AgentSaid, Needs, Said, Verdict};
use super::record::Figure;
use crate::bugcheck::{BugCheck, name_of};
use crate::child::describe;
use crate::dump::DumpError;
use crate::qemu::Ending;
use crate::report::folder::{DEVICE_LOG, QEMU_LOG, last_words};
use crate::symbols::Symbols;

/// Pause between two hellos, until one is answered.
const HELLO_AGAIN: Duration = Duration::from_millis(50);
/// Longest time for the list.
const LIST: Duration = Duration::from_secs(15);
/// Longest silence in an ordered shutdown, and its longest time in all: every driver prints its in-flight log on the way, which
/// takes long on a machine that is busy with other things.
const SHUTDOWN: Duration = Duration::from_secs(15);
const LONGEST_SHUTDOWN: Duration = Duration::from_secs(60);
/// Longest time for a bug check's report.
const BUG_CHECK: Duration = Duration::from_secs(3);
/// Most tests that a guest may list.
const MOST_TESTS: usize = 10_000;
/// Most lines that a test may log, and most frames of a back trace.
const MOST_LINES: usize = 2_000;
/// Most figures that a test may report.
const MOST_FIGURES: usize = 200;

/// A test as the guest lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// `suite::name`.
    pub name: String,
    /// What it is for.
    pub purpose: String,
    /// The guest it needs.
    pub needs: Needs,
    /// The bug check that it is to end in.
    pub expects: Option<Expected>,
}

/// What a test says of itself while it runs.
#[derive(Debug, Default)]
pub struct Notes {
    /// Lines for its log.
    pub lines: Vec<String>,
    /// What it has measured.
    pub figures: Vec<Figure>,
    /// What it knows of the bug check that it is to end in.
    pub foretold: Bounds,
}

/// A test that ran to its end.
#[derive(Debug)]
pub struct Done {
    /// How it ended.
    pub verdict: Verdict,
    /// Guest time, in units of 100 ns.
    pub duration: u64,
}

/// Why a boot ended when it should not have.
#[derive(Debug)]
pub enum Cause {
    /// The guest's kernel stopped.
    BugCheck(Box<BugCheck>),
    /// No answer in time.
    Hang {
        /// What was waited for.
        waiting_for: String,
        /// How long.
        patience: Duration,
        /// Last lines of the guest's log.
        log: Vec<String>,
    },
    /// The guest reset or left without being asked to.
    GuestDied(String),
    /// QEMU died.
    QemuDied(String),
    /// The device model died.
    ModelDied(String),
    /// The guest speaks another protocol, or nonsense.
    Protocol(String),
    /// An installed guest cannot be made ready for the suite, or what it left cannot be fetched.
    Unready(String),
    /// A signal asks the harness to stop.
    Interrupted(u8),
}

impl Cause {
    /// In words, one line each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        match self {
            Self::BugCheck(report) => report.lines(),
            Self::Hang { waiting_for, patience, log } => {
                let mut lines =
                    vec![format!("{waiting_for}: no answer within {} s; last lines of the guest's log:", patience.as_secs())];
                lines.extend(log.iter().map(|line| format!("  {line}")));
                lines
            }
            Self::GuestDied(reason)
            | Self::QemuDied(reason)
            | Self::ModelDied(reason)
            | Self::Protocol(reason)
            | Self::Unready(reason) => reason.lines().map(str::to_owned).collect(),
            Self::Interrupted(signal) => vec![format!("stopped by signal {signal}")],
        }
    }
}

/// A conversation with one guest.
#[derive(Debug)]
pub struct Session<'a> {
    boot: Boot<'a>,
    symbols: &'a Symbols,
    notes: Notes,
    pub(super) agent: Agent,
}

impl<'a> Session<'a> {
    /// Begins to talk to the guest of `boot`.
    #[must_use]
    pub fn new(boot: Boot<'a>, symbols: &'a Symbols) -> Self {
        Self { boot, symbols, notes: Notes::default(), agent: Agent::default() }
    }

    /// The boot that it talks to.
    #[must_use]
    pub const fn boot(&self) -> &Boot<'a> {
        &self.boot
    }

    /// What names its functions.
    pub(super) const fn symbols(&self) -> &'a Symbols {
        self.symbols
    }

    /// What the guest noted since the last call.
    pub fn take_notes(&mut self) -> Notes {
        std::mem::take(&mut self.notes)
    }

    /// Ends what still runs of the boot.
    pub fn conclude(mut self) {
        self.boot.conclude();
    }

    /// Says hello until the guest answers, and returns what system it is.
    ///
    /// # Errors
    /// Why the boot ended.
    pub fn hello(&mut self, patience: Duration) -> Result<String, Cause> {
        let deadline = self.boot.started() + patience;
        loop {
            if self.boot.is_sent() {
                self.send(&ToGuest::Hello { protocol: PROTOCOL_VERSION })?;
            }
            let pause = (Instant::now() + HELLO_AGAIN).min(deadline);
            match self.message(pause)? {
                Some(Said::Hello { protocol, system }) if protocol == PROTOCOL_VERSION => return Ok(system),
                Some(Said::Hello { protocol, .. }) => {
                    return Err(Cause::Protocol(format!(
                        "the guest speaks version {protocol} of the protocol, the harness {PROTOCOL_VERSION}: build both from the same sources"
                    )));
                }
                Some(_) => {}
                None if Instant::now() >= deadline => return Err(self.hang("the guest to start", patience)),
                None => {}
            }
        }
    }

    /// Asks for the list of tests.
    ///
    /// # Errors
    /// Why the boot ended.
    pub fn list(&mut self) -> Result<Vec<Listed>, Cause> {
        self.list_within(LIST)
    }

    /// The same for a guest that a debugger may hold.
    ///
    /// # Errors
    /// Why the boot ended.
    pub fn list_within(&mut self, patience: Duration) -> Result<Vec<Listed>, Cause> {
        self.send(&ToGuest::List)?;
        let deadline = Instant::now() + patience;
        let mut tests: Vec<Listed> = Vec::new();
        loop {
            match self.message(deadline)? {
                Some(Said::Test { .. }) if tests.len() == MOST_TESTS => {
                    return Err(Cause::Protocol(format!("the guest lists more than {MOST_TESTS} tests")));
                }
                Some(Said::Test { name, .. }) if tests.iter().any(|test| test.name == name) => {
                    return Err(Cause::Protocol(format!("the guest lists {name} twice")));
                }
                Some(Said::Test { name, purpose, needs, expects }) => {
                    tests.push(Listed { name, purpose, needs, expects });
                }
                Some(Said::EndOfList) => return Ok(tests),
                Some(_) => {}
                None => return Err(self.hang("the list of tests", patience)),
            }
        }
    }

    /// Runs one test. `span` is for a test that can go on for any time, and comes on top of `patience`.
    ///
    /// # Errors
    /// Why the boot ended; the test is then the one that was running.
    pub fn run(&mut self, test: &str, seed: u64, span: Span, patience: Duration) -> Result<Done, Cause> {
        self.send(&ToGuest::Run { test, seed, span })?;
        let patience = match span {
            Span::Milliseconds(time) => patience + Duration::from_millis(time.into()),
            Span::Moment | Span::Rounds => patience,
        };
        let deadline = Instant::now() + patience;
        loop {
            match self.message(deadline)? {
                Some(Said::Finished { test: name, verdict, duration }) if name == test => return Ok(Done { verdict, duration }),
                Some(Said::Started(name) | Said::Finished { test: name, .. }) if name != test => {
                    return Err(Cause::Protocol(format!("asked to run {test}, the guest answered for {name}")));
                }
                Some(Said::Ask(ask)) => self.answer(ask)?,
                Some(Said::Foretold(bounds)) => self.notes.foretold = bounds,
                Some(Said::Figure(figure)) if self.notes.figures.len() < MOST_FIGURES => self.notes.figures.push(figure),
                Some(_) => {}
                None => {
                    let mut hang = self.hang(test, patience);
                    if let Cause::Hang { log, .. } = &mut hang {
                        log.extend(self.boot.look());
                    }
                    return Err(if self.is_lent() { self.stop_hanging(hang) } else { hang });
                }
            }
        }
    }

    /// Waits until a guest that nobody talks to has shut down by itself.
    ///
    /// # Errors
    /// Why the boot ended in another way.
    pub fn until_off(&mut self, patience: Duration) -> Result<(), Cause> {
        let deadline = Instant::now() + patience;
        loop {
            match self.boot.next(deadline) {
                Event::QemuEnded(status) if Ending::of(status) == Ending::Orderly => return Ok(()),
                Event::Deadline => return Err(self.hang("the guest to start its devices and go off", patience)),
                other => drop(self.judge(other)?),
            }
        }
    }

    /// Says goodbye and waits until the guest has shut down. `Ok(Some(_))`: it did, with something to remark.
    ///
    /// # Errors
    /// Why the boot ended in another way.
    pub fn goodbye(&mut self) -> Result<Option<String>, Cause> {
        self.send(&ToGuest::Goodbye)?;
        if self.is_lent() {
            self.leave()?;
            return Ok(self.boot.model_farewell());
        }
        let end = Instant::now() + LONGEST_SHUTDOWN;
        let mut logged = self.boot.log().written();
        loop {
            let deadline = end.min(Instant::now() + SHUTDOWN);
            match self.boot.next(deadline) {
                Event::QemuEnded(status) if Ending::of(status) == Ending::Orderly => return Ok(self.boot.model_farewell()),
                Event::Deadline if logged == self.boot.log().written() || Instant::now() >= end => {
                    return Err(self.hang("the guest to shut down", SHUTDOWN));
                }
                Event::Deadline => logged = self.boot.log().written(),
                other => drop(self.judge(other)?),
            }
        }
    }

    /// Waits until the guest has turned its machine off.
    ///
    /// # Errors
    /// Why the boot ended in another way.
    pub(super) fn until_gone(&mut self, patience: Duration) -> Result<(), Cause> {
        let deadline = Instant::now() + patience;
        loop {
            match self.boot.next(deadline) {
                // QEMU ends well when the guest switches the power off; nothing here resets it for good.
                Event::QemuEnded(status) if status.success() => return Ok(()),
                Event::Deadline => return Err(self.hang("the guest to turn its machine off", patience)),
                other => drop(self.judge(other)?),
            }
        }
    }

    fn answer(&mut self, ask: Ask) -> Result<(), Cause> {
        let refusal = self.boot.perform(ask).err().map(|error| error.to_string());
        self.send(&ToGuest::Answer { done: refusal.is_none(), reason: refusal.as_deref().unwrap_or_default() })
    }

    fn send(&mut self, message: &ToGuest<'_>) -> Result<(), Cause> {
        self.boot.send(message).map_err(|error| Cause::Protocol(format!("cannot ask the guest: {error}")))
    }

    /// Sends an order to the agent.
    pub(super) fn send_to_agent(&mut self, order: &ToAgent<'_>) -> Result<(), channel::FrameError> {
        self.boot.send_to_agent(order)
    }

    /// The next message that is neither a log line nor a bug check; `None` at the deadline.
    pub(super) fn message(&mut self, deadline: Instant) -> Result<Option<Said>, Cause> {
        loop {
            let event = self.boot.next(deadline);
            if matches!(event, Event::Deadline) {
                return Ok(None);
            }
            match self.judge(event)? {
                Some(Said::Log { level, text }) => self.log(level, &text),
                Some(said) => return Ok(Some(said)),
                None => {}
            }
        }
    }

    /// What happens next, unjudged.
    pub(super) fn event(&mut self, deadline: Instant) -> Event {
        self.boot.next(deadline)
    }

    /// Passes messages on and turns everything else into the cause of the boot's end.
    pub(super) fn judge(&mut self, event: Event) -> Result<Option<Said>, Cause> {
        match event {
            Event::Said(Said::BugCheck { code, parameters, module, offset }) => {
                Err(Cause::BugCheck(self.bug_check(code, parameters, &module, offset)))
            }
            Event::Said(Said::Agent(said @ (AgentSaid::Up | AgentSaid::Ended(_)))) if self.is_lent() => {
                Err(self.interrupted_suite(&said))
            }
            Event::Said(said) => Ok(Some(said)),
            Event::BugCheck(report) if self.is_lent() => Err(self.seen_by_debugger(report)),
            Event::BugCheck(report) => Err(Cause::BugCheck(self.own_report_or(report))),
            Event::Deadline => Ok(None),
            Event::Interrupted(signal) => Err(Cause::Interrupted(signal)),
            Event::ModelEnded(status) => Err(Cause::ModelDied(self.obituary("the device model", DEVICE_LOG, status))),
            Event::QemuEnded(status) => Err(match Ending::of(status) {
                Ending::Died => Cause::QemuDied(self.obituary("QEMU", QEMU_LOG, status)),
                Ending::Reset => Cause::GuestDied("the guest reset the machine (a triple fault?) or powered it off".to_owned()),
                Ending::Orderly => Cause::GuestDied("the guest shut down although nobody asked it to".to_owned()),
                Ending::AfterBugCheck => {
                    Cause::GuestDied("the guest stopped as after a bug check, but its report did not arrive".to_owned())
                }
            }),
        }
    }

    /// After the KD host has seen a bug check: the guest's own report, which knows more, if it has one.
    fn own_report_or(&mut self, seen: Box<BugCheck>) -> Box<BugCheck> {
        let deadline = Instant::now() + BUG_CHECK;
        loop {
            match self.boot.next(deadline) {
                Event::Said(Said::BugCheck { code, parameters, module, offset }) => {
                    return self.bug_check(code, parameters, &module, offset);
                }
                Event::Said(_) | Event::BugCheck(_) => {}
                _ => return seen,
            }
        }
    }

    fn bug_check(&mut self, code: u32, parameters: [u64; 4], module: &str, offset: u64) -> Box<BugCheck> {
        let (mut frames, mut modules, mut registers) = (Vec::new(), Vec::new(), None);
        let deadline = Instant::now() + BUG_CHECK;
        let complete = loop {
            match self.boot.next(deadline) {
                Event::Said(Said::BugCheckFrame { module, offset, is_return }) if frames.len() < MOST_LINES => {
                    frames.push(if is_return {
                        self.symbols.caller(&module, offset)
                    } else {
                        self.symbols.place(&module, offset)
                    });
                }
                Event::Said(Said::BugCheckRegisters(found)) => registers = Some(found),
                Event::Said(Said::BugCheckModule(module)) if modules.len() < MOST_LINES => modules.push(module),
                Event::Said(Said::BugCheckEnd) => break true,
                Event::Said(_) | Event::BugCheck(_) => {}
                _ => break false,
            }
        };
        Box::new(BugCheck {
            code,
            name: name_of(code).map(str::to_owned),
            parameters,
            at: self.symbols.place(module, offset),
            frames,
            registers,
            modules,
            complete,
        })
    }

    /// Puts what the guest kept of its log in memory into the log.
    pub fn take_late_log(&mut self) {
        self.boot.take_late_log();
    }

    /// QEMU's monitor.
    pub fn monitor(&mut self) -> &mut crate::qmp::Qmp {
        self.boot.monitor()
    }

    /// Waits for whatever the guest does by itself, when no test runs.
    ///
    /// # Errors
    /// Why the boot ended.
    pub fn idle(&mut self, deadline: Instant) -> Result<(), Cause> {
        self.message(deadline).map(drop)
    }

    /// Writes the crash dump of a guest that has bug checked, once it has ended or has had its time. Its memory stays when it has gone.
    ///
    /// # Errors
    /// Why there is none.
    pub fn dump(&mut self, image: &Path, to: &Path, patience: Duration) -> Result<(), DumpError> {
        self.boot.finish_bug_check(patience);
        crate::dump::write(self.boot.memory(), image, to)
    }

    /// How a process died, and its last words.
    fn obituary(&self, who: &str, log: &str, status: std::process::ExitStatus) -> String {
        let words = last_words(&self.boot.folder().join(log));
        format!("{who} died with {}{words}", describe(status))
    }

    pub(super) fn hang(&self, waiting_for: &str, patience: Duration) -> Cause {
        Cause::Hang { waiting_for: waiting_for.to_owned(), patience, log: self.boot.log().tail() }
    }

    fn log(&mut self, level: LogLevel, text: &str) {
        if self.notes.lines.len() < MOST_LINES {
            let mark = match level {
                LogLevel::Debug => "debug: ",
                LogLevel::Info => "",
                LogLevel::Warning => "warning: ",
            };
            self.notes.lines.push(format!("{mark}{text}"));
        }
    }
}
