//! Programs that the agent starts: commands, whose output it reads, and the suite.

use core::ptr::{null, null_mut};

use suites::nt::Deadline;

use crate::kernel32::{self, Handle, Owned, ProcessInformation, Refused, SecurityAttributes, StartupInfo};
use crate::text::{Lines, wide};

const USE_STANDARD_HANDLES: u32 = 0x100;
const HANDLE_INHERIT: u32 = 1;
const CREATE_SUSPENDED: u32 = 4;
const CREATE_NO_WINDOW: u32 = 0x0800_0000;
const WAIT_OBJECT: u32 = 0;
const INFINITE: u32 = u32::MAX;
/// How long the output of a command may rest before it is looked at again, in milliseconds.
const PAUSE: u32 = 20;
/// Exit code of a command that has taken too long: `WAIT_TIMEOUT`.
const TOOK_TOO_LONG: u32 = 258;

/// A process that was started and waits for its first step.
pub(crate) struct Held {
    process: Owned,
    thread: Owned,
}

impl Held {
    /// Starts `command`, held before its first instruction; it writes into `output`, if that is given.
    pub(crate) fn start(command: &str, output: Option<Handle>) -> Result<Self, Refused> {
        let mut command = wide(command);
        let handle = output.unwrap_or(null_mut());
        let startup = StartupInfo {
            size: size_of::<StartupInfo>() as u32,
            reserved: [0; 3],
            geometry: [0; 7],
            flags: if output.is_some() { USE_STANDARD_HANDLES } else { 0 },
            show: 0,
            reserved_bytes: 0,
            reserved_pointer: 0,
            input: null_mut(),
            output: handle,
            error: handle,
        };
        let mut information = ProcessInformation { process: null_mut(), thread: null_mut(), ids: [0; 2] };
        let flags = CREATE_SUSPENDED | CREATE_NO_WINDOW;
        let inherit = i32::from(output.is_some());
        // SAFETY: every pointer is to a local that outlives the call, or null where that is allowed; the command ends with a zero and may
        // be written to.
        let done = unsafe {
            kernel32::CreateProcessW(
                null(),
                command.as_mut_ptr(),
                null(),
                null(),
                inherit,
                flags,
                null(),
                null(),
                &startup,
                &mut information,
            )
        };
        Refused::unless(done, "CreateProcess")?;
        Ok(Self { process: Owned(information.process), thread: Owned(information.thread) })
    }

    /// Lets it run.
    pub(crate) fn release(self) -> Running {
        // SAFETY: the thread's handle is open.
        let _ = unsafe { kernel32::ResumeThread(self.thread.0) };
        Running(self.process)
    }
}

/// A process that runs.
pub(crate) struct Running(Owned);

impl Running {
    /// Waits for its end, at most so many milliseconds; whether it has come.
    fn has_ended(&self, milliseconds: u32) -> bool {
        // SAFETY: the process's handle is open.
        unsafe { kernel32::WaitForSingleObject(self.0.0, milliseconds) == WAIT_OBJECT }
    }

    /// Waits for its end, however long it takes, and returns its exit code.
    pub(crate) fn wait(&self) -> u32 {
        self.has_ended(INFINITE);
        let mut code = u32::MAX;
        // SAFETY: the handle is open, and `code` a local.
        let _ = unsafe { kernel32::GetExitCodeProcess(self.0.0, &mut code) };
        code
    }

    fn end(&self) {
        // SAFETY: the handle is open, with every right to the process that this program has made.
        let _ = unsafe { kernel32::TerminateProcess(self.0.0, TOOK_TOO_LONG) };
    }
}

/// Runs a command to its end, or to the end of its time, and returns its exit code. Its lines go to `give`.
pub(crate) fn run(command: &str, patience: core::time::Duration, mut give: impl FnMut(&str)) -> Result<u32, Refused> {
    let (read, write) = pipe()?;
    let running = Held::start(command, Some(write.0))?.release();
    // Only the command writes now, so that its end is the pipe's.
    drop(write);
    let (deadline, mut lines) = (Deadline::after(patience), Lines::default());
    loop {
        let has_ended = running.has_ended(PAUSE);
        drain(&read, |bytes| lines.take(bytes, &mut give));
        if has_ended {
            break;
        }
        if deadline.has_passed() {
            running.end();
        }
    }
    lines.end(give);
    Ok(running.wait())
}

/// A pipe whose writing end is inherited.
fn pipe() -> Result<(Owned, Owned), Refused> {
    let security = SecurityAttributes { size: size_of::<SecurityAttributes>() as u32, descriptor: null_mut(), is_inherited: 1 };
    let (mut read, mut write) = (null_mut(), null_mut());
    // SAFETY: both handles are locals that the call fills in.
    Refused::unless(unsafe { kernel32::CreatePipe(&mut read, &mut write, &security, 0) }, "CreatePipe")?;
    let (read, write) = (Owned(read), Owned(write));
    // SAFETY: the handle is open.
    Refused::unless(unsafe { kernel32::SetHandleInformation(read.0, HANDLE_INHERIT, 0) }, "SetHandleInformation")?;
    Ok((read, write))
}

/// Takes what the pipe has, without waiting.
fn drain(pipe: &Owned, mut take: impl FnMut(&[u8])) {
    let mut block = [0; 1024];
    loop {
        let (mut available, mut length) = (0, 0);
        // SAFETY: the handle is open; only `available` is filled in.
        let seen = unsafe { kernel32::PeekNamedPipe(pipe.0, null_mut(), 0, null_mut(), &mut available, null_mut()) };
        if seen == 0 || available == 0 {
            return;
        }
        let wanted = available.min(block.len() as u32);
        // SAFETY: the buffer has room for `wanted` bytes, which are there, so that the call does not wait.
        let done = unsafe { kernel32::ReadFile(pipe.0, block.as_mut_ptr(), wanted, &mut length, null_mut()) };
        if done == 0 || length == 0 {
            return;
        }
        take(&block[..length as usize]);
    }
}
