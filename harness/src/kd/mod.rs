//! The debugger's side of KD: a client over any byte stream, which drives a target as WinDbg does. What `rig debug` and runs with a
//! debugger on the serial line are made of.
//!
//! The target is not trusted: every wait has a deadline, every length is checked, and what it sends is kept only as far as it is asked for.

pub mod host;
pub mod line;

use std::time::{Duration, Instant};

use kd::context::{CONTEXT_ALL, Context, SpecialRegisters};
use kd::data::{ListEntry, ModuleEntry};
use kd::packet::kind;
use kd::wire::{
    ContextPart, Continue2, DBG_CONTINUE, DBG_EXCEPTION_NOT_HANDLED, DebugIo, Exception, FILL_VIRTUAL, FileIo, Fill, GET_STRING,
    LoadSymbols, Manipulate, Memory, ModelSpecific, NO_MORE_ENTRIES, PRINT_STRING, STATE_EXCEPTION, STATE_LOAD_SYMBOLS, Search,
    StateChange, UNSUCCESSFUL, Version, WriteBreakpoint, api, take,
};
use kd::zerocopy::{FromBytes, FromZeros, Immutable, IntoBytes};

use crate::console::printable;
use line::{Line, Packet};

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(10);
/// Bytes of memory in one request.
const PIECE: usize = 2048;
/// The part of control space that is a processor's special registers.
const SPECIAL_REGISTERS: u64 = 2;
/// Most modules that a list may have.
const MOST_MODULES: usize = 1024;
/// Longest name of a module, in bytes.
const LONGEST_NAME: u16 = 512;
/// Lines of text from the target that are kept until somebody takes them.
const MOST_TEXT: usize = 1 << 20;

