//! The process that serves: how it is told to stop, that it does not outlive its parent, and that no client can end it by shortening memory.

use std::io;
use std::os::fd::{FromRawFd, OwnedFd};

use vmm_sys_util::signal::{block_signal, create_sigset, register_signal_handler};

/// Turn SIGTERM and SIGINT into a descriptor that becomes readable. Call before other threads start: they inherit the signal mask.
pub fn stop_signals() -> io::Result<OwnedFd> {
    let signals = [libc::SIGTERM, libc::SIGINT];
    for signal in signals {
        block_signal(signal).map_err(|error| io::Error::other(format!("{error:?}")))?;
    }
    let set = create_sigset(&signals)?;
    // SAFETY: the set is valid; -1 asks for a new descriptor.
    let fd = unsafe { libc::signalfd(-1, &set, libc::SFD_CLOEXEC | libc::SFD_NONBLOCK) };
    if fd < 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: signalfd returned a descriptor that nobody else owns.
    Ok(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Why this process cannot be tied to its parent.
#[derive(Debug, thiserror::Error)]
pub enum ParentError {
    /// It has died before we could ask to be told.
    #[error("the parent process has gone already")]
    Gone,
    /// The operating system refused.
    #[error("cannot ask to be told of the parent's death: {0}")]
    System(#[from] io::Error),
}

/// Be sent SIGTERM when the parent's thread that started this process ends.
///
/// With `expected`, the parent's process id, a parent that died at any time before is noticed; without, only one that dies meanwhile.
pub fn die_with_parent(expected: Option<u32>) -> Result<(), ParentError> {
    let before = expected.unwrap_or_else(std::os::unix::process::parent_id);
    // SAFETY: PR_SET_PDEATHSIG takes a signal number and touches no memory.
    if unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGTERM) } != 0 {
        return Err(io::Error::last_os_error().into());
    }
    if std::os::unix::process::parent_id() != before { Err(ParentError::Gone) } else { Ok(()) }
}

/// Live on when a client shortens a file that it has shared: the part that is gone reads as zeroes, and what is written there is lost.
///
/// Without this, the next access to such a page ends the process. It concerns every mapping of a file, so only a process that does nothing
/// but serve should call it.
pub fn survive_shortened_memory() -> io::Result<()> {
    register_signal_handler(libc::SIGBUS, replace_page).map_err(|error| io::Error::from_raw_os_error(error.errno()))
}

/// Put a page of zeroes where the access failed; the access is then repeated. Runs in a signal handler: no allocation, no locks.
extern "C" fn replace_page(_signal: libc::c_int, info: *mut libc::siginfo_t, _context: *mut libc::c_void) {
    const PAGE: usize = 4096;
    const LOST: &str = "device-model: the client has shortened memory that it shares; what is gone reads as zeroes\n";
    // SAFETY: the kernel gives the handler a valid siginfo; for SIGBUS it holds an address.
    let (code, address) = unsafe { ((*info).si_code, (*info).si_addr() as usize) };
    // SAFETY: the page cannot be accessed as it is, so nothing is lost by replacing it, and the mapping it lies in keeps its extent.
    let replaced = code == libc::BUS_ADRERR
        && unsafe {
            libc::mmap(
                (address & !(PAGE - 1)) as *mut libc::c_void,
                PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_FIXED,
                -1,
                0,
            )
        } != libc::MAP_FAILED;
    // SAFETY: the buffer is valid for reads of its length.
    unsafe { libc::write(libc::STDERR_FILENO, LOST.as_ptr().cast(), LOST.len()) };
    if !replaced {
        // SAFETY: ends the process without running anything of ours.
        unsafe { libc::_exit(128 + libc::SIGBUS) }
    }
}
