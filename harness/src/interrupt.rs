//! Ctrl-C and its kin: noticed by whoever waits, so that everything is cleaned up and the report still written.

use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec};
use signal_hook::SigId;
use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::error::{Outcome, Problem};

/// Whether a signal has asked `rig` to stop. Once it has, it stays so; a second Ctrl-C ends `rig` at once, and the kernel
/// then ends its children.
#[derive(Debug)]
pub struct Interrupt {
    signal: Arc<AtomicUsize>,
    wake: UnixStream,
    /// What happens at Ctrl-C.
    at_ctrl_c: Vec<SigId>,
}

impl Interrupt {
    /// Installs the handlers.
    ///
    /// # Errors
    /// The system's.
    pub fn install() -> io::Result<Self> {
        let signal = Arc::new(AtomicUsize::new(0));
        let asked_before = Arc::new(AtomicBool::new(false));
        let (wake, waker) = UnixStream::pair()?;
        let mut at_ctrl_c = Vec::new();
        // `nohup` has a run go on when the terminal closes.
        let numbers = [SIGINT, SIGTERM, SIGHUP].into_iter().filter(|number| *number != SIGHUP || !is_ignored(SIGHUP));
        for number in numbers {
            let actions = [
                signal_hook::flag::register_conditional_shutdown(number, 128 + number, Arc::clone(&asked_before))?,
                signal_hook::flag::register(number, Arc::clone(&asked_before))?,
                signal_hook::flag::register_usize(number, Arc::clone(&signal), usize::try_from(number).unwrap_or(1))?,
                signal_hook::low_level::pipe::register(number, waker.try_clone()?)?,
            ];
            at_ctrl_c.extend(actions.into_iter().filter(|_| number == SIGINT));
        }
        Ok(Self { signal, wake, at_ctrl_c })
    }

    /// One that never happens; for code that runs before or outside a command.
    ///
    /// # Errors
    /// The system's.
    pub fn never() -> io::Result<Self> {
        let (wake, other) = UnixStream::pair()?;
        // The other end stays open for ever: an end of file would read as an interrupt.
        std::mem::forget(other);
        Ok(Self { signal: Arc::new(AtomicUsize::new(0)), wake, at_ctrl_c: Vec::new() })
    }

    /// From now on Ctrl-C is for the program in front of the user, which gets it, too: a debugger.
    pub fn leave_ctrl_c(&self) {
        self.at_ctrl_c.iter().for_each(|action| {
            signal_hook::low_level::unregister(*action);
        });
    }

    /// The signal that arrived, if any.
    #[must_use]
    pub fn pending(&self) -> Option<u8> {
        let signal = self.signal.load(Ordering::SeqCst);
        u8::try_from(signal).ok().filter(|signal| *signal != 0)
    }

    /// Fails when a signal has arrived.
    ///
    /// # Errors
    /// The interruption.
    pub fn check(&self) -> Outcome<()> {
        self.pending().map_or(Ok(()), |signal| Err(Problem::interrupted(signal)))
    }

    /// Waits for `time` or an interrupt.
    ///
    /// # Errors
    /// The interruption.
    pub fn sleep(&self, time: Duration) -> Outcome<()> {
        poll_until(&mut [PollFd::new(self, PollFlags::IN)], Some(Instant::now() + time));
        self.check()
    }
}

impl AsFd for Interrupt {
    /// Readable from the first signal on.
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.wake.as_fd()
    }
}

/// Whether whoever started us has us ignore a signal.
fn is_ignored(number: i32) -> bool {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let mask = status.lines().find_map(|line| u64::from_str_radix(line.strip_prefix("SigIgn:")?.trim(), 16).ok());
    mask.is_some_and(|mask| mask >> (number - 1) & 1 == 1)
}

/// Waits until one of `sources` is ready or `deadline` has passed; tells whether one is ready. Goes on after signals.
pub fn poll_until(sources: &mut [PollFd<'_>], deadline: Option<Instant>) -> bool {
    loop {
        let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
        let timeout = left.map(|left| Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: i64::from(left.subsec_nanos()),
        });
        match rustix::event::poll(sources, timeout.as_ref()) {
            Ok(ready) => return ready > 0,
            Err(rustix::io::Errno::INTR) if deadline.is_none_or(|deadline| Instant::now() < deadline) => {}
            Err(_) => return false,
        }
    }
}