/// What can go wrong between debugger and target.
#[derive(Debug, thiserror::Error)]
pub enum KdError {
    /// The line broke.
    #[error("the line to the target broke: {0}")]
    Line(#[from] std::io::Error),
    /// Nothing came in time.
    #[error("the target does not answer ({0})")]
    Silence(&'static str),
    /// The target refused a request.
    #[error("the target refuses request {api:#x} with status {status:#010x}")]
    Refused {
        /// The request.
        api: u32,
        /// The status.
        status: u32,
    },
    /// What came makes no sense.
    #[error("the target sent something that makes no sense: {0}")]
    Nonsense(&'static str),
}

/// Why the target stands still.
#[derive(Clone, Debug)]
pub enum Why {
    /// An exception, or a break-in.
    Exception(Exception),
    /// A module was loaded, or goes.
    Module {
        /// Its path.
        path: String,
        /// The rest.
        symbols: LoadSymbols,
    },
}

/// The target stands still.
#[derive(Clone, Debug)]
pub struct Stop {
    /// Where.
    pub change: StateChange,
    /// Why.
    pub why: Why,
}

impl Stop {
    /// Code of the exception; 0 when it is none.
    #[must_use]
    pub fn code(&self) -> u32 {
        match &self.why {
            Why::Exception(exception) => exception.record.code,
            Why::Module { .. } => 0,
        }
    }
}

/// What a debugger hears while it listens.
#[derive(Clone, Debug)]
pub enum Heard {
    /// The target stands still.
    Stop(Box<Stop>),
    /// Something that is dealt with: text, a question.
    Other,
    /// Nothing in time.
    Nothing,
}

/// A module in the target's list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TargetModule {
    /// File name.
    pub name: String,
    /// First byte.
    pub base: u64,
    /// Bytes of address space.
    pub size: u64,
    /// Time stamp of its file.
    pub time_stamp: u32,
}

/// A debugger.
#[derive(Debug)]
pub struct Client {
    line: Line,
    processor: u16,
    text: String,
}

impl Client {
    /// A debugger on this line. Nothing is sent yet.
    #[must_use]
    pub fn new(line: Line) -> Self {
        Self { line, processor: 0, text: String::new() }
    }

    /// Begins a conversation, whatever an earlier debugger left: resets the line, and asks the target to stop until it does.
    ///
    /// # Errors
    /// It does not within `patience`.
    pub fn connect(&mut self, patience: Duration) -> Result<Stop, KdError> {
        const AGAIN: Duration = Duration::from_millis(500);
        let deadline = Instant::now() + patience;
        let mut is_first = true;
        let mut stop = loop {
            self.line.reset()?;
            self.line.break_in()?;
            match self.wait_for_stop((Instant::now() + AGAIN).min(deadline)) {
                Err(KdError::Silence(_)) if Instant::now() < deadline => is_first = false,
                Ok(stop) if is_first => return Ok(stop),
                other => break other?,
            }
        };
        // A target that is slow has not dealt with all that it was asked: it begins anew once more for each, and answers nothing else then.
        loop {
            match self.wait_for_stop(Instant::now() + AGAIN) {
                Ok(newer) => stop = newer,
                Err(KdError::Silence(_)) => return Ok(stop),
                Err(error) => return Err(error),
            }
        }
    }

    /// Asks a running target to stop.
    ///
    /// # Errors
    /// The line's.
    pub fn break_in(&mut self) -> Result<(), KdError> {
        Ok(self.line.break_in()?)
    }

    /// Waits until the target stands still. Text that it sends meanwhile is kept.
    ///
    /// # Errors
    /// It does not before the deadline.
    pub fn wait_for_stop(&mut self, deadline: Instant) -> Result<Stop, KdError> {
        loop {
            match self.listen(deadline)? {
                Heard::Stop(stop) => return Ok(*stop),
                Heard::Other => {}
                Heard::Nothing => return Err(KdError::Silence("waiting for it to stop")),
            }
        }
    }

    /// Waits for whatever comes next. Text is kept; what the target asks without having stopped is answered.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn listen(&mut self, deadline: Instant) -> Result<Heard, KdError> {
        let Some(packet) = self.line.receive(deadline)? else { return Ok(Heard::Nothing) };
        if packet.kind == kind::STATE_CHANGE {
            return self.stopped(&packet).map(|stop| Heard::Stop(Box::new(stop)));
        }
        self.take_aside(&packet)?;
        Ok(Heard::Other)
    }

    fn stopped(&mut self, packet: &Packet) -> Result<Stop, KdError> {
        let (change, rest) =
            StateChange::read_from_prefix(&packet.data).map_err(|_| KdError::Nonsense("a state change that is too short"))?;
        self.processor = change.processor;
        let why = match change.state {
            STATE_EXCEPTION => Why::Exception(take(&change.detail)),
            STATE_LOAD_SYMBOLS => {
                let symbols: LoadSymbols = take(&change.detail);
                let path = rest.get(..symbols.path_length as usize).unwrap_or(rest);
                let path = path.split(|byte| *byte == 0).next().unwrap_or_default();
                Why::Module { path: printable(&String::from_utf8_lossy(path)), symbols }
            }
            _ => return Err(KdError::Nonsense("a state change of an unknown kind")),
        };
        Ok(Stop { change, why })
    }

    /// Deals with what needs no stop: text is kept, a question is answered with `b` (an assertion asks so whether to break), and there
    /// are no files here that would replace the target's.
    fn take_aside(&mut self, packet: &Packet) -> Result<(), KdError> {
        const ANSWER: &[u8] = b"b";
        let deadline = Instant::now() + PATIENCE;
        if packet.kind == kind::FILE_IO {
            let mut refusal: FileIo = take(&packet.data);
            refusal.status = UNSUCCESSFUL;
            self.line.send(kind::FILE_IO, &[refusal.as_bytes()], deadline)?;
        }
        let Ok((head, text)) = DebugIo::read_from_prefix(&packet.data) else { return Ok(()) };
        if packet.kind != kind::DEBUG_IO || !matches!(head.api, PRINT_STRING | GET_STRING) {
            return Ok(());
        }
        if self.text.len() < MOST_TEXT {
            self.text += &String::from_utf8_lossy(&text[..text.len().min(head.length as usize)]);
        }
        if head.api == GET_STRING {
            // The length of the answer takes the place of the room that there is for it.
            let answer = DebugIo { room: ANSWER.len() as u32, ..head };
            self.line.send(kind::DEBUG_IO, &[answer.as_bytes(), ANSWER], deadline)?;
        }
        Ok(())
    }

    /// What the target has printed since the last call.
    pub fn take_text(&mut self) -> String {
        std::mem::take(&mut self.text)
    }

    /// Bytes that came outside of packets since the last call: what a system says that does not speak KD yet.
    pub fn take_stray(&mut self) -> Vec<u8> {
        self.line.take_stray()
    }

    /// Sends a request and waits for its answer.
    fn ask(&mut self, request: &Manipulate, data: &[u8]) -> Result<(Manipulate, Vec<u8>), KdError> {
        let deadline = Instant::now() + PATIENCE;
        if !self.line.send(kind::MANIPULATE, &[request.as_bytes(), data], deadline)? {
            return Err(KdError::Silence("sending a request"));
        }
        loop {
            let packet = self.line.receive(deadline)?.ok_or(KdError::Silence("waiting for an answer"))?;
            if packet.kind != kind::MANIPULATE {
                self.take_aside(&packet)?;
                continue;
            }
            let Ok((answer, rest)) = Manipulate::read_from_prefix(&packet.data) else {
                return Err(KdError::Nonsense("an answer that is too short"));
            };
            if answer.api == request.api {
                return match answer.status {
                    kd::wire::SUCCESS => Ok((answer, rest.to_vec())),
                    status => Err(KdError::Refused { api: request.api, status }),
                };
            }
        }
    }

    fn request<T: IntoBytes + Immutable>(&self, api: u32, detail: &T) -> Manipulate {
        Manipulate::new(api, self.processor, detail)
    }

    /// What the target is.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn version(&mut self) -> Result<Version, KdError> {
        let (answer, _) = self.ask(&self.request(api::GET_VERSION, &0u64), &[])?;
        Ok(answer.get())
    }

