//! A child process that never outlives the harness.
//!
//! The kernel kills it when the harness dies in any way (`PR_SET_PDEATHSIG`). That signal is tied to the *thread* that
//! started the child: start children from a thread that lives as long as they may.

use std::io;
use std::os::fd::{AsFd, AsRawFd as _, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::process::{CommandExt as _, ExitStatusExt as _};
use std::process::{Command, ExitStatus};
use std::time::Instant;

use rustix::event::{PollFd, PollFlags};
use rustix::process::{Pid, PidfdFlags, Signal, WaitId, WaitIdOptions};

use crate::interrupt::{Interrupt, poll_until};

/// A running child; killed with its process group when dropped.
#[derive(Debug)]
pub struct Child {
    process: std::process::Child,
    pid: Pid,
    pidfd: OwnedFd,
    status: Option<ExitStatus>,
}

/// How a wait for a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Waited {
    /// It has ended.
    Ended(ExitStatus),
    /// It still runs; the deadline has passed.
    Deadline,
    /// It still runs; a signal asks the harness to stop.
    Interrupted(u8),
}

impl Child {
    /// Starts `command` in a process group of its own. It inherits the descriptors in `inherit` under their numbers, and
    /// receives `at_death` when the thread that calls this ends.
    ///
    /// # Errors
    /// The system's.
    pub fn spawn(mut command: Command, inherit: &[BorrowedFd<'_>], at_death: Signal) -> io::Result<Self> {
        let harness = rustix::process::getpid();
        let inherit: Vec<RawFd> = inherit.iter().map(|fd| fd.as_raw_fd()).collect();
        command.process_group(0);
        // SAFETY: between fork and exec the closure makes plain system calls only: no allocation, no lock. The descriptors are
        // open, since the caller borrows them until `spawn` has returned.
        unsafe {
            command.pre_exec(move || prepare(harness, &inherit, at_death));
        }
        let mut process = command.spawn()?;
        let pid = Pid::from_child(&process);
        match rustix::process::pidfd_open(pid, PidfdFlags::empty()) {
            Ok(pidfd) => Ok(Self { process, pid, pidfd, status: None }),
            Err(error) => {
                let _ = process.kill();
                let _ = process.wait();
                Err(error.into())
            }
        }
    }

    /// Its process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.process.id()
    }

    /// How it ended, if it has. What is left of its process group then ends, too.
    pub fn try_status(&mut self) -> Option<ExitStatus> {
        if self.status.is_none() && self.has_ended() {
            // Not reaped yet, so neither the process id nor the group's can belong to anyone else.
            let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
            self.status = self.process.wait().ok();
        }
        self.status
    }

    /// Whether it has ended; it is not reaped by this.
    fn has_ended(&self) -> bool {
        let look = WaitIdOptions::EXITED | WaitIdOptions::NOHANG | WaitIdOptions::NOWAIT;
        matches!(rustix::process::waitid(WaitId::Pid(self.pid), look), Ok(Some(_)))
    }

    /// Waits for its end.
    pub fn wait(&mut self, deadline: Instant, interrupt: &Interrupt) -> Waited {
        loop {
            if let Some(status) = self.try_status() {
                return Waited::Ended(status);
            }
            if let Some(signal) = interrupt.pending() {
                return Waited::Interrupted(signal);
            }
            let mut sources = [PollFd::new(&self.pidfd, PollFlags::IN), PollFd::new(interrupt, PollFlags::IN)];
            if !poll_until(&mut sources, Some(deadline)) {
                return self.try_status().map_or(Waited::Deadline, Waited::Ended);
            }
        }
    }

    /// Sends it a signal, if it still runs.
    pub fn signal(&mut self, signal: Signal) {
        if self.try_status().is_none() {
            let _ = rustix::process::pidfd_send_signal(&self.pidfd, signal);
        }
    }

    /// Kills it and its process group, and waits for its end.
    pub fn kill(&mut self) {
        if self.try_status().is_some() {
            return;
        }
        // Not reaped yet, so neither the process id nor the group's can belong to anyone else.
        let _ = rustix::process::kill_process_group(self.pid, Signal::KILL);
        let _ = self.process.kill();
        self.status = self.process.wait().ok();
    }
}