    /// Has the target start its machine again. It answers nothing to that.
    ///
    /// # Errors
    /// The line's.
    pub fn restart(&mut self) -> Result<(), KdError> {
        let request = self.request(api::REBOOT, &0u64);
        self.line.send(kind::MANIPULATE, &[request.as_bytes()], Instant::now() + PATIENCE)?;
        self.line.forget();
        Ok(())
    }

    fn read(&mut self, api: u32, address: u64, length: usize) -> Result<Vec<u8>, KdError> {
        let mut all = Vec::new();
        while all.len() < length {
            let wanted = PIECE.min(length - all.len());
            let memory = Memory { address: address.wrapping_add(all.len() as u64), count: wanted as u32, done: 0 };
            let (answer, data) = self.ask(&self.request(api, &memory), &[])?;
            let done = (answer.get::<Memory>().done as usize).min(data.len()).min(wanted);
            if done == 0 {
                return Err(KdError::Nonsense("no bytes, and no error"));
            }
            all.extend_from_slice(&data[..done]);
        }
        Ok(all)
    }

    /// Reads virtual memory, all of it.
    ///
    /// # Errors
    /// Not all of it is there; see [`KdError`].
    pub fn read_virtual(&mut self, address: u64, length: usize) -> Result<Vec<u8>, KdError> {
        self.read(api::READ_VIRTUAL_MEMORY, address, length)
    }

    /// Reads physical memory, all of it.
    ///
    /// # Errors
    /// As [`Self::read_virtual`].
    pub fn read_physical(&mut self, address: u64, length: usize) -> Result<Vec<u8>, KdError> {
        self.read(api::READ_PHYSICAL_MEMORY, address, length)
    }

    /// Writes memory: virtual, or physical.
    ///
    /// # Errors
    /// Not all of it is there; see [`KdError`].
    pub fn write(&mut self, address: u64, data: &[u8], is_physical: bool) -> Result<(), KdError> {
        let api = if is_physical { api::WRITE_PHYSICAL_MEMORY } else { api::WRITE_VIRTUAL_MEMORY };
        for (index, piece) in data.chunks(PIECE).enumerate() {
            let memory = Memory { address: address.wrapping_add((index * PIECE) as u64), count: piece.len() as u32, done: 0 };
            self.ask(&self.request(api, &memory), piece)?;
        }
        Ok(())
    }

    /// A structure in virtual memory.
    ///
    /// # Errors
    /// As [`Self::read_virtual`].
    pub fn structure<T: FromBytes + FromZeros>(&mut self, address: u64) -> Result<T, KdError> {
        Ok(take(&self.read_virtual(address, size_of::<T>())?))
    }

    /// Registers of the processor that has stopped.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn context(&mut self) -> Result<Context, KdError> {
        self.context_of(self.processor)
    }

    /// Registers of another one that stands still.
    ///
    /// # Errors
    /// There is none of that number; see [`KdError`].
    pub fn context_of(&mut self, processor: u16) -> Result<Context, KdError> {
        let (_, data) = self.ask(&Manipulate::new(api::GET_CONTEXT, processor, &0u32), &[])?;
        Context::read_from_prefix(&data).map(|(context, _)| context).map_err(|_| KdError::Nonsense("a context that is too short"))
    }

    /// A part of them, as newer debuggers ask for it.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn context_part(&mut self, offset: u32, count: u32) -> Result<Vec<u8>, KdError> {
        let part = ContextPart { offset, count, done: 0 };
        Ok(self.ask(&self.request(api::GET_CONTEXT_EX, &part), &[])?.1)
    }

    /// Sets them.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn set_context(&mut self, context: &Context) -> Result<(), KdError> {
        let context = Context { flags: CONTEXT_ALL, ..*context };
        self.ask(&self.request(api::SET_CONTEXT, &CONTEXT_ALL), context.as_bytes()).map(drop)
    }

    /// Control registers and their like.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn special_registers(&mut self) -> Result<SpecialRegisters, KdError> {
        let memory = Memory { address: SPECIAL_REGISTERS, count: size_of::<SpecialRegisters>() as u32, done: 0 };
        let (_, data) = self.ask(&self.request(api::READ_CONTROL_SPACE, &memory), &[])?;
        Ok(take(&data))
    }

    /// Sets them, of `processor`: a hardware breakpoint is made so.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn set_special_registers(&mut self, processor: u16, registers: &SpecialRegisters) -> Result<(), KdError> {
        let memory = Memory { address: SPECIAL_REGISTERS, count: size_of::<SpecialRegisters>() as u32, done: 0 };
        self.ask(&Manipulate::new(api::WRITE_CONTROL_SPACE, processor, &memory), registers.as_bytes()).map(drop)
    }

    /// Looks for bytes in virtual memory.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn search(&mut self, address: u64, length: u64, pattern: &[u8]) -> Result<Option<u64>, KdError> {
        let wanted = Search { address, length, pattern_length: pattern.len() as u32, padding: 0 };
        match self.ask(&self.request(api::SEARCH_MEMORY, &wanted), pattern) {
            Ok((answer, _)) => Ok(Some(answer.get::<Search>().address)),
            Err(KdError::Refused { status: NO_MORE_ENTRIES, .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Fills virtual memory with a pattern.
    ///
    /// # Errors
    /// Not all of it is there; see [`KdError`].
    pub fn fill(&mut self, address: u64, length: u32, pattern: &[u8]) -> Result<(), KdError> {
        let wanted = Fill { address, length, flags: FILL_VIRTUAL, pattern_length: pattern.len() as u16 };
        self.ask(&self.request(api::FILL_MEMORY, &wanted), pattern).map(drop)
    }

    /// A model-specific register of the processor that has stopped.
    ///
    /// # Errors
    /// There is none of that number; see [`KdError`].
    pub fn model_specific(&mut self, register: u32) -> Result<u64, KdError> {
        let wanted = ModelSpecific { register, low: 0, high: 0 };
        let (answer, _) = self.ask(&self.request(api::READ_MODEL_SPECIFIC_REGISTER, &wanted), &[])?;
        let found: ModelSpecific = answer.get();
        Ok(u64::from(found.low) | u64::from(found.high) << 32)
    }

    /// Asks anything, for what has no method here. Returns the whole answer.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn ask_anything(&mut self, request: &Manipulate, data: &[u8]) -> Result<(Manipulate, Vec<u8>), KdError> {
        self.ask(request, data)
    }

    /// Sets a breakpoint and returns its handle.
    ///
    /// # Errors
    /// No memory there, one there already, or too many; see [`KdError`].
    pub fn set_breakpoint(&mut self, address: u64) -> Result<u32, KdError> {
        let wanted = WriteBreakpoint { address, handle: 0, padding: 0 };
        let (answer, _) = self.ask(&self.request(api::WRITE_BREAKPOINT, &wanted), &[])?;
        Ok(answer.get::<WriteBreakpoint>().handle)
    }

    /// Removes a breakpoint.
    ///
    /// # Errors
    /// There is none of that handle: the target removes those that it stops at by itself.
    pub fn remove_breakpoint(&mut self, handle: u32) -> Result<(), KdError> {
        self.ask(&self.request(api::RESTORE_BREAKPOINT, &handle), &[]).map(drop)
    }

    /// Lets the target go on: for one instruction if `trace`. When the exception counts as handled, an `int3` of the target's own where
    /// it stands is stepped over; else its handlers find it as it was.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn go_on(&mut self, trace: bool, is_handled: bool) -> Result<(), KdError> {
        const INT3: u8 = 0xcc;
        let mut context = self.context()?;
        if is_handled && self.read_virtual(context.rip, 1).is_ok_and(|code| code == [INT3]) {
            context.rip += 1;
            self.set_context(&context)?;
        }
        let status = if is_handled { DBG_CONTINUE } else { DBG_EXCEPTION_NOT_HANDLED };
        let dr7 = context.debug[5];
        let wanted = Continue2 {
            status,
            trace: trace.into(),
            dr7: [dr7 as u32, (dr7 >> 32) as u32],
            symbol_start: [1, 0],
            symbol_end: [1, 0],
        };
        self.last_word(&self.request(api::CONTINUE2, &wanted))
    }

    /// Lets the target bug check.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn cause_bug_check(&mut self, code: u32) -> Result<(), KdError> {
        self.last_word(&self.request(api::CAUSE_BUG_CHECK, &code))
    }

    /// Shows the target from another processor; a stop of that one follows.
    ///
    /// # Errors
    /// See [`KdError`].
    pub fn switch_processor(&mut self, processor: u16) -> Result<(), KdError> {
        self.last_word(&Manipulate::new(api::SWITCH_PROCESSOR, processor, &0u64))
    }

    /// A request that has no answer.
    fn last_word(&mut self, request: &Manipulate) -> Result<(), KdError> {
        let sent = self.line.send(kind::MANIPULATE, &[request.as_bytes()], Instant::now() + PATIENCE)?;
        sent.then_some(()).ok_or(KdError::Silence("sending a request"))
    }

    /// The loaded modules.
    ///
    /// # Errors
    /// The list cannot be followed; see [`KdError`].
    pub fn modules(&mut self) -> Result<Vec<TargetModule>, KdError> {
        let head = self.version()?.loaded_modules;
        let mut modules = Vec::new();
        let mut at = self.structure::<ListEntry>(head)?.next;
        while at != head {
            if modules.len() == MOST_MODULES {
                return Err(KdError::Nonsense("a list of modules without end"));
            }
            let entry: ModuleEntry = self.structure(at)?;
            let name = self.read_virtual(entry.base_name.buffer, usize::from(entry.base_name.length.min(LONGEST_NAME)))?;
            let units: Vec<u16> = name.chunks_exact(2).map(|unit| u16::from_le_bytes([unit[0], unit[1]])).collect();
            modules.push(TargetModule {
                name: printable(&String::from_utf16_lossy(&units)),
                base: entry.base,
                size: entry.size.into(),
                time_stamp: entry.time_stamp,
            });
            at = entry.links.next;
        }
        Ok(modules)
    }
}