impl AsFd for Child {
    /// Readable when the child has ended.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pidfd.as_fd()
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs in a child, before its program does: asks for a signal at the death of `parent`.
///
/// # Errors
/// The parent is dead already.
pub(crate) fn die_with(parent: Pid, at_death: Signal) -> io::Result<()> {
    rustix::process::set_parent_process_death_signal(Some(at_death))?;
    // The parent may have died before that call; then nobody would send the signal.
    if rustix::process::getppid() != Some(parent) {
        return Err(rustix::io::Errno::SRCH.into());
    }
    Ok(())
}

/// Runs in the child, before the program does.
fn prepare(harness: Pid, inherit: &[RawFd], at_death: Signal) -> io::Result<()> {
    die_with(harness, at_death)?;
    for fd in inherit {
        // SAFETY: the parent keeps the descriptor open until this process has started; see `Child::spawn`.
        let fd = unsafe { BorrowedFd::borrow_raw(*fd) };
        rustix::io::fcntl_setfd(fd, rustix::io::FdFlags::empty())?;
    }
    Ok(())
}

/// An exit status in words: `exit status 1`, `signal 9 (SIGKILL)`.
#[must_use]
pub fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => {
            let name = signal_hook::low_level::signal_name(signal).unwrap_or("unknown");
            format!("signal {signal} ({name})")
        }
        (None, None) => "an unknown status".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn shell(script: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", script]);
        command
    }

    #[test]
    fn an_ended_child_reports_its_status_once_and_for_all() {
        let interrupt = Interrupt::never().unwrap();
        let mut child = Child::spawn(shell("exit 7"), &[], Signal::KILL).unwrap();
        let Waited::Ended(status) = child.wait(Instant::now() + Duration::from_secs(20), &interrupt) else {
            panic!("it did not end");
        };
        assert_eq!(status.code(), Some(7));
        child.kill();
        assert_eq!(child.try_status().unwrap().code(), Some(7));
        assert_eq!(describe(status), "exit status 7");
    }

    #[test]
    fn what_an_ended_child_left_behind_ends_too() {
        let interrupt = Interrupt::never().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        let mut command = shell("sleep 600 & exit 3");
        command.stdout(writer);
        let mut child = Child::spawn(command, &[], Signal::KILL).unwrap();

        let waited = child.wait(Instant::now() + Duration::from_secs(20), &interrupt);

        assert!(matches!(waited, Waited::Ended(status) if status.code() == Some(3)));
        // The pipe's other end is closed when the last of them is gone.
        assert_eq!(io::read_to_string(reader).unwrap(), "");
    }

    #[test]
    fn a_wait_ends_at_its_deadline_and_a_kill_takes_the_whole_group() {
        let interrupt = Interrupt::never().unwrap();
        let (mine, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
        let script = format!("sleep 1000 >&{0} & sleep 1000", theirs.as_raw_fd());
        let mut child = Child::spawn(shell(&script), &[theirs.as_fd()], Signal::KILL).unwrap();
        drop(theirs);
        assert_eq!(child.wait(Instant::now() + Duration::from_millis(50), &interrupt), Waited::Deadline);
        child.kill();
        // The grandchild held the other end; an end of file shows that it is gone too.
        let mut sources = [PollFd::new(&mine, PollFlags::IN)];
        assert!(poll_until(&mut sources, Some(Instant::now() + Duration::from_secs(20))));
        assert_eq!(describe(child.try_status().unwrap()), "signal 9 (SIGKILL)");
    }

    #[test]
    fn a_child_dies_with_the_thread_that_started_it() {
        let interrupt = Interrupt::never().unwrap();
        let mut child = std::thread::spawn(|| Child::spawn(shell("exec sleep 1000"), &[], Signal::KILL).unwrap()).join().unwrap();
        let waited = child.wait(Instant::now() + Duration::from_secs(20), &interrupt);
        assert!(matches!(waited, Waited::Ended(status) if status.signal() == Some(9)), "{waited:?}");
    }
}
